"""Runs cells: data, teacher, stacks, results, each kept once it is there."""

import collections
import functools
import json
import pathlib
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from etils import epath
from ml_collections import ConfigDict

from experiments import cells
from experiments.data import load
from experiments.data.dataset import Splits
from experiments.distributed import processes
from experiments.distributed.signals import Interrupts
from experiments.distributed.signals import interrupts
from experiments.distributed.signals import stop_if_asked
from experiments.io import json_files
from experiments.io import storage
from experiments.io import students
from experiments.methods import clusters
from experiments.methods import hyperparameter_arrays
from experiments.methods import METHODS
from experiments.specs import DataSpec
from experiments.training import cached_examples
from experiments.training import checks
from experiments.training import finished
from experiments.training import jobs
from experiments.training import loop
from experiments.training import passes
from experiments.training import pretraining
from experiments.training import recipe
from experiments.training import resuming
from experiments.training import sweeping
from experiments.training import teacher as teacher_lib
from experiments.training import watch
from experiments.training.fitting import check_subspace
from experiments.training.watch import Wanted


def run_cells(
  configs: Sequence[ConfigDict],
  workdir: pathlib.Path,
  *,
  teacher_directory: pathlib.Path | None = None,
  checkpoint_directory: epath.Path | None = None,
) -> list[pathlib.Path]:
  """Trains every cell that has no result yet.

  Stacks follow from the configs alone: one in which a cell lacks its result
  is trained whole, from its last checkpoint, and results that exist are kept.
  What another command trains in the same workdir is waited for.

  Args:
    configs: Configs of single cells.
    workdir: Where teachers, cells and stacks are and go.
    teacher_directory: Folder of teachers, to share them between workdirs.
    checkpoint_directory: Where the states of unfinished stacks go, also in a
      bucket; `checkpoints` in the workdir if None.

  Returns:
    The folder of each cell.

  Raises:
    Interrupted: On SIGINT or SIGTERM, after saving.
    ValueError: If a config names something that does not exist, or a stack
      was begun with its states in another folder.
  """
  check(configs)
  configs = cached_examples.resolved(configs)
  teachers = teacher_directory or workdir / "teachers"
  stacks = cells.stacks(configs)
  by_teacher = {_teacher_key(config): config for config in configs}
  with interrupts() as signals:

    @functools.lru_cache(maxsize=1)
    def load_teacher(key: tuple[str, str, str]) -> teacher_lib.Teacher:
      config = by_teacher[key]
      splits = load_splits(config, workdir)
      for stack in stacks:
        if _teacher_key(stack.configs[0]) == key:
          checks.check(stack.configs, splits)
      return teacher_lib.load_or_train(config, splits, teachers, signals)

    def run(stack: cells.Stack, label: str) -> None:
      held, elsewhere = sweeping.checkpoint_directory(workdir, stack), None
      if checkpoint_directory is not None:
        elsewhere = checkpoint_directory / stack.digest
        # Before hours of work, not after them.
        processes.from_main(lambda: storage.check(elsewhere))
      states = resuming.states_folder(held, elsewhere)
      teacher = load_teacher(_teacher_key(stack.configs[0]))
      stop_if_asked(signals, "the teacher is finished")
      _run_stack(stack, teacher, workdir, states, label, signals)
      resuming.forget_states(held)

    sweeping.run_unfinished(
      stacks, workdir, run, functools.partial(stop_if_asked, signals)
    )
  return [cells.cell_directory(workdir, config) for config in configs]


def _teacher_key(config: ConfigDict) -> tuple[str, str, str]:
  """Which teacher, where its outputs come from, and for which examples.

  What is prepared with it is of those that students see.
  """
  data = json.dumps(config.data.to_dict(), sort_keys=True)
  return cells.teacher_digest(config), config.teacher.outputs, data


def check(configs: Sequence[ConfigDict]) -> None:
  """Raises for what would otherwise fail after hours of training.

  Args:
    configs: Configs of single cells.

  Raises:
    ValueError: If one names something that does not exist, a value is out of
      range, or two cells would share a folder.
  """
  folders = set()
  for config in configs:
    if config.method not in METHODS:
      raise ValueError(
        f"unknown method {config.method!r}; there are {sorted(METHODS)}."
      )
    checks.check_roles(config)
    clusters.check_scope(config)
    hyperparameter_arrays(config)
    check_subspace(config.subspace)
    watch.check(config)
    checks.check_outputs(config)
    folders.add(cells.cell_directory(pathlib.Path(), config))
  if len(folders) < len(configs):
    raise ValueError(
      f"{len(configs)} cells have {len(folders)} folders: a grid names a value "
      "twice, or two rows are alike."
    )
  # Cells of a sweep share these sections: thousands of cells have a few.
  for config in {(id(c.data), c.selection): c for c in configs}.values():
    load.check(DataSpec(**config.data.to_dict()), config.selection)
  models = [fields for c in configs for fields in (c.teacher, c.student)]
  for fields in {id(fields): fields for fields in models}.values():
    recipe.check(cells.plain(fields))


def load_splits(
  config: ConfigDict, workdir: pathlib.Path | None = None
) -> Splits:
  """Loads the data of a config.

  Args:
    config: Its `data` and `selection` say which.
    workdir: Where a user's own files are prepared.

  Returns:
    The examples and what is known of the task.

  Raises:
    FileNotFoundError: If the data were not prepared.
    ValueError: If a field of it does not fit.
  """
  fields = json.dumps(config.data.to_dict(), sort_keys=True)
  return _load(fields, config.selection, workdir)


@functools.lru_cache(maxsize=2)
def _load(fields: str, selection: str, workdir: pathlib.Path | None) -> Splits:
  # A user's own files are brought into their training form by one process.
  return processes.main_first(
    lambda: load.load(DataSpec(**json.loads(fields)), selection, workdir)
  )


def student_embeddings(
  config: ConfigDict, workdir: pathlib.Path, rows: np.ndarray | None = None
) -> np.ndarray:
  """Computes the embeddings of the test examples by a finished cell's student.

  Args:
    config: The cell's config.
    workdir: Where it was trained.
    rows: Positions of the test examples, int ``[N]``; all of them for None.

  Returns:
    The embeddings, in the order of these examples, float32, ``[N, D]``.

  Raises:
    FileNotFoundError: If the cell is not finished.
  """
  folder = cells.cell_directory(workdir, config)
  params, model_state = students.load_student(folder / "student.msgpack")
  splits = load_splits(config, workdir)
  arrays = splits.test
  if rows is not None:
    kept = [name for name in loop.READ if name in arrays]
    arrays = {name: arrays[name][rows] for name in kept}
  fields, scale = cells.plain(config.student), splits.task.scale
  parts, order = [], []
  for places, outputs in passes.outputs(
    fields, params, model_state, arrays, scale
  ):
    parts.append(outputs.embeddings)
    order.append(places)
  return np.concatenate(parts)[np.argsort(np.concatenate(order))]


def _run_stack(
  stack: cells.Stack,
  teacher: teacher_lib.Teacher,
  workdir: pathlib.Path,
  states: pathlib.PurePath,
  label: str,
  signals: Interrupts,
) -> None:
  """Trains a stack and writes the folder of each cell, result.json last."""
  splits = load_splits(stack.configs[0], workdir)
  start = time.monotonic()
  splits, teacher = cached_examples.with_outputs(
    stack.configs[0], splits, teacher
  )
  loss_params = pretraining.load_or_train(
    stack.configs[0], splits, teacher, workdir / "pretraining", signals
  )
  job = jobs.make_job(
    stack.configs,
    splits,
    train=splits.transfer,
    teacher=teacher,
    names=stack.names,
    loss_params=loss_params,
  )
  prepared = time.monotonic()
  folders = [cells.cell_directory(workdir, c) for c in stack.configs]
  done = processes.from_main(lambda: _begin(folders, stack.configs))
  metric_paths = [
    None if kept else folder / "metrics.jsonl"
    for folder, kept in zip(folders, done, strict=True)
  ]
  trained = loop.train(
    job,
    checkpoint_directory=states,
    wanted=Wanted(stack.configs, metric_paths, label),
    signals=signals,
  )
  shared = {"teacher": teacher.summary} | _times(
    stack, teacher, trained, start=start, prepared=prepared
  )
  parts = zip(
    folders,
    done,
    stack.configs,
    job.sizes,
    finished.students(job, trained.states),
    finished.results(job, trained, splits),
    strict=True,
  )
  written = [
    (folder, student, _identity(config, size) | result | shared)
    for folder, kept, config, size, student, result in parts
    if not kept
  ]
  processes.from_main(lambda: _end(written, states))


def _times(
  stack: cells.Stack,
  teacher: teacher_lib.Teacher,
  trained: loop.Trained,
  *,
  start: float,
  prepared: float,
) -> dict[str, Any]:
  """How long a stack took, for the results of its cells."""
  # Of this process: not known of one that continued.
  seconds = None if trained.continued else round(time.monotonic() - start, 3)
  size = len(stack.configs)
  return {
    "stack": {"digest": stack.digest, "num_cells": size, "seconds": seconds},
    "seconds": {
      "teacher": teacher.seconds["training"],
      # Computed once, when the first stack asks for them; else None.
      "moments": teacher.seconds.get("moments"),
      # Of the stack: projections, clusters and subspaces, and what of the
      # teacher no stack before it needed; then each step.
      "preparation": round(prepared - start, 3),
      "step": trained.step_seconds,
    },
  }


def _begin(
  folders: Sequence[pathlib.Path], configs: Sequence[ConfigDict]
) -> list[bool]:
  """Writes what cells are; returns which of them have their results."""
  done = [(folder / "result.json").exists() for folder in folders]
  for folder, config, kept in zip(folders, configs, done, strict=True):
    if not kept:
      json_files.write_json(folder / "config.json", cells.plain(config))
  return done


def _end(
  cells_written: Sequence[tuple[pathlib.Path, Any, dict[str, Any]]],
  states: pathlib.PurePath,
) -> None:
  """Writes students and results, and deletes what they came from."""
  for folder, student, result in cells_written:
    students.save_student(folder / "student.msgpack", *student)
    json_files.write_json(folder / "result.json", result)
  storage.delete(states)


def _identity(config: ConfigDict, size: int) -> dict[str, Any]:
  """What a result is the result of; S of LELP is what it came to."""
  # What the method reads, and whatever else its row of the sweep varies.
  names = dict.fromkeys(METHODS[config.method].hyperparameters)
  row = config.sweep.methods.get(cells.row_name(config), ConfigDict())
  names |= dict.fromkeys(n for n in cells.flatten(row) if "." in n)
  values = cells.flatten(config) | {"subspace.num_subclasses": size}
  short = collections.Counter(n.split(".")[-1] for n in names)
  return {
    "column": config.column,
    "method": cells.row_name(config),
    "digest": cells.cell_digest(config),
    "trial": config.trial,
    "selection": config.selection,
    "hyperparameters": {
      (n if short[n.split(".")[-1]] > 1 else n.split(".")[-1]): values[n]
      for n in names
    },
  }
