"""What is fitted to a teacher once: moments, directions, subspaces."""

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
    moments: Moments of the teacher's embeddings of its training examples.
    head_kernel: Weights of the teacher's last layer, ``[D, C]``.
    transfer_labels: Classes of the students' training examples, int ``[N]``.
  """

  def __init__(
    self,
    moments: lelp_jax.ClassMoments,
    head_kernel: jax.Array,
    transfer_labels: Any = (),
    transfer_outputs: Callable[[], Outputs] | None = None,
  ):
    self.moments = moments
    self.head_kernel = head_kernel
    self.transfer_labels = transfer_labels
    self._transfer_outputs = transfer_outputs
    self._made: dict[Any, Any] = {}

  @property
  def width(self) -> int:
    """Width of the teacher's embeddings, D."""
    return self.moments.mean.shape[-1]

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
  plain = config.kind == "pca"
  return lelp_jax.subspaces_from_principal(
    teacher.principal(
      "none" if plain else config.null_space, size, config.rtol
    ),
    num_subclasses=config.num_subclasses,
    key=key,
    rotation="none" if plain else config.rotation,
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
