"""The sections of a report, from the finished cells of sweeps."""

import dataclasses
import pathlib
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence

from experiments.reporting import comparisons
from experiments.reporting import costs
from experiments.reporting import figures
from experiments.reporting import headline
from experiments.reporting import owner
from experiments.reporting import paper_figures
from experiments.reporting import paper_grids
from experiments.reporting import paper_tables
from experiments.reporting import questions
from experiments.reporting import sensitivity
from experiments.reporting import sentence
from experiments.reporting import tables
from experiments.reporting.document import Document
from experiments.reporting.document import Part
from experiments.reporting.document import Picture
from experiments.reporting.document import Section
from experiments.reporting.document import Table
from experiments.reporting.document import TableRow
from experiments.reporting.selection import selections
from experiments.reporting.selection import SweepResults

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
# By the name of a sweep: the function that draws its figure, and a caption.
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
# The names of all pictures that a report may have of a sweep.
PICTURES = (
  "gains",
  "accuracy",
  "embeddings",
  "sensitivity",
  "information",
  "random_ensembles",
  "num_classes",
  *_FIGURES,
)


@dataclasses.dataclass(frozen=True)
class ReportedSweep:
  """One sweep of a report.

  Attributes:
    results: Its finished cells.
    folder: Folder of the report, in which pictures are written.
    prefix: Prefix of the file names of its pictures.
    maps: Maps of the students' embeddings.
    teacher: Size and speed of a teacher that ran elsewhere; None for a teacher
      of the sweep.
    exported: The exported student, whose confusions and mistakes are shown; if
      it is None, those of LELP are.
  """

  results: SweepResults
  folder: pathlib.Path
  prefix: str = ""
  maps: tuple[Picture, ...] = ()
  teacher: owner.TeacherSize | None = None
  exported: owner.Exported | None = None

  def draw(
    self,
    name: str,
    caption: str,
    function: Callable[[SweepResults, pathlib.Path], object],
  ) -> list[Picture]:
    """Draws a picture with a function that returns False if there is none.

    Returns a list with the picture, or an empty list.
    """
    path = self.folder / f"{self.prefix}{name}.png"
    if function(self.results, path) is False:
      return []
    return [Picture(f"{self.prefix}{name}", caption)]


def make_document(
  sweeps: Sequence[ReportedSweep], unfinished: Sequence[str] = ()
) -> Document:
  """Makes the report of one sweep or of several, and draws its pictures.

  The report has a chapter per sweep if there are several workdirs. Those that
  `unfinished` names have no finished cell and are only listed. The report does
  not depend on the time or the machine.
  """
  if len(sweeps) == 1 and not unfinished:
    return Document(sweeps[0].results.title, _sections(sweeps[0]))
  titles = [sweep.results.title for sweep in sweeps]
  chapters = [
    title if titles.count(title) == 1 else f"{title} ({sweep.results.folder})"
    for title, sweep in zip(titles, sweeps, strict=True)
  ]
  sections = [
    *_headline(sweeps, chapters),
    _overview(sweeps, chapters, unfinished),
  ]
  for sweep, chapter in zip(sweeps, chapters, strict=True):
    sections += [
      dataclasses.replace(section, chapter=chapter)
      for section in _sections(sweep)
    ]
  several = "s" * (len(sweeps) > 1)
  return Document(f"{len(sweeps)} sweep{several}", tuple(sections))


def unfinished_note(workdirs: Sequence[str]) -> str:
  """Returns the sentence that lists the workdirs without a finished cell."""
  listed = ", ".join(workdirs)
  return f"Workdirs without a finished cell ({len(workdirs)}): {listed}."


def conclusion(results: SweepResults) -> str:
  """Returns the sentence that sums up a sweep."""
  if results.is_smoke:
    return (
      "This is a smoke test: its numbers mean nothing, and no method is marked"
      " as the best."
    )
  has_lelp = any(method.id == comparisons.LELP for method in results.methods)
  said = "" if has_lelp else sensitivity.sensitivity_sentence(results)
  return said or sentence.comparison_sentence(results)


def _headline(
  sweeps: Sequence[ReportedSweep], chapters: Sequence[str]
) -> list[Section]:
  """Compares the main methods over settings, if there are at least two."""
  settings = headline.settings_of(chapters, [sweep.results for sweep in sweeps])
  if len(settings) < 2:
    return []
  name = "headline"
  headline.gain_picture(settings, sweeps[0].folder / f"{name}.png")
  picture = Picture(name, "Gains over vanilla distillation in every setting.")
  accuracies = headline.accuracy_table(settings)
  gains = headline.gain_table(settings)
  return [Section("Headline", (picture, accuracies, gains))]


def _overview(
  sweeps: Sequence[ReportedSweep],
  chapters: Sequence[str],
  unfinished: Sequence[str],
) -> Section:
  """Lists the sweeps with their sizes and conclusions."""
  rows, sentences = [], []
  for sweep, chapter in zip(sweeps, chapters, strict=True):
    results = sweep.results
    texts = (
      results.folder,
      f"{len(results.cells):,}",
      f"{results.num_cells:,}",
      str(len(results.columns)),
      str(len(results.methods)),
      str(results.num_trials),
      results.chosen_by,
    )
    rows.append(TableRow.of(chapter, texts))
    sentences.append(f"{chapter}: {conclusion(results)}")
  table = Table(
    title="Sweeps in this report",
    header=_OVERVIEW,
    rows=tuple(rows),
    caption="Chosen on: the examples that choose hyperparameters (A-37).",
    notes=(unfinished_note(unfinished),) if unfinished else (),
  )
  return Section("Overview", (table, *sentences))


def _sections(sweep: ReportedSweep) -> tuple[Section, ...]:
  """Makes the sections of one sweep, without empty parts and sections."""
  results, draw = sweep.results, sweep.draw
  is_ours = sweep.teacher is None
  main, *others = (
    table
    for part in selections(results)
    for table in (
      paper_tables.paper_layout(part),
      tables.accuracy_table(part),
    )
    if table
  )
  parts: dict[str, Iterable[Part | None]] = {
    "Result": [
      *draw(
        "gains",
        f"Gain in test accuracy: {results.title}.",
        figures.gain_picture,
      ),
      conclusion(results),
      main,
    ],
    "On the test examples": owner.score_parts(
      results,
      owner.test_examples(results),
      teacher=sweep.teacher,
      exported=sweep.exported,
    ),
    "Accuracy": [
      *draw(
        "accuracy",
        f"Test accuracy of each method: {results.title}.",
        figures.accuracy_bars,
      ),
      *others,
    ],
    **_question_parts(sweep),
    # Figure 5 varies two hyperparameters at once and has its own picture.
    "Sensitivity of LELP": []
    if results.name == "figure5"
    else [
      sensitivity.sensitivity_sentence(results),
      *draw(
        "sensitivity",
        "Test accuracy of LELP over each hyperparameter with several values,"
        " with the best setting of the others.",
        sensitivity.sensitivity_picture,
      ),
      sensitivity.sensitivity_table(results),
    ],
    "Subclasses and hidden classes": draw(
      "information",
      "Gain over vanilla distillation against what the subclasses of a student "
      "tell about the hidden classes (adjusted mutual information within each "
      "class: 0 is chance, 1 is equality).",
      figures.information_picture,
    ),
    "Figures": [*_figure(sweep), *sweep.maps],
    "Chosen hyperparameters": map(
      tables.hyperparameter_table, selections(results)
    ),
    "The paper's grids": paper_grids.grid_tables(results),
    "Cost": [costs.cost_table(results, teacher_is_ours=is_ours)],
    "Diagnostics": [tables.diagnostics_table(results, teacher_is_ours=is_ours)],
  }
  sections = (
    Section(title, tuple(filter(None, own)), is_folded=title != "Result")
    for title, own in parts.items()
  )
  return tuple(section for section in sections if section.parts)


def _question_parts(
  sweep: ReportedSweep,
) -> dict[str, Iterable[Part | None]]:
  """Returns the parts of the sections that answer a single question each."""
  results, draw = sweep.results, sweep.draw
  null_space = questions.null_space_table(results)
  return {
    "With and without the null space": [
      null_space,
      questions.null_space_sentence(results) if null_space else None,
    ],
    "Ensembles of random projections": [
      questions.ensemble_table(results),
      *draw(
        "random_ensembles",
        "Test accuracy over the number of random projections; LELP is level.",
        questions.ensemble_picture,
      ),
    ],
    "From few classes to many": [
      *draw(
        "num_classes",
        "Test accuracy with CIFAR-100's classes merged into fewer.",
        paper_figures.num_classes,
      ),
      questions.classes_table(results),
    ],
  }


def _figure(sweep: ReportedSweep) -> list[Picture]:
  """Draws the figure of the paper that the sweep is named after, if any."""
  name = sweep.results.name
  if name not in _FIGURES:
    return []
  draw, caption = _FIGURES[name]
  return sweep.draw(name, caption, draw)
