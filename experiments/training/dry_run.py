"""Listing of the stacks of a sweep and their cost, without training them."""

import functools
import pathlib
from collections.abc import Callable
from collections.abc import Sequence

from experiments import identity
from experiments import results
from experiments import specs
from experiments.data.dataset import Splits
from experiments.stacks import Stack
from experiments.stacks import stacks
from experiments.training.models import in_steps


def listing(
  cells: Sequence[specs.CellSpec],
  workdir: pathlib.Path,
  load: Callable[[specs.CellSpec, pathlib.Path], Splits],
  teacher_directory: pathlib.Path | None = None,
) -> str:
  """Lists the stacks of a sweep with their cells, steps and state.

  The time is estimated from the stacks that are finished in the workdir: from
  the seconds per step of those of the same column and row, or else of all.

  Args:
    cells: The cells.
    workdir: Where they would be trained.
    load: Loads the data of a cell, which determine the steps of an epoch.
    teacher_directory: Folder of teachers, if it is not the workdir's.

  Returns:
    The lines.
  """
  by_data: dict[tuple[specs.DataSpec, str], specs.CellSpec]
  by_data = {(cell.data, cell.selection): cell for cell in cells}

  @functools.cache
  def num_examples(key: tuple[specs.DataSpec, str]) -> int | None:
    """Number of students' examples; None for data that are not prepared."""
    try:
      return len(load(by_data[key], workdir).transfer["labels"])
    except (OSError, ValueError):
      return None

  def num_steps(stack: Stack) -> int | None:
    cell = stack.cells[0]
    if not cell.student.num_epochs:
      return cell.student.num_steps
    size = num_examples((cell.data, cell.selection))
    return None if size is None else in_steps(cell.student, size).num_steps

  grouped = stacks(cells)
  steps = [num_steps(stack) for stack in grouped]
  rates = _seconds_per_step(grouped, steps, workdir)
  lines, seconds, num_left = [], 0.0, 0
  for number, (stack, own) in enumerate(zip(grouped, steps, strict=True), 1):
    first = stack.cells[0]
    done = sum(_result(workdir, cell) is not None for cell in stack.cells)
    length = f"{first.student.num_epochs:g} epochs"
    if own is not None:
      length = f"{own:,} steps"
    lines.append(
      f"[{number}/{len(grouped)}] {stack.label}: {length} of "
      f"{first.student.batch_size} examples, teacher {first.teacher.outputs}"
      + (f", {done} finished" if done else "")
    )
    if done < len(stack.cells):
      num_left += 1
      rate = rates.get((first.column, first.row), rates.get(None))
      if rate and own:
        seconds += rate * own
  teachers = {identity.teacher_digest(cell) for cell in cells}
  folder = teacher_directory or workdir / "teachers"
  new = sum(not _teacher_path(folder, name).exists() for name in teachers)
  lines.append(
    f"{len(cells)} cells in {len(grouped)} stacks, {num_left} of them to "
    f"train; {len(teachers)} teachers, {new} of them to train."
  )
  if seconds:
    lines.append(
      f"About {seconds / 3600:.1f} h on this machine, estimated from the "
      f"finished stacks in {workdir}, without the teachers."
    )
  elif num_left:
    lines.append(
      "There is no finished stack to estimate the time from: train one stack "
      "first (--only), or use experiments.plan."
    )
  return "\n".join(lines)


def _teacher_path(folder: pathlib.Path, digest: str) -> pathlib.Path:
  return results.path_of(folder / digest, results.TeacherResult)


def _result(
  workdir: pathlib.Path, cell: specs.CellSpec
) -> results.CellResult | None:
  folder = identity.cell_directory(workdir, cell)
  if not results.path_of(folder, results.CellResult).exists():
    return None
  return results.read(folder, results.CellResult)


def _seconds_per_step(
  grouped: Sequence[Stack], steps: Sequence[int | None], workdir: pathlib.Path
) -> dict[tuple[str, str] | None, float]:
  """Returns means over finished stacks, by column and row; None for all."""
  found: dict[tuple[str, str] | None, list[float]] = {}
  for stack, own in zip(grouped, steps, strict=True):
    first = stack.cells[0]
    result = _result(workdir, first) if own else None
    if own and result and result.stack.seconds:
      for place in ((first.column, first.row), None):
        found.setdefault(place, []).append(result.stack.seconds / own)
  return {place: sum(rates) / len(rates) for place, rates in found.items()}
