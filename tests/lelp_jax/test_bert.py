import dataclasses
import json
import os
import pathlib

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lelp_jax.models import from_huggingface
from lelp_jax.models import MODELS
from lelp_jax.models.bert import bert
from lelp_jax.models.bert import BertConfig
from lelp_jax.models.bert import config_from_huggingface
from tests.lelp_jax import tiny_text
from tests.lelp_jax.tiny_text import BERT as CONFIG
from tests.lelp_jax.tiny_text import golden

GOLDENS = pathlib.Path(__file__).parents[1] / "goldens"
# Of transformers 5.24, by tests/goldens/transformers_bert.py.
CLASSIFIERS = {
  "classifier": 3,
  "one_logit": 1,
  "distilbert_classifier": 4,
  "roberta_classifier": 3,
}
ENCODERS = (
  "encoder",
  "pretraining",
  "distilbert_encoder",
  "xlm_roberta_masked",
)


def assert_close(found, expected):
  np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


# --- Against transformers -----------------------------------------------------


@pytest.mark.parametrize("case", CLASSIFIERS)
def test_classifiers_equal_transformers(case):
  config, weights, inputs, expected, _ = golden(f"bert_{case}")
  model, params, state = from_huggingface(config, weights)
  apply = jax.jit(model.apply)
  outputs, _ = apply(params, state, inputs)
  chex.assert_shape(outputs.logits, (4, CLASSIFIERS[case]))
  assert np.std(expected["embeddings"]) > 0.1
  assert_close(outputs.embeddings, expected["embeddings"])
  assert_close(outputs.logits, expected["logits"])
  # Absent inputs have the defaults of transformers.
  outputs, _ = apply(params, state, {"input_ids": inputs["input_ids"]})
  assert_close(outputs.logits, expected["logits_of_ids"])


@pytest.mark.parametrize("case", ENCODERS)
def test_encoders_are_averaged_and_their_head_is_zero(case):
  config, weights, inputs, expected, _ = golden(f"bert_{case}")
  model, params, state = from_huggingface(config, weights, num_outputs=3)
  outputs, _ = jax.jit(model.apply)(params, state, inputs)
  assert np.std(expected["mean"]) > 0.1
  assert_close(outputs.embeddings, expected["mean"])
  chex.assert_trees_all_equal(outputs.logits, jnp.zeros([4, 3]))
  assert params.keys() == {"encoder", "head"}


def test_gradients_equal_transformers():
  config, weights, inputs, expected, gradients = golden("bert_classifier")
  model, params, _ = from_huggingface(config, weights)
  gradient, logits = tiny_text.classifier_gradient(model, params, inputs)
  assert_close(logits, expected["logits"])
  # The gradients have the names and the layout of the weights.
  _, theirs, _ = from_huggingface(config, gradients)
  chex.assert_trees_all_close(gradient, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_minilm_equals_transformers():
  if "LELP_MINILM" not in os.environ:
    pytest.skip("LELP_MINILM does not name a folder with all-MiniLM-L6-v2")
  from safetensors.numpy import load_file

  folder = pathlib.Path(os.environ["LELP_MINILM"])
  config = json.loads((folder / "config.json").read_text())
  model, params, state = from_huggingface(
    config, load_file(folder / "model.safetensors")
  )
  with np.load(GOLDENS / "minilm.npz") as file:
    inputs, mean = dict(file), file["mean"]
  del inputs["mean"]
  outputs, _ = jax.jit(model.apply)(params, state, inputs)
  assert np.std(mean) > 0.2
  assert_close(outputs.embeddings, mean)


# --- The published sizes ------------------------------------------------------

# Sequence classifiers of two classes in transformers.
COUNTS = {
  "bert": 109_483_778,
  "distilbert": 66_955_010,
  "roberta": 124_647_170,
  "xlm_roberta": 278_045_186,
}
_SIZES = {
  "hidden_size": 768,
  "num_hidden_layers": 12,
  "num_attention_heads": 12,
  "intermediate_size": 3072,
  "hidden_act": "gelu",
  "hidden_dropout_prob": 0.1,
  "attention_probs_dropout_prob": 0.1,
  "initializer_range": 0.02,
}
_ROBERTA = {
  **_SIZES,
  "layer_norm_eps": 1e-05,
  "max_position_embeddings": 514,
  "pad_token_id": 1,
  "type_vocab_size": 1,
}
# config.json of each base model, as the hub has it.
PUBLISHED = {
  "bert": {
    **_SIZES,
    "architectures": ["BertForMaskedLM"],
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": 512,
    "model_type": "bert",
    "pad_token_id": 0,
    "position_embedding_type": "absolute",
    "type_vocab_size": 2,
    "vocab_size": 30522,
  },
  "distilbert": {
    "activation": "gelu",
    "architectures": ["DistilBertForMaskedLM"],
    "attention_dropout": 0.1,
    "dim": 768,
    "dropout": 0.1,
    "hidden_dim": 3072,
    "initializer_range": 0.02,
    "max_position_embeddings": 512,
    "model_type": "distilbert",
    "n_heads": 12,
    "n_layers": 6,
    "pad_token_id": 0,
    "qa_dropout": 0.1,
    "seq_classif_dropout": 0.2,
    "sinusoidal_pos_embds": False,
    "tie_weights_": True,
    "vocab_size": 30522,
  },
  "roberta": {**_ROBERTA, "model_type": "roberta", "vocab_size": 50265},
  "xlm_roberta": {
    **_ROBERTA,
    "model_type": "xlm-roberta",
    "vocab_size": 250002,
  },
}


@pytest.mark.parametrize("name", COUNTS)
def test_names_are_the_published_base_models(name):
  architecture = MODELS[name]

  def count(num_layers):
    leaves = jax.tree.leaves(
      tiny_text.shapes(architecture(2, num_layers=num_layers))
    )
    assert all(leaf.dtype == jnp.float32 for leaf in leaves)
    return sum(leaf.size for leaf in leaves)

  # A dozen equal layers take long to trace.
  num_layers = architecture.attributes()["num_layers"]
  one, two = count(1), count(2)
  assert one + (num_layers - 1) * (two - one) == COUNTS[name]
  options = architecture.huggingface.options(PUBLISHED[name])
  assert architecture.attributes(**options) == architecture.attributes()
  assert architecture.max_length() == 512


def test_absent_values_are_the_defaults_of_transformers():
  sizes = {k: v for k, v in _SIZES.items() if k.endswith(("size", "s"))}
  config = config_from_huggingface(
    {**sizes, "vocab_size": 9, "model_type": "roberta"}
  )
  assert config == BertConfig(
    768, 12, 12, 3072, vocab_size=9, padding_id=1, max_positions=510
  )
  given = {"hidden_dropout_prob": 0.3, "classifier_dropout": None}
  config = config_from_huggingface({**PUBLISHED["bert"], **given})
  assert config.classifier_dropout == 0.3


# --- What is read, and from where ---------------------------------------------


@pytest.mark.parametrize("case", [*CLASSIFIERS, *ENCODERS])
def test_structure_is_that_of_the_model(case):
  config, weights, *_ = golden(f"bert_{case}")
  model, params, state = from_huggingface(config, weights)
  assert state == {}
  chex.assert_trees_all_equal_shapes_and_dtypes(params, tiny_text.shapes(model))


def test_old_names_and_other_dtypes_are_read():
  config, weights, *_ = golden("bert_classifier")
  old = {
    name.replace("Norm.weight", "Norm.gamma").replace(
      "Norm.bias", "Norm.beta"
    ): array.astype(jnp.bfloat16)
    for name, array in weights.items()
  }
  more = {"bert.embeddings.position_ids": np.arange(12)[None]}
  found = from_huggingface(config, {**old, **more})[1]
  expected = from_huggingface(config, weights)[1]
  assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(found))
  chex.assert_trees_all_close(found, expected, rtol=1e-2)


@pytest.mark.parametrize(
  ("case", "pooling"),
  [
    ("classifier", "cls"),
    ("distilbert_classifier", "mean"),
    ("roberta_classifier", "mean"),
  ],
)
def test_other_poolings_leave_the_pooler_out(case, pooling):
  config, weights, *_ = golden(f"bert_{case}")
  params = from_huggingface(config, weights)[1]
  found = from_huggingface(config, weights, pooling=pooling)[1]
  chex.assert_trees_all_equal({**found, "pooler": params["pooler"]}, params)


def test_a_pretrained_pooler_is_used_on_request():
  config, weights, *_ = golden("bert_encoder")
  _, params, _ = from_huggingface(config, weights, pooling="pooled")
  np.testing.assert_array_equal(
    params["pooler"]["kernel"], weights["pooler.dense.weight"].T
  )


def test_the_first_layers_can_be_taken():
  config, weights, *_ = golden("bert_classifier")
  _, whole, _ = from_huggingface(config, weights)
  _, first, _ = from_huggingface(config, weights, num_layers=2)
  assert whole["encoder"].pop("layer_2")
  assert "layer_1" in first["encoder"]
  chex.assert_trees_all_equal(first, whole)


def test_heads_have_the_outputs_of_the_file_or_the_config_or_the_caller():
  def outputs(case, changes=(), **options):
    config, weights, *_ = golden(f"bert_{case}")
    _, params, _ = from_huggingface(
      {**config, **dict(changes)}, weights, **options
    )
    head = params["head"]
    return head["kernel"].shape[1], bool(np.any(head["kernel"]))

  names = {str(i): f"LABEL_{i}" for i in range(5)}
  assert outputs("one_logit", {"id2label": names}) == (1, True)
  assert outputs("classifier", num_outputs=3) == (3, True)
  assert outputs("classifier", num_outputs=4) == (4, False)
  assert outputs("encoder", {"id2label": names}) == (5, False)
  assert outputs("encoder", {"num_labels": 6}) == (6, False)
  assert outputs("encoder") == (2, False)


def test_alberts_load_as_well():
  config, weights, inputs, expected, _ = golden("albert_classifier")
  model, params, state = from_huggingface(config, weights)
  outputs, _ = jax.jit(model.apply)(params, state, inputs)
  assert_close(outputs.logits, expected["logits"])
  body = {k: v for k, v in weights.items() if "classifier" not in k}
  params = from_huggingface(config, body, num_outputs=2)[1]
  assert params.keys() == {"encoder", "head"}


# --- What is refused ----------------------------------------------------------


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"model_type": "t5"}, r"model_type.*'albert', 'bert'.*got 't5'"),
    ({"model_type": None}, r"model_type.*got None"),
    ({"num_hidden_layers": None}, r"'bert' must hold \['num_hidden_layers'\]"),
    ({"is_decoder": True}, "is_decoder must be False, got True"),
    ({"position_embedding_type": "relative_key"}, "got 'relative_key'"),
    ({"num_hidden_layers": 4}, "num_layers is 4, .* at most 3"),
    (
      {"vocab_size": 21},
      r"word_embeddings.weight float32\[20, 12\], not \[21, 12\]",
    ),
  ],
)
def test_configs_that_do_not_fit_are_refused(changes, message):
  config, weights, *_ = golden("bert_classifier")
  config = {**config, **changes}
  config = {k: v for k, v in config.items() if v is not None}
  with pytest.raises(ValueError, match=message) as error:
    from_huggingface(config, weights)
  assert "\n" not in str(error.value)


@pytest.mark.parametrize(
  ("removed", "added", "message"),
  [
    ("classifier.bias", "", r"missing \['classifier.bias'\]"),
    ("bert.encoder.layer.1.output.dense.bias", "", r"missing \['encoder.la"),
    ("", "bert.encoder.layer.1.adapter.weight", r"unexpected \['bert.enc"),
    ("", "encoder.layer.5.output.dense.bias", r"unexpected \['encoder.la"),
    (
      "bert.pooler.dense.weight",
      "",
      r"missing \['pooler.dense.weight'\].* pooling to 'mean' or 'cls'",
    ),
    (
      "bert.embeddings.word_embeddings.weight",
      "",
      "must hold one 'embeddings.word_embeddings.weight', under any prefix",
    ),
  ],
)
def test_arrays_that_do_not_fit_are_refused(removed, added, message):
  config, weights, *_ = golden("bert_classifier")
  weights = {k: v for k, v in weights.items() if k != removed}
  if added:
    weights[added] = np.ones([2], np.float32)
  with pytest.raises(ValueError, match=message) as error:
    from_huggingface(config, weights)
  assert "\n" not in str(error.value)


def test_models_refuse_bad_arguments():
  with pytest.raises(ValueError, match="num_outputs must be at least 1, got 0"):
    bert(CONFIG, 0)
  with pytest.raises(ValueError, match=r"pooler_activation .*got 'gelu'"):
    dataclasses.replace(CONFIG, pooler_activation="gelu")
  with pytest.raises(ValueError, match="padding_id must be at least 0, got -1"):
    dataclasses.replace(CONFIG, padding_id=-1)
  inputs = {"input_ids": jnp.ones([1, 11], int)}
  for config in (CONFIG, tiny_text.ROBERTA):
    with pytest.raises(ValueError, match=r"1 to 10 tokens .* got 11"):
      bert(config, 3).apply(tiny_text.params(config), {}, inputs)
