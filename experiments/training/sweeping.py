"""A sweep's stacks: which of them, by whom, how many are left.

Several commands may work in one workdir. Each stack is claimed by the one that
trains it; a claim is a lock of the file system and goes with its process, so
that a stack whose worker was killed is continued by another.
"""

import fnmatch
import pathlib
import sys
import time
from collections.abc import Callable
from collections.abc import Sequence

from ml_collections import ConfigDict

from experiments import cells
from experiments.distributed import processes
from experiments.io import locks

_SECONDS_BETWEEN_LOOKS = 2.0


def selected(
  configs: Sequence[ConfigDict],
  *,
  only: Sequence[str] = (),
  skip: Sequence[str] = (),
  shard: str = "",
) -> list[ConfigDict]:
  """Returns the cells of a part of a sweep, whole stacks always.

  Args:
    configs: Configs of single cells.
    only: Patterns such as ``"*-mobilenet/lelp"``, of column and row, or of
      either where there is no slash; a cell has to match one of them.
    skip: Likewise; a cell must not match any.
    shard: ``"i/n"``: of the stacks that are left every n-th, from the i-th
      on, counted from 1. The n parts make up the whole.

  Raises:
    ValueError: If a pattern matches nothing, or the shard is none.
  """
  for name, patterns in (("only", only), ("skip", skip)):
    for pattern in patterns:
      if not any(_matches(config, pattern) for config in configs):
        columns = list(dict.fromkeys(c.column for c in configs))
        rows = list(dict.fromkeys(cells.row_name(c) for c in configs))
        raise ValueError(
          f"--{name}={pattern} matches nothing: give COLUMN/ROW, a COLUMN or a "
          f"ROW, * for any letters. Columns: {columns}. Rows: {rows}."
        )
  chosen = [
    config
    for config in configs
    if (not only or any(_matches(config, p) for p in only))
    and not any(_matches(config, p) for p in skip)
  ]
  if not chosen:
    raise ValueError("--only and --skip together leave no cell.")
  if not shard:
    return chosen
  first, number = _parse_shard(shard)
  return [c for s in cells.stacks(chosen)[first::number] for c in s.configs]


def _matches(config: ConfigDict, pattern: str) -> bool:
  column, row = config.column, cells.row_name(config)
  names = (f"{column}/{row}",) if "/" in pattern else (column, row)
  return any(fnmatch.fnmatchcase(name, pattern) for name in names)


def _parse_shard(shard: str) -> tuple[int, int]:
  """Returns the place of the first stack, from 0, and the distance."""
  first, _, number = shard.partition("/")
  if first.isdigit() and number.isdigit() and 1 <= int(first) <= int(number):
    return int(first) - 1, int(number)
  raise ValueError(
    f"--shard must be i/n with 1 <= i <= n, such as 2/8, got {shard!r}."
  )


def label_of(stack: cells.Stack) -> str:
  """What a progress display calls a stack.

  Args:
    stack: The stack.
  """
  first, size = stack.configs[0], len(stack.configs)
  many = f", {size} cells" if size > 1 else ""
  return f"{first.column} {cells.row_name(first)}{many}"


def checkpoint_directory(
  workdir: pathlib.Path, stack: cells.Stack
) -> pathlib.Path:
  """Whoever holds it trains the stack, whose states are in it by default."""
  return workdir / "checkpoints" / stack.digest


def unfinished(stacks: Sequence[cells.Stack], workdir: pathlib.Path) -> bool:
  """Whether a cell of some stacks has no result yet.

  Args:
    stacks: The stacks.
    workdir: Where they are trained.
  """
  paths = [
    cells.cell_directory(workdir, config) / "result.json"
    for stack in stacks
    for config in stack.configs
  ]
  return processes.from_main(lambda: not all(path.exists() for path in paths))


def run_unfinished(
  stacks: Sequence[cells.Stack],
  workdir: pathlib.Path,
  run: Callable[[cells.Stack, str], None],
  stop_if_asked: Callable[[str], None],
) -> None:
  """Runs each stack that lacks a result, unless somebody else does.

  What others hold is looked at again when all else is done, until it is
  finished or free.

  Args:
    stacks: The stacks, in the order to run them.
    workdir: Where they are trained.
    run: Trains a stack to its end; takes it and what to call it.
    stop_if_asked: Raises if the process was asked to stop; takes what is safe.
  """
  start, num_run, told = time.monotonic(), 0, False
  left = list(enumerate(stacks, start=1))
  while left:
    busy = []
    for place, (number, stack) in enumerate(left, start=1):
      if not unfinished([stack], workdir):
        continue
      seconds = (time.monotonic() - start) / max(1, num_run)
      rest = len(left) - place + 1 + len(busy)
      left_text = _time_left(num_run, seconds * rest)
      label = f"[{number}/{len(stacks)}{left_text}] {label_of(stack)}"
      folder = checkpoint_directory(workdir, stack)
      with locks.claim(folder) as held:
        if not held:
          busy.append((number, stack))
        elif unfinished([stack], workdir):
          try:
            run(stack, label)
          finally:
            locks.remove_if_empty(folder)
          num_run += 1
        else:  # Finished by another between the two looks.
          locks.remove_if_empty(folder)
      if held and any(unfinished([s], workdir) for _, s in left[place:] + busy):
        stop_if_asked(f"{label} is finished")
    left = busy
    if busy:
      if not told and processes.is_main_process():
        held = "1 stack is" if len(busy) == 1 else f"{len(busy)} stacks are"
        text = f"{held} in the hands of other commands: waiting."
        print(text, file=sys.stderr, flush=True)
      told = True
      time.sleep(_SECONDS_BETWEEN_LOOKS)
      stop_if_asked("nothing is in work here")


def _time_left(num_run: int, seconds: float) -> str:
  """How long the rest takes at the rate so far, for a label."""
  if not num_run:
    return ""
  minutes = round(seconds / 60)
  if minutes < 60:
    return f", {max(1, minutes)} min left"
  return f", {minutes // 60} h {minutes % 60} min left"
