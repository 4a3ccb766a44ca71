"""Scores of all student-teacher pairs of a batch, for contrastive losses."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from lelp_jax import _checks
from lelp_jax import _sharding
from lelp_jax.baselines import _vectors


def loss_of_scores(
  loss: Callable[..., jax.Array],
  student: Any,
  teacher: Any,
  temperature: float | jax.Array,
  **numbers: float | jax.Array,
) -> jax.Array:
  """Computes a loss of the tempered inner products of all pairs.

  Args:
    loss: Takes the scores of students with teachers, ``[B, B]``, and the
      further numbers, and returns one value per student, ``[B]``.
    student: The argument `student_projections`.
    teacher: The argument `teacher_projections`.
    temperature: The argument `temperature`.
    **numbers: Further positive arguments that the loss takes after the scores.

  Returns:
    The loss, sharded like the student's projections.
  """
  student, teacher = _vectors.checked_pair(
    ("student_projections", "teacher_projections"),
    (student, teacher),
    "[B, P]",
  )
  _vectors.check_batch("student_projections", student)
  rho = _checks.temperature("temperature", temperature, student.dtype)

  def of_rows(student, teacher, rho, *numbers):
    products = jnp.dot(student, teacher.T, precision=_vectors.HIGHEST)
    return loss(products / rho, *numbers)

  scalars = (
    _checks.positive(name, value, student.dtype)
    for name, value in numbers.items()
  )
  return _sharding.on_auto_axes(
    of_rows, student, teacher, rho, *scalars, like=student
  )
