r"""Writes pages that show how a finished cell splits its classes.

  python -m experiments.subclasses --workdir=runs/quickstart

The command writes `report/subclasses/<cell>/index.html` in the workdir, and one
page per class. For every direction, a page shows its share of the variance, the
coordinates of the class's examples, and the examples at both ends. If the data
have fine labels, it also shows their mutual information with the subclasses and
a permutation test.
"""

import pathlib

from absl import flags

from experiments import cli
from experiments import results as results_lib
from experiments import specs
from experiments.data import load
from experiments.io import json_files
from experiments.reporting import comparisons
from experiments.reporting import workdirs
from experiments.reporting.numbers import setting
from experiments.reporting.paper_tables import in_paper_order
from experiments.reporting.subclass_pages import INDEX
from experiments.reporting.subclass_pages import subclass_pages
from experiments.reporting.subclass_pages import Subject
from experiments.results import CellResult
from experiments.training import data
from experiments.training import inspection
from experiments.training.description import title_of_row

_WORKDIR = cli.workdir_flag()
_TEACHERS = cli.teachers_flag()
_CELL = flags.DEFINE_string(
  "cell",
  None,
  "Folder of a finished cell, or <column>/<method>/<digest>/trial<k>; by "
  "default the cell of LELP in the first column that the report chooses.",
)
_EXAMPLES = flags.DEFINE_integer(
  "examples", 8, "Examples at each end of a direction.", lower_bound=1
)
_SPLIT = flags.DEFINE_enum(
  "split", "train", inspection.SPLITS, "Examples to show."
)
flags.adopt_module_key_flags(cli)  # So that --help shows them.


def main() -> None:
  """Writes the pages of the cell that the flags name."""
  with cli.reported():
    workdir = cli.folder(_WORKDIR.value)
    index = write_pages(
      workdir,
      find_cell(workdir, _CELL.value),
      teachers=cli.folder(_TEACHERS.value),
      split=_SPLIT.value,
      num_shown=_EXAMPLES.value,
    )
    print(f"Pages: {index}")


def find_cell(workdir: pathlib.Path, cell: str | None) -> pathlib.Path:
  """Returns the folder of a cell.

  Args:
    workdir: The workdir.
    cell: Value of --cell; None for the cell that the report chooses.

  Raises:
    FileNotFoundError: If the cell does not exist or is not finished.
    ValueError: If no cell of the first column has subclasses.
  """
  if cell is None:
    return _chosen(workdir)
  root = workdir / "cells"
  folder = root / cell
  if not folder.is_dir():
    folder = pathlib.Path(cell).expanduser()
  inside = folder.resolve().is_relative_to(root.resolve())
  if not inside or not results_lib.path_of(folder, CellResult).is_file():
    raise FileNotFoundError(
      f"--cell={cell} is not a finished cell of {workdir}: give its folder or "
      "<column>/<method>/<digest>/trial<k> as in `cells` of the workdir."
    )
  return folder


def _chosen(workdir: pathlib.Path) -> pathlib.Path:
  """Returns the first trial of the cell that the report chooses.

  It is a cell of LELP if the first column has one.
  """
  results = in_paper_order(workdirs.load(workdir, workdir))
  column = results.columns[0].id
  methods = [method.id for method in results.methods]
  for method in sorted(methods, key=lambda m: m != comparisons.LELP):
    if summary := results.summaries.get((column, method)):
      cell = summary.cells[0]
      if cell.spec(workdir).method in inspection.METHODS:
        return workdir / cell.folder
  raise ValueError(
    f"no finished cell of {column} in {workdir} has subclasses to show: train "
    f"one of {', '.join(inspection.METHODS)}."
  )


def write_pages(
  workdir: pathlib.Path,
  folder: pathlib.Path,
  *,
  teachers: pathlib.Path | None = None,
  split: str = "train",
  num_shown: int = 8,
) -> pathlib.Path:
  """Writes the pages of a cell.

  Args:
    workdir: Workdir of the cell, in which the pages are written.
    folder: Folder of the cell.
    teachers: Folder of teachers; by default `teachers` in the workdir.
    split: Examples to show: "train", "validation" or "test".
    num_shown: Number of examples at each end of a direction.

  Returns:
    The path of the first page.

  Raises:
    FileNotFoundError: If the teacher or the data are missing.
    ValueError: If the cell has no subclasses, or its data changed.
  """
  result = results_lib.read(folder, CellResult)
  cell = specs.from_plain(json_files.read_json(folder / "config.json"))
  inspection.check_has_subclasses(cell, split)
  splits = data.load_splits(cell, workdir)
  print(
    f"Teacher {result.teacher.digest} reads its "
    f"{len(splits.train['labels']):,} training examples, to fit the subclasses "
    "again ...",
    flush=True,
  )
  subclasses = inspection.subclasses(
    cell, splits, result, teachers or workdir / "teachers", split
  )
  subject = Subject(
    title=f"Subclasses of {title_of_row(cell)}, {result.column or 'one cell'}",
    facts=_facts(cell, result, split, len(subclasses.examples["labels"])),
    task=splits.task,
    subclasses=subclasses,
    text_of=load.text_of(cell.data, workdir),
    num_shown=num_shown,
  )
  name = "-".join(folder.parts[-4:])
  target = workdir / "report" / "subclasses" / name
  target.mkdir(parents=True, exist_ok=True)
  for file, content in subclass_pages(subject).items():
    (target / file).write_text(content, encoding="utf-8")
  return target / INDEX


def _facts(
  cell: specs.CellSpec, result: CellResult, split: str, num_examples: int
) -> dict[str, str]:
  """Returns the facts about the cell that its first page shows."""
  settings = [
    f"{name.replace('num_', 'number of ').replace('_', ' ')}: {setting(value)}"
    for name, value in result.hyperparameters.items()
  ]
  return {
    "examples": f"{num_examples:,} of {cell.data.dataset or 'own files'}"
    f" ({split})",
    "test accuracy": f"{100 * result.test.accuracy:.2f} % (student), "
    f"{100 * result.teacher.test.accuracy:.2f} % (teacher)",
    "settings": ", ".join(settings) or "none",
    "cell": f"{result.digest}, trial {result.trial}",
  }


if __name__ == "__main__":
  cli.run(main)
