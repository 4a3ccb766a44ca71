"""What a sweep would train and what that takes, without training it."""

import functools
import json
import pathlib
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

from ml_collections import ConfigDict

from experiments import cells
from experiments.data.dataset import Splits
from experiments.io import json_files
from experiments.training import recipe
from experiments.training import sweeping

_Load = Callable[[ConfigDict, pathlib.Path], Splits]


def listing(
  configs: Sequence[ConfigDict],
  workdir: pathlib.Path,
  load: _Load,
  teacher_directory: pathlib.Path | None = None,
) -> str:
  """Lists the stacks of a sweep, their cells, steps and state.

  The time is estimated from what is finished in the workdir: seconds for each
  step of a stack, those of its own column and row where there are some.

  Args:
    configs: Configs of single cells.
    workdir: Where they would go.
    load: Loads a config's data, which say how many steps an epoch has.
    teacher_directory: Folder of teachers, if it is not the workdir's.

  Returns:
    The lines.
  """
  num_steps = functools.partial(_num_steps, workdir, load, {})
  stacks = cells.stacks(configs)
  rates = _rates(stacks, workdir, num_steps)
  lines, seconds, rest = [], 0.0, 0
  for number, stack in enumerate(stacks, start=1):
    first, steps = stack.configs[0], num_steps(stack.configs[0])
    done = sum(_result(workdir, c) is not None for c in stack.configs)
    state = f", {done} finished" if done else ""
    text = f"{first.student.num_epochs:g} epochs"
    if steps is not None:
      text = f"{steps:,} steps"
    lines.append(
      f"[{number}/{len(stacks)}] {sweeping.label_of(stack)}: {text} of "
      f"{first.student.batch_size} examples{state}"
    )
    if done < len(stack.configs):
      rest += 1
      rate = rates.get(_row(first), rates.get(None))
      if rate and steps:
        seconds += rate * steps
  teachers = {cells.teacher_digest(config) for config in configs}
  folder = teacher_directory or workdir / "teachers"
  new = sum(not (folder / t / "result.json").exists() for t in teachers)
  lines.append(
    f"{len(configs)} cells in {len(stacks)} stacks, {rest} of them to train; "
    f"{len(teachers)} teachers, {new} of them to train."
  )
  if seconds:
    lines.append(
      f"About {seconds / 3600:.1f} h on this machine, at the rate of what is "
      f"finished in {workdir}; teachers not counted."
    )
  elif rest:
    lines.append(
      "Nothing here tells how long that takes: train one stack first (--only), "
      "or ask experiments.plan."
    )
  return "\n".join(lines)


def _row(config: ConfigDict) -> tuple[str, str]:
  return config.column, cells.row_name(config)


def _num_steps(
  workdir: pathlib.Path, load: _Load, known: dict[str, Any], config: ConfigDict
) -> int | None:
  """Steps of a student, None where its data would have to be prepared."""
  fields = cells.plain(config.student)
  if not fields["num_epochs"]:
    return fields["num_steps"]
  data = json.dumps([config.data.to_dict(), config.selection], sort_keys=True)
  if data not in known:
    try:
      known[data] = len(load(config, workdir).transfer["labels"])
    except (OSError, ValueError):
      known[data] = None
  size = known[data]
  return None if size is None else recipe.resolved(fields, size)["num_steps"]


def _result(workdir: pathlib.Path, config: ConfigDict) -> dict[str, Any] | None:
  path = cells.cell_directory(workdir, config) / "result.json"
  return json_files.read_json(path) if path.exists() else None


def _rates(
  stacks: Sequence[cells.Stack],
  workdir: pathlib.Path,
  num_steps: Callable[[ConfigDict], int | None],
) -> dict[tuple[str, str] | None, float]:
  """Seconds a step of finished stacks, by column and row; None for all."""
  found: dict[tuple[str, str] | None, list[float]] = {}
  for stack in stacks:
    result, steps = _result(workdir, stack.configs[0]), None
    if result:
      steps = num_steps(stack.configs[0])
    if result and steps and result["stack"]["seconds"]:
      rate = result["stack"]["seconds"] / steps
      found.setdefault(_row(stack.configs[0]), []).append(rate)
      found.setdefault(None, []).append(rate)
  return {row: sum(rates) / len(rates) for row, rates in found.items()}
