r"""LELP with centroids: a variant of our own, whose subclasses are clusters.

The paper splits a class along rotated principal directions. Here the subclasses
of a class are its clusters in the null space of the head, and the probability
of a subclass depends on the distance to its centroid. Up to a term that the
subclasses of a class share, the squared distance is a linear projection with an
offset, so that Algorithms 2 and 3 of the paper apply unchanged.
"""

import jax
import jax.numpy as jnp

from lelp_jax import _checks
from lelp_jax.moments import ClassMoments
from lelp_jax.principal import _checked_basis
from lelp_jax.principal import _checked_head_kernel
from lelp_jax.principal import _checked_statistics
from lelp_jax.principal import _head_basis
from lelp_jax.principal import _NULL_SPACES
from lelp_jax.principal import _span
from lelp_jax.sketches import ClassSketch
from lelp_jax.subspaces import Subspaces

_HIGHEST = jax.lax.Precision.HIGHEST
# The logarithm of the variance is found by bisection, between these multiples
# of the mean excess over the distance to the nearest cluster. The relative
# error of the variance is about 1e-6 in float32.
_STEPS = 28
_LEAST, _MOST = 1e-6, 1e6
# If the variance is this multiple of the smallest excess over the distance to
# the nearest cluster, even the second nearest cluster has no weight.
_HARD = 1e-3


def centroid_subspaces(
  centroids: jax.Array,
  moments: ClassMoments | ClassSketch,
  head_kernel: jax.Array | None = None,
  *,
  variance: float | jax.Array,
  null_space: str = "weights",
  rtol: float = 5e-3,
) -> Subspaces:
  r"""Makes subspaces that split each class into clusters around centroids.

  Use it in place of `fit_subspaces` where a class consists of distinct groups,
  with centroids from k-means on the embeddings of each class. The method is not
  in the paper. With :math:`P` the projection off the span of the head's
  weights, as in `principal_directions`, `log_subsplit` then gives subclass
  :math:`k` of class :math:`c` the logit

  .. math::
    -\frac{\|P h - P m_{c,k}\|^2}{2 s^2 \beta} =
    \frac{\tilde v_{c,k}^T (h - \mu_c) + b_{c,k}}{\beta} + \text{const}_c, \quad
    \tilde v_{c,k} = \frac{P (m_{c,k} - \mu_c)}{s^2}, \quad
    b_{c,k} = -\frac{\|P (m_{c,k} - \mu_c)\|^2}{2 s^2} ,

  where the constant is common to the subclasses of a class and drops out of the
  softmax. At :math:`\beta = 1` its probabilities are the responsibilities of
  equally likely Gaussians of variance :math:`s^2` around the centroids.

  Args:
    centroids: Centroids :math:`m_{c,k}` of the clusters of each class, float,
      ``[C, K, D]``, of the embeddings, projected off the head or not. The rows
      of a class with fewer clusters may end with any finite numbers; mask these
      with ``where`` of `log_subsplit`.
    moments: Moments of the embeddings of each class, from `class_moments`, or
      a sketch of them. Only their means are used.
    head_kernel: Weights of the teacher's last layer, float, ``[D, C]``. With
      None, nothing is projected off.
    variance: The variance :math:`s^2`, positive scalar, such as the result of
      `variance_of_perplexity`. The variance per dimension around the centroids
      is too small: differences of squared distances grow with ``D``, so that
      almost all of the probability of a wide embedding would go to one
      subclass.
    null_space: See `principal_directions`.
    rtol: See `principal_directions`.

  Returns:
    The subspaces: directions ``[C, K, D]``, means ``[C, D]`` and offsets
    ``[C, K]``.

  Raises:
    TypeError: If an argument has the wrong type, such as integer centroids.
    ValueError: If an argument is out of range, the shapes do not fit, or
      concrete centroids, moments or weights are not finite.

  Examples:
    >>> import jax.numpy as jnp
    >>> from lelp_jax import centroid_subspaces, class_moments
    >>> embeddings = jnp.array([[0., 3.], [9., 3.], [0., -3.], [9., -3.]])
    >>> moments = class_moments(embeddings, jnp.zeros(4, int), num_classes=1)
    >>> subspaces = centroid_subspaces(
    ...   jnp.array([[[4.5, 3.], [4.5, -3.]]]), moments,
    ...   jnp.array([[1.], [0.]]), variance=2.)
    >>> print(subspaces.directions, subspaces.offsets)
    [[[ 0.   1.5]
      [ 0.  -1.5]]] [[-2.25 -2.25]]
  """
  moments, num_classes, width = _checked_statistics(moments)
  centroids = _checks.floating("centroids", centroids, "[C, K, D]")
  if centroids.shape[::2] != (num_classes, width) or not centroids.shape[1]:
    raise ValueError(
      f"centroids must have shape [C, K, D] = [{num_classes}, K, {width}] with "
      f"K at least 1, got shape {centroids.shape}."
    )
  _checks.check_finite(
    "centroids", centroids, "fill rows without a cluster with zeros"
  )
  _checks.check_option("null_space", null_space, _NULL_SPACES)
  kernel = None
  if head_kernel is not None and null_space != "none":
    kernel = _checked_head_kernel(head_kernel, width, num_classes)
  basis = _head_basis(moments, kernel, null_space, rtol)
  centroids, means = _checks.as_floats(centroids, moments.mean)
  variance = _checks.positive("variance", variance, means.dtype)
  return _centroid_subspaces(centroids, means, basis, variance)


def project_off_head(
  embeddings: jax.Array,
  head_kernel: jax.Array,
  *,
  null_space: str = "weights",
  rtol: float = 5e-3,
) -> jax.Array:
  r"""Projects embeddings off the span of the head's weights.

  Use it before clustering: `centroid_subspaces` takes the centroids of the
  clusters. With :math:`\tilde W` an orthonormal basis of the span of the head's
  weights, as in `principal_directions`, it computes

  .. math::
    P h = h - \tilde W \tilde W^T h .

  If the head spans all dimensions, nothing is projected off.

  Args:
    embeddings: Teacher embeddings :math:`h`, float, ``[..., D]``.
    head_kernel: Weights of the teacher's last layer, float, ``[D, C]``.
    null_space: See `principal_directions`.
    rtol: See `principal_directions`.

  Returns:
    The projected embeddings, float32 (float64 for float64 embeddings),
    ``[..., D]``.

  Raises:
    TypeError: If an argument has the wrong type.
    ValueError: If the shapes do not fit, or concrete weights are not finite.

  Examples:
    >>> import jax.numpy as jnp
    >>> from lelp_jax import project_off_head
    >>> head = jnp.array([[2., -2.], [0., 0.]])
    >>> print(project_off_head(jnp.array([3., 4.]), head))
    [0. 4.]
  """
  embeddings = _checks.floating("embeddings", embeddings, "[..., D]")
  _checks.check_option("null_space", null_space, _NULL_SPACES)
  kernel = _checked_head_kernel(head_kernel, embeddings.shape[-1], None)
  tolerance = _checks.positive("rtol", rtol, jnp.float32)
  (embeddings,) = _checks.as_floats(embeddings)
  if null_space == "none":
    return embeddings
  basis = _span(kernel, tolerance, null_space == "weights")
  return _projected(embeddings, _checked_basis(basis, embeddings.dtype)[0])


def variance_of_perplexity(
  squared_distances: jax.Array,
  where: jax.Array | None = None,
  *,
  perplexity: float | jax.Array = 1.5,
) -> jax.Array:
  r"""Chooses the variance for `centroid_subspaces` from the data.

  With the squared distances :math:`d_{i,k}` of an example to the centroids of
  its class and :math:`p_{i,k} \propto \exp(-d_{i,k} / 2 s^2)` it finds the
  :math:`s^2` at which the mean perplexity of the examples,

  .. math::
    \frac{1}{N} \sum_i \exp\Bigl(-\sum_k p_{i,k} \log p_{i,k}\Bigr) ,

  has a given value. The perplexity is the effective number of clusters that an
  example belongs to, as in t-SNE: 1 is the nearest cluster alone. On two data
  sets with 10 to 75 clusters, a perplexity of 1.5 did about as well as the best
  variance.

  Args:
    squared_distances: Squared distances of each example to the centroids of its
      class, in the null space of the head, float, ``[N, K]``.
    where: Clusters that exist, bool, ``[N, K]``; all of them if None. Examples
      without clusters are left out; if no example is left, the variance is NaN.
      The distances of masked clusters may be any finite numbers.
    perplexity: The mean perplexity, a scalar above 1.

  Returns:
    The variance :math:`s^2`, positive scalar, float32 (float64 for float64
    distances). If no variance reaches the perplexity, as with a single cluster,
    the result is a million times the mean excess of distances over the distance
    to the nearest cluster, which divides each class evenly. If ties keep the
    perplexity above the given value, the result is at most a millionth of that
    mean excess. These multiples must be in the range of the dtype.

  Raises:
    TypeError: If an argument has the wrong type.
    ValueError: If an argument is out of range, the shapes do not fit, there is
      no distance, or concrete distances are not finite.

  Examples:
    >>> import jax.numpy as jnp
    >>> from lelp_jax import variance_of_perplexity
    >>> distances = jnp.array([[1., 5.], [6., 2.]])
    >>> print(variance_of_perplexity(distances).round(4))
    1.1031
  """
  distances = _checks.floating("squared_distances", squared_distances, "[N, K]")
  if not distances.size:
    raise ValueError(
      "squared_distances must have shape [N, K] with N and K at least 1, got "
      f"shape {distances.shape}."
    )
  _checks.check_finite(
    "squared_distances", distances, "fill clusters that do not exist with zeros"
  )
  (distances,) = _checks.as_floats(distances)
  perplexity = _checks.positive("perplexity", perplexity, distances.dtype)
  if _checks.is_concrete(perplexity) and perplexity <= 1:
    raise ValueError(
      f"perplexity must exceed 1, got {float(perplexity):g}: at 1 an example "
      "belongs to the nearest cluster alone."
    )
  if where is None:
    where = jnp.ones(distances.shape, jnp.bool_)
  else:
    axes = "[N, K] of squared_distances"
    where = _checks.mask("where", where, distances.shape, axes)
  return _variance_of_perplexity(distances, where, perplexity)


@jax.jit
def _variance_of_perplexity(
  distances: jax.Array, where: jax.Array, perplexity: jax.Array
) -> jax.Array:
  """Bisects the logarithm of the variance."""
  # The excess over the nearest cluster: a common distance drops out.
  nearest = jnp.min(
    distances, axis=1, keepdims=True, where=where, initial=jnp.inf
  )
  beyond = jnp.where(where, distances - nearest, 0)
  scale = jnp.mean(beyond, where=where)
  scale = jnp.where(scale == 0, 1, scale)

  def mean_perplexity(variance: jax.Array) -> jax.Array:
    log_probs = jax.nn.log_softmax(-beyond / (2 * variance), where=where)
    probs = jnp.where(where, jnp.exp(log_probs), 0)
    entropy = -jnp.sum(probs * jnp.where(probs > 0, log_probs, 0), axis=1)
    return jnp.mean(jnp.exp(entropy), where=where.any(axis=1))

  def halve(_: int, bounds: tuple[jax.Array, jax.Array]):
    low, high = bounds
    middle = (low + high) / 2
    is_small = mean_perplexity(jnp.exp(middle)) < perplexity
    return jnp.where(is_small, middle, low), jnp.where(is_small, high, middle)

  low, high = jnp.log(scale * _LEAST), jnp.log(scale * _MOST)
  # A few outliers may raise the mean excess so much that the variance lies
  # below these bounds.
  least = jnp.min(beyond, where=beyond > 0, initial=jnp.inf)
  lowest = jnp.maximum(least * _HARD, jnp.finfo(scale.dtype).tiny)
  is_below = mean_perplexity(jnp.exp(low)) > perplexity
  bounds = (
    jnp.where(is_below, jnp.minimum(jnp.log(lowest), low), low),
    jnp.where(is_below, low, high),
  )
  _, high = jax.lax.fori_loop(0, _STEPS, halve, bounds)
  return jnp.exp(high)


def _projected(rows: jax.Array, basis: jax.Array) -> jax.Array:
  """Removes the components inside the basis from each row, ``[..., D]``."""
  for _ in range(2):  # One pass leaves the rounding of what it removed.
    inside = jnp.dot(rows, basis, precision=_HIGHEST)
    rows = rows - jnp.dot(inside, basis.T, precision=_HIGHEST)
  return rows


@jax.jit
def _centroid_subspaces(
  centroids: jax.Array,
  means: jax.Array,
  basis: jax.Array,
  variance: jax.Array,
) -> Subspaces:
  """Computes the directions to the centroids, and the offsets."""
  basis, _ = _checked_basis(basis, means.dtype)
  # Subtract the means before projecting: means far from zero cost no digits.
  shifts = _projected(centroids - means[:, None], basis)
  directions = shifts / variance
  offsets = -jnp.sum(shifts * directions, axis=-1) / 2
  return Subspaces(directions, means, offsets)
