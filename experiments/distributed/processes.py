"""Coordination between the processes of a run."""

import json
from collections.abc import Callable
from typing import TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

Made = TypeVar("Made")


def is_main_process() -> bool:
  """Returns whether this is the process that writes logs and results."""
  return jax.process_index() == 0


def any_process(flag: bool) -> bool:
  """Returns, in all processes, whether a flag is set in any process.

  All processes call this together. For example, signals reach processes at
  different steps. If the processes did not agree on the step to stop at, some
  would wait forever for others.
  """
  if jax.process_count() == 1:
    return flag
  return bool(np.any(multihost_utils.process_allgather(np.asarray(flag))))


class Interrupted(Exception):
  """Error: the run was stopped by a signal, after it saved its state.

  Attributes:
    requested: The name of the signal.
    saved: A clause about the saved work and its place.
  """

  def __init__(self, requested: str, saved: str):
    """Creates the error."""
    super().__init__(
      f"stopped by {requested}; {saved}: run the same command again to "
      "continue from there."
    )
    self.requested = requested
    self.saved = saved


class OtherProcessError(OSError):
  """Error: another process failed, and this one cannot go on without it."""


def from_main(make: Callable[[], Made]) -> Made:
  """Calls a function in the main process, and returns its result in all.

  Use this to look at files, take locks and write files. If each process looked
  for itself, processes could see different files, and would then wait forever
  for each other.

  Args:
    make: The function. It returns JSON data.

  Raises:
    Interrupted: In all processes, if the function raises it.
    OtherProcessError: In the other processes, if the function raises another
      error in the main process.
  """
  if jax.process_count() == 1:
    return make()
  made, error = None, None
  if is_main_process():
    try:
      made = make()
    except Exception as caught:
      error = caught
  failure = None if error is None else str(error) or type(error).__name__
  stop = None
  if isinstance(error, Interrupted):
    stop = error.requested, error.saved
  told = _broadcast(json.dumps([made, stop, failure]))
  made, stop, failure = json.loads(told)
  if error is not None:
    raise error
  if stop is not None:
    raise Interrupted(*stop)
  if failure is not None:
    raise OtherProcessError(f"in the main process: {failure}")
  return made


def main_first(make: Callable[[], Made]) -> Made:
  """Calls a function in the main process, and then in all other processes.

  Use this if the first call writes files that later calls read, such as
  prepared data.
  """
  first = []
  from_main(lambda: first.append(make()))
  return first[0] if first else make()


def _broadcast(text: str) -> str:
  """Returns the text of the main process in all processes."""
  data = np.frombuffer(text.encode(), np.uint8)
  size = int(multihost_utils.broadcast_one_to_all(np.int32(len(data))))
  # The length is rounded up, since a program is compiled for each length.
  buffer = np.zeros(1 << max(10, (size - 1).bit_length()), np.uint8)
  if is_main_process():
    buffer[:size] = data
  buffer = multihost_utils.broadcast_one_to_all(buffer)
  return buffer[:size].tobytes().decode()
