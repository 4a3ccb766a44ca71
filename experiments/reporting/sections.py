"""What a report is made of: its sections, from the runs of a workdir."""

import pathlib

from experiments.reporting import cost
from experiments.reporting import details
from experiments.reporting import drawing
from experiments.reporting import figures
from experiments.reporting import paper_figures
from experiments.reporting import paper_grids
from experiments.reporting import sensitivity
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

_LABELLED = (
  "As the paper's Figure 6, right: Table 5 over the number of labelled examples"
  " that the teacher saw."
)
# By the name of a sweep: what draws its figure, and what that shows.
_FIGURES = {
  "figure5": (
    paper_figures.projections,
    "As the paper's Figure 5: test accuracy over the number of subclasses S,"
    " for each subclass temperature β. Lower row: minus random projections.",
  ),
  "figure6_left": (
    paper_figures.dataset_size,
    "As the paper's Figure 6, left: test accuracy over the number of examples"
    " that students train on.",
  ),
  "figure6_middle": (
    paper_figures.training_curves,
    "As the paper's Figure 6, middle: the student's accuracy after each epoch.",
  ),
  "figure6_right": (paper_figures.labelled, _LABELLED),
  "table5": (paper_figures.labelled, _LABELLED),
  "num_classes": (
    paper_figures.num_classes,
    "Test accuracy with CIFAR-100's classes merged into fewer.",
  ),
}
# Every picture that a report may have.
PICTURES = ("accuracy", "embeddings", "sensitivity", *_FIGURES)


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
    Section("Figures", (*_figures(results, workdir), *maps)),
    Section(
      "Chosen hyperparameters",
      tuple(map(details.hyperparameter_table, selections(results))),
    ),
    Section("The paper's grids", paper_grids.grid_tables(results)),
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


def _figures(results: Results, workdir: pathlib.Path) -> list[Picture]:
  """The figure that a sweep is named after, and LELP's hyperparameters."""
  pictures = []
  if results.name in _FIGURES:
    draw, caption = _FIGURES[results.name]
    if draw(results, workdir, workdir / "report" / f"{results.name}.png"):
      pictures.append(Picture(results.name, caption))
  path = workdir / "report" / "sensitivity.png"
  # Figure 5 shows two hyperparameters at a time.
  if results.name != "figure5" and sensitivity.sensitivity(results, path):
    caption = (
      "Test accuracy of LELP over each hyperparameter of which several values"
      " were tried, the others being the best at that value."
    )
    pictures.append(Picture("sensitivity", caption))
  return pictures
