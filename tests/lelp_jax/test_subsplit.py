"""Algorithm 2: what is its own; the rest is in test_losses.py."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lelp_jax
from tests import reference

log_subsplit = jax.jit(lelp_jax.log_subsplit)  # Temperatures are traced.


@pytest.fixture(name="inputs")
def fixture_inputs(rng):
  """Embeddings, class logits and subspaces without symmetry."""
  directions = rng.normal(size=(3, 4, 10)) * rng.uniform(0.2, 0.6, (3, 4, 1))
  subspaces = lelp_jax.Subspaces(
    directions.astype(np.float32), rng.normal(size=(3, 10)).astype(np.float32)
  )
  embeddings = rng.normal(size=(6, 10)).astype(np.float32) * 2
  class_logits = rng.normal(size=(6, 3)).astype(np.float32) * 3
  return embeddings, class_logits, subspaces


def expected_of(embeddings, class_logits, subspaces, *temperatures):
  """Coordinates and log probabilities of the reference."""
  arrays = subspaces.directions, subspaces.means
  embeddings, class_logits = map(np.asarray, (embeddings, class_logits))
  coordinates = [reference.subclass_logits(h, *arrays) for h in embeddings]
  log_probs = [
    reference.log_subsplit(h, z, *arrays, *temperatures)
    for h, z in zip(embeddings, class_logits, strict=True)
  ]
  return np.array(coordinates), np.array(log_probs)


def test_coordinates_and_probabilities_are_those_of_every_class(inputs):
  embeddings, _, subspaces = inputs
  coordinates, log_probs = expected_of(*inputs, 2.5, 0.7)
  found = jax.jit(lelp_jax.subspace_coordinates)(embeddings, subspaces)
  np.testing.assert_allclose(found, coordinates, rtol=1e-5, atol=1e-5)
  found = jax.jit(lelp_jax.subsplit)(
    *inputs, temperature=2.5, subclass_temperature=0.7
  )
  np.testing.assert_allclose(found, np.exp(log_probs), rtol=2e-5, atol=1e-9)


@pytest.mark.parametrize(
  ("ratio", "dtype"),
  [(0.0, jnp.float32), (100.0, jnp.float32), (100.0, jnp.bfloat16)],
)
def test_log_subsplit_error_bound(rng, ratio, dtype):
  """D = 256 and S = 100 about a common mean of `ratio` times the spread."""
  common = ratio * rng.uniform(0.5, 1.5, size=256)
  means = common + rng.normal(size=(2, 256))
  directions = np.linalg.qr(rng.normal(size=(2, 256, 100)))[0].swapaxes(1, 2)
  subspaces = lelp_jax.Subspaces(*map(jnp.float32, (directions, means)))
  embeddings = means[rng.integers(0, 2, size=8)] + rng.normal(size=(8, 256))
  class_logits = rng.normal(size=(8, 2)).astype(np.float32) * 3
  arguments = jnp.asarray(embeddings, dtype), class_logits, subspaces
  for beta in (0.1, 1.0, 10.0):
    log_probs = log_subsplit(
      *arguments, temperature=4.0, subclass_temperature=beta
    )
    assert log_probs.dtype == jnp.float32
    coordinates, expected = expected_of(*arguments, 4.0, beta)
    bound = 1e-5 * (1 + np.abs(coordinates).max(axis=-1, keepdims=True) / beta)
    assert np.all(np.abs(np.float64(log_probs) - expected) <= bound), beta


def test_log_subsplit_far_from_the_means_is_finite(inputs):
  embeddings, class_logits, subspaces = inputs
  arguments = embeddings * np.float32(1e4), class_logits * np.float32(1e3)

  def total(h, z):
    log_probs = lelp_jax.log_subsplit(
      h, z, subspaces, temperature=0.5, subclass_temperature=0.01
    )
    return jnp.sum(log_probs), log_probs

  # Logits of millions cancel to the last bit, but not where `make test-lib`
  # turns optimizations off.
  grad = jax.jit(
    jax.value_and_grad(total, argnums=(0, 1), has_aux=True),
    compiler_options={"xla_backend_optimization_level": 3},
  )
  (_, log_probs), gradients = grad(*arguments)
  chex.assert_tree_all_finite(gradients)
  _, expected = expected_of(*arguments, subspaces, 0.5, 0.01)
  np.testing.assert_allclose(log_probs, expected, rtol=1e-5, atol=1e-6)
