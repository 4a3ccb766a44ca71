r"""Rotated and scaled subspaces of each class: Algorithm 1.

The first S principal directions of a class (`lelp_jax.principal`) are rotated
at random, so that no subclass holds most of the variance, and scaled so that
the largest standard deviation along a direction of the class is one.
"""

import dataclasses
import functools
import numbers
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lelp_jax import _checks
from lelp_jax.moments import _checked_moments
from lelp_jax.moments import class_moments
from lelp_jax.moments import ClassMoments
from lelp_jax.principal import _check_num_directions
from lelp_jax.principal import _checked_head_kernel
from lelp_jax.principal import _checked_principal
from lelp_jax.principal import _checked_statistics
from lelp_jax.principal import _find_directions
from lelp_jax.principal import PrincipalDirections
from lelp_jax.sketches import class_sketch
from lelp_jax.sketches import ClassSketch
from lelp_jax.sketches import sketch_probe

_HIGHEST = jax.lax.Precision.HIGHEST
_ROTATIONS = ("haar", "none")
_NORMALIZATIONS = ("max", "per_direction", "none")
_RANK_DEFICIENT = ("complete", "error")
_METHODS = ("exact", "sketch")
_SAMPLE = 1024  # Examples that the probe of a sketch is made from.


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Subspaces:
  r"""Subspaces that split each class into subclasses.

  They are all that distillation needs of a fit: pass them to `log_subsplit`
  with each batch of teacher outputs.

  Attributes:
    directions: Rotated and scaled directions :math:`\tilde v_{c,s}`, float,
      ``[C, S, D]``.
    means: Class means :math:`\mu_c`, float, ``[C, D]``.
    offsets: Numbers :math:`b_{c,s}` that are added to the coordinates, float,
      ``[C, S]``, from `centroid_subspaces`. None means zero, as in the paper.
  """

  directions: jax.Array
  means: jax.Array
  offsets: jax.Array | None = None


def subspaces_from_principal(
  principal: PrincipalDirections,
  *,
  num_subclasses: int,
  key: jax.Array | None = None,
  rotation: str = "haar",
  normalization: str = "max",
  rank_deficient: str = "complete",
) -> Subspaces:
  r"""Rotates and scales the first S principal directions of each class.

  This is the cheap half of fitting: a search over the number of subclasses
  calls `principal_directions` once and this function for each setting. With
  :math:`Q^c` a random orthogonal matrix, drawn for each class, and
  :math:`\sigma_{c,s}` the standard deviation along a rotated direction
  (paper, Algorithm 1; A-4: rows of :math:`QV`; A-6: one scale per class)

  .. math::
    \tilde V_c = Q^c V_c / \max_s \sigma_{c,s} .

  Args:
    principal: At least S directions per class, from `principal_directions`.
    num_subclasses: Number of subclasses per class, :math:`S`.
    key: Random key of the rotations; not needed for ``rotation="none"``.
    rotation: ``"haar"`` or ``"none"`` (the ablation of appendix C).
    normalization: ``"max"`` divides the directions of a class by the largest
      standard deviation among them, ``"per_direction"`` divides each by its
      own (whitening; zero where there is no variance), ``"none"`` does not
      scale.
    rank_deficient: Action if a class has variance in fewer than S directions
      (A-10). ``"complete"`` warns and adds directions without variance inside
      the null space of the head, then zero directions that take no part in the
      rotation; ``"error"`` raises. Under a trace, neither a warning nor an
      error is possible, and the basis is completed silently.

  Returns:
    The subspaces. A class without variance has zero directions.

  Raises:
    TypeError: If an argument has the wrong type, such as an integer key.
    ValueError: If fewer than S directions are given, a key is missing, an
      option is unknown, or ``rank_deficient="error"`` and a class has too few
      directions.

  Examples:
    >>> import jax.numpy as jnp
    >>> from lelp_jax import class_moments, principal_directions
    >>> from lelp_jax import subspaces_from_principal
    >>> embeddings = jnp.array([[4., 0.], [-4., 0.], [0., 1.], [0., -1.]])
    >>> moments = class_moments(embeddings, jnp.zeros(4, int), num_classes=1)
    >>> principal = principal_directions(moments, num_directions=2)
    >>> subspaces = subspaces_from_principal(
    ...   principal, num_subclasses=2, rotation="none")
    >>> print((8 * jnp.abs(subspaces.directions) ** 2).round())
    [[[1. 0.]
      [0. 1.]]]
  """
  principal = _checked_principal(principal)
  _checks.check_option("rotation", rotation, _ROTATIONS)
  _checks.check_option("normalization", normalization, _NORMALIZATIONS)
  _checks.check_option("rank_deficient", rank_deficient, _RANK_DEFICIENT)
  available = principal.directions.shape[1]
  num_subclasses = _check_num_directions(
    "num_subclasses", num_subclasses, available
  )
  if rotation == "haar":
    if key is None:
      raise ValueError(
        'key is needed for rotation="haar"; pass key=jax.random.key(0).'
      )
    _checks.check_key("key", key)
  _check_rank(principal, num_subclasses, rank_deficient)
  return _subspaces_from_principal(
    principal,
    key if rotation == "haar" else None,
    num_subclasses=num_subclasses,
    normalization=normalization,
  )


def fit_subspaces_from_moments(
  moments: ClassMoments | ClassSketch,
  head_kernel: jax.Array | None,
  *,
  num_subclasses: int,
  key: jax.Array | None,
  null_space: str = "weights",
  rotation: str = "haar",
  normalization: str = "max",
  rank_deficient: str = "complete",
) -> Subspaces:
  """Fits the subspaces of LELP to streamed moments (Algorithm 1).

  Use it if the teacher's embeddings do not fit in memory, and `fit_subspaces`
  otherwise. It calls `principal_directions` and `subspaces_from_principal`.

  Args:
    moments: Moments of the embeddings of each class, from `class_moments`
      and `merge_moments`, or a sketch of them, from `class_sketch` and
      `merge_sketches`.
    head_kernel: Weights of the teacher's last layer, float, ``[D, C]``.
    num_subclasses: Number of subclasses per class, S. Past the number of
      directions with variance, ``rank_deficient`` applies.
    key: Random key of the rotations.
    null_space: See `principal_directions`.
    rotation: See `subspaces_from_principal`.
    normalization: See `subspaces_from_principal`.
    rank_deficient: See `subspaces_from_principal`.

  Returns:
    The subspaces: directions ``[C, S, D]`` and means ``[C, D]``.

  Raises:
    TypeError: If an argument has the wrong type, such as an integer key.
    ValueError: If an argument is out of range, the shapes do not fit, or
      concrete moments or weights are not finite.

  Examples:
    >>> import jax
    >>> import jax.numpy as jnp
    >>> from lelp_jax import class_moments, fit_subspaces_from_moments
    >>> embeddings = jax.random.normal(jax.random.key(0), (60, 8))
    >>> head_kernel = jax.random.normal(jax.random.key(1), (8, 2))
    >>> moments = class_moments(
    ...   embeddings, jnp.arange(60) % 2, num_classes=2)
    >>> subspaces = fit_subspaces_from_moments(
    ...   moments, head_kernel, num_subclasses=3, key=jax.random.key(2))
    >>> print(subspaces.directions.shape, subspaces.means.shape)
    (2, 3, 8) (2, 8)
  """
  moments, num_classes, width = _checked_statistics(moments)
  if head_kernel is not None:
    head_kernel = _checked_head_kernel(head_kernel, width, num_classes)
  return _fit(
    moments,
    head_kernel,
    num_subclasses=num_subclasses,
    key=key,
    null_space=null_space,
    rotation=rotation,
    normalization=normalization,
    rank_deficient=rank_deficient,
  )


def _fit(
  moments: ClassMoments | ClassSketch,
  kernel: jax.Array | None,
  *,
  num_subclasses: int,
  key: jax.Array | None,
  null_space: str,
  rotation: str,
  normalization: str,
  rank_deficient: str,
) -> Subspaces:
  """Runs both halves of Algorithm 1 on checked moments and a checked head."""
  num_subclasses = _checks.check_at_least("num_subclasses", num_subclasses, 1)
  principal = _find_directions(
    moments, kernel, num_directions=num_subclasses, null_space=null_space
  )
  return subspaces_from_principal(
    principal,
    num_subclasses=num_subclasses,
    key=key,
    rotation=rotation,
    normalization=normalization,
    rank_deficient=rank_deficient,
  )


def fit_subspaces(
  embeddings: jax.Array,
  labels: jax.Array,
  head_kernel: jax.Array,
  *,
  num_subclasses: int,
  key: jax.Array | None,
  where: jax.Array | None = None,
  null_space: str = "weights",
  rotation: str = "haar",
  normalization: str = "max",
  rank_deficient: str = "complete",
  method: str = "exact",
) -> Subspaces:
  """Fits the subspaces of LELP to a set of embeddings (Algorithm 1).

  This is all that LELP has to learn from a teacher before the student is
  trained.

  Args:
    embeddings: Teacher embeddings of the training examples, float, ``[N, D]``.
      If they do not fit in memory, accumulate `class_moments` and call
      `fit_subspaces_from_moments`.
    labels: Class of each example, integers in ``[0, C)``, ``[N]``.
    head_kernel: Weights of the teacher's last layer, float, ``[D, C]`` (the
      transpose of a torch weight). They define the number of classes; for a
      head with one logit see `binary_head`.
    num_subclasses: Number of subclasses per class, S. Past the number of
      directions with variance, ``rank_deficient`` applies.
    key: Random key of the rotations.
    where: Rows that count, bool ``[N]``, or their weights; see
      `class_moments`.
    null_space: See `principal_directions`.
    rotation: See `subspaces_from_principal`.
    normalization: See `subspaces_from_principal`.
    rank_deficient: See `subspaces_from_principal`.
    method: ``"exact"`` fits to `class_moments`; ``"sketch"`` to a
      `class_sketch` with ``5 * S + 20`` columns, whose directions capture 0.99
      of the variance that the exact ones capture. At ``D = 4096`` and ``S =
      20`` it takes a sixth of the time, and its statistics take 3.5 % of the
      memory.

  Returns:
    The subspaces: directions ``[C, S, D]`` and means ``[C, D]``.

  Raises:
    TypeError: If an argument has the wrong type, such as integer embeddings.
    ValueError: If an argument is out of range, the shapes do not fit, or
      concrete embeddings or weights are not finite.

  Examples:
    >>> import jax
    >>> import jax.numpy as jnp
    >>> from lelp_jax import fit_subspaces
    >>> embeddings = jax.random.normal(jax.random.key(0), (60, 8))
    >>> head_kernel = jax.random.normal(jax.random.key(1), (8, 2))
    >>> subspaces = fit_subspaces(
    ...   embeddings, jnp.arange(60) % 2, head_kernel,
    ...   num_subclasses=3, key=jax.random.key(2))
    >>> overlap = jnp.einsum("csd,dk->csk", subspaces.directions, head_kernel)
    >>> print(subspaces.directions.shape, bool(jnp.abs(overlap).max() < 1e-5))
    (2, 3, 8) True
  """
  embeddings = _checks.floating("embeddings", embeddings, "[N, D]")
  if head_kernel is None:
    raise ValueError(
      "head_kernel is needed for the number of classes; pass it, with "
      'null_space="none" to leave its span in, or fit to class_moments.'
    )
  kernel = _checked_head_kernel(head_kernel, embeddings.shape[1], None)
  _checks.check_option("method", method, _METHODS)
  num_classes = kernel.shape[1]
  if method == "exact":
    moments = class_moments(
      embeddings, labels, num_classes=num_classes, where=where
    )
  else:
    moments = _sketch(embeddings, labels, num_classes, num_subclasses, where)
  return _fit(
    moments,
    kernel,
    num_subclasses=num_subclasses,
    key=key,
    null_space=null_space,
    rotation=rotation,
    normalization=normalization,
    rank_deficient=rank_deficient,
  )


def _sketch(
  embeddings: jax.Array,
  labels: Any,
  num_classes: int,
  num_subclasses: int,
  where: Any,
) -> ClassSketch:
  """Sketches a set of embeddings, with a probe made of a sample of them."""
  num_subclasses = _checks.check_at_least("num_subclasses", num_subclasses, 1)
  labels = _checks.integers("labels", labels)
  if where is not None:
    where = _checks.as_array("where", where)
  step = max(1, len(embeddings) // _SAMPLE)
  probe = sketch_probe(
    embeddings[::step],
    labels[::step],
    num_classes=num_classes,
    size=min(5 * num_subclasses + 20, embeddings.shape[1]),
    key=jax.random.key(0),
    where=None if where is None else where[::step],
  )
  return class_sketch(
    embeddings, labels, num_classes=num_classes, probe=probe, where=where
  )


def binary_head(
  kernel: jax.Array, bias: jax.Array | float | None = None
) -> tuple[jax.Array, jax.Array | None]:
  r"""Turns a head with one logit into the equivalent head with two classes.

  Binary classifiers often have one output :math:`z` and predict
  :math:`\mathrm{sigmoid}(z)`. The softmax of the two logits :math:`(0, z)` has
  the same probabilities. Distillation needs both logits: pass the kernel to
  `fit_subspaces` and ``embeddings @ kernel + bias`` to `log_subsplit`.

  Args:
    kernel: Weights of the head, float, ``[D, 1]`` or ``[D]``.
    bias: Bias of the head, a number or an array of one, or None without a bias.

  Returns:
    The kernel ``[D, 2]`` and the bias ``[2]``, or None without a bias, both in
    the dtype of the kernel. The first class has logit zero.

  Raises:
    TypeError: If the kernel is not floating point or the bias is not a number.
    ValueError: If the head has more than one output.

  Examples:
    >>> import jax.numpy as jnp
    >>> from lelp_jax import binary_head
    >>> kernel, bias = binary_head(jnp.array([[2.], [3.]]), jnp.array([1.]))
    >>> print(kernel, bias)
    [[0. 2.]
     [0. 3.]] [0. 1.]
  """
  kernel = _checks.floating("kernel", kernel, "[..., D]")
  if kernel.ndim > 2 or (kernel.ndim == 2 and kernel.shape[1] != 1):
    raise ValueError(
      f"kernel must have shape [D, 1] or [D], got shape {kernel.shape}."
    )
  column = kernel.reshape(-1, 1)
  columns = jnp.concatenate([jnp.zeros_like(column), column], axis=1)
  if bias is None:
    return columns, None
  if isinstance(bias, bool) or not isinstance(bias, numbers.Real):
    bias = _checks.as_array("bias", bias)
    if np.size(bias) != 1:
      raise ValueError(f"bias must have shape [1], got shape {np.shape(bias)}.")
    bias = bias.reshape(())
  entry = jnp.reshape(_checks.scalar("bias", bias, columns.dtype), 1)
  return columns, jnp.concatenate([jnp.zeros_like(entry), entry])


@functools.partial(jax.jit, static_argnames=("num_subclasses", "normalization"))
def _subspaces_from_principal(
  principal: PrincipalDirections,
  key: jax.Array | None,
  *,
  num_subclasses: int,
  normalization: str,
) -> Subspaces:
  """Rotates the nonzero directions of each class and scales all."""
  directions = principal.directions[:, :num_subclasses]
  variances = principal.variances[:, :num_subclasses]
  if key is not None:
    rotate = _haar(key, jnp.any(directions != 0, axis=-1), directions.dtype)
    directions = jnp.einsum(
      "cst,ctd->csd", rotate, directions, precision=_HIGHEST
    )
    # Principal directions are uncorrelated, so that variances mix by squares.
    variances = jnp.einsum(
      "cst,ct->cs", rotate**2, variances, precision=_HIGHEST
    )
  factor = _direction_scale(variances, normalization)
  return Subspaces(directions * factor[..., None], principal.means)


def _haar(key: jax.Array, active: jax.Array, dtype: jnp.dtype) -> jax.Array:
  """Draws Haar rotations [C, S, S] of active directions; others stay fixed.

  The QR decomposition of a Gaussian matrix is Haar distributed once the signs
  of R's diagonal are moved into Q. It keeps the identity block of inactive
  directions separate.
  """
  size = active.shape[-1]
  gaussian = jax.random.normal(key, (*active.shape, size), dtype)
  both = active[:, :, None] & active[:, None, :]
  identity = jnp.eye(size, dtype=dtype)[None]
  q, r = jnp.linalg.qr(jnp.where(both, gaussian, identity))
  diagonal = jnp.diagonal(r, axis1=-2, axis2=-1)
  return jnp.where((diagonal < 0)[:, None, :], -q, q)


def _direction_scale(variances: jax.Array, normalization: str) -> jax.Array:
  """Returns the factor [C, S] of each direction, zero without variance."""
  if normalization == "none":
    return jnp.ones_like(variances)
  if normalization == "max":
    largest = jnp.max(variances, axis=-1, keepdims=True)
    variances = jnp.broadcast_to(largest, variances.shape)
  is_zero = variances == 0
  return jnp.where(is_zero, 0, jax.lax.rsqrt(jnp.where(is_zero, 1, variances)))


def _check_rank(
  principal: PrincipalDirections, num_subclasses: int, policy: str
) -> None:
  """Warns or raises if concrete ranks are less than S."""
  if not _checks.is_concrete(principal.rank):
    return
  ranks = np.asarray(principal.rank)
  short = np.flatnonzero(ranks < num_subclasses)
  if not short.size:
    return
  names = ", ".join(map(str, short[:10])) + (", ..." if short.size > 10 else "")
  found = ", ".join(map(str, ranks[short[:10]]))
  message = (
    f"num_subclasses={num_subclasses} exceeds the number of directions with "
    f"variance in the null space of the head for class {names} "
    f"(there are {found})"
  )
  if not ranks[short].any():
    message += "; such a class has no examples, or examples that do not differ"
  if policy == "error":
    raise ValueError(f"{message}; use fewer subclasses or more examples.")
  warnings.warn(
    f"{message}; the remaining subclasses have no variance and are "
    "uninformative.",
    stacklevel=3,
  )


def variance_share(subspaces: Subspaces, moments: ClassMoments) -> jax.Array:
  r"""Computes the share of each class's variance inside its subspace.

  It measures how much of the teacher's embeddings the subclasses use. For
  orthogonal directions of any scale, it is

  .. math::
    \sum_s \frac{\tilde v_{c,s}^T \Sigma_c \tilde v_{c,s}}
                {\|\tilde v_{c,s}\|^2} \Big/ \mathrm{tr} \, \Sigma_c .

  Args:
    subspaces: Directions ``[C, S, D]``; zero directions do not count. Offsets
      are ignored.
    moments: Moments of the embeddings of each class.

  Returns:
    The shares, in ``[0, 1]``, float, ``[C]``; zero for a class without
    variance.

  Raises:
    TypeError: If an argument has the wrong type.
    ValueError: If the two have different numbers of classes or widths.

  Examples:
    >>> import jax.numpy as jnp
    >>> from lelp_jax import class_moments, Subspaces, variance_share
    >>> embeddings = jnp.array([[3., 1.], [-3., 1.], [3., -1.], [-3., -1.]])
    >>> moments = class_moments(embeddings, jnp.zeros(4, int), num_classes=1)
    >>> axis = Subspaces(jnp.array([[[5., 0.]]]), jnp.zeros((1, 2)))
    >>> print(f"{variance_share(axis, moments)[0]:.4f}")
    0.9000
  """
  subspaces = _checked_subspaces(subspaces)
  moments, num_classes, width = _checked_moments("moments", moments)
  if np.shape(subspaces.means) != (num_classes, width):
    raise ValueError(
      f"subspaces of directions {np.shape(subspaces.directions)} do not fit "
      f"moments of {num_classes} classes and width {width}."
    )
  return _variance_share(subspaces, moments)


@jax.jit
def _variance_share(subspaces: Subspaces, moments: ClassMoments) -> jax.Array:
  """Divides the variances along unit directions by the trace."""
  directions, scatter = _checks.as_floats(subspaces.directions, moments.scatter)
  # Divide by the largest entry, so that no square leaves the range.
  longest = jnp.max(jnp.abs(directions), axis=(-2, -1), keepdims=True)
  directions = directions / jnp.where(longest == 0, 1, longest)
  spread = jnp.matmul(directions, scatter, precision=_HIGHEST)
  variances = jnp.sum(spread * directions, axis=-1)
  norms = jnp.sum(directions**2, axis=-1)
  inside = jnp.sum(variances / jnp.where(norms == 0, 1, norms), axis=-1)
  total = jnp.trace(scatter, axis1=-2, axis2=-1)
  return jnp.where(total == 0, 0, inside / jnp.where(total == 0, 1, total))


def _checked_subspaces(subspaces: Any) -> Subspaces:
  """Returns the argument `subspaces` with its fields as arrays, or raises."""
  remedy = (
    "make it with lelp_jax.fit_subspaces, or as "
    "lelp_jax.Subspaces(directions, means)"
  )
  axes = {"directions": "[C, S, D]", "means": "[C, D]", "offsets": "[C, S]"}
  checked, _ = _checks.container(
    "subspaces", subspaces, Subspaces, remedy, axes
  )
  return checked
