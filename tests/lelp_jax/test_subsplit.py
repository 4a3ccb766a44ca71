"""Algorithm 2 against float64 arithmetic on the inputs as given."""

from functools import partial

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
from tests.lelp_jax.spectra import make_data
from tests.lelp_jax.spectra import make_head

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


def wide_inputs(rng, ratio, dtype, batch=8):
  """D = 256 and S = 100 about a common mean of `ratio` times the spread."""
  num_classes, s, width = 2, 100, 256
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


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_log_subsplit_error_bound_defeats_uncentred_product(rng, dtype):
  # v.h - v.mu in float32, each a hundred times the difference.
  embeddings, class_logits, subspaces = wide_inputs(rng, 100.0, dtype, batch=24)
  wide = np.asarray(embeddings.astype(jnp.float32))
  directions = np.asarray(subspaces.directions)
  means = np.asarray(subspaces.means)
  logits = np.stack(
    [wide @ v.T - v @ mean for v, mean in zip(directions, means, strict=True)],
    axis=1,
  )
  assert logits.dtype == np.float32
  naive = jax.nn.log_softmax(class_logits / np.float32(4))[
    ..., None
  ] + jax.nn.log_softmax(logits)
  assert (
    error_over_bound(naive, embeddings, class_logits, subspaces, 4.0, 1.0) > 2
  )


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


def test_subsplit_large_subclass_temperature_is_uniform(rng):
  embeddings, class_logits, subspaces = make_inputs(rng)
  probs = subsplit(
    embeddings,
    class_logits,
    subspaces,
    temperature=2.0,
    subclass_temperature=1e8,
  )
  class_probs = jax.nn.softmax(class_logits / 2)
  for s in range(S):
    np.testing.assert_allclose(probs[..., s], class_probs / S, rtol=1e-5)


def test_subsplit_one_subclass_is_the_class(rng):
  embeddings, class_logits, subspaces = make_inputs(rng, s=1)
  log_probs = log_subsplit(
    embeddings,
    class_logits,
    subspaces,
    temperature=3.0,
    subclass_temperature=0.1,
  )
  np.testing.assert_allclose(
    log_probs[..., 0], jax.nn.log_softmax(class_logits / 3), atol=1e-6
  )


def test_subsplit_zero_directions_are_uniform(rng):
  # What the fit returns for a class it has not seen.
  embeddings, class_logits, subspaces = make_inputs(rng)
  blank = lelp_jax.Subspaces(
    directions=subspaces.directions.at[1].set(0), means=subspaces.means
  )
  probs = subsplit(
    embeddings, class_logits, blank, temperature=1.0, subclass_temperature=1.0
  )
  class_probs = jax.nn.softmax(class_logits)
  np.testing.assert_allclose(
    probs[:, 1], np.tile(class_probs[:, 1:2] / S, (1, S)), rtol=1e-5
  )


def test_subsplit_ignores_what_the_head_sees(rng):
  # A vector of span(W) added to h moves no z_{c,s}.
  head = make_head(rng)
  rows, labels = make_data(rng, head)
  fitted = lelp_jax.fit_subspaces(
    rows, labels, head, num_subclasses=S, key=jax.random.key(0)
  )
  rows, count = rows[:20], 20
  split = partial(
    log_subsplit,
    class_logits=rows @ head,
    subspaces=fitted,
    temperature=1.0,
    subclass_temperature=0.5,
  )
  inside = rng.normal(size=(count, NUM_CLASSES)).astype(np.float32) @ head.T
  before = split(rows)
  np.testing.assert_allclose(split(rows + inside), before, atol=5e-5)
  # A vector outside the span does.
  _, kept = reference.head_bases(head, len(head))
  outside = (rng.normal(size=(count, kept.shape[1])) @ kept.T).astype(
    np.float32
  )
  assert np.abs(split(rows + outside) - before).max() > 0.1


def test_subsplit_uses_the_logits_it_is_given(rng):
  # not W^T h; a constant added to all logits changes nothing.
  embeddings, class_logits, subspaces = make_inputs(rng)
  split = partial(
    subsplit,
    embeddings,
    subspaces=subspaces,
    temperature=2.0,
    subclass_temperature=1.0,
  )
  probs = split(class_logits=class_logits)
  np.testing.assert_allclose(
    split(class_logits=class_logits + np.float32(5)), probs, rtol=1e-5
  )
  moved = split(class_logits=class_logits[::-1])
  np.testing.assert_allclose(
    jnp.sum(moved, -1), jax.nn.softmax(class_logits[::-1] / 2), rtol=1e-5
  )


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
