"""Reads what `experiments.sweep` and `experiments.main` leave in a workdir.

A workdir holds `sweep.json`, which says what was asked for, and one
`cells/<column>/<method>/<digest>/trial<k>/result.json` for each run that has
finished. Here both become plain dataclasses. Nothing is filled in: a run that
is not there is counted and said, and a file that cannot be trusted is an error.
"""

import dataclasses
import json
import math
import os
import pathlib
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from experiments.reporting.records import Cell
from experiments.reporting.records import METHOD_TITLES
from experiments.reporting.records import Named
from experiments.reporting.records import Results
from experiments.reporting.records import Scores
from experiments.reporting.records import Teacher

__all__ = ["load", "Cell", "Results"]

SELECTIONS = ("heldout", "test")
COLUMN_KINDS = ("replicates", "settings")


def load(workdir: str | os.PathLike[str]) -> Results:
  """Reads every finished run of a workdir.

  Args:
    workdir: What was given to `experiments.sweep` or `experiments.main` as
      `--workdir`. Without a `sweep.json` the columns and methods are those
      whose folders are there, the name is the one that all configs have.

  Returns:
    The runs, and what is missing as a counted note.

  Raises:
    FileNotFoundError: If the folder or any finished run is not there.
    ValueError: If a file is not what the sweep writes.
  """
  root = pathlib.Path(workdir)
  if not root.is_dir():
    raise FileNotFoundError(
      f"workdir {root} is no folder: pass the --workdir of experiments.sweep."
    )
  paths = sorted(root.glob("cells/*/*/*/trial*/result.json"))
  if not paths:
    raise FileNotFoundError(
      f"workdir {root} holds no cells/*/*/*/trial*/result.json:"
      " run experiments.sweep or experiments.main with this --workdir first."
    )
  cells = tuple(_read_cell(path, root) for path in paths)
  _check_unique(cells, root)
  sweep = root / "sweep.json"
  if sweep.is_file():
    results = _read_sweep(sweep, cells)
  else:
    results = _results_from_folders(root, cells)
  datasets = {
    column: name
    for column, config in _configs(root, results.cells).items()
    if (name := config.get("data", {}).get("dataset"))
  }
  notes = (*results.notes, *_teacher_notes(results.cells))
  return dataclasses.replace(results, datasets=datasets, notes=notes)


def _configs(
  root: pathlib.Path, cells: Sequence[Cell]
) -> dict[str, dict[str, Any]]:
  """The config of a run in each column, where there is one."""
  first: dict[str, Cell] = {}
  for cell in cells:
    first.setdefault(cell.column, cell)
  paths = {column: root / cell.config for column, cell in first.items()}
  return {c: _read_json(path) for c, path in paths.items() if path.is_file()}


def _teacher_notes(cells: Sequence[Cell]) -> list[str]:
  """Tells of teachers of one config that were trained apart."""
  scores: dict[str, dict[float, str]] = {}
  for cell in cells:
    if cell.teacher is not None:
      found = scores.setdefault(cell.teacher.digest, {})
      found.setdefault(cell.teacher.test.accuracy, cell.column)
  return [
    f"Teacher {digest} was trained more than once, as by shards without a"
    f" common --teacher_dir, and its trainings differ: test accuracy"
    f" {', '.join(f'{100 * x:.2f}' for x in found)} %. It is shown as one, with"
    " one of these numbers."
    for digest, found in scores.items()
    if len(found) > 1
  ]


def _read_sweep(path: pathlib.Path, cells: tuple[Cell, ...]) -> Results:
  """Lays the runs beside what sweep.json asks for, and counts the rest."""
  record = _read_json(path)
  selection = _field(record, "selection", str, path)
  columns_are = _field(record, "columns_are", str, path)
  for key, value, options in (
    ("selection", selection, SELECTIONS),
    ("columns_are", columns_are, COLUMN_KINDS),
  ):
    if value not in options:
      raise ValueError(f"{path}: {key} must be in {options}, got {value!r}.")
  columns = _read_named(record, "columns", path)
  methods = _read_named(record, "methods", path)
  num_trials = _field(record, "num_trials", int, path)
  digests = set(_field(record, "digests", list, path))
  asked = tuple(
    cell
    for cell in cells
    if cell.column in {c.id for c in columns}
    and cell.method in {m.id for m in methods}
    and cell.trial < num_trials
    and cell.digest in digests
  )
  num_expected = _field(record, "num_cells", int, path)
  notes = [str(note) for note in record.get("notes", [])]
  notes += _counted_notes(len(asked), len(cells), num_expected)
  return Results(
    name=_field(record, "name", str, path),
    title=_field(record, "title", str, path).rstrip("."),
    columns=columns,
    methods=methods,
    num_trials=num_trials,
    selection=selection,
    columns_are=columns_are,
    num_expected=num_expected,
    cells=asked,
    notes=tuple(notes),
    same_as={
      (item["column"], item["method"]): item["text"]
      for item in record.get("same_as", [])
    },
  )


def _counted_notes(asked: int, found: int, expected: int) -> list[str]:
  """Says what is missing and what is there without having been asked for."""
  notes = []
  if asked < expected:
    notes.append(
      f"{expected - asked} of {expected} cells are not there yet:"
      " run experiments.sweep again."
    )
  if found > asked:
    notes.append(
      f"{found - asked} finished cells are left out: sweep.json does not name"
      " their column, method, settings or trial."
    )
  return notes


def _results_from_folders(
  root: pathlib.Path, cells: tuple[Cell, ...]
) -> Results:
  """What folders and configs say, for runs of `experiments.main`."""
  known = {method: rank for rank, method in enumerate(METHOD_TITLES)}
  methods = sorted(
    {cell.method for cell in cells},
    key=lambda method: (known.get(method, len(known)), method),
  )
  held_out = all(cell.validation is not None for cell in cells)
  configs = list(_configs(root, cells).values())
  name = _common(configs, "name") or root.resolve().name
  return Results(
    name=name,
    title=(_common(configs, "title") or name).rstrip("."),
    columns=tuple(Named(c, c) for c in sorted({c.column for c in cells})),
    methods=tuple(Named(m, METHOD_TITLES.get(m, m)) for m in methods),
    num_trials=max(cell.trial for cell in cells) + 1,
    selection="heldout" if held_out else "test",
    columns_are="settings",
    num_expected=None,
    cells=cells,
    notes=("No sweep.json: the table shows the finished runs alone.",),
  )


def _common(configs: Sequence[Mapping[str, Any]], field: str) -> str:
  """What all configs have in a field; empty where they differ."""
  found = {config.get(field) for config in configs}
  return str(found.pop() or "") if len(found) == 1 else ""


def _read_cell(path: pathlib.Path, root: pathlib.Path) -> Cell:
  """Reads one result.json and checks it against the folder it lies in."""
  record = _read_json(path)
  column, method, _, trial = path.parts[-5:-1]
  cell = Cell(
    # A single run may have no column: then its folder has the name.
    column=_field(record, "column", str, path) or column,
    method=_field(record, "method", str, path),
    digest=_field(record, "digest", str, path),
    trial=_field(record, "trial", int, path),
    hyperparameters={
      name: _with_tuples(value)
      for name, value in _field(record, "hyperparameters", dict, path).items()
    },
    test=_read_scores(_field(record, "test", dict, path), "test", path),
    # With selection=test these are the test examples once more.
    validation=(
      _read_scores(record["validation"], "validation", path)
      if record.get("validation") and record.get("selection") != "test"
      else None
    ),
    train=_numbers(record.get("train") or {}),
    variance_share=_shares(record.get("variance_share")),
    teacher=_read_teacher(record.get("teacher"), path, root),
    num_parameters=record.get("num_parameters"),
    folder=path.parent.relative_to(root).as_posix(),
    null_space_share=_shares(record.get("null_space_share")),
    numbers=_flat_numbers(record),
  )
  if (column, method, trial) != (
    cell.column,
    cell.method,
    f"trial{cell.trial}",
  ):
    raise ValueError(
      f"{path} says {cell.column}/{cell.method}/trial{cell.trial}:"
      " it was moved or copied; delete it and run experiments.sweep again."
    )
  return cell


def _with_tuples(value: Any) -> Any:
  """A config's value, whose tuples JSON knows as lists."""
  return tuple(map(_with_tuples, value)) if isinstance(value, list) else value


def _read_teacher(
  record: Mapping[str, Any] | None, path: pathlib.Path, root: pathlib.Path
) -> Teacher | None:
  if not record:
    return None
  digest = _field(record, "digest", str, path)
  folder = f"teachers/{digest}"
  return Teacher(
    digest=digest,
    test=_read_scores(_field(record, "test", dict, path), "teacher test", path),
    num_parameters=record.get("num_parameters"),
    # With --teacher_dir it is elsewhere.
    folder=folder if (root / folder).is_dir() else "",
  )


def _read_scores(
  record: Mapping[str, Any], name: str, path: pathlib.Path
) -> Scores:
  accuracy = record.get("accuracy")
  if not isinstance(accuracy, int | float) or not 0 <= accuracy <= 1:
    raise ValueError(
      f"{path}: the {name} accuracy must be a fraction from 0 to 1,"
      f" got {accuracy!r}; delete it and run experiments.sweep again."
    )
  numbers = _numbers(record)
  return Scores(
    accuracy=float(accuracy),
    loss=numbers.get("loss"),
    agreement=numbers.get("agreement"),
    num_examples=record.get("num_examples"),
  )


def _numbers(record: Mapping[str, Any]) -> dict[str, float]:
  """The finite numbers of a record: what diverged or is null is left out."""
  return {
    name: float(value)
    for name, value in record.items()
    if isinstance(value, int | float) and math.isfinite(value)
  }


def _flat_numbers(
  record: Mapping[str, Any], prefix: str = ""
) -> dict[str, float]:
  """The finite numbers of a record and of the records in it."""
  found = {prefix + k: v for k, v in _numbers(record).items()}
  for name, value in record.items():
    if isinstance(value, dict):
      found |= _flat_numbers(value, f"{prefix}{name}.")
  return found


def _shares(values: Sequence[Any] | None) -> tuple[float, ...]:
  return tuple(
    _numbers({str(i): v for i, v in enumerate(values or [])}).values()
  )


def _read_named(
  record: Mapping[str, Any], key: str, path: pathlib.Path
) -> tuple[Named, ...]:
  return tuple(
    Named(
      _field(entry, "id", str, path),
      str(entry.get("title") or entry["id"]),
    )
    for entry in _field(record, key, list, path)
  )


def _read_json(path: pathlib.Path) -> dict[str, Any]:
  try:
    record = json.loads(path.read_text())
  except ValueError as error:
    raise ValueError(
      f"{path} is not valid JSON ({error}):"
      " delete it and run experiments.sweep again."
    ) from error
  if not isinstance(record, dict):
    raise ValueError(
      f"{path} must hold one JSON object, got {type(record).__name__}:"
      " delete it and run experiments.sweep again."
    )
  return record


def _field(
  record: Mapping[str, Any], key: str, kind: type, path: pathlib.Path
) -> Any:
  if not isinstance(record.get(key), kind):
    raise ValueError(
      f"{path}: {key!r} must be of type {kind.__name__},"
      f" got {record.get(key)!r}; delete it and run experiments.sweep again."
    )
  return record[key]


def _check_unique(cells: Sequence[Cell], root: pathlib.Path) -> None:
  seen = set()
  for cell in cells:
    key = (cell.column, cell.method, cell.digest, cell.trial)
    if key in seen:
      raise ValueError(
        f"{root} holds trial {cell.trial} of {cell.column}/{cell.method}/"
        f"{cell.digest} twice: delete the folder whose name is not the digest."
      )
    seen.add(key)
