"""Algorithm 2 against float64 arithmetic on the inputs as given."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

import lelp_jax
from tests import reference

NUM_CLASSES, S, WIDTH = 3, 4, 10

# Temperatures are traced here: one compilation for all of them.
log_subsplit = jax.jit(lelp_jax.log_subsplit)
subsplit = jax.jit(lelp_jax.subsplit)


def make_inputs(rng, batch=(6,), num_classes=NUM_CLASSES, s=S, width=WIDTH):
  """Embeddings, class logits and subspaces without symmetry."""
  directions = rng.normal(size=(num_classes, s, width)) / np.sqrt(width)
  directions *= rng.uniform(0.5, 2, size=(num_classes, s, 1))
  subspaces = lelp_jax.Subspaces(
    directions=jnp.asarray(directions, jnp.float32),
    means=jnp.asarray(rng.normal(size=(num_classes, width)), jnp.float32),
  )
  embeddings = rng.normal(size=(*batch, width)).astype(np.float32) * 2
  class_logits = rng.normal(size=(*batch, num_classes)).astype(np.float32) * 3
  return embeddings, class_logits, subspaces


def expected_log_subsplit(embeddings, class_logits, subspaces, *args, **kwargs):
  """The reference over any leading axes."""
  embeddings, class_logits = np.asarray(embeddings), np.asarray(class_logits)
  lead = embeddings.shape[:-1]
  rows = [
    reference.log_subsplit(
      h, z, subspaces.directions, subspaces.means, *args, **kwargs
    )
    for h, z in zip(
      embeddings.reshape(-1, embeddings.shape[-1]),
      class_logits.reshape(-1, class_logits.shape[-1]),
      strict=True,
    )
  ]
  return np.array(rows).reshape(*lead, *subspaces.directions.shape[:2])


def test_coordinates_are_those_of_every_class(rng):
  embeddings, _, subspaces = make_inputs(rng)
  found = jax.jit(lelp_jax.subspace_coordinates)(embeddings, subspaces)
  for h, coordinates in zip(embeddings, found, strict=True):
    expected = reference.subclass_logits(
      h, subspaces.directions, subspaces.means
    )
    np.testing.assert_allclose(coordinates, expected, rtol=1e-5, atol=1e-5)


def error_over_bound(
  log_probs, embeddings, class_logits, subspaces, temperature, beta
):
  """Largest error of log p over 1e-5 (1 + max_s |z_{c,s}| / beta)."""
  expected = expected_log_subsplit(
    embeddings, class_logits, subspaces, temperature, beta
  )
  logits = np.array(
    [
      reference.subclass_logits(h, subspaces.directions, subspaces.means)
      for h in np.asarray(embeddings)
    ]
  )
  bound = 1e-5 * (1 + np.abs(logits).max(axis=-1, keepdims=True) / beta)
  return np.max(np.abs(np.asarray(log_probs, np.float64) - expected) / bound)


@pytest.mark.parametrize("batch", [(), (6,), (2, 3)])
def test_log_subsplit_matches_reference(rng, batch):
  embeddings, class_logits, subspaces = make_inputs(rng, batch)
  arguments = embeddings, class_logits, subspaces
  options = {"temperature": 2.5, "subclass_temperature": 0.7}
  log_probs = log_subsplit(*arguments, **options)
  expected = expected_log_subsplit(*arguments, 2.5, 0.7)
  assert log_probs.shape == (*batch, NUM_CLASSES, S)
  np.testing.assert_allclose(log_probs, expected, rtol=1e-5, atol=1e-5)
  probs = subsplit(*arguments, **options)
  np.testing.assert_allclose(probs, np.exp(expected), rtol=2e-5, atol=1e-9)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
  seed=st.integers(0, 2**31),
  temperature=st.floats(0.5, 20),
  beta=st.floats(0.05, 100),
  scale=st.floats(0.01, 30),
)
def test_log_subsplit_matches_reference_everywhere(
  seed, temperature, beta, scale
):
  embeddings, class_logits, subspaces = make_inputs(
    np.random.default_rng(seed), batch=(3,)
  )
  embeddings = (embeddings * scale).astype(np.float32)
  arguments = embeddings, class_logits, subspaces
  options = {"temperature": temperature, "subclass_temperature": beta}
  log_probs = log_subsplit(*arguments, **options)
  assert error_over_bound(log_probs, *arguments, temperature, beta) < 1
  # Sum over s: the class probability, temperature tau, whatever beta.
  class_probs = jax.nn.softmax(class_logits / np.float32(temperature))
  probs = subsplit(*arguments, **options)
  np.testing.assert_allclose(
    jnp.sum(probs, axis=-1), class_probs, rtol=1e-5, atol=1e-7
  )


def wide_inputs(rng, ratio, dtype):
  """D = 256 and S = 100 about a common mean of `ratio` times the spread."""
  batch, num_classes, s, width = 8, 2, 100, 256
  common = ratio * rng.uniform(0.5, 1.5, size=width)
  means = common + rng.normal(size=(num_classes, width))
  directions = np.stack(
    [np.linalg.qr(rng.normal(size=(width, s)))[0].T for _ in range(num_classes)]
  )
  subspaces = lelp_jax.Subspaces(
    directions=jnp.asarray(directions, jnp.float32),
    means=jnp.asarray(means, jnp.float32),
  )
  labels = rng.integers(0, num_classes, size=batch)
  embeddings = means[labels] + rng.normal(size=(batch, width))
  class_logits = rng.normal(size=(batch, num_classes)).astype(np.float32) * 3
  return jnp.asarray(embeddings, dtype), class_logits, subspaces


@pytest.mark.parametrize(
  ("ratio", "dtype"),
  [(0.0, jnp.float32), (100.0, jnp.float32), (100.0, jnp.bfloat16)],
)
def test_log_subsplit_error_bound(rng, ratio, dtype):
  arguments = wide_inputs(rng, ratio, dtype)
  for beta in (0.1, 1.0, 10.0):
    log_probs = log_subsplit(
      *arguments, temperature=4.0, subclass_temperature=beta
    )
    assert log_probs.dtype == jnp.float32
    error = error_over_bound(log_probs, *arguments, 4.0, beta)
    assert error <= 1, (beta, error)


def test_log_subsplit_far_from_the_means_is_finite(rng):
  embeddings, class_logits, subspaces = make_inputs(rng)
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
  expected = expected_log_subsplit(*arguments, subspaces, 0.5, 0.01)
  np.testing.assert_allclose(log_probs, expected, rtol=1e-5, atol=1e-6)


# --- Dtypes and precision ----------------------------------------------------


def test_log_subsplit_float64_under_x64(rng):
  embeddings, class_logits, subspaces = make_inputs(rng)
  options = {"temperature": 2.0, "subclass_temperature": 0.4}
  with jax.enable_x64(True):
    wide = lelp_jax.Subspaces(
      directions=jnp.asarray(rng.normal(size=(NUM_CLASSES, S, WIDTH))),
      means=jnp.asarray(rng.normal(size=(NUM_CLASSES, WIDTH)) + 100),
    )
    h = rng.normal(size=(6, WIDTH)) + 100
    z = rng.normal(size=(6, NUM_CLASSES))
    log_probs = log_subsplit(h, z, wide, **options)
    single = log_subsplit(embeddings, class_logits, subspaces, **options)
  assert log_probs.dtype == jnp.float64
  assert single.dtype == jnp.float32
  np.testing.assert_allclose(
    log_probs, expected_log_subsplit(h, z, wide, 2.0, 0.4), rtol=1e-11
  )
