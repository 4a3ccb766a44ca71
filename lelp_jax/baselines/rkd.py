r"""Relational Knowledge Distillation (Park et al., 2019)."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from lelp_jax import _checks
from lelp_jax import _sharding
from lelp_jax.baselines import _vectors

# Largest number of [V, B, D] differences or [V, B, B] cosines held at once.
_MAX_ENTRIES = 2**24


def rkd_distance_loss(
  student_embeddings: jax.Array, teacher_embeddings: jax.Array
) -> jax.Array:
  r"""Computes the distance-wise relational loss of a batch.

  It trains a student to reproduce the teacher's distances between examples, up
  to one common scale:

  .. math::
    L = \frac{1}{B^2} \sum_{i,j} \ell\Big(
        \frac{\|s_i - s_j\|}{\mu^S}, \frac{\|t_i - t_j\|}{\mu^T} \Big)

  with the Huber loss :math:`\ell` (:math:`\delta = 1`) and :math:`\mu` the mean
  distance over pairs :math:`i \neq j` (RKD paper, section 3.2.1). The gradient
  flows through the student's :math:`\mu`. The value depends on the batch: pass
  the global batch. No gradient flows into the teacher. The two widths may
  differ, since no projection is needed.

  Args:
    student_embeddings: Embeddings of the student :math:`s`, float,
      ``[B, D_S]``.
    teacher_embeddings: Those of the teacher :math:`t`, float, ``[B, D_T]``.

  Returns:
    The loss, dimensionless, float32 (float64 for float64 embeddings), ``[]``;
    zero for a batch of one.

  Raises:
    TypeError: If an array is not floating point.
    ValueError: If an array does not have rank 2, or the batches are empty or
      differ in size.

  Note:
    As in the authors' code, the sum is divided by the number of all pairs,
    :math:`B^2`, including the zero diagonal. Unlike in that code, distances are
    computed from differences, not from a Gram matrix, which loses the digits of
    a batch far from the origin. Distances have no lower bound other than zero,
    so that those of a collapsed student are zero, and equal rows have gradient
    zero.

  Examples:
    >>> import jax
    >>> import jax.numpy as jnp
    >>> from lelp_jax.baselines import rkd_distance_loss
    >>> student = jnp.array([[0.], [1.], [3.]])
    >>> for teacher in (5. * student, student**2):
    ...   print(f"{jax.jit(rkd_distance_loss)(student, teacher):.4f}")
    0.0000
    0.0247

  References:
    Park et al., `Relational Knowledge Distillation
    <https://arxiv.org/abs/1904.05068>`_.
  """

  def loss(*both: jax.Array) -> jax.Array:
    distances = _map_vertices(
      lambda vertices: tuple(map(_distances, both, vertices)), both
    )
    student, teacher = (_over_mean(side, len(both[0])) for side in distances)
    return jnp.mean(optax.huber_loss(student, teacher))

  both = _checked(student_embeddings, teacher_embeddings)
  return _sharding.on_auto_axes(loss, *both)


def rkd_angle_loss(
  student_embeddings: jax.Array, teacher_embeddings: jax.Array
) -> jax.Array:
  r"""Computes the angle-wise relational loss of a batch.

  It trains a student to reproduce the teacher's angles between examples. The
  LELP paper uses this relational loss. With :math:`e_{ij}` the unit vector from
  :math:`j` to :math:`i`

  .. math::
    L = \frac{1}{B^3} \sum_{i,j,k} \ell\big(
        \langle e^S_{ij}, e^S_{kj} \rangle,
        \langle e^T_{ij}, e^T_{kj} \rangle \big)

  and the Huber loss :math:`\ell` (RKD paper, equations (9) and (10)). Two equal
  rows have no direction between them: their cosines are zero, with gradient
  zero. The value depends on the batch: pass the global batch. No gradient flows
  into the teacher. The two widths may differ, since no projection is needed.

  Args:
    student_embeddings: Embeddings of the student, float, ``[B, D_S]``.
    teacher_embeddings: Those of the teacher, float, ``[B, D_T]``.

  Returns:
    The loss, dimensionless, float32 (float64 for float64 embeddings), ``[]``;
    zero for a batch of one.

  Raises:
    TypeError: If an array is not floating point.
    ValueError: If an array does not have rank 2, or the batches are empty or
      differ in size.

  Note:
    As in the authors' code, the mean is over all :math:`B^3` triples, including
    degenerate ones, whose terms are zero. Cosines are computed from
    differences, since a Gram matrix would lose digits where classes are far
    apart and their examples close together. There are :math:`B^2 D` differences
    and :math:`B^3` cosines: if these are many, both are computed for some
    vertices :math:`j` at a time, and recomputed for the gradient.

  Examples:
    >>> import jax
    >>> import jax.numpy as jnp
    >>> from lelp_jax.baselines import rkd_angle_loss
    >>> student = jnp.array([[0., 0.], [1., 0.], [0., 1.]])
    >>> line = jnp.array([[0., 0.], [1., 0.], [2., 0.]])
    >>> for teacher in (7. + 5. * student, line):
    ...   print(f"{jax.jit(rkd_angle_loss)(student, teacher):.4f}")
    0.0000
    0.1296

  References:
    Park et al., `Relational Knowledge Distillation
    <https://arxiv.org/abs/1904.05068>`_, section 3.2.2.
  """

  def loss(*both: jax.Array) -> jax.Array:
    def of_vertices(vertices: tuple[jax.Array, ...]) -> jax.Array:
      cosines = map(_cosines, both, vertices)
      # Means of means: one float32 sum over B^3 terms would lose digits.
      return optax.huber_loss(*cosines).mean(axis=-1).mean(axis=-1).mean()

    return jnp.mean(_map_vertices(of_vertices, both))

  both = _checked(student_embeddings, teacher_embeddings)
  return _sharding.on_auto_axes(loss, *both)


def _checked(student: jax.Array, teacher: jax.Array) -> tuple[jax.Array, ...]:
  """Returns checked, rescaled batches, without gradient to the teacher."""
  student = _checks.floating("student_embeddings", student, "[B, D_S]")
  teacher = _checks.floating("teacher_embeddings", teacher, "[B, D_T]")
  if len(student) != len(teacher):
    raise ValueError(
      "student_embeddings and teacher_embeddings must have one row per example "
      f"of the same batch, got shapes {student.shape} and {teacher.shape}."
    )
  _vectors.check_batch("student_embeddings", student)
  student, teacher = _checks.as_floats(student, teacher)
  return _rescaled(student), jax.lax.stop_gradient(_rescaled(teacher))


def _over_mean(distances: jax.Array, batch: int) -> jax.Array:
  """Divides distances by their mean off the diagonal, unless all are zero."""
  mean = jnp.sum(distances) / max(batch * (batch - 1), 1)
  return distances / jnp.where(mean == 0, 1, mean)


def _rescaled(embeddings: jax.Array) -> jax.Array:
  """Scales embeddings so that the largest entry is about one.

  Neither loss depends on the scale. At this one, the squares of differences do
  not overflow, and underflow only for differences below 1e-19. The factor is a
  power of two, so that nothing is rounded and equal rows stay equal.
  """
  largest = jnp.max(jnp.abs(jax.lax.stop_gradient(embeddings)), initial=0)
  _, exponent = jnp.frexp(largest)
  most = jnp.finfo(embeddings.dtype).maxexp - 2  # 2**-most is not subnormal.
  unit = jnp.ldexp(jnp.ones_like(largest), -jnp.minimum(exponent, most))
  return embeddings * unit


@jax.custom_jvp
def _distances(embeddings: jax.Array, vertices: jax.Array) -> jax.Array:
  """Computes the distances of all examples from each vertex, `[V, B]`.

  The derivative is written as a matrix product, for which XLA on CPUs does not
  store the gradients of all differences: it takes two thirds of the time.
  """
  return jnp.sqrt(jnp.sum(_edges(embeddings, vertices) ** 2, axis=-1))


@_distances.defjvp
def _distances_jvp(
  primals: tuple[jax.Array, jax.Array], tangents: tuple[jax.Array, jax.Array]
) -> tuple[jax.Array, jax.Array]:
  edges, distances = _edges(*primals), _distances(*primals)
  of_embeddings, of_vertices = (
    jnp.einsum(axes, edges, tangent, precision=_vectors.HIGHEST)
    for axes, tangent in zip(
      ("vid,id->vi", "vid,vd->vi"), tangents, strict=True
    )
  )
  return distances, _inverse(distances) * (of_embeddings - of_vertices)


def _cosines(embeddings: jax.Array, vertices: jax.Array) -> jax.Array:
  """Computes cosines of all pairs of examples at each vertex, `[V, B, B]`."""
  products = _gram(_edges(embeddings, vertices))
  squares = jnp.diagonal(products, axis1=1, axis2=2)
  is_zero = squares == 0  # Equal rows have no direction and no gradient.
  inverse = jnp.where(is_zero, 0, 1 / jnp.sqrt(jnp.where(is_zero, 1, squares)))
  return products * inverse[:, :, None] * inverse[:, None, :]


def _edges(embeddings: jax.Array, vertices: jax.Array) -> jax.Array:
  """Computes the differences of all examples from each vertex, `[V, B, D]`."""
  return embeddings[None] - vertices[:, None]


def _inverse(x: jax.Array) -> jax.Array:
  """Returns 1 / x, or zero where x is zero."""
  return jnp.where(x == 0, 0, 1 / jnp.where(x == 0, 1, x))


@jax.custom_jvp
def _gram(edges: jax.Array) -> jax.Array:
  """Computes inner products of all pairs of edges of a vertex, `[V, B, B]`.

  The derivative is one product and its transpose. JAX would compute two
  products; this saves a quarter of the loss's time on a CPU.
  """
  return _products(edges, edges)


@_gram.defjvp
def _gram_jvp(
  edges: tuple[jax.Array], tangents: tuple[jax.Array]
) -> tuple[jax.Array, jax.Array]:
  half = _products(tangents[0], edges[0])
  return _gram(edges[0]), half + half.swapaxes(1, 2)


def _products(first: jax.Array, second: jax.Array) -> jax.Array:
  return jnp.einsum("vid,vkd->vik", first, second, precision=_vectors.HIGHEST)


def _map_vertices(
  function: Callable[[tuple[jax.Array, ...]], Any],
  both: tuple[jax.Array, ...],
) -> Any:
  """Maps a function over chunks of the batch, as few as fit in memory.

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
  if chunks > 1:  # Otherwise everything fits and is kept for the gradient.
    function = jax.checkpoint(function)
  return jax.lax.map(function, strided)
