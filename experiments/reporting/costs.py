"""The table of costs that methods have in addition to training students.

The paper argues for LELP that it needs no teacher of its own, whereas Subclass
Distillation retrains a teacher for each of its settings.
"""

import collections
from collections.abc import Mapping
from collections.abc import Sequence

from experiments import results as results_lib
from experiments.reporting import comparisons
from experiments.reporting import numbers
from experiments.reporting.document import Table
from experiments.reporting.selection import FinishedCell
from experiments.reporting.selection import SweepResults
from experiments.reporting.tables import rows_by_method
from experiments.results import TeacherResult

HEADER = (
  "settings tried",
  "teachers of its own",
  "their parameters",
  "examples they saw",
  "seconds to train them",
  "extra parameters",
  "examples of pre-training",
  "preparation (s)",
  "step (ms)",
)
_CAPTION = (
  "Settings: number of settings in one column. Teachers of its own: teachers"
  " that were trained for this method's settings alone; the first row has those"
  " that the other methods share. Examples: steps x batch size, summed over the"
  " teachers. Extra parameters: trained with a student and not part of it."
  " Pre-training: of projections, once for all settings (A-24). Preparation:"
  " time of a stack of cells before its first step (projections, clusters,"
  " subspaces), mean over stacks. Step: time of a step divided by the number of"
  " cells that were trained together, mean over stacks; comparable only on one"
  " machine and between stacks of equal size. Empty: not recorded."
)


# Number of examples that a teacher saw, and seconds that its training took.
_TeacherCost = tuple[int, float | None]


def cost_table(results: SweepResults, *, teacher_is_ours: bool = True) -> Table:
  """Builds the table of costs over all settings that were tried.

  It has one row per method, or per method and column unless the columns are
  replicates. A row for the shared teacher comes first, unless that teacher was
  trained elsewhere.
  """
  teachers = _teacher_costs(results)

  def teacher_texts(cells: Sequence[FinishedCell]) -> list[str]:
    # The teachers of Subclass Distillation are part of its own row.
    if cells[0].method == comparisons.SUBCLASS or not teacher_is_ours:
      return []
    return ["", *_teacher_texts(cells, teachers), "", "", "", ""]

  rows = rows_by_method(
    results,
    results.cells,
    teacher_texts,
    lambda cells: _method_texts(cells, teachers, results.num_tried),
  )
  return Table(
    title=f"{results.title}: costs of each method",
    header=HEADER,
    rows=tuple(rows),
    caption=_CAPTION,
  )


def _method_texts(
  cells: Sequence[FinishedCell],
  teachers: Mapping[str, _TeacherCost],
  num_tried: Mapping[str, int],
) -> list[str]:
  """Returns the texts of a method's row."""
  own = cells if cells[0].method == comparisons.SUBCLASS else ()
  settings = collections.Counter(
    column for column, _ in {(cell.column, cell.digest) for cell in cells}
  )
  extra = {cell.num_extra_parameters for cell in cells}
  pretrainings = {p.digest: p for c in cells if (p := c.pretraining)}.values()
  examples = sum(p.num_steps * p.batch_size for p in pretrainings)
  # All cells of a stack have its times. Each stack counts once.
  stacks = {(c.stack, c.seconds.step): c for c in cells}.values()
  preparations = (cell.seconds.preparation for cell in stacks)
  steps = (
    1000 * cell.seconds.step / cell.stack.num_cells
    for cell in stacks
    if cell.seconds.step
  )
  return [
    str(num_tried.get(cells[0].method, max(settings.values()))),
    *_teacher_texts(own, teachers),
    numbers.span(extra, "{:,}".format),
    f"{examples:,}" if examples else "",
    numbers.mean(preparations, "{:.1f}".format),
    numbers.mean(steps, "{:.2f}".format),
  ]


def _teacher_texts(
  cells: Sequence[FinishedCell], teachers: Mapping[str, _TeacherCost]
) -> list[str]:
  """Returns number, sizes and costs of the teachers of some cells."""
  own = {cell.teacher.digest: cell.teacher for cell in cells}
  if not own:
    return ["0", "", "", ""]
  known = [teachers[digest] for digest in own if digest in teachers]
  seconds = [time for _, time in known if time is not None]
  examples = sum(number for number, _ in known)
  sizes = (teacher.num_parameters for teacher in own.values())
  return [
    str(len(own)),
    numbers.span(sizes, "{:,}".format),
    # A sum that leaves out some of the teachers would be too small.
    f"{examples:,}" if len(known) == len(own) else "",
    f"{sum(seconds):,.0f}" if len(seconds) == len(own) else "",
  ]


def _teacher_costs(results: SweepResults) -> dict[str, _TeacherCost]:
  """Reads the costs of the teachers in the workdir, by digest."""
  costs, base = {}, results.base
  firsts = {c.teacher_folder: c for c in results.cells if c.teacher_folder}
  for name, cell in firsts.items():
    if results_lib.path_of(base / name, TeacherResult).is_file():
      result = results_lib.read(base / name, TeacherResult)
      examples = result.num_steps * cell.spec(base).teacher.batch_size
      costs[cell.teacher.digest] = examples, result.seconds.training
  return costs
