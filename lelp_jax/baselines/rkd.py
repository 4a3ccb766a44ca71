r"""Relational Knowledge Distillation (Park et al., 2019)."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from lelp_jax import _checks
from lelp_jax.baselines import _vectors

# Entries held at once of [V, B, D] differences or [V, B, B] cosines.
_MAX_ENTRIES = 2**24


def rkd_distance_loss(
  student_embeddings: jax.Array, teacher_embeddings: jax.Array
) -> jax.Array:
  r"""Computes the distance-wise relational loss of a batch.

  .. math::
    L = \frac{1}{B^2} \sum_{i,j} \ell\Big(
        \frac{\|s_i - s_j\|}{\mu^S}, \frac{\|t_i - t_j\|}{\mu^T} \Big)

  with the Huber loss :math:`\ell` (:math:`\delta = 1`) and :math:`\mu` the
  mean distance over pairs :math:`i \neq j` (RKD paper, section 3.2.1). The
  gradient flows through the student's :math:`\mu`. As in the authors' code
  the sum is divided by all :math:`B^2` pairs, the zero diagonal included.
  Unlike there, distances come from differences, not from a Gram matrix (which
  loses the digits of a batch far from the origin), and have no floor: a
  collapsed student has distances zero, not those of the floor, and equal
  rows have gradient zero.

  The value depends on the batch: give the global one. No gradient flows into
  the teacher. Widths may differ: no projection is needed.

  Args:
    student_embeddings: Embeddings of the student :math:`s`, float,
      ``[B, D_S]``.
    teacher_embeddings: Those of the teacher :math:`t`, float, ``[B, D_T]``.

  Returns:
    The loss, without unit, float32 (float64 for float64 embeddings), ``[]``;
    zero for a batch of one.

  Raises:
    TypeError: If an array is not floating point.
    ValueError: If one is not of rank 2, the batches differ or are empty.

  Examples:
    >>> student = jnp.array([[0.], [1.], [3.]])
    >>> round(float(rkd_distance_loss(student, 5. * student[:, ::-1])), 4)
    0.0
    >>> round(float(rkd_distance_loss(student, student**2)), 4)
    0.0247

  References:
    Park et al., `Relational Knowledge Distillation
    <https://arxiv.org/abs/1904.05068>`_.
  """
  both = _checked(student_embeddings, teacher_embeddings)
  distances = _map_vertices(
    lambda vertices: tuple(
      _vectors.norm(x[None] - v[:, None])
      for x, v in zip(both, vertices, strict=True)
    ),
    both,
  )
  student, teacher = (_over_mean(side, len(both[0])) for side in distances)
  return jnp.mean(optax.huber_loss(student, teacher))


def rkd_angle_loss(
  student_embeddings: jax.Array, teacher_embeddings: jax.Array
) -> jax.Array:
  r"""Computes the angle-wise relational loss of a batch, the paper's choice.

  With :math:`e_{ij}` the unit vector from :math:`j` to :math:`i`

  .. math::
    L = \frac{1}{B^3} \sum_{i,j,k} \ell\big(
        \langle e^S_{ij}, e^S_{kj} \rangle,
        \langle e^T_{ij}, e^T_{kj} \rangle \big)

  and the Huber loss :math:`\ell` (RKD paper, equations (9) and (10)). As in
  the authors' code the mean is over all :math:`B^3` triples, degenerate ones
  included (their terms are zero). Two equal rows have no direction between
  them: cosine zero, gradient zero.

  From differences, whose digits a Gram matrix would lose where the classes
  are far apart and their examples close. They take :math:`B^2 D` memory and
  cosines :math:`B^3`: both are made for some vertices :math:`j` at a time and
  made again for the gradient, once they are large.

  The value depends on the batch: give the global one. No gradient flows into
  the teacher. Widths may differ: no projection is needed.

  Args:
    student_embeddings: Embeddings of the student, float, ``[B, D_S]``.
    teacher_embeddings: Those of the teacher, float, ``[B, D_T]``.

  Returns:
    The loss, without unit, float32 (float64 for float64 embeddings), ``[]``;
    zero for a batch of one.

  Raises:
    TypeError: If an array is not floating point.
    ValueError: If one is not of rank 2, the batches differ or are empty.

  Examples:
    >>> student = jnp.array([[0., 0.], [1., 0.], [0., 1.]])
    >>> round(float(rkd_angle_loss(student, 7. + 5. * student)), 4)
    0.0
    >>> teacher = jnp.array([[0.], [1.], [2.]])
    >>> round(float(rkd_angle_loss(student, teacher)), 4)
    0.1296

  References:
    Park et al., `Relational Knowledge Distillation
    <https://arxiv.org/abs/1904.05068>`_, section 3.2.2.
  """
  both = _checked(student_embeddings, teacher_embeddings)

  def mean_loss(vertices: tuple[jax.Array, ...]) -> jax.Array:
    cosines = [_cosines(x, v) for x, v in zip(both, vertices, strict=True)]
    # Means of means: one float32 sum over B^3 terms would lose digits.
    return optax.huber_loss(*cosines).mean(axis=-1).mean(axis=-1).mean()

  return jnp.mean(_map_vertices(mean_loss, both))


def _checked(student: jax.Array, teacher: jax.Array) -> tuple[jax.Array, ...]:
  """Checks two batches of embeddings; as floats, the teacher's constant."""
  _checks.check_floating("student_embeddings", student)
  _checks.check_floating("teacher_embeddings", teacher)
  _checks.check_rank("student_embeddings", student, 2, "[B, D_S]")
  _checks.check_rank("teacher_embeddings", teacher, 2, "[B, D_T]")
  if np.shape(student)[0] != np.shape(teacher)[0]:
    raise ValueError(
      "student_embeddings and teacher_embeddings must have one row an example "
      f"of the same batch, got shapes {np.shape(student)} and "
      f"{np.shape(teacher)}."
    )
  _vectors.check_batch("student_embeddings", student)
  student, teacher = _vectors.as_floats(student, teacher)
  return student, jax.lax.stop_gradient(teacher)


def _over_mean(distances: jax.Array, batch: int) -> jax.Array:
  """Distances over their mean off the diagonal; all zero stay zero."""
  # The square of a tiny mean, in the gradient, would underflow.
  largest = jax.lax.stop_gradient(jnp.max(distances))
  scaled = distances / jnp.where(largest > 0, largest, 1)
  mean = jnp.sum(scaled) / max(batch * (batch - 1), 1)
  return scaled / jnp.where(largest > 0, mean, 1)


def _cosines(embeddings: jax.Array, vertices: jax.Array) -> jax.Array:
  """Cosines at each vertex between all pairs of examples, `[V, B, B]`."""
  edges = _vectors.normalize(embeddings[None] - vertices[:, None])
  return jnp.einsum("vid,vkd->vik", edges, edges, precision=_vectors.HIGHEST)


def _map_vertices(
  function: Callable[[tuple[jax.Array, ...]], Any],
  both: tuple[jax.Array, ...],
) -> Any:
  """Maps over chunks of the batch, as few as the limit on memory allows.

  Chunks are strided, so that each has rows of every device of a sharded batch.
  """
  batch = len(both[0])
  width = max(batch, *(x.shape[1] for x in both))
  chunks = next(
    n
    for n in range(1, batch + 1)
    if n == batch
    or (batch % n == 0 and batch // n * batch * width <= _MAX_ENTRIES)
  )
  strided = tuple(
    jnp.moveaxis(x.reshape(batch // chunks, chunks, -1), 1, 0) for x in both
  )
  if chunks > 1:  # What fits at once is kept for the gradient.
    function = jax.checkpoint(function)
  return jax.lax.map(function, strided)
