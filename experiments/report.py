r"""Reports the finished cells of workdirs: tables, sentence, pictures.

  python -m experiments.report --workdir=runs/quickstart
  python -m experiments.report --workdir=runs

Prints the table and writes the report into `report/` there: `report.html`,
which needs no other file, `table.md`, `table.tex` and `table.csv` with the same
tables, and the pictures as PNG and SVG. The tables of the paper have its
numbers beside ours. What is not finished stays empty and is counted.

Of a folder of workdirs, or of several with commas between them, it is one
report with a chapter for each, in `report/` beside them or in `--output`.
"""

import dataclasses
import os
import pathlib
import shutil
from collections.abc import Sequence

import numpy as np
from absl import flags

from experiments import cli
from experiments import specs
from experiments.io import json_files
from experiments.reporting import files
from experiments.reporting import layout
from experiments.reporting import results as results_lib
from experiments.reporting import sections
from experiments.reporting import statistics
from experiments.reporting import tables
from experiments.reporting.document import Picture
from experiments.reporting.embeddings import embedding_maps
from experiments.reporting.names import column_name
from experiments.reporting.paper_comparison import in_paper_order
from experiments.reporting.records import Results
from experiments.reporting.records import within
from experiments.reporting.workdirs import default_output
from experiments.reporting.workdirs import find_sweeps
from experiments.reporting.workdirs import has_results
from experiments.reporting.workdirs import parse_paths
from experiments.reporting.workdirs import prefixes
from experiments.reporting.workdirs import seen_from
from experiments.training import data
from experiments.training import inspection

_WORKDIR = cli.workdir_flag(
  "Folder of results, a folder of such, or several with commas between them."
)
_OUTPUT = flags.DEFINE_string(
  "output",
  None,
  "Where the report goes; by default `report` in the workdir, or beside the"
  " workdirs.",
)
_FORMATS = flags.DEFINE_list(
  "formats", list(files.FORMATS), "Which of these to write."
)
flags.adopt_module_key_flags(cli)  # So that --help shows them.
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
  """Reports the workdirs."""
  cli.no_arguments(argv)
  with cli.reported():
    paths = parse_paths(str(_WORKDIR.value))
    report(paths, _FORMATS.value, cli.folder(_OUTPUT.value))


def report(
  paths: Sequence[pathlib.Path],
  formats: Sequence[str],
  output: pathlib.Path | None = None,
) -> None:
  """Prints and writes the report of workdirs.

  Args:
    paths: Where cells were trained, and folders of such.
    formats: Of `files.FORMATS`.
    output: Where the report goes; by default to `report` in the one path, or
      in the folder that holds them all.

  Raises:
    FileNotFoundError: If there is nothing to report.
    ValueError: If there is no such format, a file is damaged, or it is not
      clear where the report goes.
  """
  files.check_formats(formats)
  workdirs = find_sweeps(paths)
  if output is None:
    folder = default_output(paths)
  else:  # Links need its parent, which "." and ".." do not tell.
    folder = pathlib.Path(os.path.abspath(output))
  found, unfinished = _load(workdirs, folder.parent)
  folder.mkdir(parents=True, exist_ok=True)
  names = prefixes([results.folder for results in found])
  width = shutil.get_terminal_size((120, 24)).columns
  sweeps = []
  for results, prefix in zip(found, names, strict=True):
    print(layout.to_text(tables.accuracy_table(results), width=width))
    print(f"\n{sections.read_off(results)}\n", flush=True)
    for name in sections.PICTURES:  # Those of an earlier report may be wrong.
      for kind in ("png", "svg"):
        (folder / f"{prefix}{name}.{kind}").unlink(missing_ok=True)
    sweep = sections.Sweep(results, folder.parent, folder, prefix)
    sweeps.append(dataclasses.replace(sweep, maps=tuple(_embeddings(sweep))))
  document = sections.make_document(sweeps, unfinished)
  written = files.write(document, found, folder, formats)
  if unfinished:
    print(f"Nothing is finished in {len(unfinished)}: {', '.join(unfinished)}.")
  print(f"Report in {folder}: {', '.join(written)}")


def _load(
  workdirs: Sequence[pathlib.Path], base: pathlib.Path
) -> tuple[list[Results], list[str]]:
  """Reads the sweeps; and names those of which nothing is finished."""
  found, unfinished = [], []
  for workdir in workdirs:
    folder = seen_from(workdir, base)
    if len(workdirs) > 1 and not has_results(workdir):
      unfinished.append(folder)
      continue
    results = in_paper_order(results_lib.load(workdir))
    if results.cells:
      found.append(within(results, folder) if folder else results)
    else:
      unfinished.append(f"{folder or workdir} ({' '.join(results.notes)})")
  if not found:
    raise FileNotFoundError(
      f"no cell of a sweep is finished in {', '.join(unfinished)}:"
      " run experiments.sweep."
    )
  return found, unfinished


def _embeddings(sweep: sections.Sweep) -> list[Picture]:
  """The map of the students, left out with its reason where there is none."""
  name = sweep.results.name
  if name.startswith(_NOT_MAPPED) and name != "figure4":
    return []
  try:
    return _draw_embeddings(sweep)
  except (FileNotFoundError, ValueError) as error:
    print(f"No embeddings are drawn: {error}")
    return []


def _draw_embeddings(sweep: sections.Sweep) -> list[Picture]:
  """Maps the test embeddings of the chosen students of the first column."""
  results = sweep.results
  column = results.columns[0].id
  summaries = statistics.summarize(results)
  found = [
    (results.method_title(method), summaries[column, method].cells[0])
    for method in _PICTURED
    if (column, method) in summaries
  ]
  workdir = sweep.base / results.folder
  panels, splits = [], None
  for title, cell in found:
    spec = specs.from_plain(json_files.read_json(sweep.base / cell.config))
    splits = data.load_splits(spec, workdir)
    rows = _some_rows(len(splits.test["labels"]))
    embeddings = inspection.student_embeddings(spec, workdir, splits, rows)
    labels = splits.test["labels"]
    fine = splits.test.get("fine_labels", labels)
    panels.append((title, embeddings, labels[rows], fine[rows]))
  if splits is None:
    return []
  names = splits.task.class_names
  fine_names = splits.task.fine_names or names
  caption = (
    "Embeddings of test examples by the students, as the paper's Figure 4"
    f" ({column_name(results.columns[0])}, first trial): by class in the upper"
    " row, by fine class in the lower."
  )
  return sweep.draw(
    "embeddings",
    caption,
    lambda path: embedding_maps(panels, path, names, fine_names),
  )


def _some_rows(size: int) -> np.ndarray:
  """Positions of all examples, or of so many drawn once and for all."""
  if size <= _MOST_MAPPED:
    return np.arange(size)
  rows = np.random.default_rng(0).choice(size, _MOST_MAPPED, replace=False)
  return np.sort(rows)


if __name__ == "__main__":
  cli.run(main)
