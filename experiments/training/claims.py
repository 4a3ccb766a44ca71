"""Division of stacks among several commands that work in one workdir.

A command claims the stack that it trains. A claim is a file lock, which the
operating system releases when the process ends, so that another command can
continue the stack of a command that was killed.
"""

import itertools
import pathlib
import sys
import time
from collections.abc import Callable
from collections.abc import Sequence

from experiments import identity
from experiments import results
from experiments.distributed import processes
from experiments.distributed import signals
from experiments.io import locks
from experiments.stacks import Stack

# Seconds to wait before stacks of other commands are checked again.
_POLLING_INTERVAL = 2.0


def claim_folder(workdir: pathlib.Path, stack: Stack) -> pathlib.Path:
  """Returns the folder that is locked while a stack is trained.

  It also holds the stack's checkpoints, unless --checkpoint_dir is given.
  """
  return workdir / "checkpoints" / stack.digest


def is_unfinished(stack: Stack, workdir: pathlib.Path) -> bool:
  """Returns whether any cell of a stack lacks its result."""
  return bool(unfinished([stack], workdir))


def unfinished(stacks: Sequence[Stack], workdir: pathlib.Path) -> list[Stack]:
  """Returns the stacks in which any cell lacks its result.

  The main process checks all stacks and sends the others a single message.
  """
  are_unfinished = processes.from_main(
    lambda: [_lacks_a_result(stack, workdir) for stack in stacks]
  )
  return list(itertools.compress(stacks, are_unfinished))


def _lacks_a_result(stack: Stack, workdir: pathlib.Path) -> bool:
  folders = (identity.cell_directory(workdir, cell) for cell in stack.cells)
  paths = (results.path_of(each, results.CellResult) for each in folders)
  return not all(path.exists() for path in paths)


def run_unfinished(
  stacks: Sequence[Stack],
  workdir: pathlib.Path,
  run: Callable[[Stack, str], None],
) -> None:
  """Runs each stack that lacks a result, unless another command holds it.

  It then waits until the stacks that other commands hold are finished or free,
  and runs the free ones. `run` takes a stack and a label for progress displays.
  """
  has_announced_waiting = False
  left = list(enumerate(stacks, start=1))
  while left:
    busy = []
    for place, (number, stack) in enumerate(left, start=1):
      if not is_unfinished(stack, workdir):
        continue
      label = f"[{number}/{len(stacks)}] {stack.label}"
      folder = claim_folder(workdir, stack)
      with locks.claim(folder) as is_held:
        if not is_held:
          busy.append((number, stack))
          continue
        try:
          # Another command may have finished it before the lock was taken.
          if is_unfinished(stack, workdir):
            run(stack, label)
        finally:
          locks.remove_if_empty(folder)
      others = [s for _, s in left[place:] + busy]
      if any(is_unfinished(s, workdir) for s in others):
        signals.stop_if_asked(f"{label} is finished")
    left = busy
    if busy:
      if not has_announced_waiting and processes.is_main_process():
        held = "1 stack is" if len(busy) == 1 else f"{len(busy)} stacks are"
        text = f"{held} being trained by other commands: waiting."
        print(text, file=sys.stderr, flush=True)
      has_announced_waiting = True
      time.sleep(_POLLING_INTERVAL)
      signals.stop_if_asked("no stack was being trained here")
