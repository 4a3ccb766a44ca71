"""`where`: a padded, masked call is the unpadded one, value and gradient."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lelp_jax
from tests import reference

BATCH, NUM_CLASSES, S, WIDE, WIDTH = 5, 3, 4, 7, 10
EXISTS = np.tile(np.arange(WIDE) < S, (NUM_CLASSES, 1))
# Classes of 2, 4 and 1 subclasses, and not the first ones.
RAGGED = np.array(
  [[False, True, False, True], [True] * 4, [False, False, True, False]]
)
SPLIT = {"temperature": 2.0, "subclass_temperature": 0.4}


def padded(array, filler, axis=-1):
  """The array with `filler` from S up to WIDE on one axis."""
  widths = [(0, 0)] * array.ndim
  widths[axis] = (0, WIDE - S)
  return np.pad(array, widths, constant_values=filler)


def embedding_inputs(rng):
  """Embeddings, class logits and NumPy directions and means."""
  return (
    rng.normal(size=(BATCH, WIDTH)).astype(np.float32) * 2,
    rng.normal(size=(BATCH, NUM_CLASSES)).astype(np.float32) * 3,
    rng.normal(size=(NUM_CLASSES, S, WIDTH)).astype(np.float32) / 3,
    rng.normal(size=(NUM_CLASSES, WIDTH)).astype(np.float32),
  )


def loss_inputs(rng):
  """Student logits `[B, C, S]` and the teacher's log-probabilities."""
  student = rng.normal(size=(BATCH, NUM_CLASSES, S)).astype(np.float32) * 3
  logits = rng.normal(size=(BATCH, NUM_CLASSES * S)).astype(np.float32) * 3
  teacher = np.array([reference.log_softmax(row) for row in logits])
  return student, teacher.astype(np.float32).reshape(student.shape)


# --- subsplit ----------------------------------------------------------------


def weighted_log_probs(h, z, directions, means, weights, where=None):
  """A scalar in which every existing entry counts differently."""
  log_probs = lelp_jax.log_subsplit(
    h, z, lelp_jax.Subspaces(directions, means), **SPLIT, where=where
  )
  terms = log_probs * weights
  if where is not None:
    terms = jnp.where(where[None], terms, 0)
  return jnp.sum(terms), log_probs


log_split_grad = jax.jit(
  jax.value_and_grad(weighted_log_probs, argnums=(0, 1), has_aux=True)
)


def test_log_subsplit_masked_equals_unpadded(rng):
  h, z, directions, means = embedding_inputs(rng)
  weights = rng.normal(size=(BATCH, NUM_CLASSES, S)).astype(np.float32)
  (_, expected), expected_grads = log_split_grad(
    h, z, directions, means, weights
  )
  (_, log_probs), grads = log_split_grad(
    h, z, padded(directions, 1e20, axis=1), means, padded(weights, 1.0), EXISTS
  )
  np.testing.assert_allclose(log_probs[..., :S], expected, atol=2e-6)
  np.testing.assert_array_equal(log_probs[..., S:], -np.inf)
  chex.assert_trees_all_close(grads, expected_grads, rtol=1e-5, atol=1e-5)


def test_log_subsplit_ragged_mask_matches_reference(rng):
  h, z, directions, means = embedding_inputs(rng)
  log_probs = jax.jit(lelp_jax.log_subsplit)(
    h, z, lelp_jax.Subspaces(directions, means), **SPLIT, where=RAGGED
  )
  np.testing.assert_array_equal(
    np.isneginf(log_probs), np.broadcast_to(~RAGGED, log_probs.shape)
  )
  for n in range(BATCH):
    expected = reference.log_subsplit(
      h[n], z[n], directions, means, 2.0, 0.4, where=RAGGED
    )
    np.testing.assert_allclose(
      log_probs[n][RAGGED], expected[RAGGED], atol=1e-5
    )


# --- The loss and the prediction ---------------------------------------------


def total_loss(student, teacher, where, temperature):
  """Unequal weights: no gradient can hide behind another."""
  options = {"temperature": temperature, "where": where}
  flat = student.reshape(BATCH, -1)
  loss = lelp_jax.lelp_loss(flat, teacher, **options)
  class_term, subclass_term = lelp_jax.lelp_loss_terms(flat, teacher, **options)
  predicted = lelp_jax.class_log_probs(flat, num_classes=NUM_CLASSES, **options)
  total = jnp.sum(loss + 2.0 * class_term + 3.0 * subclass_term)
  total += jnp.sum(predicted * jnp.arange(3.0)[None])
  return total, (loss, class_term, subclass_term, predicted)


loss_grad = jax.jit(jax.value_and_grad(total_loss, has_aux=True))


@pytest.mark.parametrize(
  ("student_filler", "teacher_filler"), [(50.0, -np.inf), (-1e4, 0.0)]
)
def test_lelp_loss_masked_equals_unpadded(rng, student_filler, teacher_filler):
  student, teacher = loss_inputs(rng)
  (_, expected), expected_gradient = loss_grad(student, teacher, None, 3.0)
  (_, outputs), gradient = loss_grad(
    padded(student, student_filler),
    padded(teacher, teacher_filler),
    EXISTS,
    3.0,
  )
  chex.assert_trees_all_close(outputs, expected, rtol=1e-5, atol=1e-5)
  np.testing.assert_allclose(gradient[..., :S], expected_gradient, atol=2e-5)
  np.testing.assert_array_equal(gradient[..., S:], 0)


def test_lelp_loss_ragged_mask_matches_reference(rng):
  student, _ = loss_inputs(rng)
  teacher = np.full((BATCH, NUM_CLASSES, S), -np.inf, np.float32)
  for n in range(BATCH):
    teacher[n, RAGGED] = reference.log_softmax(rng.normal(size=RAGGED.sum()))
  (_, (loss, _, _, predicted)), gradient = loss_grad(
    student, teacher, RAGGED, 3.0
  )
  for n in range(BATCH):
    log_q = np.full((NUM_CLASSES, S), -np.inf)
    log_q[RAGGED] = reference.log_softmax(student[n][RAGGED] / 3.0)
    expected = 9.0 * reference.kl_divergence(
      teacher[n][RAGGED].astype(np.float64), log_q[RAGGED]
    )
    assert float(loss[n]) == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(
      predicted[n], [reference.log_sum_exp(row) for row in log_q], atol=1e-5
    )
  chex.assert_tree_all_finite(gradient)
  np.testing.assert_array_equal(gradient[:, ~RAGGED], 0)
  assert np.all(gradient[:, RAGGED] != 0)


# --- Algorithms 2 and 3 together, as a training step calls them --------------
