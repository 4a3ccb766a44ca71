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
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lelp_jax import _checks
from lelp_jax import _sharding

_HIGHEST = jax.lax.Precision.HIGHEST
_UNKNOWN_NUMBER = 100_000  # Assumed where `num_examples` is None.


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ClassMoments:
  r"""Count, mean and scatter of the embeddings of each class.

  These are the statistics of a teacher that fitting needs. Compute them with
  `class_moments`, batch by batch if needed, and add them up with
  `merge_moments`.

  Attributes:
    count: Number of examples of each class, or the sum of their weights
      (:math:`N_c`), float, ``[C]``.
    mean: Mean embedding of each class (:math:`\mu_c`), float, ``[C, D]``;
      zero for a class without examples.
    scatter: :math:`\sum_i (h_i - \mu_c)(h_i - \mu_c)^T` over the examples of
      each class, float, ``[C, D, D]``. Divided by ``count`` it is the
      covariance.
    mean_remainder: The rounding error of ``mean``, float, ``[C, D]``: ``mean +
      mean_remainder`` is the mean with twice the digits, so that rounding
      errors do not add up when many parts are merged. None means zero.
    num_examples: Number of examples of each class with a positive weight,
      int32, ``[C]``. `principal_directions` uses it to bound rounding errors.
      None means that it is not known.
  """

  count: jax.Array
  mean: jax.Array
  scatter: jax.Array
  mean_remainder: jax.Array | None = None
  num_examples: jax.Array | None = None


_AXES = {
  "mean": "[C, D]",
  "count": "[C]",
  "scatter": "[C, D, D]",
  "mean_remainder": "[C, D]",
  "num_examples": "[C]",
}


def class_moments(
  embeddings: jax.Array,
  labels: jax.Array,
  *,
  num_classes: int,
  where: jax.Array | None = None,
) -> ClassMoments:
  r"""Computes the count, mean and scatter of each class in one batch.

  This is the first step of fitting subspaces to a teacher. For a data set
  that does not fit in memory, call it on each batch and add the results up
  with `merge_moments`. For every class :math:`c`, over its examples (paper,
  Algorithm 1, in the streaming form of appendix G.1; classes by label: A-11)

  .. math::
    N_c = \sum_i w_i, \quad
    \mu_c = \frac{1}{N_c} \sum_i w_i h_i, \quad
    \Sigma_c = \sum_i w_i (h_i - \mu_c)(h_i - \mu_c)^T .

  The cost does not grow with the number of classes: rows are sorted by class
  and processed in tiles that hold one class each.

  Args:
    embeddings: Teacher embeddings :math:`h`, the inputs of its last linear
      layer, float, ``[N, D]``.
    labels: Class of each example, integers in ``[0, C)``, ``[N]``. Under a
      trace, rows with a label outside the range are left out.
    num_classes: Number of classes, :math:`C`. Any class may be absent.
    where: Rows that count, bool ``[N]``, or nonnegative weights :math:`w_i`,
      float ``[N]``. Rows of weight zero (padding) may hold anything,
      including NaN and labels out of range. By default every row has weight
      one. A common factor of all weights does not change the subspaces.

  Returns:
    The moments, in float32 (float64 for float64 embeddings).

  Raises:
    TypeError: If the embeddings are not floating point or the labels not
      integers.
    ValueError: If the shapes do not fit together, or, for concrete arrays, if
      a label lies outside ``[0, C)``, a weight is negative or not finite, an
      embedding that counts is not finite, or the squares of the embeddings,
      or their sums with weights, leave the range of their dtype.

  Examples:
    >>> import jax.numpy as jnp
    >>> from lelp_jax import class_moments
    >>> embeddings = jnp.array([[0., 1.], [2., 1.], [5., 5.]])
    >>> labels = jnp.array([0, 0, 1])
    >>> moments = class_moments(embeddings, labels, num_classes=2)
    >>> print(moments.mean)
    [[1. 1.]
     [5. 5.]]
    >>> print(moments.scatter[0])
    [[2. 0.]
     [0. 0.]]
  """
  rows = _checked_rows(embeddings, labels, num_classes, where)
  if not len(rows.embeddings):
    return _no_moments(rows.num_classes, rows.embeddings)
  moments = _sharding.on_auto_axes(
    functools.partial(_class_moments, num_classes=rows.num_classes),
    *rows.traced,
  )
  if _checks.is_concrete(moments.mean):
    _check_values(moments, _diagonals(moments.scatter), rows)
  return moments


class _Rows(NamedTuple):
  """Checked rows of embeddings.

  Attributes:
    embeddings: ``[N, D]``.
    labels: As they were given, ``[N]``.
    weights: Bool or float, ``[N]``.
    num_classes: C.
  """

  embeddings: jax.Array
  labels: Any
  weights: Any
  num_classes: int

  @property
  def traced(self) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns the arrays, with label -1 where a label is out of range."""
    return (
      self.embeddings,
      _checks.in_range(self.labels, self.num_classes),
      jnp.asarray(self.weights),
    )


def _checked_rows(
  embeddings: Any, labels: Any, num_classes: Any, where: Any
) -> _Rows:
  """Returns the arguments of `class_moments` as arrays, or raises."""
  embeddings = _checks.floating("embeddings", embeddings, "[N, D]")
  labels = _checks.integers("labels", labels)
  if where is not None:
    where = _checks.as_array("where", where)
  num_classes = _checks.check_at_least("num_classes", num_classes, 1)
  for name, array in (("labels", labels), ("where", where)):
    if array is not None and np.shape(array) != embeddings.shape[:1]:
      raise ValueError(
        f"{name} must have one entry for each row of embeddings "
        f"{embeddings.shape}, got shape {np.shape(array)}."
      )
  _checks.check_labels("labels", labels, num_classes, where)
  _checks.check_weights("where", where)
  weights = jnp.ones(len(embeddings), bool) if where is None else where
  return _Rows(embeddings, labels, weights, num_classes)


def merge_moments(a: ClassMoments, b: ClassMoments) -> ClassMoments:
  r"""Merges the moments of two disjoint sets of examples.

  Use it to combine the moments of batches, hosts or replicas. With
  :math:`\delta = \mu_b - \mu_a` and :math:`N = N_a + N_b`, for each class
  (Chan, Golub and LeVeque, 1979)

  .. math::
    \mu = \mu_a + \delta \frac{N_b}{N}, \quad
    \Sigma = \Sigma_a + \Sigma_b + \delta\delta^T \frac{N_a N_b}{N} .

  The operation is associative and commutative up to rounding, so that the
  order of merging does not matter. The moments of no examples are the neutral
  element.

  Args:
    a: Moments of the first set, for ``C`` classes of width ``D``.
    b: Moments of the second set, of the same shapes.

  Returns:
    The moments of the union, in the dtype of the arguments. They have the
    optional fields that ``a`` has, so that ``a`` can be a loop's carry.

  Raises:
    TypeError: If an argument is not a `ClassMoments` of arrays.
    ValueError: If the two have different numbers of classes or widths.

  Examples:
    >>> import jax
    >>> import jax.numpy as jnp
    >>> from lelp_jax import class_moments, merge_moments
    >>> a, b = (
    ...   class_moments(jnp.array(rows), jnp.array([0, 0]), num_classes=1)
    ...   for rows in ([[1.], [3.]], [[8.], [8.]]))
    >>> merged = jax.jit(merge_moments)(a, b)
    >>> print(merged.count, merged.mean, merged.scatter)
    [4.] [[5.]] [[[38.]]]
  """
  a, num_classes, width = _checked_moments("a", a)
  b, *others = _checked_moments("b", b)
  if [num_classes, width] != others:
    raise ValueError(
      "moments can be merged only for the same classes and width, got "
      f"scatter shapes {a.scatter.shape} and {b.scatter.shape}."
    )
  merged = _merged(a, b)
  between = jnp.einsum(
    "cd,ce->cde", merged.delta, merged.delta, precision=_HIGHEST
  )
  scatter = a.scatter + b.scatter + merged.weight[:, None, None] * between
  return ClassMoments(scatter=scatter, **merged.fields)


class _Merged(NamedTuple):
  """Merged counts and means, and the factors for merging sums of products.

  Attributes:
    fields: All fields of the union except its sums of squares or products.
    delta: Mean of the second set minus that of the first, ``[C, D]``.
    weight: Factor of the products of `delta` with itself, ``[C]``.
  """

  fields: dict[str, Any]
  delta: jax.Array
  weight: jax.Array


def _merged(a: Any, b: Any) -> _Merged:
  """Merges the counts and means of two sets of moments, or of two sketches."""
  count = a.count + b.count
  share = b.count / jnp.where(count == 0, 1, count)
  remainder_a, remainder_b = (
    jnp.zeros_like(m.mean) if m.mean_remainder is None else m.mean_remainder
    for m in (a, b)
  )
  # The mean of an empty side is a placeholder, so there is no difference.
  either_empty = ((a.count == 0) | (b.count == 0))[:, None]
  delta = (b.mean - a.mean) + (remainder_b - remainder_a)
  delta = jnp.where(either_empty, 0, delta)
  mean, remainder = _two_sum(a.mean, remainder_a + delta * share[:, None])
  first = (a.count == 0)[:, None]
  fields = {
    "count": count,
    "mean": jnp.where(first, b.mean, mean),
    "mean_remainder": None
    if a.mean_remainder is None
    else jnp.where(first, remainder_b, remainder),
    "num_examples": None
    if a.num_examples is None
    else a.num_examples + _num_examples(b),
  }
  return _Merged(fields, delta, a.count * share)


def _num_examples(moments: Any) -> jax.Array:
  """Returns the number of examples per class, a large one if unknown."""
  if moments.num_examples is not None:
    return jnp.asarray(moments.num_examples)
  is_empty = jnp.asarray(moments.count) == 0
  return jnp.where(is_empty, 0, _UNKNOWN_NUMBER).astype(jnp.int32)


def _checked_moments(name: str, moments: Any) -> tuple[ClassMoments, int, int]:
  """Returns an argument that holds moments as arrays, or raises.

  Args:
    name: The argument's name, for errors.
    moments: The argument.

  Returns:
    The moments, the number of classes C and the width D.
  """
  remedy = "make it with lelp_jax.class_moments"
  checked, sizes = _checks.container(
    name, moments, ClassMoments, remedy, _AXES, integers=("num_examples",)
  )
  return checked, sizes["C"], sizes["D"]


def _no_moments(num_classes: int, embeddings: jax.Array) -> ClassMoments:
  """Returns the moments of no examples, the neutral element of merging."""
  dtype = _checks.float_dtype(embeddings)
  width = embeddings.shape[1]
  mean = jnp.zeros((num_classes, width), dtype)
  return ClassMoments(
    count=jnp.zeros((num_classes,), dtype),
    mean=mean,
    scatter=jnp.zeros((num_classes, width, width), dtype),
    mean_remainder=jnp.zeros_like(mean),
    num_examples=jnp.zeros((num_classes,), jnp.int32),
  )


@functools.partial(jax.jit, static_argnames="num_classes")
def _class_moments(
  embeddings: jax.Array,
  labels: jax.Array,
  weights: jax.Array,
  *,
  num_classes: int,
) -> ClassMoments:
  """Computes the moments of checked rows."""
  fields, scatter, _ = _class_sums(embeddings, labels, weights, num_classes)
  return ClassMoments(scatter=scatter, **fields)


def _class_sums(
  embeddings: jax.Array,
  labels: jax.Array,
  weights: jax.Array,
  num_classes: int,
  probe: jax.Array | None = None,
) -> tuple[dict[str, jax.Array], jax.Array, jax.Array]:
  """Sums over tiles of one class each: first for means, then for products.

  Args:
    embeddings: ``[N, D]``.
    labels: In ``[0, C)``, or -1, ``[N]``.
    weights: ``[N]``.
    num_classes: C.
    probe: Matrix that the scatters are multiplied by, ``[D, L]``, or None.

  Returns:
    The counts, means and numbers of examples, the scatters ``[C, D, D]`` or
    their products with the probe ``[C, D, L]``, and with a probe the traces of
    the scatters, ``[C]``.
  """
  weights = weights.astype(_checks.float_dtype(embeddings))
  tiles = _Tiles.of(embeddings, labels, weights, num_classes)
  width = embeddings.shape[1]

  def probed(rows: jax.Array) -> jax.Array:
    if probe is None:
      return rows
    return jnp.dot(rows, probe.astype(weights.dtype), precision=_HIGHEST)

  # First pass: weights and weighted sums of the rows of each class.
  def add_sums(index, sums):
    c, h, w = tiles.read(index)
    count, total = sums
    return count.at[c].add(w.sum()), total.at[c].add(
      jnp.dot(w, h, precision=_HIGHEST)
    )

  start = tiles.zeros(num_classes), tiles.zeros(num_classes, width)
  count, total = jax.lax.fori_loop(0, tiles.number, add_sums, start)
  divisor = jnp.where(count == 0, 1, count)[:, None]
  centre = total / divisor

  # Second pass: moments about the first mean. That mean has the rounding errors
  # of large sums, but differences from it are small and nearly exact.
  def add_products(index, sums):
    c, h, w = tiles.read(index)
    residual, products, squares = sums
    h = h - centre[c][None]
    weighted = h * w[:, None]
    gram = jnp.dot(weighted.T, probed(h), precision=_HIGHEST)
    if probe is not None:
      squares = squares.at[c].add(jnp.sum(weighted * h))
    return (
      residual.at[c].add(weighted.sum(0)),
      products.at[c].add(gram),
      squares,
    )

  start = (
    tiles.zeros(num_classes, width),
    tiles.zeros(num_classes, width, width if probe is None else probe.shape[1]),
    tiles.zeros(num_classes),
  )
  residual, products, squares = jax.lax.fori_loop(
    0, tiles.number, add_products, start
  )

  # Correct all sums for the distance of the first mean from the true one.
  shift = residual / divisor
  products -= jnp.einsum(
    "cd,ce->cde", residual, probed(shift), precision=_HIGHEST
  )
  mean, remainder = _two_sum(centre, shift)
  fields = {
    "count": count,
    "mean": mean,
    "mean_remainder": remainder,
    "num_examples": tiles.class_sizes,
  }
  return fields, products, squares - jnp.sum(residual * shift, axis=1)


class _Tiles(NamedTuple):
  """Rows divided into tiles of one class each.

  Attributes:
    embeddings: All rows, in any precision, ``[N, D]``.
    weights: Their weights, in the dtype of the sums, ``[N]``.
    order: Rows sorted by class, ``[N]``; rows that do not count come last.
    starts: Where each class begins in ``order``, ``[C + 1]``.
    numbers: Number of tiles of each class, ``[C]``.
    ends: Cumulative sum of ``numbers``, ``[C]``.
    size: Number of rows per tile.
  """

  embeddings: jax.Array
  weights: jax.Array
  order: jax.Array
  starts: jax.Array
  numbers: jax.Array
  ends: jax.Array
  size: int

  @classmethod
  def of(cls, embeddings, labels, weights, num_classes):
    """Sorts the rows by class; those of label -1 or weight zero come last."""
    counts = (labels >= 0) & ~(weights <= 0)  # NaN weights are not ignored.
    slot = jnp.where(counts, labels, num_classes)
    order = jnp.argsort(slot)
    bounds = jnp.arange(num_classes + 1, dtype=slot.dtype)
    starts = jnp.searchsorted(slot[order], bounds).astype(jnp.int32)
    size = _tile_size(len(embeddings), num_classes)
    numbers = -(-(starts[1:] - starts[:-1]) // size)
    ends = jnp.cumsum(numbers)
    return cls(embeddings, weights, order, starts, numbers, ends, size)

  @property
  def number(self) -> jax.Array:
    """The number of tiles."""
    return self.ends[-1]

  @property
  def class_sizes(self) -> jax.Array:
    """The number of rows of each class."""
    return self.starts[1:] - self.starts[:-1]

  def zeros(self, *shape: int) -> jax.Array:
    """Returns zeros that vary over the axes of a `shard_map` like the rows."""
    return jnp.full(shape, (0 * self.number).astype(self.weights.dtype))

  def read(self, index: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns a tile's class, rows and weights; padding has weight zero."""
    c = jnp.searchsorted(self.ends, index, side="right").astype(jnp.int32)
    tile = index - (self.ends[c] - self.numbers[c])
    first = self.starts[c] + tile * self.size
    position = first + jnp.arange(self.size, dtype=first.dtype)
    inside = position < self.starts[c + 1]
    rows = self.order[jnp.where(inside, position, self.starts[c])]
    h = self.embeddings[rows].astype(self.weights.dtype)
    return c, h, jnp.where(inside, self.weights[rows], 0)


def _two_sum(a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Returns the rounded sum and its exact rounding error (Knuth)."""
  total = a + b
  part = total - a
  return total, (a - (total - part)) + (b - part)


def _tile_size(num_rows: int, num_classes: int) -> int:
  """Returns the rows per tile: enough for an average class, at most 256."""
  rows = 1.1 * num_rows / num_classes
  return int(np.clip(32 * np.ceil(rows / 32), 32, 256))


def _check_values(moments: Any, squares: jax.Array, given: _Rows) -> None:
  """Raises if embeddings are not finite, or sums of squares out of range.

  The sums are small arrays and are checked first. The embeddings are read only
  if the sums show a problem.

  Args:
    moments: The moments, or the sketch.
    squares: Sums of squares of each class, ``[C, ...]``.
    given: The rows that they were computed from.
  """
  with jax.ensure_compile_time_eval():
    finite, underflowed = jax.device_get(_survey(moments, squares))
  if finite and not underflowed.any():
    return
  rows, weights = (
    np.asarray(x, np.float64) for x in (given.embeddings, given.weights)
  )
  bad = np.flatnonzero((weights != 0) & ~np.isfinite(rows).all(axis=1))
  if bad.size:
    noun = "row" if bad.size == 1 else "rows"
    more = f" and {bad.size - 5} more" if bad.size > 5 else ""
    raise ValueError(
      f"embeddings must be finite, got NaN or infinity in {noun} "
      f"{', '.join(map(str, bad[:5]))}{more}; leave rows out with `where`."
    )

  # Either the squares themselves are out of range, or their weighted sums are.
  counts, problem, of_class = weights != 0, "large", ""
  if finite:
    small = int(np.argmax(underflowed))
    counts &= np.asarray(given.labels) == small
    problem, of_class = "small", f" of class {small}"
  dtype, size = moments.mean.dtype, np.abs(rows[counts]).max()
  squares = np.sum(rows[counts] ** 2)
  if size < _smallest(dtype) or squares > jnp.finfo(dtype).max:
    raise ValueError(
      f"embeddings{of_class} are too {problem} for squares in {dtype}: the "
      f"largest entry is {size:.3g}; multiply all embeddings by a constant."
    )
  raise ValueError(
    f"where is too {problem} for sums in {dtype}: the largest weight{of_class} "
    f"is {weights[counts].max():.3g}; multiply all weights by a constant."
  )


@jax.jit
def _diagonals(matrices: jax.Array) -> jax.Array:
  return jnp.diagonal(matrices, axis1=-2, axis2=-1)


def _smallest(dtype: Any) -> float:
  """Returns the smallest number whose square is in range."""
  return float(jnp.finfo(dtype).tiny) ** 0.5


@jax.jit
def _survey(moments: Any, squares: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Returns whether moments are finite, and which classes underflowed."""
  finite = jnp.all(jnp.isfinite(squares)) & jnp.all(jnp.isfinite(moments.mean))
  # Rows that are equal have no variance at any scale, so that zeros are a
  # problem only if embeddings or weights are small.
  number = _num_examples(moments)
  is_constant = (number > 1) & jnp.all(squares == 0, axis=-1)
  size = jnp.max(jnp.abs(moments.mean), axis=-1)
  weight = moments.count / jnp.maximum(number, 1).astype(size.dtype)
  smallest = _smallest(size.dtype)
  is_small = (size < smallest) | (weight < smallest)
  return finite, is_constant & (size > 0) & is_small
