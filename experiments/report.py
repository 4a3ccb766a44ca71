r"""Reports the finished cells of a workdir: table, sentence, pictures.

  python -m experiments.report --workdir=runs/quickstart

Prints the table and writes it with two pictures into `report/` there. What is
not finished stays empty and is counted.
"""

import pathlib
import shutil

from absl import flags
from ml_collections import ConfigDict

from experiments import commands
from experiments.reporting import details
from experiments.reporting import figures
from experiments.reporting import layout
from experiments.reporting import results as results_lib
from experiments.reporting import sentence
from experiments.reporting import statistics
from experiments.reporting import tables
from experiments.reporting.embeddings import embedding_maps
from experiments.reporting.records import Results
from experiments.runtime import metric_writer
from experiments.training import runs

_WORKDIR = commands.workdir_flag()
# The students of the paper's Figure 4.
_PICTURED = ("vanilla", "lelp", "oracle")
flags.adopt_module_key_flags(commands)  # So that --help shows them.


def main(argv: list[str]) -> None:
  """Reports the workdir."""
  commands.no_arguments(argv)
  with commands.reported():
    report(commands.folder(_WORKDIR.value))


def report(workdir: pathlib.Path) -> None:
  """Prints and writes the report of a workdir.

  Args:
    workdir: Where cells were trained.

  Raises:
    FileNotFoundError: If there is nothing to report.
  """
  results = results_lib.load(workdir)
  if not results.cells:
    raise FileNotFoundError(
      f"no cell of the sweep in {workdir} is finished "
      f"({' '.join(results.notes)})"
    )
  accuracies = tables.accuracy_table(results)
  others = [
    details.hyperparameter_table(results),
    details.diagnostics_table(results),
  ]
  conclusion = sentence.what_to_read_off(results)
  width = shutil.get_terminal_size((120, 24)).columns
  print(layout.to_text(accuracies, width=width))
  print(f"\n{conclusion}\n", flush=True)
  folder = workdir / "report"
  folder.mkdir(exist_ok=True)
  figures.accuracy_bars(results, folder / "accuracy.png")
  pictures = ["![Accuracy of each method](accuracy.png)"]
  if _embeddings(results, workdir, folder / "embeddings.png"):
    pictures.append("![Embeddings of the students](embeddings.png)")
  parts = [
    f"# {results.title}",
    layout.to_markdown(accuracies),
    conclusion,
    *pictures,
    *map(layout.to_markdown, others),
  ]
  (folder / "table.md").write_text("\n\n".join(parts) + "\n")
  print(f"Report: {', '.join(str(p) for p in sorted(folder.iterdir()))}")


def _embeddings(
  results: Results, workdir: pathlib.Path, path: pathlib.Path
) -> bool:
  """Maps the test embeddings of the chosen students of the first column."""
  column = results.columns[0].id
  summaries = statistics.summarize(results)
  panels, splits = [], None
  for method in _PICTURED:
    summary = summaries.get((column, method))
    if summary is None:
      continue
    folder = workdir / "cells" / column / method / summary.digest
    trial = min(folder.glob("trial*/result.json")).parent
    config = ConfigDict(metric_writer.read_json(trial / "config.json"))
    splits = runs.load_splits(config, workdir)
    embeddings = runs.student_embeddings(config, workdir)
    title = results.method_title(method)
    labels = splits.test["labels"]
    fine = splits.test.get("fine_labels", labels)
    panels.append((title, embeddings, labels, fine))
  if splits is None:
    path.unlink(missing_ok=True)
    return False
  names = splits.task.class_names
  embedding_maps(panels, path, names, splits.task.fine_names or names)
  return True


if __name__ == "__main__":
  commands.run(main)
