"""ALBERT's configs, and weights of transformers."""

import dataclasses
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lelp_jax.models.albert import albert
from lelp_jax.models.albert import albert_config
from lelp_jax.models.albert import ALBERT_SIZES
from lelp_jax.models.albert import AlbertConfig
from lelp_jax.models.albert import AlbertEncoder
from lelp_jax.models.albert import config_from_huggingface
from lelp_jax.models.albert import params_from_huggingface
from lelp_jax.models.grafting import graft_pretrained
from tests.lelp_jax import tiny_text

SMALL = AlbertConfig(8, 3, 2, 12)
# config.json of albert/albert-base-v1, less most of what is not read.
BASE_V1 = {
  "attention_probs_dropout_prob": 0.1,
  "classifier_dropout_prob": 0.1,
  "embedding_size": 128,
  "hidden_act": "gelu",
  "hidden_dropout_prob": 0.1,
  "hidden_size": 768,
  "initializer_range": 0.02,
  "inner_group_num": 1,
  "intermediate_size": 3072,
  "layer_norm_eps": 1e-12,
  "max_position_embeddings": 512,
  "model_type": "albert",
  "num_attention_heads": 12,
  "num_hidden_groups": 1,
  "num_hidden_layers": 12,
  "pad_token_id": 0,
  "type_vocab_size": 2,
  "vocab_size": 30000,
}


def test_versions_differ_in_dropout_and_activation():
  for size in ALBERT_SIZES:
    v1, v2 = (albert_config(size, version=v) for v in ("v1", "v2"))
    rate = 0.0 if size == "xxlarge" else 0.1
    assert (v1.hidden_dropout, v1.attention_dropout) == (rate, rate)
    assert (v2.hidden_dropout, v2.attention_dropout) == (0, 0)
    assert (v1.activation, v2.activation) == ("gelu", "gelu_new")
    assert v1.classifier_dropout == v2.classifier_dropout == 0.1
    assert albert_config(size) == v2
    changes = {"hidden_dropout": rate, "attention_dropout": rate}
    assert dataclasses.replace(v2, activation="gelu", **changes) == v1


def test_changes_replace_the_published():
  config = albert_config("large", version="v1", num_layers=2, pooling="cls")
  assert config.num_layers == 2
  assert config.pooling == "cls"
  assert config.hidden_size == 1024
  with pytest.raises(TypeError, match="depth"):
    albert_config("large", depth=2)
  with pytest.raises(ValueError, match=r"version.*'v3'"):
    albert_config("large", version="v3")


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"num_layers": 0}, r"num_layers.*0"),
    ({"num_heads": 2.0}, r"num_heads.*2\.0"),
    ({"hidden_size": 9}, r"hidden_size.*num_heads.*9"),
    ({"hidden_dropout": 1.0}, r"hidden_dropout.*1\.0"),
    ({"attention_dropout": -1}, r"attention_dropout.*-1"),
    ({"activation": "silu"}, r"activation.*'silu'"),
    ({"pooling": "max"}, r"pooling must be one of \('pooled', .*got 'max'"),
    ({"layer_norm_epsilon": 0.0}, r"layer_norm_epsilon.*0\.0"),
    ({"initializer_range": -0.1}, r"initializer_range.*-0\.1"),
  ],
)
def test_configs_refuse_bad_values(changes, message):
  error = TypeError if "num_heads" in changes else ValueError
  with pytest.raises(error, match=message):
    dataclasses.replace(SMALL, **changes)


def test_config_of_the_hub_is_the_published():
  assert config_from_huggingface(BASE_V1) == albert_config("base", version="v1")


def test_every_value_of_a_file_counts():
  values = [
    ("attention_probs_dropout_prob", "attention_dropout", 0.25),
    ("classifier_dropout_prob", "classifier_dropout", 0.5),
    ("embedding_size", "embedding_size", 64),
    ("hidden_act", "activation", "relu"),
    ("hidden_dropout_prob", "hidden_dropout", 0.3),
    ("hidden_size", "hidden_size", 1536),
    ("initializer_range", "initializer_range", 0.01),
    ("intermediate_size", "intermediate_size", 48),
    ("layer_norm_eps", "layer_norm_epsilon", 1e-5),
    ("max_position_embeddings", "max_positions", 256),
    ("num_attention_heads", "num_heads", 6),
    ("num_hidden_layers", "num_layers", 7),
    ("type_vocab_size", "type_vocab_size", 3),
    ("vocab_size", "vocab_size", 21_128),
  ]
  file = {theirs: value for theirs, _, value in values}
  expected = AlbertConfig(**{ours: value for _, ours, value in values})
  assert config_from_huggingface({**BASE_V1, **file}) == expected


def test_old_files_may_lack_what_has_a_default():
  names = (
    "embedding_size",
    "hidden_size",
    "intermediate_size",
    "num_attention_heads",
    "num_hidden_layers",
    "vocab_size",
  )
  config = config_from_huggingface({name: BASE_V1[name] for name in names})
  assert config == albert_config("base")


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"model_type": "bert"}, r"model_type.*'albert'.*'bert'"),
    ({"num_hidden_groups": 4}, r"num_hidden_groups.*4"),
    ({"inner_group_num": 2}, r"inner_group_num.*2"),
    (
      {"position_embedding_type": "relative_key"},
      r"position_embedding_type.*'relative_key'",
    ),
    ({"hidden_act": "silu"}, r"hidden_act.*'silu'"),
  ],
)
def test_files_of_other_models_are_refused(changes, message):
  with pytest.raises(ValueError, match=message):
    config_from_huggingface({**BASE_V1, **changes})


def test_missing_sizes_are_named():
  missing = ("vocab_size", "num_hidden_layers")
  file = {k: v for k, v in BASE_V1.items() if k not in missing}
  with pytest.raises(ValueError, match=r"'num_hidden_layers', 'vocab_size'"):
    config_from_huggingface(file)


# --- Weights of transformers --------------------------------------------------

# Of transformers 5.23, by tests/goldens/transformers_albert.py.
CASES = ("model", "classifier", "pretraining", "masked")


def golden(case):
  """Config, weights by name, inputs, and all other arrays of a fixture."""
  mapping, *arrays = tiny_text.golden(f"albert_{case}")
  config = config_from_huggingface(mapping)
  if case == "masked":
    config = dataclasses.replace(config, pooling="cls")
  return config, *arrays


@pytest.mark.parametrize("case", CASES)
def test_hidden_states_equal_transformers(case):
  config, weights, inputs, expected, _ = golden(case)
  params = params_from_huggingface(weights, config)
  hidden, _ = jax.jit(AlbertEncoder(config).apply)(
    {"params": params["encoder"]}, inputs
  )
  assert np.std(expected["hidden"]) > 0.5
  np.testing.assert_allclose(hidden, expected["hidden"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("case", ["model", "masked"])
def test_embeddings_equal_transformers(case):
  config, weights, inputs, expected, _ = golden(case)
  model = albert(config, 3)
  zeros = jax.tree.map(
    lambda leaf: np.zeros(leaf.shape, "f"), tiny_text.shapes(model)
  )
  params = graft_pretrained(zeros, params_from_huggingface(weights, config))
  outputs, _ = jax.jit(model.apply)(params, {}, inputs)
  pooled = expected.get("pooled", expected["hidden"][:, 0])
  np.testing.assert_allclose(outputs.embeddings, pooled, rtol=0, atol=1e-5)
  if "pooled_of_ids" in expected:
    ids = {"input_ids": inputs["input_ids"]}
    outputs, _ = jax.jit(model.apply)(params, {}, ids)
    np.testing.assert_allclose(
      outputs.embeddings, expected["pooled_of_ids"], rtol=0, atol=1e-5
    )


def test_classifier_equals_transformers_with_its_gradient():
  config, weights, inputs, expected, gradients = golden("classifier")
  model = albert(config, 3)
  params = params_from_huggingface(weights, config)
  gradient, logits = tiny_text.classifier_gradient(model, params, inputs)
  np.testing.assert_allclose(logits, expected["logits"], rtol=0, atol=1e-5)
  # The gradients have the names and the layout of the weights.
  chex.assert_trees_all_close(
    gradient, params_from_huggingface(gradients, config), rtol=1e-4, atol=1e-5
  )


# --- What is read, and from where ---------------------------------------------


@pytest.fixture(name="checkpoint", scope="module")
def fixture_checkpoint():
  config, weights, *_ = golden("classifier")
  return config, weights, params_from_huggingface(weights, config)


@pytest.mark.parametrize("prefix", ["", "bert.", "model.albert.", "module."])
def test_any_prefix_is_stripped(checkpoint, prefix):
  config, weights, params = checkpoint
  outer = {"model.albert.": "model."}.get(prefix, "")
  renamed = {}
  for name, array in weights.items():
    short = name.removeprefix("albert.")
    renamed[(outer if short == name else prefix) + short] = array
  found = params_from_huggingface(renamed, config)
  chex.assert_trees_all_equal(found, params)


def test_heads_of_other_tasks_are_ignored(checkpoint):
  config, weights, params = checkpoint
  more = {
    "predictions.decoder.weight": np.ones([20, 16], np.float32),
    "sop_classifier.classifier.weight": np.ones([2, 12], np.float32),
    "qa_outputs.bias": np.ones([2], np.float32),
    "albert.embeddings.position_ids": np.arange(8)[None],
  }
  found = params_from_huggingface({**weights, **more}, config)
  chex.assert_trees_all_equal(found, params)
  body = {k: v for k, v in weights.items() if "classifier" not in k}
  found = params_from_huggingface(body, config)
  assert found.keys() == {"encoder", "pooler"}


def test_conversion_leaves_its_argument_alone(checkpoint):
  config, weights, params = checkpoint
  given = {name: array.copy() for name, array in weights.items()}
  found = params_from_huggingface(given, config)
  for leaf in jax.tree.leaves(found):
    leaf += 1
  chex.assert_trees_all_equal(given, weights)
  arrays = {name: jnp.asarray(array) for name, array in weights.items()}
  chex.assert_trees_all_equal(params_from_huggingface(arrays, config), params)


# --- What is refused ----------------------------------------------------------


def test_every_misfit_is_listed_in_one_line(checkpoint):
  config, weights, _ = checkpoint
  layer = "albert.encoder.albert_layer_groups.0.albert_layers.0"
  broken = {
    **weights,
    "albert.embeddings.word_embeddings.weight": np.ones([21, 16], np.float32),
    f"{layer}.attention.query.weight": np.ones([12, 12], np.int8),
    f"{layer}.ffn.adapter.weight": np.ones([2, 2], np.float32),
    "adapter.weight": np.ones([2, 2], np.float32),
    "classifier.bias": np.ones([4], np.float32),
  }
  del broken["albert.embeddings.LayerNorm.bias"]
  del broken[f"{layer}.ffn_output.weight"]
  short = layer.removeprefix("albert.")
  names = [
    "'embeddings.LayerNorm.bias'",
    f"'{short}.ffn_output.weight'",
    f"'{layer}.ffn.adapter.weight'",
    "'adapter.weight'",
    "'albert.embeddings.word_embeddings.weight float32[21, 16], not [20, 16]'",
    f"'{layer}.attention.query.weight int8[12, 12], not [12, 12]'",
    "'classifier.bias float32[4], not [3]'",
  ]
  pattern = ".*".join(map(re.escape, names))
  with pytest.raises(ValueError, match=pattern):
    params_from_huggingface(broken, config)


def test_a_name_given_twice_is_refused(checkpoint):
  config, weights, _ = checkpoint
  twice = {**weights, "pooler.weight": weights["albert.pooler.weight"]}
  with pytest.raises(ValueError, match=r"\['pooler.weight'\]"):
    params_from_huggingface(twice, config)


def test_two_encoders_are_refused(checkpoint):
  config, weights, _ = checkpoint
  both = {f"student.{name}": array for name, array in weights.items()}
  pattern = r" 2 .*\['student.albert.embeddings.word_emb"
  with pytest.raises(ValueError, match=pattern):
    params_from_huggingface({**both, **weights}, config)
