r"""Reports the finished cells of a workdir: tables, sentence, pictures.

  python -m experiments.report --workdir=runs/quickstart

Prints the table and writes the report into `report/` there: `report.html`,
which needs no other file, `table.md`, `table.tex` and `table.csv` with the same
tables, and the pictures as PNG and SVG. The tables of the paper have its
numbers beside ours. What is not finished stays empty and is counted.
"""

import pathlib
import shutil
from collections.abc import Sequence

import numpy as np
from absl import flags
from ml_collections import ConfigDict

from experiments import commands
from experiments.reporting import files
from experiments.reporting import layout
from experiments.reporting import results as results_lib
from experiments.reporting import sections
from experiments.reporting import sentence
from experiments.reporting import statistics
from experiments.reporting import tables
from experiments.reporting.document import Picture
from experiments.reporting.embeddings import embedding_maps
from experiments.reporting.names import column_name
from experiments.reporting.paper_comparison import in_paper_order
from experiments.reporting.records import Results
from experiments.runtime import metric_writer
from experiments.training import runs

_WORKDIR = commands.workdir_flag()
_FORMATS = flags.DEFINE_list(
  "formats", list(files.FORMATS), "Which of these to write."
)
flags.adopt_module_key_flags(commands)  # So that --help shows them.
# The students of the paper's Figure 4, and how many test examples of it: t-SNE
# takes time that grows with their square.
_PICTURED = ("vanilla", "lelp", "oracle")
_MOST_MAPPED = 2000
# Sweeps that are about something else, by the start of their names.
_NOT_MAPPED = (
  *("table", "figure", "cost", "null_space", "num_classes"),
  *("random_ensembles", "sensitivity"),
)


def main(argv: list[str]) -> None:
  """Reports the workdir."""
  commands.no_arguments(argv)
  with commands.reported():
    report(commands.folder(_WORKDIR.value), _FORMATS.value)


def report(workdir: pathlib.Path, formats: Sequence[str]) -> None:
  """Prints and writes the report of a workdir.

  Args:
    workdir: Where cells were trained.
    formats: Of `files.FORMATS`.

  Raises:
    FileNotFoundError: If there is nothing to report.
    ValueError: If there is no such format, or a file is damaged.
  """
  files.check_formats(formats)
  results = in_paper_order(results_lib.load(workdir))
  if not results.cells:
    raise FileNotFoundError(
      f"no cell of the sweep in {workdir} is finished "
      f"({' '.join(results.notes)})"
    )
  width = shutil.get_terminal_size((120, 24)).columns
  print(layout.to_text(tables.accuracy_table(results), width=width))
  print(f"\n{sentence.what_to_read_off(results)}\n", flush=True)
  folder = workdir / "report"
  folder.mkdir(exist_ok=True)
  for name in sections.PICTURES:  # Those of an earlier report may be wrong.
    for kind in ("png", "svg"):
      (folder / f"{name}.{kind}").unlink(missing_ok=True)
  maps = _embeddings(results, workdir, folder)
  document = sections.make_document(results, workdir, *maps)
  written = files.write(document, results, folder, formats)
  print(f"Report in {folder}: {', '.join(written)}")


def _embeddings(
  results: Results, workdir: pathlib.Path, folder: pathlib.Path
) -> list[Picture]:
  """Maps the test embeddings of the chosen students of the first column."""
  if results.name.startswith(_NOT_MAPPED) and results.name != "figure4":
    return []
  column = results.columns[0].id
  summaries = statistics.summarize(results)
  found = [
    (results.method_title(method), summaries[column, method].cells[0])
    for method in _PICTURED
    if (column, method) in summaries
  ]
  panels, splits = [], None
  for title, cell in found:
    try:
      config = ConfigDict(metric_writer.read_json(workdir / cell.config))
      splits = runs.load_splits(config, workdir)
      rows = _some_rows(len(splits.test["labels"]))
      embeddings = runs.student_embeddings(config, workdir, rows)
    except FileNotFoundError as error:
      print(f"No embeddings are drawn: {error}")
      return []
    labels = splits.test["labels"]
    fine = splits.test.get("fine_labels", labels)
    panels.append((title, embeddings, labels[rows], fine[rows]))
  if splits is None:
    return []
  names = splits.task.class_names
  embedding_maps(
    panels, folder / "embeddings.png", names, splits.task.fine_names or names
  )
  caption = (
    "Embeddings of test examples by the students, as the paper's Figure 4"
    f" ({column_name(results.columns[0])}, first trial): by class in the upper"
    " row, by fine class in the lower."
  )
  return [Picture("embeddings", caption)]


def _some_rows(size: int) -> np.ndarray:
  """Positions of all examples, or of so many drawn once and for all."""
  if size <= _MOST_MAPPED:
    return np.arange(size)
  rows = np.random.default_rng(0).choice(size, _MOST_MAPPED, replace=False)
  return np.sort(rows)


if __name__ == "__main__":
  commands.run(main)
