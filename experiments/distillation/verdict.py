"""The recommendation of a distillation: one sentence that the numbers say."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from scipy import special

from experiments.reporting.estimates import estimate
from experiments.reporting.selection import FinishedCell
from experiments.reporting.selection import summarize_cells
from experiments.reporting.selection import SweepResults
from experiments.reporting.sentence import in_sentence
from experiments.results import Evaluation

# A student that loses more than this share of what the teacher has above the
# most frequent class is no replacement.
_MOST_LOST = 0.25


@dataclasses.dataclass(frozen=True)
class Gain:
  """Difference of two accuracies on the same test examples, in points.

  Attributes:
    mean: The difference.
    interval: Its 95 % interval, over test examples and trials.
  """

  mean: float
  interval: tuple[float, float]

  @property
  def sign(self) -> int:
    """1 or -1 where the interval is above or below zero, otherwise 0."""
    low, high = self.interval
    return int(low > 0) - int(high < 0)

  def __str__(self) -> str:
    low, high = self.interval
    return f"{self.mean:+.2f} points (95 % interval {low:+.2f} to {high:+.2f})"


def chosen_cell(found: SweepResults) -> FinishedCell:
  """Returns the trial that held-out data choose, of all methods.

  The setting with the highest mean accuracy over its trials is chosen first,
  then its best trial; held-out loss decides between equals.
  """
  cells = summarize_cells(found.cells, "heldout").cells

  def rank(cell: FinishedCell) -> tuple[float, float, int]:
    loss = cell.validation.loss
    loss = math.inf if loss is None else loss
    return -round(cell.validation.accuracy, 12), loss, cell.trial

  return min(cells, key=rank)


def gain(cells: Sequence[FinishedCell], others: Sequence[FinishedCell]) -> Gain:
  """Estimates the gain of some trials over others on the test examples.

  Its variance is the sum of that over test examples, of the difference of the
  mean hits, and of that over trials.

  Args:
    cells: The trials of one setting.
    others: As many trials of another.
  """
  hits = np.stack([_hits(cell.test) for cell in cells])
  other = np.stack([_hits(cell.test) for cell in others])
  return _gain(hits, other)


def gain_over_teacher(
  cells: Sequence[FinishedCell], teacher: Evaluation
) -> Gain:
  """Estimates the gain of some trials over their teacher."""
  hits = np.stack([_hits(cell.test) for cell in cells])
  return _gain(hits, _hits(teacher)[None])


def _gain(hits: np.ndarray, other: np.ndarray) -> Gain:
  """The gain of hits ``[T, N]`` over others, ``[T, N]`` or ``[1, N]``."""
  difference = 100 * (hits.astype(float) - other.astype(float))
  trials, size = difference.shape
  mean = float(difference.mean())
  variance = float(difference.mean(axis=0).var(ddof=1)) / size
  if trials > 1:
    variance += (estimate(difference.mean(axis=1)).standard_error or 0.0) ** 2
  half = float(special.ndtri(0.975)) * math.sqrt(variance)
  return Gain(mean, (mean - half, mean + half))


def _hits(scores: Evaluation) -> np.ndarray:
  """Returns whether each test example is predicted correctly, bool ``[N]``."""
  assert scores.predictions is not None
  assert scores.num_examples is not None
  packed = np.frombuffer(bytes.fromhex(scores.predictions.correct), np.uint8)
  return np.unpackbits(packed, count=scores.num_examples).astype(bool)


def majority_share(scores: Evaluation) -> float | None:
  """Returns the share of the most frequent class, None for many classes."""
  if scores.predictions is None or scores.predictions.confusion is None:
    return None
  sizes = np.array(scores.predictions.confusion).sum(axis=1)
  return float(sizes.max() / sizes.sum())


def recommendation(found: SweepResults, teacher_parameters: int | None) -> str:
  """Returns one sentence that says which model to use.

  Args:
    found: Some trials of the chosen setting of each method.
    teacher_parameters: Number of parameters of the teacher, if it is known.
  """
  by_row: dict[str, list[FinishedCell]] = {}
  for cell in sorted(found.cells, key=lambda cell: cell.trial):
    by_row.setdefault(cell.method, []).append(cell)
  winner = chosen_cell(found)
  cells, title = by_row[winner.method], _named(found, winner.method)
  reason = _reason_to_keep(cells, title, teacher_parameters)
  if reason:
    return f"Keep the teacher: {reason}."
  end = f"{_accuracies(cells)} on the test examples"
  if winner.method == "standard":
    return (
      "Use the student that was trained on the labels alone: no distillation "
      f"was better on held-out data ({end})."
    )
  if winner.method == "vanilla":
    return (
      "Use vanilla distillation: no other method was better on held-out data "
      f"({end})."
    )
  if "vanilla" not in by_row:
    return f"Use the student of {title}, the best on held-out data ({end})."
  own = gain(cells, by_row["vanilla"])
  if own.sign > 0:
    return (
      f"Use the student of {title}: it is {own} above vanilla distillation "
      f"({end})."
    )
  if own.sign == 0:
    return (
      f"Use the exported student, of {title}, or use vanilla distillation, "
      f"which is simpler and as good: the difference of {own} is not "
      f"distinguishable from zero ({end})."
    )
  return (
    f"Use vanilla distillation: {title}, which held-out data chose and whose "
    f"student is exported, is at {own} from it ({end})."
  )


def _reason_to_keep(
  cells: Sequence[FinishedCell], title: str, teacher_parameters: int | None
) -> str:
  """Returns why a student does not replace the teacher, "" if it does."""
  teacher, size = cells[0].teacher.test, cells[0].num_parameters
  majority = majority_share(teacher)
  loss = gain_over_teacher(cells, teacher)
  if majority is not None and loss.sign < 0:
    most = _MOST_LOST * 100 * max(teacher.accuracy - majority, 0)
    if -loss.mean > most:
      return (
        f"the best student, of {title}, loses {-loss.mean:.1f} points "
        f"({_accuracies(cells)} on the test examples), more than a quarter of "
        "what the teacher has above always naming the most frequent class "
        f"({100 * majority:.1f} %)"
      )
  if teacher_parameters and size >= teacher_parameters:
    return (
      f"the student has {size:,} parameters and the teacher "
      f"{teacher_parameters:,}, so that a smaller student is needed to save "
      "anything"
    )
  return ""


def _accuracies(cells: Sequence[FinishedCell]) -> str:
  own = 100 * estimate(cell.test.accuracy for cell in cells).mean
  return f"{own:.1f} % against {100 * cells[0].teacher.test.accuracy:.1f} %"


def _named(found: SweepResults, row: str) -> str:
  return in_sentence(found.method_title(row))
