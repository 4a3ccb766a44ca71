"""The recommendation at the end of a distillation, in one sentence."""

import math
from collections.abc import Sequence

from experiments.reporting import comparisons
from experiments.reporting import owner
from experiments.reporting.estimates import Estimate
from experiments.reporting.estimates import estimate
from experiments.reporting.selection import FinishedCell
from experiments.reporting.selection import summarize_cells
from experiments.reporting.selection import SweepResults
from experiments.reporting.sentence import in_sentence

# A student does not replace the teacher if it loses more than this share of the
# teacher's lead over always predicting the most frequent class.
_MOST_LOST = 0.25
_EXPORT_VANILLA = "--export=vanilla"


def chosen_cell(found: SweepResults, method: str = "") -> FinishedCell:
  """Returns the trial that held-out data choose.

  The setting with the highest mean accuracy over its trials is chosen first,
  then its best trial; held-out loss decides between equals.

  Args:
    found: The finished trials.
    method: The method to choose from; by default from all.
  """
  cells = [cell for cell in found.cells if method in ("", cell.method)]
  cells = summarize_cells(cells, "heldout").cells

  def rank(cell: FinishedCell) -> tuple[float, float, int]:
    loss = cell.validation.loss
    loss = math.inf if loss is None else loss
    return -round(cell.validation.accuracy, 12), loss, cell.trial

  return min(cells, key=rank)


def remark_on_export(found: SweepResults, exported: FinishedCell) -> str:
  """Returns a sentence if held-out data chose another method, else ""."""
  chosen = chosen_cell(found).method
  if exported.method == chosen:
    return ""
  asked, other = (
    in_sentence(found.method_title(m)) for m in (exported.method, chosen)
  )
  return (
    f"The exported student is that of {asked}, which --export asked for. "
    f"Without this flag it is that of {other}, which held-out data chose."
  )


def _points(value: Estimate) -> str:
  text = f"{value.mean:+.2f} points"
  if value.interval is None:
    return text
  low, high = value.interval
  return f"{text} (95 % interval {low:+.2f} to {high:+.2f})"


def recommendation(found: SweepResults, teacher_parameters: int | None) -> str:
  """Returns one sentence that says which model to use.

  Args:
    found: The finished trials of the chosen setting of each method.
    teacher_parameters: Number of parameters of the teacher, if it is known.
  """
  by_row: dict[str, list[FinishedCell]] = {}
  for cell in sorted(found.cells, key=lambda cell: cell.trial):
    by_row.setdefault(cell.method, []).append(cell)
  winner = chosen_cell(found)
  cells = by_row[winner.method]
  title = in_sentence(found.method_title(winner.method))
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
  own = comparisons.mean_over_examples(
    [cell.test for cell in cells], [cell.test for cell in by_row["vanilla"]]
  )
  if own.sign > 0:
    return (
      f"Use the student of {title}: it is {_points(own)} above vanilla "
      f"distillation ({end})."
    )
  if own.sign == 0:
    return (
      f"Use the student of {title}, or that of vanilla distillation "
      f"({_EXPORT_VANILLA}), which is simpler and as good: the difference of "
      f"{_points(own)} is not distinguishable from zero ({end})."
    )
  return (
    f"Use vanilla distillation ({_EXPORT_VANILLA}): {title}, which held-out "
    f"data chose, differs from it by {_points(own)} ({end})."
  )


def _reason_to_keep(
  cells: Sequence[FinishedCell], title: str, teacher_parameters: int | None
) -> str:
  """Returns why the student does not replace the teacher, "" if it does."""
  teacher, size = cells[0].teacher.test, cells[0].num_parameters
  majority = owner.majority_share(teacher)
  loss = comparisons.mean_over_examples(
    [cell.test for cell in cells], [teacher] * len(cells)
  )
  if majority is not None and loss.sign < 0:
    most = _MOST_LOST * 100 * max(teacher.accuracy - majority, 0)
    if -loss.mean > most:
      return (
        f"the best student, of {title}, loses {-loss.mean:.1f} points "
        f"({_accuracies(cells)} on the test examples), more than a quarter of "
        "the teacher's lead over always predicting the most frequent class "
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
