"""The finished cells of a sweep, and the choice of hyperparameters.

Cells have accuracies as fractions; summaries have them in percent. A spread is
always that of independent repetitions: of trials within a column, or of columns
that are replicates.
"""

import dataclasses
import functools
import itertools
import math
import os
import pathlib
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from experiments import specs
from experiments.io import json_files
from experiments.methods import METHODS
from experiments.reporting.estimates import Estimate
from experiments.reporting.estimates import estimate
from experiments.results import CellResult
from experiments.results import Evaluation
from experiments.results import SweepDescription
from experiments.specs import CellSpec

# With more replicates than this, tables only have a column for their mean.
_MOST_REPLICATES = 6


@dataclasses.dataclass(frozen=True, kw_only=True)
class FinishedCell(CellResult):
  """The result of a cell, and the folders of the cell and its teacher.

  Attributes:
    folder: Folder of the cell, relative to the base of the report: the workdir,
      or the folder that holds several workdirs.
    teacher_folder: Folder of its teacher, relative to the same base; empty for
      a teacher outside the workdir (`--teacher_dir`).
  """

  folder: str
  teacher_folder: str = ""

  @property
  def config(self) -> str:
    """Path of the cell's config."""
    return f"{self.folder}/config.json"

  @property
  def teacher_config(self) -> str:
    """Path of the teacher's config; empty if the teacher is elsewhere."""
    return self.teacher_folder and f"{self.teacher_folder}/config.json"

  def spec(self, base: pathlib.Path) -> CellSpec:
    """Reads its config."""
    # The path may lead through a folder that the report has yet to create.
    path = os.path.normpath(base / self.config)
    return specs.from_plain(json_files.read_json(path))

  @property
  def held_out(self) -> Evaluation | None:
    """Scores on held-out examples, None if no examples were held out."""
    return None if self.selection == "test" else self.validation


@dataclasses.dataclass(frozen=True)
class Summary:
  """Accuracy of one method in one column, with its chosen hyperparameters.

  Attributes:
    digest: Digest of the chosen hyperparameters.
    hyperparameters: The chosen hyperparameters.
    cells: The cells with these hyperparameters, in the order of their trials.
    test: Test accuracy over the trials, in percent.
    validation: Held-out accuracy over the trials, in percent; None if no
      examples were held out.
    num_settings: Number of settings that were compared.
  """

  digest: str
  hyperparameters: Mapping[str, Any]
  cells: tuple[FinishedCell, ...]
  test: Estimate
  validation: Estimate | None
  num_settings: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class SweepResults(SweepDescription):
  """The description of a sweep, and its finished cells.

  Attributes:
    cells: The finished cells.
    datasets: Data set of each column whose config names one.
    base: The base of the report, to which the paths of cells are relative.
    folder: The workdir, relative to `base`; empty if they are the same.
  """

  digests: tuple[str, ...] = ()
  cells: tuple[FinishedCell, ...]
  datasets: Mapping[str, str] = dataclasses.field(
    default_factory=dict, compare=False
  )
  base: pathlib.Path = dataclasses.field(default=pathlib.Path(), compare=False)
  folder: str = ""

  @property
  def num_missing(self) -> int:
    """Number of cells of the sweep that are not finished."""
    return max(0, self.num_cells - len(self.cells))

  @property
  def chosen_by(self) -> str:
    """The examples that choose hyperparameters: "held-out" or "TEST"."""
    return {"heldout": "held-out", "test": "TEST"}[self.selection]

  @property
  def averages_columns(self) -> bool:
    """Whether a mean over the columns makes sense: they are replicates."""
    return self.columns_are != "settings" and len(self.columns) > 1

  @property
  def is_one_setting(self) -> bool:
    """Whether there is only one setting: a single column, or replicates."""
    return self.columns_are != "settings" or len(self.columns) == 1

  @property
  def repetition(self) -> str:
    """The unit of means and intervals: "split", "teacher" or "trial"."""
    return self.columns_are[:-1] if self.averages_columns else "trial"

  @property
  def places(self) -> list[tuple[str | None, int]]:
    """The columns of tables, each with its number of repetitions.

    Replicates have another column, None, for their mean. If there are many of
    them, it is the only one.
    """
    columns: list[tuple[str | None, int]] = [
      (column.id, self.num_trials) for column in self.columns
    ]
    if not self.averages_columns:
      return columns
    whole = (None, len(self.columns))
    return [whole] if len(columns) > _MOST_REPLICATES else [*columns, whole]

  @property
  def whole(self) -> str | None:
    """The column of a single setting; None for the mean over replicates."""
    return self.places[-1][0]

  def accuracy(self, column: str | None, method: str) -> Estimate | None:
    """Returns the test accuracy in a column, or over all if it is None.

    Returns None if no cell of the method is finished there.
    """
    summaries = self.of_method(method)
    if column is not None:
      return summaries[column].test if column in summaries else None
    means = [summary.test.mean for summary in summaries.values()]
    return estimate(means) if means else None

  def of_method(self, method: str) -> dict[str, Summary]:
    """Returns the summaries of a method by column."""
    return {c: s for (c, row), s in self.summaries.items() if row == method}

  def method_title(self, method: str) -> str:
    """Returns the title of a method by its id."""
    return next(m.title for m in self.methods if m.id == method)

  def repeats(self, column: str, method: str) -> str:
    """Names the method that a cell would repeat; empty for trained cells.

    Such a cell is not trained. The text is, for example, "= Vanilla
    distillation".
    """
    others = {(x.column, x.method): x.other for x in self.same_as}
    other = others.get((column, method))
    return f"= {METHODS[other].title}" if other else ""

  @functools.cached_property
  def summaries(self) -> dict[tuple[str, str], Summary]:
    """The summaries of methods with finished cells, by column and method."""
    cells: dict[tuple[str, str], list[FinishedCell]] = {}
    for cell in self.cells:
      cells.setdefault((cell.column, cell.method), []).append(cell)
    summaries = {}
    for column, method in itertools.product(self.columns, self.methods):
      if own := cells.get((column.id, method.id)):
        summary = summarize_cells(own, self.selection)
        # If an earlier stage of the sweep chose the settings, count those it
        # tried.
        tried = self.num_tried.get(method.id, summary.num_settings)
        summary = dataclasses.replace(summary, num_settings=tried)
        summaries[column.id, method.id] = summary
    return summaries


def summarize_cells(cells: Iterable[FinishedCell], selection: str) -> Summary:
  """Chooses the hyperparameters of one method in one column.

  The setting with the highest mean accuracy over trials is chosen. Ties are
  decided by the lowest mean loss, and then by the smallest digest.
  """
  groups: dict[str, list[FinishedCell]] = {}
  for cell in sorted(cells, key=lambda cell: (cell.digest, cell.trial)):
    groups.setdefault(cell.digest, []).append(cell)
  digest = next(iter(groups))
  if len(groups) > 1:
    digest = min(groups, key=lambda d: (*_rank(groups[d], selection), d))
  chosen = groups[digest]
  held_out = [100 * c.held_out.accuracy for c in chosen if c.held_out]
  return Summary(
    digest=digest,
    hyperparameters=chosen[0].hyperparameters,
    cells=tuple(chosen),
    test=estimate(100 * cell.test.accuracy for cell in chosen),
    validation=estimate(held_out) if held_out else None,
    num_settings=len(groups),
  )


def _rank(cells: Sequence[FinishedCell], selection: str) -> tuple[float, float]:
  """Returns a setting's negative accuracy and its loss: lower is better."""
  on_test = selection == "test"
  scores = [cell.test if on_test else cell.validation for cell in cells]
  # Rounding makes equal numbers of correct predictions a tie.
  accuracy = round(estimate(score.accuracy for score in scores).mean, 12)
  losses = [score.loss for score in scores if score.loss is not None]
  # A cell that diverged has no loss, and loses every tie.
  loss = estimate(losses).mean if len(losses) == len(scores) else math.inf
  return -accuracy, loss


def was_chosen(summaries: Iterable[Summary]) -> bool:
  """Returns whether any method had several settings to choose from."""
  return any(summary.num_settings > 1 for summary in summaries)


def chosen_on(
  results: SweepResults, summaries: Iterable[Summary] | None = None
) -> str:
  """Returns the end of a title: which examples chose the hyperparameters."""
  if summaries is None:
    summaries = results.summaries.values()
  if not was_chosen(summaries):
    return ""
  return f", chosen on {results.chosen_by} data"


def selections(results: SweepResults) -> tuple[SweepResults, ...]:
  """Returns the results, and how they would be if the test set had chosen.

  Cells with held-out examples were evaluated on both sets, so that a report can
  also choose on the test set, as the paper did (A-37).
  """
  # With an earlier stage, only the chosen settings have all trials.
  if results.selection == "test" or results.num_tried:
    return (results,)
  if not was_chosen(results.summaries.values()):
    return (results,)
  note = (
    "Chosen on the test set as in the paper, but among students that were "
    "trained without the held-out examples."
  )
  other = dataclasses.replace(
    results, selection="test", notes=(*results.notes, note)
  )
  return results, other


def varied(results: SweepResults, method: str) -> list[str]:
  """Returns the hyperparameters that have several values in some column."""
  values: dict[tuple[str, str], set[Any]] = {}
  for cell in results.cells:
    if cell.method == method:
      for name, value in cell.hyperparameters.items():
        values.setdefault((name, cell.column), set()).add(value)
  several = [name for (name, _), found in values.items() if len(found) > 1]
  return list(dict.fromkeys(several))


def along(
  results: SweepResults, method: str, column: str, *names: str
) -> dict[tuple[Any, ...], Summary]:
  """Chooses the best setting at each combination of some hyperparameters.

  Returns the summaries by the values of these hyperparameters, sorted.
  """
  groups: dict[tuple[Any, ...], list[FinishedCell]] = {}
  for cell in results.cells:
    if (cell.method, cell.column) == (method, column):
      key = tuple(cell.hyperparameters.get(name) for name in names)
      if None not in key:
        groups.setdefault(key, []).append(cell)
  return {
    key: summarize_cells(groups[key], results.selection)
    for key in sorted(groups)
  }
