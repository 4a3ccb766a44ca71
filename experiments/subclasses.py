r"""Shows what a finished cell splits classes into: pages to look at.

  python -m experiments.subclasses --workdir=runs/quickstart

Writes `report/subclasses/<cell>/index.html` there and a page for each class:
for every direction its share of the variance, the coordinates of the class's
examples, those at both extremes, and where there are fine labels what the
subclasses tell of them, beside chance.
"""

import pathlib

from absl import flags

from experiments import cli
from experiments import results
from experiments import specs
from experiments.data import load
from experiments.io import json_files
from experiments.reporting import comparisons
from experiments.reporting import results as results_lib
from experiments.reporting import statistics
from experiments.reporting.paper_comparison import in_paper_order
from experiments.reporting.records import METHOD_TITLES
from experiments.reporting.subclass_pages import INDEX
from experiments.reporting.subclass_pages import subclass_pages
from experiments.reporting.subclass_pages import Subject
from experiments.training import data
from experiments.training import inspection

_WORKDIR = cli.workdir_flag()
_TEACHERS = cli.teachers_flag()
_CELL = flags.DEFINE_string(
  "cell",
  None,
  "Folder of a finished cell, or <column>/<method>/<digest>/trial<k>; by "
  "default the report's choice for LELP in the first column.",
)
_EXAMPLES = flags.DEFINE_integer(
  "examples", 8, "Examples at each end of a direction.", lower_bound=1
)
_SPLIT = flags.DEFINE_enum(
  "split", "train", inspection.SPLITS, "Which examples are shown."
)
flags.adopt_module_key_flags(cli)  # So that --help shows them.


def main(argv: list[str]) -> None:
  """Writes the pages of a cell."""
  cli.no_arguments(argv)
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


def find_cell(workdir: pathlib.Path, named: str | None) -> pathlib.Path:
  """Returns the folder of the cell to look at.

  Args:
    workdir: Where cells were trained.
    named: What was given as --cell, None for the report's choice.

  Raises:
    FileNotFoundError: If there is no such cell, or it is not finished.
    ValueError: If no cell of the first column has subclasses.
  """
  if named is None:
    return _chosen(workdir)
  root = workdir / "cells"
  folder = root / named
  if not folder.is_dir():
    folder = pathlib.Path(named).expanduser()
  inside = folder.resolve().is_relative_to(root.resolve())
  if not folder.is_dir() or not inside or folder.name[:5] != "trial":
    raise FileNotFoundError(
      f"--cell={named} is no cell of {workdir}: give the folder of one, or "
      "<column>/<method>/<digest>/trial<k> as in its `cells`."
    )
  if not (folder / "result.json").is_file():
    raise FileNotFoundError(
      f"cell {folder} is not finished: run the command that trains it again."
    )
  return folder


def _chosen(workdir: pathlib.Path) -> pathlib.Path:
  """The first trial of the report's choice, of LELP if it is there."""
  found = in_paper_order(results_lib.load(workdir))
  summaries = statistics.summarize(found)
  names = [method.id for method in found.methods]
  for name in sorted(names, key=lambda name: name != comparisons.LELP):
    summary = summaries.get((found.columns[0].id, name))
    if summary is None:
      continue
    trial = min(cell.trial for cell in summary.cells)
    folder = workdir / "cells" / found.columns[0].id / name
    folder = folder / summary.digest / f"trial{trial}"
    if _cell(folder).method in inspection.METHODS:
      return folder
  raise ValueError(
    f"no finished cell of {found.columns[0].id} in {workdir} has subclasses "
    f"to look at: train one of {', '.join(inspection.METHODS)}."
  )


def _cell(folder: pathlib.Path) -> specs.CellSpec:
  return specs.from_plain(json_files.read_json(folder / "config.json"))


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
    workdir: Where it was trained, and the pages go.
    folder: The cell's.
    teachers: Folder of teachers; by default the workdir's.
    split: Whose examples are shown.
    num_shown: How many at each end.

  Returns:
    The first of the pages.

  Raises:
    FileNotFoundError: If its teacher or its data are not there.
    ValueError: If it has nothing to look at, or its data changed.
  """
  cell, result = _cell(folder), results.read(folder, results.CellResult)
  inspection.check(cell, split)
  splits = data.load_splits(cell, workdir)
  digest = result.teacher.digest
  print(
    f"Teacher {digest} reads its {len(splits.train['labels']):,} training "
    "examples, for what the subclasses are fitted to ...",
    flush=True,
  )
  found = inspection.subclasses(
    cell, splits, result, teachers or workdir / "teachers", split
  )
  subject = Subject(
    title=_title(result),
    facts=_facts(cell, result, split, len(found.examples["labels"])),
    task=splits.task,
    subclasses=found,
    text_of=load.text_of(cell.data, workdir),
    num_shown=num_shown,
  )
  pages = subclass_pages(subject)
  name = "-".join(folder.parts[-4:])
  target = workdir / "report" / "subclasses" / name
  target.mkdir(parents=True, exist_ok=True)
  for file, content in pages.items():
    (target / file).write_text(content, encoding="utf-8")
  return target / INDEX


def _title(result: results.CellResult) -> str:
  method = METHOD_TITLES.get(result.method, result.method)
  return f"Subclasses of {method}, {result.column or 'one cell'}"


def _facts(
  cell: specs.CellSpec,
  result: results.CellResult,
  split: str,
  num_examples: int,
) -> dict[str, str]:
  """Returns what a reader has to know of the cell."""
  chosen = result.hyperparameters.items()
  return {
    "data": f"{cell.data.dataset or 'own files'}, {num_examples:,} examples, "
    f"{split}",
    "settings": ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in chosen)
    or "none",
    "cell": f"{result.digest}, trial {result.trial}",
    "test accuracy": f"{100 * result.test.accuracy:.2f} %, its teacher's "
    f"{100 * result.teacher.test.accuracy:.2f} %",
  }


if __name__ == "__main__":
  cli.run(main)
