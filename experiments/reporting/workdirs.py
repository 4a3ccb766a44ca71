"""Reads the finished cells of workdirs: the input of every report.

A workdir holds `sweep.json`, the description of its sweep, and one folder
`cells/<column>/<method>/<digest>/trial<k>` per cell. Missing cells are counted
and named; a damaged file is an error.
"""

import dataclasses
import os
import pathlib
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from experiments import results as results_lib
from experiments.io import json_files
from experiments.methods import METHODS
from experiments.paper.names import row_title
from experiments.reporting.document import anchor
from experiments.reporting.selection import FinishedCell
from experiments.reporting.selection import SweepResults
from experiments.results import CellResult
from experiments.results import Heading
from experiments.results import SweepDescription

_CELLS = "cells/*/*/*/trial*"


def load(workdir: pathlib.Path, base: pathlib.Path) -> SweepResults:
  """Reads the finished cells of a workdir."""
  folders = sorted(p.parent for p in workdir.glob(f"{_CELLS}/result.json"))
  if not folders:
    raise FileNotFoundError(
      f"workdir {workdir} holds no finished cell: run experiments.sweep or "
      "experiments.main with this --workdir first."
    )
  way = relative(workdir, base)
  cells = tuple(_read_cell(folder, workdir, way) for folder in folders)
  _check_unique(cells, workdir)
  configs = _configs(base, cells)
  if results_lib.path_of(workdir, SweepDescription).is_file():
    found = _described(results_lib.read(workdir, SweepDescription), cells)
  else:
    found = _not_described(workdir, cells, list(configs.values()))
  datasets = {
    column: config.get("data", {}).get("dataset", "")
    for column, config in configs.items()
  }
  return dataclasses.replace(
    found,
    datasets={column: name for column, name in datasets.items() if name},
    notes=(
      *found.notes,
      *_teacher_notes(found.cells),
      *_left_out_notes(found.cells),
      *_data_notes(found.cells),
      *_unlabelled_notes(found.cells),
    ),
    folder=way,
  )


def _read_cell(
  folder: pathlib.Path, workdir: pathlib.Path, way: str
) -> FinishedCell:
  """Reads a cell, and checks that it is the one that its folder names."""
  result = results_lib.read(folder, CellResult)
  column, method, _, trial = folder.parts[-4:]
  # A single run may have no column; its folder has a name.
  result = dataclasses.replace(result, column=result.column or column)
  if (column, method, trial) != (
    result.column,
    result.method,
    f"trial{result.trial}",
  ):
    raise ValueError(
      f"{folder} holds the result of {result.column}/{result.method}/"
      f"trial{result.trial}: it was moved or copied. Delete it and run "
      "experiments.sweep again."
    )
  teacher = f"teachers/{result.teacher.digest}"
  return FinishedCell(
    **{f.name: getattr(result, f.name) for f in dataclasses.fields(result)},
    folder=_joined(way, folder.relative_to(workdir).as_posix()),
    teacher_folder=_joined(way, teacher)
    if (workdir / teacher).is_dir()
    else "",
  )


def _joined(way: str, path: str) -> str:
  return f"{way}/{path}" if way else path


def _check_unique(cells: Sequence[FinishedCell], workdir: pathlib.Path) -> None:
  """Raises ValueError if a cell is there twice."""
  seen = set()
  for cell in cells:
    key = (cell.column, cell.method, cell.digest, cell.trial)
    if key in seen:
      raise ValueError(
        f"{workdir} holds trial {cell.trial} of {cell.column}/{cell.method}/"
        f"{cell.digest} twice: delete the folder whose name is not the digest."
      )
    seen.add(key)


def _configs(
  base: pathlib.Path, cells: Sequence[FinishedCell]
) -> dict[str, Mapping[str, Any]]:
  """Reads the config of one cell of each column, where there is one."""
  paths = {cell.column: base / cell.config for cell in reversed(cells)}
  return {c: json_files.read_json(p) for c, p in paths.items() if p.is_file()}


def _described(
  sweep: SweepDescription, cells: tuple[FinishedCell, ...]
) -> SweepResults:
  """Keeps the cells that the sweep asks for, and counts the others."""
  columns = {column.id for column in sweep.columns}
  methods = {method.id for method in sweep.methods}
  digests = set(sweep.digests)
  asked = tuple(
    cell
    for cell in cells
    if cell.column in columns
    and cell.method in methods
    and cell.trial < sweep.num_trials
    and cell.digest in digests
  )
  notes = list(sweep.notes)
  if len(asked) < sweep.num_cells:
    notes.append(
      f"{sweep.num_cells - len(asked)} of {sweep.num_cells} cells are not "
      "finished: run experiments.sweep again."
    )
  if len(asked) < len(cells) and not sweep.num_tried:
    notes.append(
      f"{len(cells) - len(asked)} finished cells are left out: sweep.json does "
      "not name their column, method, settings or trial."
    )
  fields = vars(sweep) | {"title": sweep.title.rstrip("."), "digests": ()}
  return SweepResults(**fields | {"notes": tuple(notes), "cells": asked})


def _not_described(
  workdir: pathlib.Path,
  cells: tuple[FinishedCell, ...],
  configs: Sequence[Mapping[str, Any]],
) -> SweepResults:
  """Describes the cells of a workdir without a `sweep.json`.

  The name and the title are those of their table, where all cells have the
  same, and otherwise the name of the workdir.
  """
  name = _common(configs, "name") or workdir.resolve().name
  title = _common(configs, "title") or name
  order = list(METHODS)
  methods = sorted(
    {cell.method for cell in cells},
    key=lambda m: (order.index(m) if m in order else len(order), m),
  )
  titles = {m: METHODS[m].title if m in METHODS else m for m in methods}
  return SweepResults(
    name=name,
    title=title.rstrip("."),
    columns=tuple(Heading(c, c) for c in sorted({c.column for c in cells})),
    methods=tuple(Heading(m, row_title(m, m, t)) for m, t in titles.items()),
    num_trials=max(cell.trial for cell in cells) + 1,
    selection="heldout" if all(c.held_out for c in cells) else "test",
    columns_are="settings",
    num_cells=len(cells),
    cells=cells,
    notes=("There is no sweep.json: the table shows all finished cells.",),
  )


def _common(configs: Sequence[Mapping[str, Any]], field: str) -> str:
  """Returns the value of a field that all configs share, otherwise ""."""
  values = {config.get(field, "") for config in configs}
  return values.pop() if len(values) == 1 else ""


def _teacher_notes(cells: Sequence[FinishedCell]) -> list[str]:
  """Names the teachers that several commands trained with different results."""
  accuracies: dict[str, dict[float, None]] = {}
  for cell in cells:
    found = accuracies.setdefault(cell.teacher.digest, {})
    found[cell.teacher.test.accuracy] = None
  return [
    f"Teacher {digest} was trained more than once, for example by shards "
    "without a common --teacher_dir, and the results differ: test accuracy "
    f"{', '.join(f'{100 * x:.2f}' for x in found)} %. The tables show one of "
    "these numbers."
    for digest, found in accuracies.items()
    if len(found) > 1
  ]


def _left_out_notes(cells: Sequence[FinishedCell]) -> list[str]:
  """Names the rows of a user's own files that are not used."""
  found = dict.fromkeys(rows for cell in cells for rows in cell.left_out)
  return [f"Not all rows are used. Left out of {rows}." for rows in found]


def _unlabelled_notes(cells: Sequence[FinishedCell]) -> list[str]:
  """Counts the examples that only the teacher classifies."""
  found = {cell.num_unlabelled_examples for cell in cells} - {0}
  if not found:
    return []
  numbers = " or ".join(f"{number:,}" for number in sorted(found))
  return [
    f"Students also train on {numbers} examples without a label, and learn "
    "from the teacher what they are. Standard training does without them."
  ]


def _data_notes(cells: Sequence[FinishedCell]) -> list[str]:
  found = dict.fromkeys(note for cell in cells for note in cell.data_notes)
  return [f"Note on the data: {note}." for note in found]


def parse_paths(text: str) -> list[pathlib.Path]:
  """Splits the value of --workdir into folders.

  Examples:
    >>> [path.name for path in parse_paths("runs/table1,runs/table3")]
    ['table1', 'table3']
  """
  whole = pathlib.Path(text).expanduser()
  if whole.is_dir():
    return [whole]
  names = [name for name in text.split(",") if name]
  return [pathlib.Path(name).expanduser() for name in names]


def find_workdirs(paths: Sequence[pathlib.Path]) -> list[pathlib.Path]:
  """Finds the workdirs among some folders and directly inside them.

  Returns each workdir once, those of a folder by name, finished or not.
  """
  found: dict[pathlib.Path, pathlib.Path] = {}
  for path in paths:
    if not path.is_dir():
      raise FileNotFoundError(
        f"--workdir={path} is not a folder: pass the --workdir of "
        "experiments.sweep, a folder of workdirs, or several separated by "
        "commas."
      )
    inside = [path] if _is_workdir(path) else []
    inside = inside or sorted(filter(_is_workdir, path.iterdir()))
    if not inside:
      raise FileNotFoundError(
        f"--workdir={path} is not a workdir and contains none: run "
        "experiments.sweep or experiments.main with this --workdir first."
      )
    found |= {folder.resolve(): folder for folder in inside}
  return list(found.values())


def _is_workdir(path: pathlib.Path) -> bool:
  return (path / "sweep.json").is_file() or (path / "cells").is_dir()


def has_results(workdir: pathlib.Path) -> bool:
  """Returns whether a cell of a workdir is finished."""
  return any(workdir.glob(f"{_CELLS}/result.json"))


def default_output(paths: Sequence[pathlib.Path]) -> pathlib.Path:
  """Returns the folder for the report of some paths.

  Examples:
    >>> runs = pathlib.Path("runs")
    >>> default_output([runs / "table1", runs / "table3"]).as_posix()
    'runs/report'
  """
  if len(paths) == 1:
    return paths[0] / "report"
  parents = {os.path.dirname(os.path.abspath(p)): p.parent for p in paths}
  if len(parents) > 1:
    raise ValueError(
      "--output is required: the workdirs are in different folders, "
      f"{', '.join(map(str, parents.values()))}."
    )
  return paths[0].parent / "report"


def relative(workdir: pathlib.Path, base: pathlib.Path) -> str:
  """Returns a path relative to a folder; empty if they are the same."""
  way = pathlib.Path(os.path.relpath(workdir, base)).as_posix()
  return "" if way == "." else way


def picture_prefixes(folders: Sequence[str]) -> list[str]:
  """Returns a prefix for the file names of each sweep's pictures.

  Examples:
    >>> picture_prefixes(["table1", "table3/a b", "table3-a-b"])
    ['table1-', 'table3-a-b-', 'table3-a-b-3-']
    >>> picture_prefixes(["table1"])
    ['']
  """
  if len(folders) == 1:
    return [""]
  found: list[str] = []
  for number, folder in enumerate(folders, start=1):
    name = f"{anchor(folder) or 'sweep'}-"
    found.append(name if name not in found else f"{name}{number}-")
  return found
