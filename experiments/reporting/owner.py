"""Scores on the test examples, for the owner of the data.

Intervals are over test examples: they say how much a score could change on
other examples of the same kind. The other tables have intervals over trials or
splits, which say how much a score could change if training were repeated.
"""

import dataclasses
import math
from collections.abc import Callable
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import special

from experiments.reporting import comparisons
from experiments.reporting import numbers
from experiments.reporting.document import Example
from experiments.reporting.document import Gallery
from experiments.reporting.document import Part
from experiments.reporting.document import Table
from experiments.reporting.document import TableCell
from experiments.reporting.document import TableRow
from experiments.reporting.images import image
from experiments.reporting.names import column_name
from experiments.reporting.selection import FinishedCell
from experiments.reporting.selection import SweepResults
from experiments.results import Evaluation
from experiments.results import Mistake
from experiments.results import Predictions
from lelp_jax import metrics

# Returns the text or the image of a test example by its id.
Reader = Callable[[int], Example]

_NUM_RESAMPLES = 1000
# Half the width of a 95 % interval in standard errors.
_Z = float(special.ndtri(0.975))
# With more classes, the matrix is replaced by its most frequent confusions.
_MOST_IN_MATRIX = 12
_NUM_CONFUSIONS = 15
_SCORES = (
  "accuracy",
  "macro F1",
  "Matthews correlation",
  "log loss",
  "calibration error",
)
_SIZES = (
  "parameters",
  "size (MB)",
  "examples per second",
  "times smaller",
  "times faster",
)


@dataclasses.dataclass(frozen=True)
class TeacherSize:
  """Size and speed of a teacher that ran elsewhere; None if unknown.

  The sweep itself only has a linear model on the embeddings of such a teacher.
  """

  parameters: int | None = None
  bytes: int | None = None
  examples_per_second: float | None = None


class Exported(NamedTuple):
  """The student that `experiments.distill` exports.

  Attributes:
    cell: The cell in which it was trained.
    test: Its scores on the test examples, with calibrated probabilities.
  """

  cell: FinishedCell
  test: Evaluation


@dataclasses.dataclass(frozen=True)
class _Model:
  """A teacher or the students of one method: one evaluation per trial."""

  title: str
  evaluations: list[Evaluation]
  cell: FinishedCell
  method: str = ""  # Empty for the teacher.

  @property
  def group(self) -> str:
    return "students" if self.method else "teachers"


def score_parts(
  results: SweepResults,
  read: Reader | None = None,
  *,
  teacher: TeacherSize | None = None,
  exported: Exported | None = None,
) -> list[Part]:
  """Makes the section on test examples, for the first column with predictions.

  Returns the worth of one test example, scores, sizes and speeds, confusion
  matrices and mistakes. The list is empty if no predictions are recorded.
  """
  for column in results.columns:
    models = _models(results, column.id, exported.cell if exported else None)
    if models:
      break
  else:
    return []
  where = f" of {column_name(column)}" if len(results.columns) > 1 else ""
  shown = [models[0]] if not models[0].method else []
  students = {model.method: model for model in models if model.method}
  best = exported.cell.method if exported else comparisons.LELP
  names = dict.fromkeys(("vanilla", comparisons.LELP, best))
  shown += [students[name] for name in names if name in students]
  shown = shown if len(shown) > 1 else models[:3]
  chosen = students.get(best) or models[-1]
  if exported:
    chosen = dataclasses.replace(chosen, evaluations=[exported.test])
  return [
    _example_worth(chosen, where),
    _score_table(results, models, where, chosen if exported else None),
    _size_table(models, where, teacher),
    *(table for model in shown if (table := _confusion(model, where))),
    *_mistakes(chosen, where, read),
  ]


def _models(
  results: SweepResults, column: str, exported: FinishedCell | None
) -> list[_Model]:
  """Returns the models of a column with recorded predictions, teachers first.

  If a cell is exported, it is the first trial of its model.
  """
  models = []
  for heading, methods in comparisons.teacher_groups(results).items():
    cells = comparisons.with_different_teachers(results, column, methods)
    teachers = [cell.teacher.test for cell in cells]
    if cells and all(teacher.predictions for teacher in teachers):
      models.append(_Model(heading.title, teachers, cells[0]))
  for method in results.methods:
    summary = results.summaries.get((column, method.id))
    if summary and all(cell.test.predictions for cell in summary.cells):
      cells = sorted(summary.cells, key=lambda cell: cell != exported)
      evaluations = [cell.test for cell in cells]
      models.append(_Model(method.title, evaluations, cells[0], method.id))
  return models


def _counts(evaluation: Evaluation) -> Predictions:
  # `_models` keeps only models with recorded predictions.
  assert evaluation.predictions is not None
  return evaluation.predictions


def _example_worth(model: _Model, where: str) -> str:
  """Describes the weight of one test example, and the accuracy of guessing."""
  evaluation = model.evaluations[0]
  size = evaluation.num_examples or 0
  text = (
    f"There are {size:,} test examples{where}, so that one of them is worth"
    f" {100 / size:.2g} points of accuracy."
  )
  share = majority_share(evaluation)
  if share is not None:
    text += (
      f" Always predicting the most frequent class reaches {100 * share:.2f} %."
    )
  return text


def majority_share(evaluation: Evaluation) -> float | None:
  """Returns the share of the most frequent class, None if it is unknown."""
  counts = evaluation.predictions
  if counts is None or counts.confusion is None:
    return None
  sizes = [sum(row) for row in counts.confusion]
  return max(sizes) / sum(sizes)


# --- Scores and their intervals ----------------------------------------------


def accuracy_interval(accuracy: float, size: int) -> tuple[float, float]:
  """Returns Wilson's 95 % interval of an accuracy, as fractions."""
  from scipy import stats  # Importing it takes half a second.

  hits = round(accuracy * size)
  interval = stats.binomtest(hits, size).proportion_ci(method="wilson")
  return interval.low, interval.high


def standard_errors(evaluation: Evaluation) -> dict[str, float | None]:
  """Returns the standard error over examples of each score except accuracy.

  The error of log loss follows from its standard deviation. The others are
  bootstrapped: the confusion matrix or the calibration bins determine the
  score, so that it is enough to draw their counts.
  """
  counts, size = _counts(evaluation), evaluation.num_examples or 1
  rng = np.random.default_rng(0)
  errors: dict[str, float | None] = dict.fromkeys(_SCORES[1:])
  if counts.loss_deviation is not None:
    errors["log loss"] = counts.loss_deviation / math.sqrt(size)
  if counts.confusion is not None:
    matrix = np.asarray(counts.confusion)
    drawn = rng.multinomial(size, matrix.ravel() / size, _NUM_RESAMPLES)
    drawn = drawn.reshape(-1, *matrix.shape)
    for name, score in (
      ("macro F1", metrics.macro_f1),
      ("Matthews correlation", metrics.matthews_correlation),
    ):
      errors[name] = float(np.std(jax.vmap(score)(jnp.asarray(drawn)), ddof=1))
  # Draw the right and the wrong predictions of each bin. Its mean confidence is
  # kept.
  bins = np.asarray(counts.calibration, np.float64)
  in_bin, confidence, hits = bins.T
  cells = np.stack([hits, in_bin - hits], axis=1)
  drawn = rng.multinomial(
    size, cells.ravel() / in_bin.sum(), _NUM_RESAMPLES
  ).reshape(-1, *cells.shape)
  total = drawn.sum(axis=2)
  mean = confidence / np.maximum(in_bin, 1)
  resampled = np.stack([total, total * mean, drawn[..., 0]], axis=2)
  scores = jax.vmap(metrics.expected_calibration_error)(jnp.asarray(resampled))
  errors["calibration error"] = float(np.std(scores, ddof=1))
  return errors


def _score_table(
  results: SweepResults,
  models: Sequence[_Model],
  where: str,
  exported: _Model | None,
) -> Table:
  size = models[0].evaluations[0].num_examples
  vanilla = next((m for m in models if m.method == "vanilla"), None)
  header = [*_SCORES, "agreement", *(["gain over vanilla"] if vanilla else [])]
  rows = []
  for model in models:
    cells = [*_score_texts(model), *_gain_texts(results, model, vanilla)]
    rows.append(TableRow.of(model.title, cells, model.group))
  if exported:
    cells = [*_score_texts(exported), *([""] if vanilla else [])]
    rows.append(TableRow.of("Exported, calibrated", cells, "exported"))
  trials = max(len(model.evaluations) for model in models)
  return Table(
    title=f"Scores on the test examples{where}",
    header=tuple(header),
    rows=tuple(rows),
    caption=(
      f"On {size:,} test examples"
      f"{f', means over at most {trials} trials' if trials > 1 else ''}. In"
      " brackets the 95 % interval for other examples of the same kind."
      " Accuracy in %. Macro F1: the mean over classes of the F1 score, in"
      " which a rare class counts as much as a frequent one. Matthews"
      " correlation: 1 for perfect predictions, 0 for guessing. Log loss: the"
      " mean of -log of the probability given to the true class; lower is"
      " better. Calibration error: the mean difference between how sure a model"
      " is and how often it is right; lower is better. Agreement: the share of"
      " examples in % on which a student predicts what its teacher predicts."
      + (
        " Gain over vanilla in points, paired by test example."
        if vanilla
        else ""
      )
      + (
        f" The last row is the exported student, of {exported.title}"
        f"{_trial(exported)}: its probabilities are calibrated on held-out"
        " examples, and those of the other rows are not."
        if exported
        else ""
      )
    ),
  )


def _intervals(evaluation: Evaluation) -> list[Sequence[float]]:
  """Returns each score, followed by the ends of its interval if it has one."""
  ends = accuracy_interval(evaluation.accuracy, evaluation.num_examples or 1)
  intervals: list[Sequence[float]] = [
    [100 * x for x in (evaluation.accuracy, *ends)]
  ]
  errors = standard_errors(evaluation)
  for name, value, least, most in (
    ("macro F1", evaluation.macro_f1, 0, 1),
    ("Matthews correlation", evaluation.matthews_correlation, -1, 1),
    ("log loss", evaluation.loss, 0, math.inf),
    ("calibration error", evaluation.calibration_error, 0, 1),
  ):
    error = errors[name]
    if value is None:
      intervals.append(())
    elif error is None:
      intervals.append((value,))
    else:
      ends = np.clip([value - _Z * error, value + _Z * error], least, most)
      intervals.append((value, *ends))
  return intervals


def _score_texts(model: _Model) -> list[str]:
  """Formats scores and intervals, averaged over trials, and the agreement."""
  texts = []
  scores = zip(*map(_intervals, model.evaluations), strict=True)
  for trials, digits in zip(scores, (2, 3, 3, 3, 3), strict=True):
    # If one trial has no interval, the mean has none.
    mean, *ends = [
      f"{np.mean(values):.{digits}f}" for values in zip(*trials, strict=False)
    ] or [""]
    texts.append(f"{mean}\n[{', '.join(ends)}]" if ends else mean)
  agreements = (each.agreement for each in model.evaluations)
  return [*texts, numbers.mean(agreements, numbers.percent)]


def _gain_texts(
  results: SweepResults, model: _Model, vanilla: _Model | None
) -> list[str]:
  """Formats the gain over vanilla distillation, averaged over common trials.

  The list is empty if the table has no column for it.
  """
  if vanilla is None:
    return []
  if not model.method or model is vanilla:
    return [""]
  column = model.cell.column
  own, other = (results.summaries[column, m.method] for m in (model, vanilla))
  pairs = comparisons.pairs(own, other)
  if not pairs:
    return [""]
  gain = comparisons.mean_over_examples(*zip(*pairs, strict=True))
  return [numbers.with_interval(gain)]


# --- Sizes and speeds ---------------------------------------------------------


def _size_table(
  models: Sequence[_Model], where: str, given: TeacherSize | None
) -> Table:
  rows = []
  first = models[0].cell
  own = given or TeacherSize(
    first.teacher.num_parameters,
    examples_per_second=_rate(first.seconds.teacher_example),
  )
  for model in models:
    size, rate = own.parameters, own.examples_per_second
    num_bytes = own.bytes or 4 * (size or 0)
    if model.method:
      size, rate = model.cell.num_parameters, _rate(model.cell.seconds.example)
      num_bytes = 4 * size
    cells = [
      f"{size:,}" if size else "",
      f"{num_bytes / 1e6:,.3g}" if num_bytes else "",
      f"{rate:,.0f}" if rate else "",
      _ratio(own.parameters, size) if model.method else "",
      _ratio(rate, own.examples_per_second) if model.method else "",
    ]
    rows.append(TableRow.of(model.title, cells, model.group))
  device = first.versions.get("device", "")
  return Table(
    title=f"Size and speed{where}",
    header=_SIZES,
    rows=tuple(rows),
    caption=(
      "Size: of the parameters as 32-bit numbers. Speed: of predictions in"
      " batches of at most 64 test examples, on the machine that trained"
      f"{f' ({device})' if device else ''}. Times: in comparison with the"
      " teacher."
    ),
  )


def _ratio(number: float | None, other: float | None) -> str:
  return f"{number / other:.1f}" if number and other else ""


def _rate(seconds: float | None) -> float | None:
  return 1 / seconds if seconds else None


# --- Confusions and mistakes --------------------------------------------------


def _class_name(cell: FinishedCell, label: int) -> str:
  return cell.classes[label] if cell.classes else f"class {label}"


def _trial(model: _Model) -> str:
  return f" in trial {model.cell.trial}" if model.method else ""


def _confusion(model: _Model, where: str) -> Table | None:
  """Builds the confusion matrix of one trial, or the list of its confusions.

  Returns None if no confusions are recorded.
  """
  counts = _counts(model.evaluations[0])
  if counts.confusion is None:
    return None
  matrix = np.asarray(counts.confusion)
  names = [_class_name(model.cell, c) for c in range(len(matrix))]
  totals = matrix.sum(axis=1)
  title = f"Confusion matrix: {model.title}{where}"
  if len(matrix) <= _MOST_IN_MATRIX:
    rows = [
      TableRow(
        f"is {name}",
        tuple(
          TableCell(f"{count:,}", shade=count / max(1, total))
          for count in counts
        ),
      )
      for name, counts, total in zip(names, matrix, totals, strict=True)
    ]
    return Table(
      title=title,
      header=tuple(f"predicted {name}" for name in names),
      rows=tuple(rows),
      caption=f"Number of test examples{_trial(model)}; each row is a class."
      " The colour is the share of the class.",
    )
  wrong = matrix * ~np.eye(len(matrix), dtype=bool)
  pairs = sorted(np.argwhere(wrong).tolist(), key=lambda pair: -wrong[*pair])
  return Table(
    title=title,
    header=("examples", "share of the class (%)"),
    rows=tuple(
      TableRow.of(
        f"{names[c]} taken for {names[p]}",
        [f"{wrong[c, p]:,}", numbers.percent(wrong[c, p] / max(1, totals[c]))],
      )
      for c, p in pairs[:_NUM_CONFUSIONS]
    ),
    caption=f"The most frequent confusions{_trial(model)}.",
  )


def _mistakes(model: _Model, where: str, read: Reader | None) -> list[Gallery]:
  """Shows the most confident mistakes of one trial, if there are any."""
  mistakes = _counts(model.evaluations[0]).mistakes
  if not mistakes:
    return []

  def shown(mistake: Mistake) -> Example:
    labels = (
      f"{_class_name(model.cell, mistake.predicted)}, "
      f"{100 * mistake.probability:.1f}\N{NO-BREAK SPACE}%",
      f"is {_class_name(model.cell, mistake.label)}",
    )
    example = read(mistake.id) if read else Example(())
    text = example.text or ("" if example.image else f"example {mistake.id}")
    return dataclasses.replace(example, labels=labels, text=text)

  return [
    Gallery(
      title=f"The most confident mistakes: {model.title}{where}",
      caption="Test examples whose class is predicted wrongly with the highest"
      f" probabilities{_trial(model)}. Some may be labelled wrongly.",
      examples=tuple(map(shown, mistakes)),
    )
  ]


def test_examples(results: SweepResults) -> Reader | None:
  """Returns a function that reads test examples; None if that is impossible."""
  cell, workdir = results.cells[0], results.base / results.folder
  if cell.test.predictions is None:
    return None
  # Imported only if needed: these imports take two seconds.
  from experiments.data import load
  from experiments.training import data

  try:
    spec = cell.spec(results.base)
    text_of = load.text_of(spec.data, workdir)
    if text_of is not None:
      return lambda number: Example((), text_of(number))
    splits = data.load_splits(spec, workdir)
  except (FileNotFoundError, ValueError) as error:
    print(f"Mistakes are listed by id, without their contents: {error}")
    return None
  if splits.task.image_shape is None or "ids" not in splits.test:
    return None
  rows = {int(number): row for row, number in enumerate(splits.test["ids"])}
  return lambda number: Example(
    (), image=image(splits.test["inputs"][rows[number]], splits.task.scale)
  )
