r"""One-pass sketches of class covariances, for embeddings that are wide.

The moments of :math:`C` classes of width :math:`D` take :math:`C D^2` numbers
and :math:`N D^2` operations. A sketch keeps the products :math:`\Sigma_c
\Omega` of each scatter with a thin matrix in place of the scatter, which is
enough to reconstruct the leading directions (Tropp, Yurtsever, Udell and
Cevher, 2017, "Fixed-rank approximation of a positive-semidefinite matrix from
streaming data"). Like moments, sketches stream and merge.

A sketch describes the whole covariance, and the head's span is projected off
the reconstruction. So a sketch, like moments, does not depend on a head. The
span takes up at most C of the columns of :math:`\Omega`.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lelp_jax import _checks
from lelp_jax import _leading
from lelp_jax import _sharding
from lelp_jax.moments import _check_values
from lelp_jax.moments import _checked_rows
from lelp_jax.moments import _class_sums
from lelp_jax.moments import _merged

_HIGHEST = jax.lax.Precision.HIGHEST


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ClassSketch:
  r"""Count, mean and sketched scatter of the embeddings of each class.

  Compute sketches with `class_sketch`, and add them up with `merge_sketches`.
  `principal_directions` and `fit_subspaces_from_moments` take them in place of
  moments.

  Attributes:
    count: Number of examples of each class, or the sum of their weights,
      float, ``[C]``.
    mean: Mean embedding of each class :math:`\mu_c`, float, ``[C, D]``.
    products: Products :math:`\Sigma_c \Omega` of the scatters with the probe,
      float, ``[C, D, L]``.
    squares: Traces of the scatters, float, ``[C]``.
    probe: The matrix :math:`\Omega`, float, ``[D, L]``.
    mean_remainder: The rounding error of ``mean``, float, ``[C, D]``; see
      `ClassMoments`.
    num_examples: Number of examples of each class with a positive weight,
      int32, ``[C]``; see `ClassMoments`.
  """

  count: jax.Array
  mean: jax.Array
  products: jax.Array
  squares: jax.Array
  probe: jax.Array
  mean_remainder: jax.Array | None = None
  num_examples: jax.Array | None = None


_AXES = {
  "mean": "[C, D]",
  "count": "[C]",
  "products": "[C, D, L]",
  "squares": "[C]",
  "probe": "[D, L]",
  "mean_remainder": "[C, D]",
  "num_examples": "[C]",
}


def sketch_probe(
  embeddings: jax.Array,
  labels: jax.Array,
  *,
  num_classes: int,
  size: int,
  key: jax.Array,
  where: jax.Array | None = None,
) -> jax.Array:
  r"""Makes the probe that all sketches of one data set share.

  A random matrix :math:`G` would do. The probe is instead its product with the
  covariance of a sample, :math:`\Omega = \mathrm{orth}(\sum_c \hat\Sigma_c G)`,
  whose columns lie closer to the leading directions: on text embeddings, 100 of
  them capture as much variance as 250 random ones.

  Args:
    embeddings: A sample of the embeddings, such as the first thousand, float,
      ``[N, D]``.
    labels: Their classes, integers in ``[0, C)``, ``[N]``.
    num_classes: Number of classes, C.
    size: Number of columns, L, from the number of directions to fit up to
      ``D``. Five times the number of directions capture 0.99 of the variance
      that the exact directions capture.
    key: Random key.
    where: Rows that count, or their weights; see `class_moments`.

  Returns:
    The probe, with orthonormal columns, float32 (float64 for float64
    embeddings), ``[D, L]``.

  Raises:
    TypeError: See `class_moments`; also if the key is not a random key.
    ValueError: See `class_moments`; also if ``size`` exceeds ``D``.

  Examples:
    >>> import jax
    >>> import jax.numpy as jnp
    >>> from lelp_jax import sketch_probe
    >>> embeddings = jax.random.normal(jax.random.key(0), (50, 8))
    >>> probe = sketch_probe(
    ...   embeddings, jnp.arange(50) % 2, num_classes=2, size=4,
    ...   key=jax.random.key(1))
    >>> print(probe.shape)
    (8, 4)
  """
  embeddings = _checks.floating("embeddings", embeddings, "[N, D]")
  size = _checks.check_at_least("size", size, 1)
  width = embeddings.shape[1]
  if size > width:
    raise ValueError(
      f"size must be at most {width}, the width of the embeddings, got {size}."
    )
  _checks.check_key("key", key)
  shape, dtype = (width, size), _checks.float_dtype(embeddings)
  random = jax.random.normal(key, shape, dtype)
  sample = class_sketch(
    embeddings, labels, num_classes=num_classes, probe=random, where=where
  )
  return _probe(sample.products, random)


@jax.jit
def _probe(products: jax.Array, random: jax.Array) -> jax.Array:
  """Orthonormalizes the products, and completes them by random columns."""
  pooled = jnp.sum(products, axis=0)
  size = jnp.linalg.norm(pooled)
  pooled = pooled / jnp.where(size == 0, 1, size)
  mixed = pooled + 1e-3 * random / jnp.linalg.norm(random)
  return _leading.orthonormal(mixed, jnp.zeros_like(random[:, :1]))


def class_sketch(
  embeddings: jax.Array,
  labels: jax.Array,
  *,
  num_classes: int,
  probe: jax.Array,
  where: jax.Array | None = None,
) -> ClassSketch:
  r"""Computes the count, mean and sketched scatter of each class in one batch.

  Use it in place of `class_moments` if ``C * D * D`` numbers take too much
  memory or time. Add the sketches of batches up with `merge_sketches`. With
  :math:`\Sigma_c` the scatter of `class_moments` and :math:`\Omega` the probe

  .. math::
    Y_c = \Sigma_c \Omega = \sum_i w_i (h_i - \mu_c) ((h_i - \mu_c)^T \Omega) .

  Args:
    embeddings: Teacher embeddings, float, ``[N, D]``.
    labels: Class of each example, integers in ``[0, C)``, ``[N]``.
    num_classes: Number of classes, C.
    probe: The matrix :math:`\Omega`, from `sketch_probe`, float, ``[D, L]``.
      Only sketches with the same probe can be merged.
    where: Rows that count, bool ``[N]``, or their weights; see
      `class_moments`.

  Returns:
    The sketch, in float32 (float64 for float64 embeddings).

  Raises:
    TypeError: See `class_moments`; also if the probe is not floating point.
    ValueError: See `class_moments`; also if the probe does not fit.

  Examples:
    >>> import jax.numpy as jnp
    >>> from lelp_jax import class_sketch
    >>> embeddings = jnp.array([[0., 1.], [2., 1.], [5., 5.]])
    >>> labels = jnp.array([0, 0, 1])
    >>> sketch = class_sketch(
    ...   embeddings, labels, num_classes=2, probe=jnp.array([[1.], [3.]]))
    >>> print(sketch.products[0].ravel(), sketch.squares)
    [2. 0.] [2. 0.]
  """
  rows = _checked_rows(embeddings, labels, num_classes, where)
  probe = _checks.floating("probe", probe, "[D, L]")
  width = rows.embeddings.shape[1]
  if probe.shape[0] != width or not 0 < probe.shape[1] <= width:
    raise ValueError(
      f"probe must have shape [D, L] with D = {width}, the width of the "
      f"embeddings, and L at most D, got shape {probe.shape}."
    )
  probe = probe.astype(_checks.float_dtype(rows.embeddings))
  if not len(rows.embeddings):
    return _no_sketch(rows.num_classes, probe)
  sketch = _sharding.on_auto_axes(
    functools.partial(_class_sketch, num_classes=rows.num_classes),
    *rows.traced,
    probe,
  )
  if _checks.is_concrete(sketch.mean):
    _check_values(sketch, sketch.squares[:, None], rows)
  return sketch


def merge_sketches(a: ClassSketch, b: ClassSketch) -> ClassSketch:
  r"""Merges the sketches of two disjoint sets of examples.

  Use it like `merge_moments`. With :math:`\delta = \mu_b - \mu_a` and :math:`N
  = N_a + N_b`, for each class

  .. math::
    Y = Y_a + Y_b + \delta (\delta^T \Omega) \frac{N_a N_b}{N} .

  The operation is associative and commutative up to rounding. The sketch of no
  examples is the neutral element.

  Args:
    a: Sketch of the first set.
    b: Sketch of the second set, of the same shapes and with the same probe.

  Returns:
    The sketch of the union, with the optional fields that ``a`` has.

  Raises:
    TypeError: If an argument is not a `ClassSketch` of arrays.
    ValueError: If the shapes differ, or concrete probes do.

  Examples:
    >>> import jax
    >>> import jax.numpy as jnp
    >>> from lelp_jax import class_sketch, merge_sketches
    >>> probe = jnp.ones((1, 1))  # The same for both.
    >>> a, b = (
    ...   class_sketch(
    ...     jnp.array(rows), jnp.array([0, 0]), num_classes=1, probe=probe)
    ...   for rows in ([[1.], [3.]], [[8.], [8.]]))
    >>> print(jax.jit(merge_sketches)(a, b).products)
    [[[38.]]]
  """
  a, sizes = _checked_sketch("a", a)
  b, other_sizes = _checked_sketch("b", b)
  if sizes != other_sizes:
    raise ValueError(
      "sketches can be merged only for the same classes, width and probe, got "
      f"products of shapes {np.shape(a.products)} and {np.shape(b.products)}."
    )
  probes = a.probe, b.probe
  if probes[0] is not probes[1] and all(map(_checks.is_concrete, probes)):
    with jax.ensure_compile_time_eval():
      same = bool(_equal(*probes))
    if not same:
      raise ValueError(
        "sketches can be merged only if they have the same probe: make one "
        "with lelp_jax.sketch_probe and pass it to every class_sketch."
      )
  merged = _merged(a, b)
  probed = jnp.dot(merged.delta, a.probe, precision=_HIGHEST)
  between = jnp.einsum("cd,cl->cdl", merged.delta, probed, precision=_HIGHEST)
  weight = merged.weight
  return ClassSketch(
    products=a.products + b.products + weight[:, None, None] * between,
    squares=a.squares + b.squares + weight * jnp.sum(merged.delta**2, axis=1),
    probe=a.probe,
    **merged.fields,
  )


@jax.jit
def _equal(a: jax.Array, b: jax.Array) -> jax.Array:
  return jnp.all(a == b)


def _checked_sketch(name: str, sketch: Any) -> tuple[ClassSketch, dict]:
  """Returns an argument that holds a sketch as arrays, or raises.

  Args:
    name: The argument's name, for errors.
    sketch: The argument.

  Returns:
    The sketch, and the sizes C, D and L.
  """
  remedy = "make it with lelp_jax.class_sketch"
  return _checks.container(
    name, sketch, ClassSketch, remedy, _AXES, integers=("num_examples",)
  )


def _no_sketch(num_classes: int, probe: jax.Array) -> ClassSketch:
  """Returns the sketch of no examples, the neutral element of merging."""
  width, size = probe.shape
  mean = jnp.zeros((num_classes, width), probe.dtype)
  return ClassSketch(
    count=jnp.zeros((num_classes,), probe.dtype),
    mean=mean,
    products=jnp.zeros((num_classes, width, size), probe.dtype),
    squares=jnp.zeros((num_classes,), probe.dtype),
    probe=probe,
    mean_remainder=jnp.zeros_like(mean),
    num_examples=jnp.zeros((num_classes,), jnp.int32),
  )


@functools.partial(jax.jit, static_argnames="num_classes")
def _class_sketch(
  embeddings: jax.Array,
  labels: jax.Array,
  weights: jax.Array,
  probe: jax.Array,
  *,
  num_classes: int,
) -> ClassSketch:
  """Computes the sketch of checked rows."""
  fields, products, squares = _class_sums(
    embeddings, labels, weights, num_classes, probe
  )
  return ClassSketch(products=products, squares=squares, probe=probe, **fields)


def _reconstructed(
  products: jax.Array, probe: jax.Array, basis: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
  r"""Finds eigenpairs of a sketched covariance off a basis, largest first.

  The covariance plus a small multiple :math:`\nu` of the identity is
  reconstructed by the Nystrom approximation, :math:`Y (\Omega^T Y)^{-1} Y^T`.
  The multiple keeps the inverse finite and completes the basis of a class of
  low rank.

  Args:
    products: Products of the covariance with the probe, ``[D, L]``.
    probe: ``[D, L]``.
    basis: Orthonormal columns to project off, or zero ones, ``[D, C]``.

  Returns:
    L eigenvalues, the eigenvectors in columns, and :math:`\nu`, below which
    eigenvalues are rounding.
  """
  product = functools.partial(jnp.dot, precision=_HIGHEST)
  size = jnp.linalg.norm(products)
  nu = 20 * jnp.finfo(products.dtype).eps * jnp.where(size == 0, 1, size)
  shifted = products + nu * probe

  # A factor E of the approximation E E^T, with the span projected off.
  inner = product(probe.T, shifted)
  lower = jnp.linalg.cholesky((inner + inner.T) / 2)
  factor = jax.lax.linalg.triangular_solve(
    lower, shifted, left_side=False, lower=True, transpose_a=True
  )
  for _ in range(2):
    factor = _leading.project_off(factor, basis)

  # The left singular vectors of E, in an orthonormal basis of its columns.
  vectors = _leading.orthonormal(factor, basis)
  inside = product(vectors.T, factor)
  squares, rotation = jnp.linalg.eigh(product(inside, inside.T))
  return squares[::-1] - nu, product(vectors, rotation[:, ::-1]), nu
