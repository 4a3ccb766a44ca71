"""Reads the finished cells of workdirs: the input of every report.

A workdir holds `sweep.json`, the description of its sweep, and one folder
`cells/<column>/<method>/<digest>/trial<k>` per cell. Missing cells are counted
and named; a damaged file is an error.
"""

import collections
import dataclasses
import os
import pathlib
from collections.abc import Iterator
from collections.abc import Sequence

from experiments import results as results_lib
from experiments.io import packed
from experiments.methods import METHODS
from experiments.paper.names import row_title
from experiments.reporting.document import anchor
from experiments.reporting.selection import FinishedCell
from experiments.reporting.selection import SweepResults
from experiments.results import CellResult
from experiments.results import Heading
from experiments.results import SweepDescription
from experiments.specs import CellSpec

_CELLS = "cells/*/*/*/trial*"


def load(
  workdir: pathlib.Path,
  base: pathlib.Path,
  sweep: SweepDescription | None = None,
) -> SweepResults:
  """Reads the finished cells of a workdir.

  `sweep` describes them in place of `sweep.json`.
  """
  folders = sorted(p.parent for p in workdir.glob(f"{_CELLS}/result.json"))
  if not folders:
    raise FileNotFoundError(
      f"workdir {workdir} holds no finished cell: run experiments.sweep or "
      "experiments.main with this --workdir first."
    )
  way = relative(workdir, base)
  cells = tuple(_read_cell(folder, workdir, way) for folder in folders)
  keys = collections.Counter(
    f"trial {c.trial} of {c.column}/{c.method}/{c.digest}" for c in cells
  )
  if twice := [name for name, count in keys.items() if count > 1]:
    raise ValueError(
      f"{workdir} holds {twice[0]} twice: delete the folder whose name is not "
      "the digest."
    )
  # The config of one cell of each column.
  firsts = {cell.column: cell for cell in reversed(cells)}
  configs = {c: s for c, cell in firsts.items() if (s := cell.spec(base))}
  if sweep is not None:
    found = _described(sweep, cells)
  elif results_lib.path_of(workdir, SweepDescription).is_file():
    found = _described(results_lib.read(workdir, SweepDescription), cells)
  else:
    found = _not_described(workdir, cells, list(configs.values()))
  return dataclasses.replace(
    found,
    datasets={c: n for c, spec in configs.items() if (n := spec.data.dataset)},
    notes=(*found.notes, *_notes(found.cells)),
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
  teacher = workdir / "teachers" / result.teacher.digest
  root = pathlib.PurePosixPath(way)
  return FinishedCell(
    **vars(result),
    folder=str(root / folder.relative_to(workdir).as_posix()),
    teacher_folder=str(root / "teachers" / teacher.name)
    if teacher.is_dir()
    else "",
  )


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
  configs: Sequence[CellSpec],
) -> SweepResults:
  """Describes the cells of a workdir without a `sweep.json`.

  The name and the title are those of their table, where all cells have the
  same, and otherwise the name of the workdir.
  """
  names = {spec.name for spec in configs}
  titles = {spec.title for spec in configs}
  name = (names.pop() if len(names) == 1 else "") or workdir.resolve().name
  title = (titles.pop() if len(titles) == 1 else "") or name
  order = list(METHODS)
  methods = sorted(
    {cell.method for cell in cells},
    key=lambda m: (order.index(m) if m in order else len(order), m),
  )
  return SweepResults(
    name=name,
    title=title.rstrip("."),
    columns=tuple(Heading(c, c) for c in sorted({c.column for c in cells})),
    methods=tuple(
      Heading(m, row_title(m, m, METHODS[m].title if m in METHODS else m))
      for m in methods
    ),
    num_trials=max(cell.trial for cell in cells) + 1,
    selection="heldout" if all(c.held_out for c in cells) else "test",
    columns_are="settings",
    num_cells=len(cells),
    cells=cells,
    notes=("There is no sweep.json: the table shows all finished cells.",),
  )


def _notes(cells: Sequence[FinishedCell]) -> Iterator[str]:
  """Yields what a reader has to know about teachers and data."""
  accuracies: dict[str, dict[float, None]] = {}
  for cell in cells:
    found = accuracies.setdefault(cell.teacher.digest, {})
    found[cell.teacher.test.accuracy] = None
  for digest, found in accuracies.items():
    if len(found) > 1:
      yield (
        f"Teacher {digest} was trained more than once, for example by shards "
        "without a common --teacher_dir, and the results differ: test accuracy "
        f"{', '.join(f'{100 * x:.2f}' for x in found)} %. The tables show one "
        "of these numbers."
      )
  left_out = (str(rows) for cell in cells for rows in cell.left_out)
  for rows in dict.fromkeys(left_out):
    yield f"Not all rows are used. Left out of {rows}."
  for note in dict.fromkeys(n for cell in cells for n in cell.data_notes):
    yield f"Note on the data: {note}."
  sizes = {cell.num_unlabelled_examples for cell in cells} - {0}
  if sizes:
    numbers = " or ".join(f"{number:,}" for number in sorted(sizes))
    yield (
      f"Students also train on {numbers} examples without a label, and learn "
      "from the teacher what they are. Standard training does without them."
    )


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
  """Finds the workdirs among some paths and directly inside them.

  Returns each workdir once, finished or not, and files of `experiments.pack`.
  Those of a folder are in the order of their names, files first.
  """
  found: dict[pathlib.Path, pathlib.Path] = {}
  for path in paths:
    if not path.is_dir() and not _is_packed(path):
      raise FileNotFoundError(
        f"--workdir={path} is not a folder: pass the --workdir of "
        "experiments.sweep, a folder of workdirs, or several separated by "
        "commas."
      )
    inside = [path]
    if path.is_dir() and not is_workdir(path):
      inside = sorted(filter(_is_packed, path.iterdir()))
      inside += sorted(filter(is_workdir, path.iterdir()))
    if not inside:
      raise FileNotFoundError(
        f"--workdir={path} is not a workdir and contains none: run "
        "experiments.sweep or experiments.main with this --workdir first."
      )
    found |= {each.resolve(): each for each in inside}
  return list(found.values())


def _is_packed(path: pathlib.Path) -> bool:
  return path.suffix == packed.SUFFIX and path.is_file()


def is_workdir(path: pathlib.Path) -> bool:
  """Returns whether a folder is a workdir, finished or not."""
  sweep = results_lib.path_of(path, SweepDescription)
  return sweep.is_file() or (path / "cells").is_dir()


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
