"""Monitoring of a training: metrics, loggers, progress, traces, failures."""

import contextlib
import itertools
import pathlib
import statistics
import time
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import Self

import jax
import numpy as np

from experiments.data import batches
from experiments.data.batches import Feed
from experiments.distributed import processes
from experiments.io import json_files
from experiments.io import metrics
from experiments.io.progress import Progress
from experiments.training.forecast import Watch
from experiments.training.states import data_keys
from experiments.training.types import Run

NONFINITE = "nonfinite.json"  # File of the report on a non-finite loss.
_MOST_PRINTED = 64  # Number of examples that its error message lists.
# The steps of a slow first chunk are timed, so that the forecast comes early.
# It waits for this number of steps after the first one, which compiles, or for
# the larger number of seconds: texts of another length compile again, so a few
# steps are not enough. It also waits for the smaller number of seconds.
_NUM_TIMED, _LEAST_SECONDS, _MOST_SECONDS = 8, 5.0, 30.0
# The rate of a whole first chunk is not used if it takes fewer seconds, since
# most of them may be compilation.
_PATIENCE = 30.0


class Monitor:
  """Monitors one training chunk by chunk; only the main process writes.

  with Monitor(run, paths, "student", step=step) as monitor:
    while step < num_steps:
      with monitor.chunk(step, length):
        states, metrics = train_chunk(states, ...)
        jax.block_until_ready(metrics)
      step += length
      monitor.write(step, metrics, held_out)
  """

  def __init__(
    self,
    run: Run,
    metric_paths: Sequence[pathlib.Path | None],
    label: str,
    *,
    step: int,
    watch: Watch | None = None,
  ):
    """Opens all files and loggers, and deletes the reports of earlier failures.

    Args:
      run: The stack.
      metric_paths: File of metrics of each cell, whose folder also holds the
        output of loggers and traces; None for a finished cell, whose metrics
        are not written again.
      label: Label of the progress display.
      step: The step from which the training continues.
      watch: Forecasts the time that the whole command has left.
    """
    self._stack = contextlib.ExitStack()
    self._run, self._metric_paths, self._label = run, metric_paths, label
    self._examples_per_step = run.spec.student.batch_size * len(run.cells)
    self._feed = run.train if isinstance(run.train, Feed) else None
    self._length = 0
    self._watch, self._step = watch, step
    self._written_at = time.monotonic()
    self._seconds: list[float] = []  # Times between calls of `write`.
    self._before: float | None = None  # Seconds before the first step.
    self._ends: list[float] = []  # When the steps of the first chunk ended.
    self._times: dict[str, float] = {}
    self._step_seconds: list[float] = []
    main = processes.is_main_process()
    folders = [path.parent for path in metric_paths if path]
    self._trace_folder = _trace_folder(folders[0]) if folders else None
    self._writers: list[list[metrics.Writer]] = []
    for path, cell in zip(metric_paths, run.cells, strict=True):
      self._writers.append([])
      if path is not None and main:
        path.with_name(NONFINITE).unlink(missing_ok=True)
        for writer in metrics.open_writers(
          path,
          cell.loggers,
          resume_step=step,
          config=json_files.plain(cell),
        ):
          self._stack.callback(writer.close)
          self._writers[-1].append(writer)
    self._progress = self._stack.enter_context(
      Progress(
        run.spec.student.num_steps,
        label=label,
        initial=step,
        examples_per_unit=self._examples_per_step,
        shown=main,
      )
    )

  @property
  def step_seconds(self) -> float | None:
    """Seconds per step: the median over all chunks except the first.

    It is None if there is only one chunk, whose time includes compilation.
    """
    timed = self._step_seconds[1:]
    return statistics.median(timed) if timed else None

  @contextlib.contextmanager
  def chunk(self, step: int, length: int) -> Iterator[None]:
    """Times a chunk after `step`, and traces it if it has steps to profile."""
    waited = self._feed.seconds_waited if self._feed else 0.0
    start = time.monotonic()
    with self._trace(step, length):
      yield
    seconds = (time.monotonic() - start) / length
    self._step_seconds.append(seconds)
    self._length = length
    self._times = {
      "time/step_seconds": seconds,
      # An example counts once for each cell, as in the progress display.
      "time/examples_per_second": self._examples_per_step / seconds,
    }
    if self._feed:
      waited = (self._feed.seconds_waited - waited) / length
      self._times["time/input_wait_seconds"] = waited

  def _trace(
    self, step: int, length: int
  ) -> contextlib.AbstractContextManager[Any]:
    """Returns JAX's profiler if the chunk has steps to profile."""
    profiled = self._run.cells[0].profile
    if profiled is None or self._trace_folder is None:
      return contextlib.nullcontext()
    first, last = profiled
    if step <= last and first < step + length:
      return jax.profiler.trace(str(self._trace_folder))
    return contextlib.nullcontext()

  def write(
    self,
    step: int,
    train_metrics: Mapping[str, np.ndarray],
    held_out: Mapping[str, np.ndarray],
  ) -> None:
    """Writes a line of metrics per cell, and updates the progress display.

    Args:
      step: Number of steps that are done.
      train_metrics: Means over the last chunk, ``[cells]`` each.
      held_out: Scores on the validation examples, ``[cells]`` each.
    """
    for cell, writers in enumerate(self._writers):
      scalars = {f"train/{k}": v[cell] for k, v in train_metrics.items()}
      scalars |= {f"validation/{k}": v[cell] for k, v in held_out.items()}
      for writer in writers:
        writer.write(step, scalars | self._times)
    accuracy = 100 * held_out["accuracy"].mean()
    self._progress.update(
      self._length, left_in_all=self._seconds_left(step), accuracy=accuracy
    )

  def _seconds_left(self, step: int) -> float | None:
    """Returns the seconds that the command has left, if they are known."""
    if self._watch is None:
      return None
    now, student = time.monotonic(), self._run.spec.student
    self._seconds.append(now - self._written_at)
    self._written_at = now
    first, *later = self._seconds
    rate = self._seconds[-1] / self._length
    if later:
      if self._before is None:
        self._before = first - rate * student.steps_per_chunk
      return self._watch(step, rate, self._before)
    is_whole = self._length == student.num_steps
    is_used = (is_whole or first > _PATIENCE) and self._before is None
    return self._watch(step, rate if is_used else None, None)

  def after_step(self, metrics: Mapping[str, jax.Array]) -> None:
    """Forecasts the time within a first chunk whose steps are slow."""
    if self._watch is None or self._before is not None or self._seconds:
      return
    jax.block_until_ready(metrics)
    self._ends.append(time.monotonic())
    seconds, number = self._ends[-1] - self._ends[0], len(self._ends) - 1
    is_enough = number >= _NUM_TIMED or seconds > _MOST_SECONDS
    if seconds > _LEAST_SECONDS and is_enough:
      # The median leaves out the steps that were slow to compile again.
      rate = statistics.median_low(
        end - start for start, end in itertools.pairwise(self._ends)
      )
      self._before = self._ends[0] - self._written_at - rate
      self._watch(self._step + number + 1, rate, self._before)

  def nonfinite_error(
    self, first: np.ndarray, saved: pathlib.PurePath | None
  ) -> FloatingPointError:
    """Returns the error for a loss or a state that is not finite.

    It also writes `nonfinite.json` next to the metrics of each affected cell,
    with the step, the rows of its batch and the last good checkpoint.

    Args:
      first: The first bad step of each cell, counted from 1, or 0 if there is
        none; int ``[cells]``.
      saved: The last checkpoint, or None.
    """
    names = self._run.fingerprint["names"]
    ids, reports = np.asarray(self._run.example_ids), {}
    for cell in np.flatnonzero(first).tolist():
      rows = batch_rows(self._run, int(first[cell]) - 1)
      reports[cell] = {
        "cell": names[cell],
        "step": int(first[cell]),
        "rows": rows,
        # Ids refer to the prepared data, and rows to its training split.
        "ids": ids[rows],
        "checkpoint": saved,
      }

    def write() -> None:
      for cell, report in reports.items():
        path = self._metric_paths[cell]
        if path is not None:
          json_files.write_json(path.with_name(NONFINITE), report)

    processes.from_main(write)
    earliest = min(reports.values(), key=lambda report: report["step"])
    listed = ", ".join(map(str, earliest["ids"][:_MOST_PRINTED]))
    more = len(earliest["ids"]) - _MOST_PRINTED
    return FloatingPointError(
      f"{self._label}: the loss, the gradient or the state is not finite at "
      f"step {earliest['step']} (in {len(reports)} of {len(names)} cells: "
      f"{_listed([names[cell] for cell in reports])}). The ids of its "
      f"examples in the training set are {listed}"
      f"{f' and {more} more' if more > 0 else ''}; {NONFINITE} next to the "
      "metrics lists them all. "
      + (
        f"The last good checkpoint is step {saved.name}, {saved}."
        if saved
        else "There is no earlier checkpoint."
      )
      + " Look at these examples, or try a smaller learning rate."
    )

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *_: object) -> None:
    self._stack.close()


def _trace_folder(folder: pathlib.Path) -> pathlib.Path:
  """Returns the folder of this process's traces.

  Processes need folders of their own, since JAX names traces after the host.
  """
  folder = folder / "profile"
  if jax.process_count() == 1:
    return folder
  return folder / f"process{jax.process_index()}"


def batch_rows(run: Run, step: int) -> np.ndarray:
  """Returns the rows of the training set in the batch of a step, from 0."""
  key = data_keys(run.spec, run.data_seed)[0]
  if isinstance(run.train, Feed):
    return run.train.rows(key, step)
  rows = batches.chunk_indices(
    key,
    step,
    num_steps=1,
    num_examples=run.spec.num_examples,
    batch_size=run.spec.student.batch_size,
  )
  return np.asarray(rows[0])


def _listed(names: Sequence[str]) -> str:
  return ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
