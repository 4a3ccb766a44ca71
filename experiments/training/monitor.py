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

NONFINITE = "nonfinite.json"
_MOST_PRINTED = 64
# A first chunk is looked at twice, for a forecast of the time: the first look
# includes the compilation, the second one times the steps after it.
_NUM_LOOKS = 2
_SECONDS_BETWEEN_LOOKS = 5.0
# The second look waits for this number of steps, but not for more seconds than
# this. Texts of another length compile again, so that few steps say little.
_NUM_TIMED, _MOST_SECONDS = 8, 30.0


@dataclasses.dataclass(frozen=True)
class MonitorSpec:
  """Settings of a monitor: what to write about a training, and where.

  Attributes:
    cells: The cells of the stack.
    metric_paths: File of metrics of each cell, None for a cell whose metrics
      are kept; loggers and traces go to the folder of the file.
    label: Label of the progress display.
    watch: Called after each chunk; tells how long the whole command has left.
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
    self._watched_at = time.monotonic()
    self._watched = self._step = step
    self._timed: list[float] = []  # Seconds of each step since the last look.
    self._num_looks = _NUM_LOOKS if spec.watch else 0
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
    """Seconds of a step: the median over all chunks but the first.

    The first chunk includes the compilation. None if there are no others.
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
    """JAX's profiler for a chunk that has steps to profile."""
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

    All metrics are ``[cells]``; those of training are means over the last
    chunk.
    """
    for cell, writers in enumerate(self._writers):
      scalars = {f"train/{k}": v[cell] for k, v in train_metrics.items()}
      scalars |= {f"validation/{k}": v[cell] for k, v in held_out.items()}
      for writer in writers:
        writer.write(step, scalars | self._times)
    accuracy = 100 * held_out["accuracy"].mean()
    self._step, self._num_looks = step, 0
    self._progress.update(
      self._length, left_in_all=self._look(is_whole=True), accuracy=accuracy
    )

  def after_step(self, metrics: Mapping[str, jax.Array]) -> None:
    """Looks at the clock in a first chunk whose steps are slow."""
    self._step += 1
    if not self._num_looks:
      return
    jax.block_until_ready(metrics)
    seconds = time.monotonic() - self._watched_at
    self._timed.append(seconds - sum(self._timed))
    is_first = self._num_looks == _NUM_LOOKS
    is_enough = len(self._timed) >= _NUM_TIMED or seconds > _MOST_SECONDS
    if seconds > _SECONDS_BETWEEN_LOOKS and (is_first or is_enough):
      self._num_looks -= 1
      self._look(is_whole=False)

  def _look(self, *, is_whole: bool) -> float | None:
    """Reports the steps since the last look; returns the seconds left."""
    length, now = self._step - self._watched, time.monotonic()
    seconds = now - self._watched_at
    if not is_whole and not self._num_looks:
      # Steps that compile again are slow, and the median ignores them.
      seconds = length * statistics.median_low(self._timed)
    self._watched, self._watched_at = self._step, now
    self._timed.clear()
    if self._watch is None or not length:
      return None
    return self._watch(self._step, seconds, length, is_whole)

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *_: object) -> None:
    self._stack.close()


def _trace_folder(folder: pathlib.Path) -> pathlib.Path:
  """Folder of this process's traces, whose names hold only the host."""
  folder = folder / "profile"
  if jax.process_count() == 1:
    return folder
  return folder / f"process{jax.process_index()}"


# --- Losses and states that are not finite ------------------------------------


def clear_nonfinite(spec: MonitorSpec) -> None:
  """Deletes the reports of an earlier attempt."""
  for path in filter(None, spec.metric_paths):
    path.with_name(NONFINITE).unlink(missing_ok=True)


def nonfinite_error(
  run: Run,
  first: np.ndarray,
  spec: MonitorSpec,
  *,
  saved: pathlib.PurePath | None,
) -> FloatingPointError:
  """Reports on which examples a loss or a state stopped being finite.

  For each cell concerned, `nonfinite.json` next to its metrics holds the step,
  all rows of its batch and the checkpoint to go back to. `first` is the first
  bad step of each cell, counted from 1, or 0. Returns the error to raise.
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
  # Without ids, the row is the only name of an example.
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
  """Contents of the report of one cell."""
  rows, ids = batch_rows(run, step - 1), run.example_ids
  return {
    "cell": name,
    "step": step,
    "rows": rows,
    # Ids are those of the prepared data, rows those of its training part.
    "ids": None if ids is None else np.asarray(ids[rows]),
    "checkpoint": saved,
  }


def batch_rows(run: Run, step: int) -> np.ndarray:
  """Returns the rows of the training set in the batch after `step` steps."""
  key = data_keys(run.spec, run.data_seed)[0]
  if isinstance(run.train, Feed):
    return run.train.rows(key, step)
  return np.asarray(
    batches.batch_indices(
      key,
      step,
      num_examples=run.spec.num_examples,
      batch_size=run.spec.student.batch_size,
    )
  )


def _listed(names: Sequence[str]) -> str:
  return ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
