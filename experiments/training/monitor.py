"""Monitoring of a training: metrics, loggers, progress, traces, failures."""

import contextlib
import dataclasses
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

from experiments import specs
from experiments.data import batches
from experiments.data.batches import Feed
from experiments.distributed import processes
from experiments.io import json_files
from experiments.io import metrics
from experiments.io.progress import Progress
from experiments.specs import CellSpec
from experiments.training.forecast import Watch
from experiments.training.states import data_keys
from experiments.training.types import Run

NONFINITE = "nonfinite.json"  # File of the report on a non-finite loss.
_MOST_PRINTED = 64  # Number of examples that its error message lists.
# Within its first chunk a training is timed twice, so that the forecast comes
# early: the first time includes the compilation, the second one does not.
_NUM_TIMINGS = 2
_MIN_SECONDS = 5.0  # The shortest time that is reported.
# The second time waits for this number of steps or seconds, whichever comes
# first: texts of another length compile again, so a few steps are not enough.
_NUM_TIMED, _MOST_SECONDS = 8, 30.0


@dataclasses.dataclass(frozen=True)
class MonitorSpec:
  """Settings of a `Monitor`.

  Attributes:
    cells: The cells of the stack.
    metric_paths: File of metrics of each cell, whose folder also holds the
      output of loggers and traces; None for a finished cell, whose metrics are
      not written again.
    label: Label of the progress display.
    watch: Forecasts the time that the whole command has left, see `Forecast`.
  """

  cells: Sequence[CellSpec]
  metric_paths: Sequence[pathlib.Path | None]
  label: str
  watch: Watch | None = None


class Monitor:
  """Monitors one training chunk by chunk; only the main process writes.

  with Monitor(run, spec, step=step) as monitor:
    while step < num_steps:
      with monitor.chunk(step, length):
        states, metrics = train_chunk(states, ...)
        jax.block_until_ready(metrics)
      step += length
      monitor.write(step, metrics, held_out)
  """

  def __init__(self, run: Run, spec: MonitorSpec, *, step: int):
    """Opens all files and loggers; training continues from `step`."""
    self._stack = contextlib.ExitStack()
    self._examples_per_step = run.spec.student.batch_size * len(spec.cells)
    self._feed = run.train if isinstance(run.train, Feed) else None
    self._profiled = spec.cells[0].profile
    self._length = 0
    self._watch = spec.watch
    # When the watch was last called, and after which step.
    self._watched_at = time.monotonic()
    self._watched_step = self._step = step
    self._timed: list[float] = []  # Seconds of each step since then.
    self._num_timings_left = _NUM_TIMINGS if spec.watch else 0
    self._times: dict[str, float] = {}
    self._step_seconds: list[float] = []
    main = processes.is_main_process()
    folders = [path.parent for path in spec.metric_paths if path]
    self._trace_folder = _trace_folder(folders[0]) if folders else None
    self._writers: list[list[metrics.Logger]] = []
    for path, cell in zip(spec.metric_paths, spec.cells, strict=True):
      writer = metrics.MetricWriter(path if main else None, resume_step=step)
      self._writers.append([self._stack.enter_context(writer)])
      if path is not None and main:
        for logger in metrics.open_loggers(
          cell.loggers,
          path.parent,
          resume_step=step,
          config=specs.plain(cell),
        ):
          self._stack.callback(logger.close)
          self._writers[-1].append(logger)
    self._progress = self._stack.enter_context(
      Progress(
        run.spec.student.num_steps,
        label=spec.label,
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
    if self._profiled is None or self._trace_folder is None:
      return contextlib.nullcontext()
    first, last = self._profiled
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
    self._step, self._num_timings_left = step, 0
    self._progress.update(
      self._length,
      left_in_all=self._call_watch(is_whole=True),
      accuracy=accuracy,
    )

  def after_step(self, metrics: Mapping[str, jax.Array]) -> None:
    """Reports the time within a first chunk whose steps are slow."""
    self._step += 1
    if not self._num_timings_left:
      return
    jax.block_until_ready(metrics)
    seconds = time.monotonic() - self._watched_at
    self._timed.append(seconds - sum(self._timed))
    is_first = self._num_timings_left == _NUM_TIMINGS
    is_enough = len(self._timed) >= _NUM_TIMED or seconds > _MOST_SECONDS
    if seconds > _MIN_SECONDS and (is_first or is_enough):
      self._num_timings_left -= 1
      self._call_watch(is_whole=False)

  def _call_watch(self, *, is_whole: bool) -> float | None:
    """Calls the watch with the steps since its last call.

    `is_whole` tells whether a chunk has ended. Returns the seconds that the
    command has left, if they are known.
    """
    length, now = self._step - self._watched_step, time.monotonic()
    seconds = now - self._watched_at
    if not is_whole and not self._num_timings_left:
      # The median leaves out the steps that were slow to compile again.
      seconds = length * statistics.median_low(self._timed)
    self._watched_step, self._watched_at = self._step, now
    self._timed.clear()
    if self._watch is None or not length:
      return None
    return self._watch(self._step, seconds, length, is_whole)

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


# --- Losses and states that are not finite ------------------------------------


def clear_nonfinite(spec: MonitorSpec) -> None:
  """Deletes the reports on non-finite losses of an earlier attempt."""
  for path in filter(None, spec.metric_paths):
    path.with_name(NONFINITE).unlink(missing_ok=True)


def nonfinite_error(
  run: Run,
  first: np.ndarray,
  spec: MonitorSpec,
  *,
  saved: pathlib.PurePath | None,
) -> FloatingPointError:
  """Returns the error for a loss or a state that is not finite.

  It also writes `nonfinite.json` next to the metrics of each affected cell,
  with the step, the rows of its batch and the last good checkpoint.

  Args:
    run: The stack.
    first: The first bad step of each cell, counted from 1, or 0 if there is
      none; int ``[cells]``.
    spec: Settings of the monitor.
    saved: The last checkpoint, or None.
  """
  names = run.fingerprint["names"]
  reports = {
    int(cell): _report(run, int(first[cell]), names[cell], saved)
    for cell in np.flatnonzero(first)
  }

  def write() -> None:
    for cell, report in reports.items():
      path = spec.metric_paths[cell]
      if path is not None:
        json_files.write_json(path.with_name(NONFINITE), report)

  processes.from_main(write)
  earliest = min(reports.values(), key=lambda report: report["step"])
  # Examples without ids are named by their rows.
  kind = "rows" if earliest["ids"] is None else "ids"
  examples = earliest[kind]
  listed = ", ".join(map(str, examples[:_MOST_PRINTED]))
  more = len(examples) - _MOST_PRINTED
  return FloatingPointError(
    f"{spec.label}: the loss, the gradient or the state is not finite at step "
    f"{earliest['step']} (in {len(reports)} of {len(names)} cells: "
    f"{_listed([names[cell] for cell in reports])}). The {kind} of its "
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


def _report(
  run: Run, step: int, name: str, saved: pathlib.PurePath | None
) -> dict[str, Any]:
  """Returns the contents of `nonfinite.json` for one cell."""
  rows, ids = batch_rows(run, step - 1), run.example_ids
  return {
    "cell": name,
    "step": step,
    "rows": rows,
    # Ids refer to the prepared data, and rows to its training split.
    "ids": None if ids is None else np.asarray(ids[rows]),
    "checkpoint": saved,
  }


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
