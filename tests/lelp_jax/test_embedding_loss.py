"""Embedding Distillation and FitNet, the two distances between embeddings.

What they share with all losses is in test_baseline_losses.py.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lelp_jax import baselines

summed = jax.jit(
  jax.value_and_grad(lambda *both: jnp.sum(baselines.embedding_loss(*both)))
)


def test_fitnet_without_a_regressor_is_embedding_distillation_squared(rng):
  student, teacher = rng.normal(size=(2, 6, 7)).astype(np.float32)
  distance, hint = (
    np.asarray(jax.jit(loss)(student, teacher))
    for loss in (baselines.embedding_loss, baselines.hint_loss)
  )
  np.testing.assert_allclose(hint, distance**2 / 7, rtol=1e-6)


def test_embedding_loss_gradient_is_a_unit_vector_or_zero(rng):
  student, teacher = rng.normal(size=(2, 6, 7)).astype(np.float32)
  student[2] = teacher[2]
  _, gradient = summed(student, teacher)
  norms = np.linalg.norm(gradient, axis=1)
  np.testing.assert_allclose(norms, [1, 1, 0, 1, 1, 1], rtol=1e-6)


@pytest.mark.parametrize("size", [1e-30, 1e-20, 1e4, 1e30])
def test_embedding_loss_of_any_size(rng, size):
  # A square of the norm would leave float32 at either end.
  student = rng.normal(size=(6, 7)).astype(np.float32)
  loss, gradient = summed(size * student, np.zeros_like(student))
  assert float(loss) == pytest.approx(
    size * np.linalg.norm(student, axis=1).sum(), rel=1e-5
  )
  np.testing.assert_allclose(np.linalg.norm(gradient, axis=1), 1, rtol=1e-5)
