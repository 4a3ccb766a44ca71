"""Inspection of a finished cell: its subclasses and its student's embeddings.

Subclasses are not stored. They are computed again from the teacher's statistics
and the cell's random key, by the functions that training calls.
"""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np

import lelp_jax
from experiments import identity
from experiments import results
from experiments import specs
from experiments.data.dataset import Arrays
from experiments.data.dataset import Splits
from experiments.data.dataset import Subclasses
from experiments.io import students
from experiments.io.progress import Progress
from experiments.methods.clustering import CLUSTERINGS
from experiments.specs import CellSpec
from experiments.training import teacher as teacher_lib
from experiments.training.build import build_run
from experiments.training.inference import FrozenModel
from experiments.training.information import clusters_of
from experiments.training.models import Weights
from experiments.training.types import model_fields
from experiments.training.types import Run
from experiments.training.types import Teacher
from lelp_jax.models import Outputs

# Methods that split classes by outputs of the teacher.
_WITH_DIRECTIONS = ("lelp", "lelp_centroids", "random_ensemble")
METHODS = (*_WITH_DIRECTIONS, "subclass", *CLUSTERINGS)
SPLITS = ("train", "validation", "test")


def check_has_subclasses(cell: CellSpec, split: str) -> None:
  """Raises ValueError for a cell or examples that cannot be inspected."""
  if cell.method not in METHODS:
    raise ValueError(
      f"method {cell.method!r} has no subclasses to inspect; methods with "
      f"subclasses are {', '.join(METHODS)}."
    )
  if cell.method in CLUSTERINGS and split != "train":
    raise ValueError(
      f"method {cell.method!r} has clusters of the students' training examples "
      f'only: split must be "train", got {split!r}.'
    )


def subclasses(
  cell: CellSpec,
  splits: Splits,
  result: results.CellResult,
  teachers: pathlib.Path,
  split: str = "train",
) -> Subclasses:
  """Computes the subclasses of a finished cell and of the examples of a split.

  Args:
    cell: The cell, which `check_has_subclasses` accepts.
    splits: Its data.
    result: Its result.
    teachers: Folder of teachers.
    split: "train", "validation" or "test". With a clustering, "train" means the
      students' training examples, which were clustered.

  Returns:
    The subclasses.

  Raises:
    FileNotFoundError: If the teacher is missing.
    ValueError: If its data or its teacher changed.
  """
  digest, now = result.teacher.digest, identity.teacher_digest(cell)
  if digest != now:
    raise ValueError(
      f"the cell was trained with teacher {digest}, but this version of the "
      f"code names its teacher {now}: inspect it with the version that trained "
      "it."
    )
  path = results.path_of(teachers / digest, results.TeacherResult)
  if not path.is_file():
    raise FileNotFoundError(
      f"there is no finished teacher {digest} in {teachers}: set --teacher_dir "
      "to the folder that the cell was trained with."
    )
  # "inline" gives directions in the space of the embeddings, and writes no
  # cache.
  cell = specs.replace(cell, {"teacher.outputs": "inline"})
  teacher = teacher_lib.load_or_train(cell, splits, teachers)
  run = build_run([cell], splits, teacher=teacher, names=[])
  _check_same(run, result)
  targets = run.shared_targets | {k: v[0] for k, v in run.targets.items()}
  where = np.asarray(targets["where"])
  labels = teacher.statistics.transfer_classes
  if (clusters := clusters_of(targets, labels)) is not None:
    examples = {**splits.transfer, "labels": labels}
    return Subclasses("cluster", examples, where, clusters)
  examples = {name: getattr(splits, name) for name in SPLITS}[split]
  subspaces, shares = None, None
  if cell.method in _WITH_DIRECTIONS:
    subspaces = lelp_jax.Subspaces(
      targets["directions"], targets["means"], targets.get("offsets")
    )
    shares = np.asarray(_variance_shares(subspaces, teacher))
  model = FrozenModel(cell.teacher, teacher.weights, splits.task.scale)
  coordinates = _coordinates(model, subspaces, where, examples)
  assigned = coordinates.argmax(axis=1)
  kind = "output" if subspaces is None else "direction"
  return Subclasses(kind, examples, where, assigned, coordinates, shares)


def student_embeddings(
  cell: CellSpec,
  workdir: pathlib.Path,
  splits: Splits,
  rows: np.ndarray,
) -> np.ndarray:
  """Computes the student's embeddings of some test examples, ``[N, D]``.

  Args:
    cell: A finished cell.
    workdir: Its workdir.
    splits: Its data.
    rows: Positions of the examples in the test split, int ``[N]``.
  """
  folder = identity.cell_directory(workdir, cell)
  weights = Weights(*students.load_student(folder / "student.msgpack"))
  arrays = {k: v[rows] for k, v in model_fields(splits.test).items()}
  model = FrozenModel(cell.student, weights, splits.task.scale)
  return np.asarray(model.outputs(arrays).embeddings)


def _check_same(run: Run, result: results.CellResult) -> None:
  """Raises ValueError unless the directions carry the recorded variance."""
  shares = result.variance_share
  if shares is not None and not np.allclose(
    np.asarray(shares, float), run.targets["variance_share"][0], atol=1e-3
  ):
    raise ValueError(
      "the directions now carry a different share of the variance than when "
      "the cell was trained: its data or its teacher changed."
    )


def _variance_shares(
  subspaces: lelp_jax.Subspaces, teacher: Teacher
) -> jax.Array:
  """Returns the share of the variance along each direction, ``[C, S]``."""

  def share(directions: jax.Array) -> jax.Array:
    subspace = lelp_jax.Subspaces(directions[:, None], subspaces.means)
    return lelp_jax.variance_share(subspace, teacher.statistics.moments)

  return jax.vmap(share, 1, 1)(subspaces.directions)


def _coordinates(
  model: FrozenModel,
  subspaces: lelp_jax.Subspaces | None,
  where: np.ndarray,
  examples: Arrays,
) -> np.ndarray:
  """Returns coordinates of examples in their own class, ``[N, S]``.

  Without subspaces these are the logits of the subclasses.
  """

  @jax.jit
  def in_own_class(outputs: Outputs, labels: jax.Array) -> jax.Array:
    if subspaces is None:
      in_all = outputs.logits.reshape(-1, *where.shape)
    else:
      in_all = lelp_jax.subspace_coordinates(outputs.embeddings, subspaces)
    return jnp.take_along_axis(in_all, labels[:, None, None], axis=1)[:, 0]

  size = len(examples["labels"])
  result = np.zeros((size, where.shape[1]), np.float32)
  label = "the teacher's coordinates"
  with Progress(size, label=label, unit="example") as progress:
    for batch, placed, outputs in model.batches(examples):
      real = batch["mask"]
      coordinates = np.asarray(in_own_class(outputs, placed["labels"]))
      result[batch["rows"][real]] = coordinates[real]
      progress.update(int(real.sum()))
  return result
