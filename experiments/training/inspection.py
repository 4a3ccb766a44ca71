"""What a finished cell's method splits classes into, and who belongs where."""

import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

import lelp_jax
from experiments import cells
from experiments.data.dataset import Splits
from experiments.data.dataset import Subclasses
from experiments.io.progress import Progress
from experiments.methods.clusters import CLUSTERINGS
from experiments.training import jobs
from experiments.training import loop
from experiments.training import passes
from experiments.training import teacher as teacher_lib
from lelp_jax.models import Outputs

# Methods that split classes by what the teacher computes.
METHODS = ("lelp", "subclass", *CLUSTERINGS)
SPLITS = ("train", "validation", "test")


def check(config: ConfigDict, split: str) -> None:
  """Raises ValueError for a cell or examples that cannot be inspected.

  Args:
    config: The cell's config.
    split: "train", "validation" or "test".
  """
  if split not in SPLITS:
    raise ValueError(f"the split must be one of {SPLITS}, got {split!r}.")
  if config.method not in METHODS:
    raise ValueError(
      f"method {config.method!r} has no subclasses to look at; these have: "
      f"{', '.join(METHODS)}."
    )
  if config.method in CLUSTERINGS and split != "train":
    raise ValueError(
      f"method {config.method!r} has clusters of the students' training "
      f"examples alone, none of the split {split!r}."
    )


def subclasses(
  config: ConfigDict,
  splits: Splits,
  result: Mapping[str, Any],
  teachers: pathlib.Path,
  split: str = "train",
) -> Subclasses:
  """Finds the subclasses of a finished cell again, and those of examples.

  Nothing of them is stored: they follow from the teacher's statistics and the
  cell's own key, by the functions that training calls.

  Args:
    config: The cell's config.
    splits: Its data.
    result: Its result.
    teachers: Folder of teachers.
    split: Whose examples: "train" for those that the directions were fitted
      to (of a clustering, those that were clustered), "validation" or "test".

  Returns:
    The subclasses.

  Raises:
    FileNotFoundError: If its teacher is not there.
    ValueError: If there is nothing to look at, or the subclasses are not those
      that the cell was trained with.
  """
  check(config, split)
  digest, now = result["teacher"]["digest"], cells.teacher_digest(config)
  if digest != now:
    raise ValueError(
      f"the cell was trained with teacher {digest}, its config now means "
      f"{now}: inspect it with the version that trained it."
    )
  if not (teachers / digest / "result.json").is_file():
    raise FileNotFoundError(
      f"there is no finished teacher {digest} in {teachers}: give the "
      "--teacher_dir that the cell was trained with."
    )
  teacher = teacher_lib.load_or_train(config, splits, teachers)
  train = splits.transfer
  job = jobs.make_job([config], splits, train=train, teacher=teacher, names=[])
  _check_same(job, result)
  targets = job.shared_targets | {k: v[0] for k, v in job.targets.items()}
  where = np.asarray(targets["where"])
  if config.method in CLUSTERINGS:
    found = _clusters(targets, train["labels"])
    return Subclasses("cluster", train, where, found)
  examples = {name: getattr(splits, name) for name in SPLITS}[split]
  subspaces, shares = None, None
  if config.method == "lelp":
    subspaces = lelp_jax.Subspaces(targets["directions"], targets["means"])
    shares = np.asarray(_variance_shares(subspaces, teacher))
  scale = splits.task.scale
  coordinates = _coordinates(config, teacher, subspaces, where, examples, scale)
  found = coordinates.argmax(axis=1)
  kind = "output" if subspaces is None else "direction"
  return Subclasses(kind, examples, where, found, coordinates, shares)


def _check_same(job: loop.Job, result: Mapping[str, Any]) -> None:
  """Raises ValueError unless these directions carry what is recorded."""
  shares = result["variance_share"]
  if shares is not None and not np.allclose(
    shares, job.targets["variance_share"][0], atol=1e-3
  ):
    raise ValueError(
      "the directions found now carry another share of the variance than "
      "those the cell was trained with: its data or its teacher changed."
    )


def _variance_shares(
  subspaces: lelp_jax.Subspaces, teacher: teacher_lib.Teacher
) -> jax.Array:
  """The share of each single direction, [C, S]."""

  def of_one(directions: jax.Array) -> jax.Array:
    one = lelp_jax.Subspaces(directions[:, None], subspaces.means)
    return lelp_jax.variance_share(one, teacher.statistics.moments)

  return jax.vmap(of_one, 1, 1)(subspaces.directions)


def _clusters(targets: Mapping[str, Any], labels: np.ndarray) -> np.ndarray:
  """The cluster of each training example in its own class."""
  if "assignments" in targets:
    return np.asarray(targets["assignments"])
  memberships = np.asarray(targets["memberships"])
  return np.take_along_axis(memberships, labels[:, None], axis=1)[:, 0]


def _coordinates(
  config: ConfigDict,
  teacher: teacher_lib.Teacher,
  subspaces: lelp_jax.Subspaces | None,
  where: np.ndarray,
  examples: loop.Arrays,
  scale: float,
) -> np.ndarray:
  """Coordinates of examples in their own class, [N, S], in one pass."""

  @jax.jit
  def own(outputs: Outputs, labels: jax.Array) -> jax.Array:
    if subspaces is None:
      every = outputs.logits.reshape(-1, *where.shape)
    else:
      every = lelp_jax.subspace_coordinates(outputs.embeddings, subspaces)
    return jnp.take_along_axis(every, labels[:, None, None], axis=1)[:, 0]

  labels = np.asarray(examples["labels"])
  found = np.zeros((len(labels), where.shape[1]), np.float32)
  label = "the teacher's coordinates"
  with Progress(len(labels), label=label, unit="example") as progress:
    for rows, outputs in passes.outputs(
      cells.plain(config.teacher),
      teacher.params,
      teacher.model_state,
      examples,
      scale,
    ):
      found[rows] = own(outputs, labels[rows])
      progress.update(len(rows))
  return found
