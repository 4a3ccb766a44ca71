"""The sections of a report, from the finished cells of sweeps."""

import dataclasses
import pathlib
from collections.abc import Callable
from collections.abc import Sequence

from experiments.reporting import comparisons
from experiments.reporting import costs
from experiments.reporting import figures
from experiments.reporting import paper_figures
from experiments.reporting import paper_grids
from experiments.reporting import paper_tables
from experiments.reporting import questions
from experiments.reporting import sensitivity
from experiments.reporting import sentence
from experiments.reporting import tables
from experiments.reporting.document import Document
from experiments.reporting.document import Picture
from experiments.reporting.document import Section
from experiments.reporting.document import Table
from experiments.reporting.document import TableRow
from experiments.reporting.selection import selections
from experiments.reporting.workdirs import SweepResults

_LABELLED = (
  "Figure 6 of the paper, right: Table 5 over the number of labelled examples"
  " that the teacher saw."
)
_OVERVIEW = (
  "workdir",
  "finished cells",
  "of",
  "columns",
  "methods",
  "trials",
  "chosen on",
)
# By the name of a sweep: the function that draws its figure, and the caption.
_FIGURES = {
  "figure5": (
    paper_figures.projections,
    "Figure 5 of the paper: test accuracy over the number of subclasses S, for"
    " each subclass temperature β. Lower row: minus random projections.",
  ),
  "figure6_left": (
    paper_figures.dataset_size,
    "Figure 6 of the paper, left: test accuracy over the number of examples"
    " that students train on.",
  ),
  "figure6_middle": (
    paper_figures.training_curves,
    "Figure 6 of the paper, middle: the student's accuracy after each epoch.",
  ),
  "figure6_right": (paper_figures.labelled, _LABELLED),
  "table5": (paper_figures.labelled, _LABELLED),
}
# Every picture that a report may have of a sweep.
PICTURES = (
  *("accuracy", "embeddings", "sensitivity", "random_ensembles", "num_classes"),
  *_FIGURES,
)


@dataclasses.dataclass(frozen=True)
class ReportedSweep:
  """One sweep of a report.

  Attributes:
    results: Its finished cells.
    base: Folder that their paths are relative to.
    folder: Folder of the report, for pictures.
    prefix: Prefix of the file names of its pictures.
    maps: Maps of the students' embeddings.
  """

  results: SweepResults
  base: pathlib.Path
  folder: pathlib.Path
  prefix: str = ""
  maps: tuple[Picture, ...] = ()

  def draw(
    self, name: str, caption: str, drawn: Callable[[pathlib.Path], object]
  ) -> list[Picture]:
    """Draws a picture.

    Args:
      name: One of `PICTURES`.
      caption: Caption of the picture.
      drawn: Draws it to the path of a PNG, or returns False if there is nothing
        to draw.

    Returns:
      The picture, if there is one.
    """
    if drawn(self.folder / f"{self.prefix}{name}.png") is False:
      return []
    return [Picture(f"{self.prefix}{name}", caption)]


def make_document(
  sweeps: Sequence[ReportedSweep], unfinished: Sequence[str] = ()
) -> Document:
  """Makes the report of one sweep or of several, and draws its pictures.

  Args:
    sweeps: At least one.
    unfinished: Names of workdirs without a finished cell.

  Returns:
    The report, with a chapter per sweep if there are several workdirs. It does
    not depend on the time or the machine.
  """
  if len(sweeps) == 1 and not unfinished:
    return Document(sweeps[0].results.title, _sections(sweeps[0]))
  titles = [sweep.results.title for sweep in sweeps]
  chapters = [
    title if titles.count(title) == 1 else f"{title} ({sweep.results.folder})"
    for title, sweep in zip(titles, sweeps, strict=True)
  ]
  sections = [_overview(sweeps, chapters, unfinished)]
  for sweep, chapter in zip(sweeps, chapters, strict=True):
    sections += [
      dataclasses.replace(section, chapter=chapter)
      for section in _sections(sweep)
    ]
  several = "s" * (len(sweeps) > 1)
  return Document(f"{len(sweeps)} sweep{several}", tuple(sections))


def conclusion(results: SweepResults) -> str:
  """Returns the sentence to take away from a sweep.

  Args:
    results: The finished cells.

  Returns:
    The comparison of LELP with its baselines; for a sweep of LELP's settings
    alone, their ranges.
  """
  known = any(method.id == comparisons.LELP for method in results.methods)
  said = "" if known else sensitivity.sensitivity_sentence(results)
  return said or sentence.what_to_read_off(results)


def _overview(
  sweeps: Sequence[ReportedSweep],
  chapters: Sequence[str],
  unfinished: Sequence[str],
) -> Section:
  """Sizes and conclusions of all sweeps."""
  rows, sentences = [], []
  for sweep, chapter in zip(sweeps, chapters, strict=True):
    results = sweep.results
    texts = (
      results.folder,
      f"{len(results.cells):,}",
      "" if results.num_expected is None else f"{results.num_expected:,}",
      str(len(results.columns)),
      str(len(results.methods)),
      str(results.num_trials),
      {"heldout": "held-out", "test": "TEST"}[results.selection],
    )
    rows.append(TableRow.of(chapter, texts))
    sentences.append(f"{chapter}: {conclusion(results)}")
  notes = ()
  if unfinished:
    notes = (
      f"{len(unfinished)} without a finished cell: {', '.join(unfinished)}.",
    )
  table = Table(
    title="Sweeps in this report",
    header=_OVERVIEW,
    rows=tuple(rows),
    caption="Chosen on: the examples that choose hyperparameters (A-37).",
    notes=notes,
  )
  return Section("Overview", (table, *sentences))


def _sections(sweep: ReportedSweep) -> tuple[Section, ...]:
  """The sections of one sweep, without empty ones."""
  results = sweep.results
  parts = [
    _accuracy(sweep),
    _null_space(results),
    _ensembles(sweep),
    _classes(sweep),
    _sensitivity(sweep),
    Section("Figures", (*_figures(sweep), *sweep.maps)),
    Section(
      "Chosen hyperparameters",
      tuple(map(tables.hyperparameter_table, selections(results))),
    ),
    Section("The paper's grids", paper_grids.grid_tables(results)),
    Section("Cost", (costs.cost_table(results, sweep.base),)),
    Section("Diagnostics", (tables.diagnostics_table(results),)),
  ]
  return tuple(part for part in parts if part.parts)


def _accuracy(sweep: ReportedSweep) -> Section:
  """The tables with each selection, the conclusion and the bars."""
  results = sweep.results
  parts: list[str | Table] = []
  paper = paper_tables.table_of(results)
  for part in selections(results):
    if paper is not None:
      parts.append(paper_tables.paper_layout(part, paper))
    parts.append(tables.accuracy_table(part))
    if part is results:
      parts.append(conclusion(results))
  bars = sweep.draw(
    "accuracy",
    f"Test accuracy of each method: {results.title}.",
    lambda path: figures.accuracy_bars(results, path),
  )
  return Section("Accuracy", (*parts, *bars))


def _null_space(results: SweepResults) -> Section:
  table = questions.null_space_table(results)
  said = questions.null_space_sentence(results) if table else ""
  parts = [part for part in (table, said) if part]
  return Section("With and without the null space", tuple(parts))


def _ensembles(sweep: ReportedSweep) -> Section:
  title = "Ensembles of random projections"
  table = questions.ensemble_table(sweep.results)
  if table is None:
    return Section(title, ())
  picture = sweep.draw(
    "random_ensembles",
    "Test accuracy over the number of random projections; LELP is level.",
    lambda path: questions.ensemble_picture(sweep.results, path),
  )
  return Section(title, (table, *picture))


def _classes(sweep: ReportedSweep) -> Section:
  title = "From few classes to many"
  table = questions.classes_table(sweep.results)
  if table is None:
    return Section(title, ())
  picture = sweep.draw(
    "num_classes",
    "Test accuracy with CIFAR-100's classes merged into fewer.",
    lambda path: paper_figures.num_classes(sweep.results, sweep.base, path),
  )
  return Section(title, (*picture, table))


def _sensitivity(sweep: ReportedSweep) -> Section:
  title, results = "Sensitivity of LELP", sweep.results
  table = sensitivity.sensitivity_table(results)
  # Figure 5 varies two hyperparameters at once and has its own picture.
  if table is None or results.name == "figure5":
    return Section(title, ())
  picture = sweep.draw(
    "sensitivity",
    "Test accuracy of LELP over each hyperparameter with several values, with"
    " the best setting of the others.",
    lambda path: sensitivity.sensitivity_picture(results, path),
  )
  said = sensitivity.sensitivity_sentence(results)
  return Section(title, (said, *picture, table))


def _figures(sweep: ReportedSweep) -> list[Picture]:
  """The figure of the paper that the sweep is named after."""
  results = sweep.results
  if results.name not in _FIGURES:
    return []
  draw, caption = _FIGURES[results.name]
  return sweep.draw(
    results.name, caption, lambda path: draw(results, sweep.base, path)
  )
