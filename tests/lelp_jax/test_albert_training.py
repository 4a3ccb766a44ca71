import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lelp_jax.models.albert import albert
from tests import jaxprs
from tests.lelp_jax import tiny_text
from tests.lelp_jax.tiny_text import CONFIG
from tests.lelp_jax.tiny_text import DROPOUT

QUIET = dataclasses.replace(CONFIG, classifier_dropout=0.0)
# The one dropout that changes the path of the computation.
ATTENTION = dataclasses.replace(QUIET, attention_dropout=0.3)


@pytest.fixture(name="inputs")
def fixture_inputs():
  return tiny_text.inputs()


@pytest.mark.parametrize("rate", ["hidden", "attention", "classifier"])
def test_dropout_is_for_training_and_follows_the_key(inputs, rate):
  config = dataclasses.replace(QUIET, **{f"{rate}_dropout": 0.5})
  off = tiny_text.outputs(QUIET, inputs).embeddings
  first, again, other = (
    tiny_text.outputs(config, inputs, train=True, seed=seed).embeddings
    for seed in (1, 1, 2)
  )
  chex.assert_trees_all_equal(first, again)
  for different in (other, off):
    assert np.all(np.abs(first - different).max(1) > 1e-3)


def test_evaluation_drops_nothing(inputs):
  chex.assert_trees_all_close(
    tiny_text.outputs(DROPOUT, inputs, seed=1), tiny_text.outputs(QUIET, inputs)
  )


def test_each_layer_drops_its_own(inputs, monkeypatch):
  masks = []
  bernoulli = jax.random.bernoulli

  def listen(*args, **kwargs):
    mask = bernoulli(*args, **kwargs)
    jax.debug.callback(lambda mask: masks.append(np.array(mask)), mask)
    return mask

  monkeypatch.setattr(jax.random, "bernoulli", listen)
  apply = jax.jit(albert(DROPOUT, 3).apply, static_argnames="train")
  key = jax.random.key(0)
  apply(tiny_text.params(), {}, inputs, train=True, key=key)
  jax.effects_barrier()
  # Token embeddings; two and the attention weights in each of three layers;
  # the classifier.
  layers = [(3, 2, 7, 7)] * 3 + [(3, 7, 8)] * 6
  assert sorted(mask.shape for mask in masks) == sorted(
    [(3, 7, 6), *layers, (3, 8)]
  )
  assert len({mask.tobytes() for mask in masks}) == len(masks)


def test_training_embeddings_are_after_the_dropout(inputs):
  config = dataclasses.replace(CONFIG, classifier_dropout=0.5)
  off = tiny_text.outputs(config, inputs).embeddings
  on = tiny_text.outputs(config, inputs, train=True, seed=0)
  kept = on.embeddings != 0
  assert 0.2 < np.mean(kept) < 0.8
  np.testing.assert_allclose(
    on.embeddings, np.where(kept, 2 * off, 0), atol=1e-6
  )
  head = jax.device_get(tiny_text.params()["head"])
  np.testing.assert_allclose(
    on.logits, on.embeddings @ head["kernel"] + head["bias"], atol=1e-5
  )


def test_attention_with_dropout_equals_the_fused(inputs):
  # At a rate that drops nothing, training still takes the explicit path.
  config = dataclasses.replace(QUIET, attention_dropout=1e-9)
  chex.assert_trees_all_close(
    tiny_text.outputs(config, inputs, train=True, seed=0),
    tiny_text.outputs(QUIET, inputs),
    atol=1e-5,
  )


@pytest.mark.slow
def test_remat_changes_neither_value_nor_gradient(inputs):
  plain, remat = (
    tiny_text.loss_and_gradient(ATTENTION, inputs, train=True, remat=remat)
    for remat in (False, True)
  )
  chex.assert_trees_all_close(plain, remat, rtol=1e-5, atol=1e-6)


def test_remat_computes_the_layers_again(inputs):
  def products(remat):
    def loss(params):
      model = albert(CONFIG, 3, remat=remat)
      return jnp.sum(model.apply(params, {}, inputs)[0].logits)

    jaxpr = jax.make_jaxpr(jax.grad(loss))(tiny_text.params()).jaxpr
    names = [e.primitive.name for e in jaxprs.equations(jaxpr)]
    return names.count("dot_general")

  assert products(True) > products(False)


def test_rows_of_padding_alone_stay_finite():
  inputs = tiny_text.inputs(lengths=(0, 3), length=4)
  chex.assert_tree_all_finite(
    tiny_text.loss_and_gradient(ATTENTION, inputs, train=True)
  )
