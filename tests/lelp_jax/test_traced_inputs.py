"""Inputs whose values a traced function cannot check."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from flax import serialization

import lelp_jax
from lelp_jax.baselines import CRDBank
from tests import reference


@pytest.mark.parametrize(("bad", "width"), [(np.nan, 8), (np.inf, 4)])
def test_a_head_that_is_not_finite_gives_nan(rng, bad, width):
  # With 4 dimensions the head of four classes spans everything.
  head = rng.normal(size=(width, 4)).astype(np.float32)
  head[0, 0] = bad
  embeddings = rng.normal(size=(60, width)).astype(np.float32)
  moments = lelp_jax.ClassMoments(
    *map(np.float32, reference.class_moments(embeddings, np.arange(60) % 4, 4))
  )

  @jax.jit
  def directions(moments, head):
    found = lelp_jax.principal_directions(moments, head, num_directions=2)
    return found.directions

  assert np.isnan(directions(moments, head)).any()


def test_a_mask_on_a_device_works_under_strict_promotion():
  with jax.numpy_dtype_promotion("strict"):
    moments = lelp_jax.class_moments(
      jnp.ones((4, 2)),
      jnp.zeros(4, int),
      num_classes=1,
      where=jnp.ones(4, bool),
    )
  assert moments.count.tolist() == [4]


def test_variables_of_nnx_are_arrays():
  targets = jnp.log(jnp.full((3, 2, 2), 0.25))
  logits = nnx.Param(jnp.zeros((3, 4)))
  loss = jax.jit(lambda x: lelp_jax.lelp_loss(x, targets, temperature=1.0))
  np.testing.assert_allclose(loss(logits), np.zeros(3), atol=1e-6)


def test_small_probabilities_are_not_log_probabilities():
  probabilities = jnp.full((2, 100, 4), 1 / 400)
  with pytest.raises(ValueError, match="teacher_log_probs"):
    lelp_jax.lelp_loss(jnp.zeros((2, 400)), probabilities, temperature=1.0)


def test_a_memory_bank_is_serialized():
  bank = CRDBank.init(jax.random.key(0), num_examples=5, width=3)
  found = serialization.from_bytes(bank, serialization.to_bytes(bank))
  jax.tree.map(np.testing.assert_array_equal, found, bank)
