"""Dry runs: lists the trainings of a command and estimates their cost."""

import collections
import contextlib
import pathlib
import tempfile
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from typing import NamedTuple

from experiments import identity
from experiments import results
from experiments import specs
from experiments.data.dataset import Facts
from experiments.planning import shapes
from experiments.stacks import Stack
from experiments.stacks import stacks
from experiments.training import data
from experiments.training import work
from experiments.training.forecast import counted
from experiments.training.forecast import duration

FactsOf = Callable[[specs.CellSpec], Facts]
_HEADER = ("", "cells", "stacks", "steps", "FLOP", "finished cells")


@contextlib.contextmanager
def facts_reader(workdir: pathlib.Path | None) -> Iterator[FactsOf]:
  """Yields a function that returns the facts about a cell's data.

  Nothing is written to the workdir: a user's own files are converted in a
  temporary folder, unless the workdir already holds converted data. A published
  data set that is not prepared is assumed to have its published size.
  """
  with tempfile.TemporaryDirectory() as scratch:
    has_data = workdir is not None and (workdir / "data").is_dir()
    folder = workdir if has_data else pathlib.Path(scratch)

    def facts_of(cell: specs.CellSpec) -> Facts:
      try:
        return data.facts_of(cell.data, cell.selection, folder)
      except FileNotFoundError:
        if cell.data.source:
          raise
        return shapes.blank_splits(cell).facts

    yield facts_of


class _Line(NamedTuple):
  """A stack, its work, and the number of its finished cells."""

  stack: Stack
  work: work.Work
  num_finished: int


def listing(
  cells: Sequence[specs.CellSpec],
  workdir: pathlib.Path | None,
  facts: FactsOf,
  teacher_directory: pathlib.Path | None = None,
  *,
  later: Sequence[specs.CellSpec] = (),
  each: bool = False,
) -> str:
  """Summarizes the stacks of a command by column and row, with their cost.

  The time is estimated from the seconds per step of finished stacks in the
  workdir: those of the same column and row or, if there are none, all of them.

  Args:
    cells: The cells.
    workdir: Folder in which they would be trained; None for a new folder.
    facts: Returns the facts about a cell's data.
    teacher_directory: Folder of teachers; None for the default in the workdir.
    later: Cells that are trained afterwards, in separate stacks.
    each: Whether to list every stack instead of the sums.

  Returns:
    The text to print.

  Raises:
    ValueError: If a method needs fine labels that its data lack.
  """
  data.check_tasks(cells, lambda cell: facts(cell).task)
  lines = [
    _Line(
      stack,
      work.of_stack(stack.cells, facts(stack.cells[0])),
      sum(_result(workdir, cell) is not None for cell in stack.cells),
    )
    for stack in [*stacks(cells), *stacks(later)]
  ]
  firsts = {identity.teacher_digest(cell): cell for cell in reversed(cells)}
  folder = teacher_directory or (workdir and workdir / "teachers")
  new = [
    cell
    for name, cell in firsts.items()
    if not folder
    or not results.path_of(folder / name, results.TeacherResult).exists()
  ]
  text = _each(lines) if each else _sums(lines)
  text.append(
    f"{counted(len(cells) + len(later), 'cell')} in "
    f"{counted(len(lines), 'stack')}, {len(_left(lines)):,} to train; "
    f"{counted(len(firsts), 'teacher')}, {len(new):,} to train."
  )
  text += _total(lines, [(cell, facts(cell)) for cell in new], facts)
  return "\n".join([*text, *_time(lines, workdir)])


def _each(lines: Sequence[_Line]) -> list[str]:
  """Returns one line of text per stack."""
  text = []
  for number, (stack, cost, num_finished) in enumerate(lines, 1):
    first = stack.cells[0]
    text.append(
      f"[{number}/{len(lines)}] {stack.label}: {cost.num_steps:,} steps of "
      f"{first.student.batch_size} examples, teacher {first.teacher.outputs}"
      + (f", {num_finished} finished" if num_finished else "")
    )
  return text


def _sums(lines: Sequence[_Line]) -> list[str]:
  """Returns the lines of a table with a row per column and row of the sweep."""
  rows = [list(_HEADER)]
  for kind in ("column", "row"):
    groups: dict[str, list[_Line]] = collections.defaultdict(list)
    for line in lines:
      groups[getattr(line.stack.cells[0], kind)].append(line)
    if kind == "row" or len(groups) > 1:
      rows += [_sum(name, group) for name, group in groups.items()]
  widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
  return [
    "  ".join([name.ljust(widths[0]), *map(str.rjust, values, widths[1:])])
    for name, *values in rows
  ]


def _sum(name: str, lines: Sequence[_Line]) -> list[str]:
  steps, flops = _steps_and_flops([line.work for line in lines])
  return [
    name,
    f"{sum(len(line.stack.cells) for line in lines):,}",
    f"{len(lines):,}",
    f"{steps:,}",
    f"{flops:.1e}",
    f"{sum(line.num_finished for line in lines):,}",
  ]


def _steps_and_flops(works: Sequence[work.Work]) -> tuple[int, float]:
  steps = sum(each.num_steps for each in works)
  return steps, float(sum(each.num_steps * each.flops for each in works))


def _left(lines: Sequence[_Line]) -> list[_Line]:
  return [line for line in lines if line.num_finished < len(line.stack.cells)]


def _total(
  lines: Sequence[_Line],
  new: Sequence[tuple[specs.CellSpec, Facts]],
  facts: FactsOf,
) -> list[str]:
  """Returns the line with the steps and operations that are left to train."""
  left = _left(lines)
  if not left:
    return []
  of_students = [line.work for line in left]
  of_teachers = [work.of_teacher(cell, known) for cell, known in new]
  student_steps, student_flops = _steps_and_flops(of_students)
  teacher_steps, teacher_flops = _steps_and_flops(of_teachers)
  read = sum(each.num_steps * each.num_read for each in of_students)
  # Each cache takes one pass of its teacher over all examples.
  cached = {
    identity.teacher_digest(cell): cell
    for line in left
    if (cell := line.stack.cells[0]).teacher.outputs != "inline"
  }
  read += sum(facts(cell).num_examples for cell in cached.values())
  return [
    f"Total: {student_steps:,} steps of stacks and {teacher_steps:,} of "
    f"teachers, {student_flops + teacher_flops:.1e} FLOP in matrix products "
    f"and convolutions; teachers read {read:,} examples for their students."
  ]


def _time(lines: Sequence[_Line], workdir: pathlib.Path | None) -> list[str]:
  """Returns the line with the estimated time of the unfinished stacks."""
  left, rates = _left(lines), _seconds_per_step(lines, workdir)
  seconds = 0.0
  for line in left:
    first = line.stack.cells[0]
    rate = rates.get((first.column, first.row), rates.get(None, 0.0))
    seconds += rate * line.work.num_steps
  if seconds:
    return [
      f"About {duration(seconds)} on this machine, estimated from the finished "
      f"stacks in {workdir}, without the teachers."
    ]
  if left:
    return [
      "The time cannot be estimated before a stack is finished. The training "
      "itself prints an estimate after its first steps; for TPUs, use "
      "experiments.plan."
    ]
  return []


def _result(
  workdir: pathlib.Path | None, cell: specs.CellSpec
) -> results.CellResult | None:
  if workdir is None:
    return None
  folder = identity.cell_directory(workdir, cell)
  if not results.path_of(folder, results.CellResult).exists():
    return None
  return results.read(folder, results.CellResult)


def _seconds_per_step(
  lines: Sequence[_Line], workdir: pathlib.Path | None
) -> dict[tuple[str, str] | None, float]:
  """Returns mean seconds per step of finished stacks, by column and row.

  The key None has the mean over all finished stacks.
  """
  rates: dict[tuple[str, str] | None, list[float]] = {}
  for stack, cost, _ in lines:
    first = stack.cells[0]
    result = _result(workdir, first)
    if cost.num_steps and result and result.stack.seconds:
      for place in ((first.column, first.row), None):
        rate = result.stack.seconds / cost.num_steps
        rates.setdefault(place, []).append(rate)
  return {place: sum(each) / len(each) for place, each in rates.items()}
