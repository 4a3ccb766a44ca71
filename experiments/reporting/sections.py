"""What a report is made of: its sections, from the runs of a workdir."""

import pathlib

from experiments.reporting import cost
from experiments.reporting import details
from experiments.reporting import drawing
from experiments.reporting import figures
from experiments.reporting import sentence
from experiments.reporting import tables
from experiments.reporting.document import Document
from experiments.reporting.document import Picture
from experiments.reporting.document import Section
from experiments.reporting.layout import Table
from experiments.reporting.paper_comparison import table_of
from experiments.reporting.paper_tables import paper_layout
from experiments.reporting.records import Results
from experiments.reporting.statistics import selections


def make_document(
  results: Results, workdir: pathlib.Path, *maps: Picture
) -> Document:
  """Makes the report of a workdir, and draws its pictures.

  Args:
    results: What `results.load` returns.
    workdir: Where it was loaded from; pictures go to `report` in it.
    *maps: Pictures that are there already.

  Returns:
    The report; nothing in it depends on when it was made.
  """
  folder = workdir / "report"
  folder.mkdir(exist_ok=True)
  parts = [
    _accuracy(results, folder),
    Section("Embeddings of the students", maps),
    Section(
      "Chosen hyperparameters",
      tuple(map(details.hyperparameter_table, selections(results))),
    ),
    Section("Cost", (cost.cost_table(results, workdir),)),
    Section("Diagnostics", (details.diagnostics_table(results),)),
  ]
  return Document(results.title, tuple(part for part in parts if part.parts))


def _accuracy(results: Results, folder: pathlib.Path) -> Section:
  """The tables, the sentence and the bars."""
  parts: list[str | Table] = []
  paper = table_of(results)
  for part in selections(results):
    if paper is not None:
      parts.append(paper_layout(part, paper))
    parts.append(tables.accuracy_table(part))
    if part is results:
      parts.append(sentence.what_to_read_off(results))
  references = drawing.paper_references(results)
  figures.accuracy_bars(results, folder / "accuracy.png", references)
  caption = f"Test accuracy of each method: {results.title}."
  return Section("Accuracy", (*parts, Picture("accuracy", caption)))
