"""What is fitted to a teacher once: moments, directions, subspaces."""

import copy
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

import lelp_jax
from lelp_jax.models import Outputs


class TeacherStatistics:
  """What methods prepare their targets from, each part computed once.

  Attributes:
    head_kernel: Weights of the teacher's last layer, ``[D, C]``.
    transfer_labels: Classes of the students' training examples, int ``[N]``.
    coordinates: The principal directions that students get coordinates on in
      place of embeddings, or None where they get embeddings.
  """

  def __init__(
    self,
    moments: lelp_jax.ClassMoments | Callable[[], lelp_jax.ClassMoments],
    head_kernel: jax.Array,
    transfer_labels: Any = (),
    transfer_outputs: Callable[[], Outputs] | None = None,
  ):
    self._moments = moments
    self.head_kernel = head_kernel
    self.transfer_labels = transfer_labels
    self._transfer_outputs = transfer_outputs
    self.coordinates: lelp_jax.PrincipalDirections | None = None
    self._made: dict[Any, Any] = {}

  def in_coordinates(
    self, principal: lelp_jax.PrincipalDirections
  ) -> "TeacherStatistics":
    """Returns these statistics for students that get coordinates."""
    other = copy.copy(self)
    other.coordinates = principal
    return other

  @property
  def width(self) -> int:
    """Width of the teacher's embeddings, D."""
    return self.head_kernel.shape[0]

  @property
  def moments(self) -> lelp_jax.ClassMoments:
    """Moments of the teacher's embeddings of its training examples."""
    if isinstance(self._moments, lelp_jax.ClassMoments):
      return self._moments
    return self.once("moments", self._moments)

  @property
  def means(self) -> jax.Array:
    """Class means of what students get, embeddings or coordinates."""
    if self.coordinates is None:
      return self.moments.mean
    return lelp_jax.coordinate_directions(self.coordinates).means

  @functools.cached_property
  def transfer_outputs(self) -> Outputs:
    """The teacher's outputs on the students' training examples, on the host."""
    assert self._transfer_outputs is not None
    return self._transfer_outputs()

  def principal(
    self, null_space: str, num_directions: int, rtol: float
  ) -> lelp_jax.PrincipalDirections:
    """Principal directions, decomposed once for all cells of a stack."""
    return self.once(
      (null_space, num_directions, rtol),
      lambda: lelp_jax.principal_directions(
        self.moments,
        self.head_kernel,
        num_directions=num_directions,
        null_space=null_space,
        rtol=rtol,
      ),
    )

  def once(self, name: Any, make: Callable[[], Any]) -> Any:
    """Returns what `make` made the first time that `name` was asked for."""
    if name not in self._made:
      self._made[name] = make()
    return self._made[name]


def fitted_subspaces(
  config: ConfigDict, teacher: TeacherStatistics, key: jax.Array, size: int
) -> lelp_jax.Subspaces:
  """Fits the subspaces of LELP or of one of its ablations (appendix C).

  Args:
    config: `config.subspace` of a cell.
    teacher: What is known of the teacher.
    key: Random key of rotation or directions.
    size: The largest S of the stack, for one decomposition behind all.

  Returns:
    The subspaces, at the cell's own S.

  Raises:
    ValueError: If an option is unknown.
  """
  if config.kind == "random":
    return _random_subspaces(config, teacher, key)
  if config.kind == "identity":
    return lelp_jax.identity_subspaces(
      teacher.moments, normalization=config.normalization
    )
  if config.kind not in ("lelp", "pca"):
    raise ValueError(
      'config.subspace.kind must be "lelp", "pca", "random" or "identity", '
      f"got {config.kind!r}."
    )
  if teacher.coordinates is None:
    principal = teacher.principal(null_space(config), size, config.rtol)
  else:
    principal = lelp_jax.coordinate_directions(teacher.coordinates)
  return lelp_jax.subspaces_from_principal(
    principal,
    num_subclasses=config.num_subclasses,
    key=key,
    rotation="none" if config.kind == "pca" else config.rotation,
    normalization=config.normalization,
    rank_deficient=config.rank_deficient,
  )


def _random_subspaces(
  config: ConfigDict, teacher: TeacherStatistics, key: jax.Array
) -> lelp_jax.Subspaces:
  """Random directions, those of several projections one after another.

  Direction ``s * M + m`` is number s of projection m, of M.
  """
  number = config.num_projections
  if number == 1:
    keys = [key]
  else:
    keys = list(jax.random.split(key, number))
  parts = [
    lelp_jax.random_subspaces(
      teacher.moments,
      num_subclasses=config.num_subclasses // number,
      key=one,
      normalization=config.normalization,
    )
    for one in keys
  ]
  directions = jnp.stack([part.directions for part in parts], axis=2)
  num_classes, _, _, width = directions.shape
  directions = directions.reshape(num_classes, -1, width)
  return lelp_jax.Subspaces(directions, parts[0].means)


def null_space(config: ConfigDict) -> str:
  """Names what the directions of a subspace are kept off (A-3).

  Args:
    config: `config.subspace` of a cell.
  """
  return "none" if config.kind == "pca" else config.null_space


def variance_share(
  subspaces: lelp_jax.Subspaces, teacher: TeacherStatistics
) -> jax.Array:
  """Computes the share of each class's variance inside its subspace, ``[C]``.

  Args:
    subspaces: What `fitted_subspaces` returned for the same teacher.
    teacher: What is known of the teacher.
  """
  if teacher.coordinates is None:
    return lelp_jax.variance_share(subspaces, teacher.moments)
  # A rotation keeps the sum of the variances of what it rotates.
  size = subspaces.directions.shape[1]
  inside = teacher.coordinates.variances[:, :size].sum(axis=-1)
  total = teacher.coordinates.total_variance
  return jnp.where(total > 0, inside / jnp.where(total > 0, total, 1), 0)


def check_subspace(config: ConfigDict) -> None:
  """Raises ValueError for options of a subspace that there are not.

  Args:
    config: `config.subspace` of a cell.
  """
  fields = ("kind", "null_space", "rotation", "normalization", "rank_deficient")
  _check_subspace(tuple((name, config[name]) for name in fields))
  number = config.num_projections
  if number != 1 and config.kind != "random":
    raise ValueError(
      'config.subspace.num_projections above 1 needs config.subspace.kind="'
      f'random", got {config.kind!r}.'
    )
  if number < 1 or config.num_subclasses % number:
    raise ValueError(
      f"config.subspace.num_projections={number} must divide "
      f"config.subspace.num_subclasses={config.num_subclasses}."
    )


@functools.cache
def _check_subspace(fields: tuple[tuple[str, str], ...]) -> None:
  """Goes through the motions on shapes alone."""
  sizes = {"num_subclasses": 1, "num_projections": 1, "rtol": 1e-2}
  config = ConfigDict(dict(fields) | sizes)

  def fit(moments, head_kernel, key):
    statistics = TeacherStatistics(moments, head_kernel)
    return fitted_subspaces(config, statistics, key, 1)

  zeros = jnp.zeros
  moments = lelp_jax.ClassMoments(zeros(2), zeros((2, 4)), zeros((2, 4, 4)))
  try:
    jax.eval_shape(fit, moments, zeros((4, 2)), jax.random.key(0))
  except ValueError as error:
    raise ValueError(f"config.subspace: {error}") from error
