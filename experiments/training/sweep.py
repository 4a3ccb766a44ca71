"""Training of the cells of a sweep: teacher, projections, stacks, results."""

import collections
import functools
import pathlib
import time
from collections.abc import Hashable
from collections.abc import Sequence
from typing import Any

import jax
from etils import epath

from experiments import identity
from experiments import results
from experiments import specs
from experiments.data.dataset import Task
from experiments.distributed import processes
from experiments.distributed import signals
from experiments.io import json_files
from experiments.io import storage
from experiments.io import students
from experiments.methods import METHODS
from experiments.stacks import Stack
from experiments.stacks import stacks
from experiments.training import claims
from experiments.training import data
from experiments.training import loop
from experiments.training import projection_pretraining
from experiments.training import resuming
from experiments.training import states
from experiments.training import teacher as teacher_lib
from experiments.training import work
from experiments.training.build import build_run
from experiments.training.forecast import Forecast
from experiments.training.forecast import Name
from experiments.training.forecast import Watch
from experiments.training.inference import FrozenModel
from experiments.training.models import Weights


def run_cells(
  cells: Sequence[specs.CellSpec],
  workdir: pathlib.Path,
  *,
  teacher_directory: pathlib.Path | None = None,
  checkpoint_directory: epath.Path | None = None,
  later: Sequence[specs.CellSpec] = (),
) -> list[pathlib.Path]:
  """Trains every cell that has no result yet.

  The grouping into stacks depends on the cells alone. If any cell of a stack
  lacks its result, the whole stack is trained from its last checkpoint; results
  that exist are kept. Stacks that another command is training in the same
  workdir are left to it, and this function waits for them.

  Args:
    cells: Valid cells, from `cells.expand` or `validate.cell_spec`.
    workdir: Folder of teachers, cells and stacks.
    teacher_directory: Folder of teachers, to share them between workdirs.
    checkpoint_directory: Folder of the checkpoints of unfinished stacks, which
      may be in a bucket; `checkpoints` in the workdir if None.
    later: Cells that the caller trains afterwards, or cells that take as long,
      which the forecast of the time includes.

  Returns:
    The folder of each cell.

  Raises:
    Interrupted: On SIGINT or SIGTERM, after saving.
    ValueError: If a cell does not fit its data, or a stack has a checkpoint in
      another folder.
  """
  by_teacher = collections.defaultdict(list)
  for cell in cells:
    by_teacher[_of_teacher(cell)].append(cell)

  teachers = teacher_directory or workdir / "teachers"
  grouped = stacks(cells)
  ahead = _ahead([*grouped, *stacks(later)], workdir, teachers)
  forecast = Forecast(ahead)
  forecast.announce()

  @functools.lru_cache(maxsize=1)
  def load_teacher(key: Hashable) -> teacher_lib.Teacher:
    first = by_teacher[key][0]
    splits = data.load_splits(first, workdir)
    data.check_data(by_teacher[key], splits)
    data.check_tokenizers(first, splits, workdir)
    watch = forecast.watch(("teacher", identity.teacher_digest(first)))
    teacher = teacher_lib.load_or_train(first, splits, teachers, watch)
    teacher_lib.check_above_chance(first, splits, teacher)
    return teacher

  def run(stack: Stack, label: str) -> None:
    held, elsewhere = claims.claim_folder(workdir, stack), None
    if checkpoint_directory is not None:
      elsewhere = checkpoint_directory / stack.digest
      # Fail before hours of work rather than at the first checkpoint.
      processes.from_main(lambda: storage.check_writable(elsewhere))
    checkpoints = resuming.checkpoint_folder(held, elsewhere)
    teacher = load_teacher(_of_teacher(stack.cells[0]))
    signals.stop_if_asked("the teacher is finished")
    watch = forecast.watch(("stack", stack.digest))
    _train_stack(stack, teacher, workdir, checkpoints, label, watch)
    resuming.forget_checkpoint_folder(held)

  with signals.deferred():
    claims.run_unfinished(grouped, workdir, run)
  return [identity.cell_directory(workdir, cell) for cell in cells]


def _ahead(
  grouped: Sequence[Stack], workdir: pathlib.Path, teachers: pathlib.Path
) -> dict[Name, work.Work]:
  """Returns the work of unfinished stacks and their teachers.

  It is in the order of training: a teacher precedes its first stack.
  """
  left = claims.unfinished(grouped, workdir)
  digests = [identity.teacher_digest(stack.cells[0]) for stack in left]
  paths = {
    digest: results.path_of(teachers / digest, results.TeacherResult)
    for digest in digests
  }
  trained = processes.from_main(
    lambda: [digest for digest, path in paths.items() if path.exists()]
  )
  ahead: dict[Name, work.Work] = {}
  for stack, digest in zip(left, digests, strict=True):
    first = stack.cells[0]
    facts = data.facts_of(first.data, first.selection, workdir)
    if digest not in trained and ("teacher", digest) not in ahead:
      ahead["teacher", digest] = work.of_teacher(first, facts)
    ahead["stack", stack.digest] = work.of_stack(stack.cells, facts)
  return ahead


def _of_teacher(cell: specs.CellSpec) -> Hashable:
  """Returns everything that cells with the same `training.types.Teacher` share.

  A `Teacher` also holds statistics of the examples that students see.
  """
  digest, outputs = identity.teacher_digest(cell), cell.teacher.outputs
  return digest, outputs, cell.data, cell.selection, cell.subspace.membership


def _train_stack(
  stack: Stack,
  teacher: teacher_lib.Teacher,
  workdir: pathlib.Path,
  checkpoints: pathlib.PurePath,
  label: str,
  watch: Watch,
) -> None:
  """Trains a stack and writes the folder of each cell, result.json last."""
  splits = data.load_splits(stack.cells[0], workdir)
  start = time.monotonic()
  loss_params, pretraining = None, None
  if METHODS[stack.cells[0].method].pretraining is not None:
    loss_params, pretraining = projection_pretraining.load_or_train(
      stack.cells[0], splits, teacher, workdir / "pretraining"
    )
  run = build_run(
    stack.cells,
    splits,
    teacher=teacher,
    names=stack.names,
    loss_params=loss_params,
  )
  prepared = time.monotonic()
  folders = [identity.cell_directory(workdir, cell) for cell in stack.cells]
  done = processes.from_main(lambda: _begin(folders, stack.cells))
  metric_paths = [
    None if is_done else folder / "metrics.jsonl"
    for folder, is_done in zip(folders, done, strict=True)
  ]
  trained = loop.train(
    run,
    checkpoint_directory=checkpoints,
    metric_paths=metric_paths,
    label=label,
    watch=watch,
  )
  weights = list(states.students(run, trained.states))
  student = FrozenModel(
    stack.cells[0].student,
    weights[0],
    splits.task.scale,
    tuple(jax.local_devices()),
  )
  # The total time of a training that was interrupted is not known.
  seconds = None if trained.continued else round(time.monotonic() - start, 3)
  shared = {
    "teacher": teacher.summary,
    "pretraining": pretraining,
    "classes": splits.task.class_names,
    "left_out": splits.left_out,
    "data_notes": splits.notes,
    "inputs": _inputs(stack.cells[0], splits.task, splits.tokenizer),
    "stack": results.StackResult(
      digest=stack.digest, num_cells=len(stack.cells), seconds=seconds
    ),
    "seconds": results.CellSeconds(
      teacher=teacher.seconds["training"],
      moments=teacher.seconds.get("moments"),
      preparation=round(prepared - start, 3),
      step=trained.step_seconds,
      example=student.seconds_per_example(splits.test),
      teacher_example=teacher.seconds["example"],
    ),
  }
  parts = zip(
    folders,
    done,
    stack.cells,
    run.sizes,
    weights,
    loop.model_results(run, trained),
    run.details,
    strict=True,
  )
  written = [
    (
      folder,
      student,
      results.CellResult(
        **vars(result), **details, **_settings(cell, size), **shared
      ),
    )
    for folder, is_done, cell, size, student, result, details in parts
    if not is_done
  ]
  processes.from_main(lambda: _end(written, checkpoints))


def _inputs(cell: specs.CellSpec, task: Task, tokenizer: str) -> dict[str, Any]:
  """Returns how inputs are made, which users of the student need to know."""
  if task.image_shape is None:
    return {"tokenizer": tokenizer, "max_length": cell.data.max_length}
  return {
    "shape": task.image_shape,
    "scale": task.scale,
    "resize": "bilinear, antialiased (Pillow)"
    if cell.data.image_size
    else None,
  }


def _begin(
  folders: Sequence[pathlib.Path], cells: Sequence[specs.CellSpec]
) -> list[bool]:
  """Writes the settings of new cells; returns which cells have results."""
  done = [
    results.path_of(folder, results.CellResult).exists() for folder in folders
  ]
  for folder, cell, is_done in zip(folders, cells, done, strict=True):
    if not is_done:
      json_files.write_json(folder / "config.json", cell)
  return done


def _end(
  written: Sequence[tuple[pathlib.Path, Weights, results.CellResult]],
  checkpoints: pathlib.PurePath,
) -> None:
  """Writes students and results, then deletes the checkpoints."""
  for folder, student, result in written:
    students.save_student(folder / "student.msgpack", *student)
    results.write(folder, result)
  storage.delete(checkpoints)


def _settings(cell: specs.CellSpec, num_subclasses: int) -> dict[str, Any]:
  """Returns the fields of a cell's result that its settings determine."""
  # The fields that the method reads, and the others that its row varies.
  names = dict.fromkeys((*METHODS[cell.method].hyperparameters, *cell.varied))
  values = dict(specs.flat(cell)) | {"subspace.num_subclasses": num_subclasses}
  last_parts = collections.Counter(name.split(".")[-1] for name in names)
  hyperparameters = {}
  for name in names:
    if name not in values:
      continue  # A field such as "mesh.teacher", which changes no numbers.
    last = name.split(".")[-1]
    hyperparameters[name if last_parts[last] > 1 else last] = values[name]
  return {
    "column": cell.column,
    "method": cell.row,
    "digest": identity.cell_digest(cell),
    "trial": cell.trial,
    "selection": cell.selection,
    "hyperparameters": hyperparameters,
  }
