import dataclasses
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lelp_jax.models.albert import albert
from lelp_jax.models.albert import AlbertEncoder
from lelp_jax.models.albert import config_from_huggingface
from lelp_jax.models.albert import params_from_huggingface
from lelp_jax.models.grafting import graft_pretrained
from tests.lelp_jax import tiny_text

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
