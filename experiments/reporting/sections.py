"""What a report is made of: its sections, from the runs of workdirs."""

import dataclasses
import pathlib
from collections.abc import Callable
from collections.abc import Sequence

from experiments.reporting import answers
from experiments.reporting import comparisons
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
from experiments.reporting.layout import Row
from experiments.reporting.layout import Table
from experiments.reporting.layout import TableCell
from experiments.reporting.paper_comparison import table_of
from experiments.reporting.paper_tables import paper_layout
from experiments.reporting.records import Results
from experiments.reporting.statistics import selections

_LABELLED = (
  "As the paper's Figure 6, right: Table 5 over the number of labelled examples"
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
}
# Every picture that a report may have of a sweep.
PICTURES = (
  *("accuracy", "embeddings", "sensitivity", "random_ensembles", "num_classes"),
  *_FIGURES,
)


@dataclasses.dataclass(frozen=True)
class Sweep:
  """One sweep of a report.

  Attributes:
    results: What `results.load` returns, its paths relative to `base`.
    base: Where they are read from.
    folder: Where pictures go.
    prefix: What the names of its pictures begin with.
    maps: Pictures that are there already.
  """

  results: Results
  base: pathlib.Path
  folder: pathlib.Path
  prefix: str = ""
  maps: tuple[Picture, ...] = ()

  def draw(
    self, name: str, caption: str, drawn: Callable[[pathlib.Path], object]
  ) -> list[Picture]:
    """Draws a picture; none where `drawn` says that it drew nothing.

    Args:
      name: One of `PICTURES`.
      caption: What it shows.
      drawn: Draws it; takes the path of the PNG.
    """
    if drawn(self.folder / f"{self.prefix}{name}.png") is False:
      return []
    return [Picture(f"{self.prefix}{name}", caption)]


def make_document(
  sweeps: Sequence[Sweep], unfinished: Sequence[str] = ()
) -> Document:
  """Makes the report of one sweep or of several, and draws its pictures.

  Args:
    sweeps: At least one.
    unfinished: Names of workdirs in which nothing is finished.

  Returns:
    The report, with a chapter for each sweep where several workdirs were asked
    for; nothing in it depends on when it was made.
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


def read_off(results: Results) -> str:
  """The sentence to take away from a sweep.

  Args:
    results: What `results.load` returns.

  Returns:
    How LELP compares; in a sweep of its settings alone, how much they matter.
  """
  known = any(method.id == comparisons.LELP for method in results.methods)
  said = "" if known else sensitivity.sensitivity_sentence(results)
  return said or sentence.what_to_read_off(results)


def _overview(
  sweeps: Sequence[Sweep], chapters: Sequence[str], unfinished: Sequence[str]
) -> Section:
  """What there is of each sweep, and what to read off."""
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
    rows.append(Row(chapter, tuple(map(TableCell, texts))))
    sentences.append(f"{chapter}: {read_off(results)}")
  notes = ()
  if unfinished:
    notes = (
      f"Left out, since no cell is finished: {len(unfinished)}"
      f" ({', '.join(unfinished)}).",
    )
  table = Table(
    title="What this report is of",
    header=_OVERVIEW,
    rows=tuple(rows),
    caption="Chosen on: which examples choose hyperparameters (A-37).",
    notes=notes,
  )
  return Section("Overview", (table, *sentences))


def _sections(sweep: Sweep) -> tuple[Section, ...]:
  """What a report says of one sweep."""
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
      tuple(map(details.hyperparameter_table, selections(results))),
    ),
    Section("The paper's grids", paper_grids.grid_tables(results)),
    Section("Cost", (cost.cost_table(results, sweep.base),)),
    Section("Diagnostics", (details.diagnostics_table(results),)),
  ]
  return tuple(part for part in parts if part.parts)


def _accuracy(sweep: Sweep) -> Section:
  """The tables, the sentence and the bars."""
  results = sweep.results
  parts: list[str | Table] = []
  paper = table_of(results)
  for part in selections(results):
    if paper is not None:
      parts.append(paper_layout(part, paper))
    parts.append(tables.accuracy_table(part))
    if part is results:
      parts.append(read_off(results))
  references = drawing.paper_references(results)
  bars = sweep.draw(
    "accuracy",
    f"Test accuracy of each method: {results.title}.",
    lambda path: figures.accuracy_bars(results, path, references),
  )
  return Section("Accuracy", (*parts, *bars))


def _null_space(results: Results) -> Section:
  """Why the head's span is projected off: with and without."""
  table = answers.null_space_table(results)
  said = answers.null_space_sentence(results)
  parts = (table, said) if table and said else (table,) if table else ()
  return Section("With and without the null space", parts)


def _ensembles(sweep: Sweep) -> Section:
  """Whether several random projections do as well."""
  results = sweep.results
  table = answers.ensemble_table(results)
  if table is None:
    return Section("Ensembles of random projections", ())
  picture = sweep.draw(
    "random_ensembles",
    "Test accuracy over the number of random projections; LELP is level.",
    lambda path: answers.ensemble_picture(results, path),
  )
  return Section("Ensembles of random projections", (table, *picture))


def _classes(sweep: Sweep) -> Section:
  """Why few classes: what LELP gains with more of them."""
  results = sweep.results
  table = answers.classes_table(results)
  if table is None:
    return Section("From few classes to many", ())
  picture = sweep.draw(
    "num_classes",
    "Test accuracy with CIFAR-100's classes merged into fewer.",
    lambda path: paper_figures.num_classes(results, sweep.base, path),
  )
  return Section("From few classes to many", (*picture, table))


def _sensitivity(sweep: Sweep) -> Section:
  """LELP over each hyperparameter, but for Figure 5's: it shows two at once."""
  results = sweep.results
  table = sensitivity.sensitivity_table(results)
  if table is None or results.name == "figure5":
    return Section("Sensitivity of LELP", ())
  caption = (
    "Test accuracy of LELP over each hyperparameter of which several values"
    " were tried, the others being the best at that value."
  )
  picture = sweep.draw(
    "sensitivity", caption, lambda path: sensitivity.sensitivity(results, path)
  )
  said = sensitivity.sensitivity_sentence(results)
  return Section("Sensitivity of LELP", (said, *picture, table))


def _figures(sweep: Sweep) -> list[Picture]:
  """The figure that a sweep is named after."""
  results = sweep.results
  if results.name not in _FIGURES:
    return []
  draw, caption = _FIGURES[results.name]
  return sweep.draw(
    results.name, caption, lambda path: draw(results, sweep.base, path)
  )
