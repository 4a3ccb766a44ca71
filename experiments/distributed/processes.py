"""Several processes in one run: who decides, who writes, what all do."""

import json
from collections.abc import Callable
from typing import Any
from typing import TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

Made = TypeVar("Made")


def is_main_process() -> bool:
  """Whether this process writes what is written once: logs, results."""
  return jax.process_index() == 0


def any_process(flag: bool) -> bool:
  """Whether the flag is set in any process; every process calls it together.

  A signal reaches processes at different steps. What they all do about it,
  they have to agree on, or some wait for the others for ever.

  Args:
    flag: This process's flag.

  Returns:
    The same answer in every process.
  """
  if jax.process_count() == 1:
    return flag
  return bool(np.any(multihost_utils.process_allgather(np.asarray(flag))))


class Interrupted(Exception):
  """A run stopped because it was asked to; its state is safe.

  Attributes:
    requested: The name of the signal.
    saved: What is saved and where.
  """

  def __init__(self, requested: str, saved: str):
    """Says where the state is and how to go on.

    Args:
      requested: As in the attributes.
      saved: Likewise.
    """
    super().__init__(
      f"stopped by {requested}; {saved}: run the same command again to "
      "continue from there."
    )
    self.requested = requested
    self.saved = saved


class OtherProcessError(OSError):
  """Something failed in another process, and what it was doing is over."""


def from_main(make: Callable[[], Any]) -> Any:
  """Returns what the main process makes, in every process.

  What is finished, which lock is held, what is written once: the main process
  looks or writes, and all hear how it went. Processes that looked each for
  themselves could see different files, and wait for each other for ever.

  Args:
    make: Called in the main process alone; returns what JSON holds.

  Raises:
    Interrupted: In every process, if `make` does.
    OtherProcessError: In the other processes, if `make` raises another error;
      in the main process that error.
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
  """Calls a function in every process, in the main one before the others.

  For what the first call writes and later ones find: prepared data.

  Args:
    make: The function.

  Returns:
    What it returned in this process.

  Raises:
    Interrupted: As for `from_main`, and so is the other.
    OtherProcessError: In the other processes, if it fails in the main one.
  """
  first = []
  from_main(lambda: first.append(make()))
  return first[0] if first else make()


def _broadcast(text: str) -> str:
  """Sends the main process's text to all."""
  data = np.frombuffer(text.encode(), np.uint8)
  size = int(multihost_utils.broadcast_one_to_all(np.int32(len(data))))
  # Lengths are rounded up: each is a compilation of its own.
  buffer = np.zeros(1 << max(10, (size - 1).bit_length()), np.uint8)
  if is_main_process():
    buffer[:size] = data
  buffer = multihost_utils.broadcast_one_to_all(buffer)
  return buffer[:size].tobytes().decode()
