r"""Streaming class-conditional moments of teacher embeddings (Algorithm 1).

The principal directions of a class need only its count, mean and scatter
matrix. All three can be accumulated over batches, hosts and replicas, so the
embeddings of a training set never have to be held at once (paper, appendix
G.1: "it is straightforward to adapt this to a streaming approach").

The scatter is kept about the class mean and merged with the update of Chan,
Golub and LeVeque, not as a raw second moment: embeddings of a collapsed
network have means far larger than their spread, and :math:`E[hh^T] -
\mu\mu^T` would cancel all digits of the difference.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from lelp_jax import _checks

_HIGHEST = jax.lax.Precision.HIGHEST


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ClassMoments:
  r"""Count, mean and scatter of the embeddings of each class.

  Attributes:
    count: Number of examples of each class, or the sum of their weights
      (:math:`N_c`), float, ``[C]``.
    mean: Mean embedding of each class (:math:`\mu_c`), float, ``[C, D]``;
      zero for a class without examples.
    scatter: :math:`\sum_i (h_i - \mu_c)(h_i - \mu_c)^T` over the examples of
      each class, float, ``[C, D, D]``. Divided by ``count`` it is the
      covariance.
    mean_remainder: What rounding took off ``mean``, float, ``[C, D]``:
      ``mean + mean_remainder`` is the mean to twice the digits, so that
      merging many parts does not add up rounding. None stands for zero.
  """

  count: jax.Array
  mean: jax.Array
  scatter: jax.Array
  mean_remainder: jax.Array | None = None


def class_moments(
  embeddings: jax.Array,
  labels: jax.Array,
  *,
  num_classes: int,
  where: jax.Array | None = None,
) -> ClassMoments:
  r"""Computes the moments of the embeddings of each class in one batch.

  For every class :math:`c`, over its examples (paper, Algorithm 1, in the
  streaming form of appendix G.1; classes by label: A-11)

  .. math::
    N_c = \sum_i w_i, \quad
    \mu_c = \frac{1}{N_c} \sum_i w_i h_i, \quad
    \Sigma_c = \sum_i w_i (h_i - \mu_c)(h_i - \mu_c)^T .

  The cost does not grow with the number of classes: rows are sorted by class
  and taken in tiles that hold one class each.

  Args:
    embeddings: Teacher embeddings :math:`h`, the inputs of its last linear
      layer, float, ``[N, D]``.
    labels: Class of each example, integers in ``[0, C)``, ``[N]``. Under a
      trace, rows with a label outside the range are left out.
    num_classes: Number of classes, :math:`C`. Any class may be absent.
    where: Rows that count, bool ``[N]``, or nonnegative weights :math:`w_i`,
      float ``[N]``. Rows of weight zero (padding) may hold anything, NaN and
      labels out of range included. By default every row has weight one.

  Returns:
    The moments, in float32 (float64 for float64 embeddings).

  Raises:
    TypeError: If the embeddings are not floating point or the labels not
      integers.
    ValueError: If the shapes do not fit together or a concrete label lies
      outside ``[0, C)``.

  Examples:
    >>> h = jnp.array([[0., 1.], [2., 1.], [5., 5.]])
    >>> moments = class_moments(h, jnp.array([0, 0, 1]), num_classes=2)
    >>> moments.mean.tolist(), moments.scatter[0].tolist()
    ([[1.0, 1.0], [5.0, 5.0]], [[2.0, 0.0], [0.0, 0.0]])
  """
  _checks.check_rank("embeddings", embeddings, 2, "[N, D]")
  _checks.check_floating("embeddings", embeddings)
  _checks.check_at_least("num_classes", num_classes, 1)
  for name, array in (("labels", labels), ("where", where)):
    if array is not None and np.shape(array) != np.shape(embeddings)[:1]:
      raise ValueError(
        f"{name} must have one entry for each of the rows of embeddings "
        f"{np.shape(embeddings)}, got shape {np.shape(array)}."
      )
  _checks.check_labels("labels", labels, num_classes, where)
  _checks.check_weights("where", where)
  if where is None:
    where = jnp.ones(np.shape(labels), bool)
  if not np.shape(labels)[0]:
    return _no_moments(num_classes, jnp.asarray(embeddings))
  return _class_moments(
    jnp.asarray(embeddings),
    jnp.asarray(labels),
    jnp.asarray(where),
    num_classes=num_classes,
  )


def merge_moments(a: ClassMoments, b: ClassMoments) -> ClassMoments:
  r"""Merges the moments of two disjoint sets of examples.

  With :math:`\delta = \mu_b - \mu_a` and :math:`N = N_a + N_b`, for each class
  (Chan, Golub and LeVeque, 1979)

  .. math::
    \mu = \mu_a + \delta \frac{N_b}{N}, \quad
    \Sigma = \Sigma_a + \Sigma_b + \delta\delta^T \frac{N_a N_b}{N} .

  Associative and commutative up to rounding, so batches, hosts and replicas
  may be merged in any order. Moments of no examples are the neutral element.

  Args:
    a: Moments of the first set, for ``C`` classes of width ``D``.
    b: Moments of the second set, of the same shapes.

  Returns:
    The moments of the union, in the dtype of the arguments; without a
    ``mean_remainder`` where ``a`` has none, so that it can be a loop's carry.

  Raises:
    ValueError: If the two have different numbers of classes or widths.

  Examples:
    >>> h, y = jnp.array([[1.], [3.], [8.]]), jnp.array([0, 0, 0])
    >>> a = class_moments(h[:2], y[:2], num_classes=1)
    >>> b = class_moments(h[2:], y[2:], num_classes=1)
    >>> merged = merge_moments(a, b)
    >>> merged.mean.tolist(), merged.scatter.tolist()
    ([[4.0]], [[[26.0]]])
  """
  if a.scatter.shape != b.scatter.shape:
    raise ValueError(
      "moments can be merged only for the same classes and width, got "
      f"scatter shapes {a.scatter.shape} and {b.scatter.shape}."
    )
  count = a.count + b.count
  share = b.count / jnp.where(count > 0, count, 1)
  remainder_a, remainder_b = (
    jnp.zeros_like(m.mean) if m.mean_remainder is None else m.mean_remainder
    for m in (a, b)
  )
  delta = (b.mean - a.mean) + (remainder_b - remainder_a)
  mean, remainder = _two_sum(a.mean, remainder_a + delta * share[:, None])
  # The mean of an empty side is a placeholder that must not pull the other.
  first = (a.count == 0)[:, None]
  between = jnp.einsum("cd,ce->cde", delta, delta, precision=_HIGHEST)
  weight = (a.count * share)[:, None, None]
  return ClassMoments(
    count=count,
    mean=jnp.where(first, b.mean, mean),
    scatter=a.scatter + b.scatter + weight * between,
    mean_remainder=None
    if a.mean_remainder is None
    else jnp.where(first, remainder_b, remainder),
  )


def _no_moments(num_classes: int, embeddings: jax.Array) -> ClassMoments:
  """The moments of no examples, neutral in merges."""
  dtype = jnp.promote_types(embeddings.dtype, jnp.float32)
  width = embeddings.shape[1]
  mean = jnp.zeros((num_classes, width), dtype)
  return ClassMoments(
    count=jnp.zeros((num_classes,), dtype),
    mean=mean,
    scatter=jnp.zeros((num_classes, width, width), dtype),
    mean_remainder=jnp.zeros_like(mean),
  )


@functools.partial(jax.jit, static_argnames="num_classes")
def _class_moments(
  embeddings: jax.Array,
  labels: jax.Array,
  where: jax.Array,
  *,
  num_classes: int,
) -> ClassMoments:
  """Sorts rows by class, then sums over class-pure tiles, twice."""
  dtype = jnp.promote_types(embeddings.dtype, jnp.float32)
  num_rows, width = embeddings.shape
  labels = labels.astype(jnp.int32)  # num_classes may not fit a narrow type.
  weights = where.astype(dtype)
  valid = (weights > 0) & (labels >= 0) & (labels < num_classes)
  # Rows that do not count sort behind the last class, where no tile looks.
  slot = jnp.where(valid, labels, num_classes)
  order = jnp.argsort(slot)
  starts = jnp.searchsorted(slot[order], jnp.arange(num_classes + 1))
  starts = starts.astype(jnp.int32)
  tile_size = _tile_size(num_rows, num_classes)
  tiles = -(-(starts[1:] - starts[:-1]) // tile_size)
  ends = jnp.cumsum(tiles)

  def tile(index):
    """The class of a tile, its rows and their weights (zero: no row)."""
    c = jnp.searchsorted(ends, index, side="right").astype(jnp.int32)
    first = starts[c] + (index - (ends[c] - tiles[c])) * tile_size
    position = first + jnp.arange(tile_size, dtype=first.dtype)
    inside = position < starts[c + 1]
    rows = order[jnp.where(inside, position, starts[c])]
    return c, embeddings[rows].astype(dtype), weights[rows] * inside

  def add_sums(index, sums):
    c, h, w = tile(index)
    count, total = sums
    return count.at[c].add(w.sum()), total.at[c].add(
      jnp.dot(w, h, precision=_HIGHEST)
    )

  zeros = (
    jnp.zeros((num_classes,), dtype),
    jnp.zeros((num_classes, width), dtype),
  )
  count, total = jax.lax.fori_loop(0, ends[-1], add_sums, zeros)
  divisor = jnp.where(count > 0, count, 1)[:, None]
  centre = total / divisor

  # The first mean carries the rounding of large sums. Differences to it are
  # small and nearly exact, so one more pass over them mends both moments.
  def add_scatter(index, sums):
    c, h, w = tile(index)
    residual, scatter = sums
    h = h - centre[c][None]
    weighted = h * w[:, None]
    gram = jnp.dot(weighted.T, h, precision=_HIGHEST)
    return residual.at[c].add(weighted.sum(0)), scatter.at[c].add(gram)

  zeros = jnp.zeros_like(total), jnp.zeros((num_classes, width, width), dtype)
  residual, scatter = jax.lax.fori_loop(0, ends[-1], add_scatter, zeros)
  shift = residual / divisor
  scatter -= jnp.einsum("cd,ce->cde", residual, shift, precision=_HIGHEST)
  mean, remainder = _two_sum(centre, shift)
  return ClassMoments(count, mean, scatter, remainder)


def _two_sum(a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
  """The rounded sum and, exactly, what rounding took off (Knuth)."""
  total = a + b
  part = total - a
  return total, (a - (total - part)) + (b - part)


def _tile_size(num_rows: int, num_classes: int) -> int:
  """Rows a tile: a balanced class fills one, a large class several."""
  rows = 1.1 * num_rows / num_classes
  return int(np.clip(32 * np.ceil(rows / 32), 32, 256))
