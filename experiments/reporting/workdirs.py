"""Reads the finished cells of workdirs, the input of every report.

A workdir holds `sweep.json`, the description of its sweep, and one folder
`cells/<column>/<method>/<digest>/trial<k>` per cell. Missing cells are counted,
and a damaged file is an error.
"""

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

  Args:
    workdir: The workdir.
    base: Folder that the paths in the results are relative to.
    sweep: Description of the sweep, by default that of `sweep.json`.

  Returns:
    The finished cells that the sweep asks for, with notes for the reader.
  """
  folders = sorted(p.parent for p in workdir.glob(f"{_CELLS}/result.json"))
  if not folders:
    raise FileNotFoundError(
      f"workdir {workdir} holds no finished cell: run experiments.sweep or "
      "experiments.main with this --workdir first."
    )
  place = relative(workdir, base)
  cells = tuple(_read_cell(folder, workdir, place) for folder in folders)
  # One config per column names its data set.
  firsts = {cell.column: cell for cell in reversed(cells)}
  configs = {column: cell.spec(base) for column, cell in firsts.items()}
  if sweep is None:
    if results_lib.path_of(workdir, SweepDescription).is_file():
      sweep = results_lib.read(workdir, SweepDescription)
    else:
      sweep = _description_of(workdir, cells, list(configs.values()))
  results = _described(sweep, cells)
  return dataclasses.replace(
    results,
    datasets={c: n for c, spec in configs.items() if (n := spec.data.dataset)},
    notes=(*results.notes, *_notes(results.cells)),
    base=base,
    folder=place,
  )


def _read_cell(
  folder: pathlib.Path, workdir: pathlib.Path, place: str
) -> FinishedCell:
  """Reads a cell, and checks that it is the one that its folder names."""
  result = results_lib.read(folder, CellResult)
  column, method, digest, trial = folder.parts[-4:]
  # The result of a single run may have no column: its folder names one.
  result = dataclasses.replace(result, column=result.column or column)
  own = f"{result.column}/{result.method}/{result.digest}/trial{result.trial}"
  if own != f"{column}/{method}/{digest}/{trial}":
    raise ValueError(
      f"{folder} holds the result of {own}: it was moved or copied. Delete it "
      "and run experiments.sweep again."
    )
  teacher = workdir / "teachers" / result.teacher.digest
  root = pathlib.PurePosixPath(place)
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
  """Keeps the cells that the sweep asks for, and notes how many others are."""
  columns = {column.id for column in sweep.columns}
  methods = {method.id for method in sweep.methods}
  digests = set(sweep.digests)
  wanted = tuple(
    cell
    for cell in cells
    if cell.column in columns
    and cell.method in methods
    and cell.trial < sweep.num_trials
    and cell.digest in digests
  )
  notes = list(sweep.notes)
  if len(wanted) < sweep.num_cells:
    notes.append(
      f"{sweep.num_cells - len(wanted)} of {sweep.num_cells} cells are not "
      "finished: run experiments.sweep again."
    )
  if len(wanted) < len(cells) and not sweep.num_tried:
    notes.append(
      f"{len(cells) - len(wanted)} finished cells are left out: sweep.json does"
      " not name their column, method, settings or trial."
    )
  fields = vars(sweep) | {"title": sweep.title.rstrip("."), "digests": ()}
  return SweepResults(**fields | {"notes": tuple(notes), "cells": wanted})


def _description_of(
  workdir: pathlib.Path,
  cells: tuple[FinishedCell, ...],
  configs: Sequence[CellSpec],
) -> SweepDescription:
  """Describes the cells of a workdir without a `sweep.json`.

  The name and the title are those that all configs have in common. If there are
  none, they are the name of the workdir.
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
  return SweepDescription(
    name=name,
    title=title,
    columns=tuple(Heading(c, c) for c in sorted({c.column for c in cells})),
    methods=tuple(
      Heading(m, row_title(m, m, METHODS[m].title if m in METHODS else m))
      for m in methods
    ),
    num_trials=max(cell.trial for cell in cells) + 1,
    selection="heldout" if all(c.held_out for c in cells) else "test",
    columns_are="settings",
    num_cells=len(cells),
    digests=tuple({cell.digest for cell in cells}),
    notes=("There is no sweep.json: the table shows all finished cells.",),
  )


def _notes(cells: Sequence[FinishedCell]) -> Iterator[str]:
  """Yields notes for the reader on teachers and data."""
  accuracies: dict[str, dict[float, None]] = {}
  for cell in cells:
    own = accuracies.setdefault(cell.teacher.digest, {})
    own[cell.teacher.test.accuracy] = None
  for digest, own in accuracies.items():
    if len(own) > 1:
      yield (
        f"Teacher {digest} was trained more than once, for example by shards "
        "without a common --teacher_dir, and the results differ: test accuracy "
        f"{', '.join(f'{100 * x:.2f}' for x in own)} %. The tables show one "
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
      f"Students also train on {numbers} examples without a label, for which "
      "the teacher gives the targets. Standard training does not use them."
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

  Returns each workdir once, whether it is finished or not, and each file of
  `experiments.pack`. Those inside a folder are sorted by name, files first.
  """
  found: dict[pathlib.Path, pathlib.Path] = {}
  for path in paths:
    inside = [path] if _is_packed(path) or is_workdir(path) else []
    if not inside and path.is_dir():
      inside = sorted(filter(_is_packed, path.iterdir()))
      inside += sorted(filter(is_workdir, path.iterdir()))
    if not inside:
      raise FileNotFoundError(
        f"--workdir={path} is not a workdir and contains none: pass the "
        "--workdir of experiments.sweep or experiments.main, a folder of "
        "workdirs, or several separated by commas."
      )
    found |= {each.resolve(): each for each in inside}
  return list(found.values())


def _is_packed(path: pathlib.Path) -> bool:
  return path.suffix == packed.SUFFIX and path.is_file()


def is_workdir(path: pathlib.Path) -> bool:
  """Returns whether a folder is a workdir, even an unfinished one."""
  sweep = results_lib.path_of(path, SweepDescription)
  return sweep.is_file() or (path / "cells").is_dir()


def has_results(workdir: pathlib.Path) -> bool:
  """Returns whether any cell of a workdir is finished."""
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
  path = pathlib.Path(os.path.relpath(workdir, base)).as_posix()
  return "" if path == "." else path


def picture_prefixes(folders: Sequence[str]) -> list[str]:
  """Returns a prefix for the file names of the pictures of each sweep.

  Examples:
    >>> picture_prefixes(["table1", "table3/a b", "table3-a-b"])
    ['table1-', 'table3-a-b-', 'table3-a-b-3-']
    >>> picture_prefixes(["table1"])
    ['']
  """
  if len(folders) == 1:
    return [""]
  prefixes: list[str] = []
  for number, folder in enumerate(folders, start=1):
    name = f"{anchor(folder) or 'sweep'}-"
    prefixes.append(name if name not in prefixes else f"{name}{number}-")
  return prefixes
