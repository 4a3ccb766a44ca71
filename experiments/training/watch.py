"""What is seen of a training: metrics, loggers, progress, times, traces."""

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
from ml_collections import ConfigDict

from experiments import cells
from experiments.distributed import processes
from experiments.io import metrics
from experiments.io.progress import Progress


def check(config: ConfigDict) -> None:
  """Raises ValueError for a logger or a range of steps that there cannot be.

  Args:
    config: A cell's config; `loggers` and `profile` matter.
  """
  metrics.check_loggers(_logger_names(config))
  _profiled(config.profile)


def _logger_names(config: ConfigDict) -> list[str]:
  return [name for name in config.loggers.split(",") if name]


def _profiled(text: str) -> tuple[int, int]:
  """The first and the last step to trace, none of them for no text."""
  if not text:
    return 0, -1
  first, _, last = text.partition(":")
  if first.isdigit() and last.isdigit() and int(first) <= int(last):
    return int(first), int(last)
  raise ValueError(
    "config.profile must be FIRST_STEP:LAST_STEP, such as 100:120, got "
    f"{text!r}."
  )


@dataclasses.dataclass(frozen=True)
class Wanted:
  """What is to be seen, and where it goes.

  Attributes:
    configs: The config of each cell.
    metric_paths: One file of metrics a cell, None for one that has its own;
      loggers and traces go to the folder that it lies in.
    label: What the progress display calls the training.
  """

  configs: Sequence[ConfigDict]
  metric_paths: Sequence[pathlib.Path | None]
  label: str


class Watch:
  """Watches one training, chunk by chunk; only the main process writes.

  with Watch(wanted, ...) as watch:
    while step < num_steps:
      with watch.chunk(step, length):
        states, metrics = train_chunk(states, ...)
        jax.block_until_ready(metrics)
      step += length
      watch.write(step, metrics, held_out)
  """

  def __init__(
    self,
    wanted: Wanted,
    *,
    step: int,
    num_steps: int,
    batch_size: int,
    feed: Any = None,
  ):
    """Opens what is written to.

    Args:
      wanted: What is to be seen.
      step: The step that training continues from.
      num_steps: The last step.
      batch_size: Examples in a batch.
      feed: The `Feed` that batches come from, if they come from one.
    """
    self._stack = contextlib.ExitStack()
    self._batch_size = batch_size
    self._num_cells = len(wanted.configs)
    self._feed = feed
    self._profiled = _profiled(wanted.configs[0].profile)
    self._traces = next(
      (_traces(path.parent) for path in wanted.metric_paths if path), None
    )
    self._length = 0
    self._times: dict[str, float] = {}
    self._step_seconds: list[float] = []
    main = processes.is_main_process()
    self._writers = []
    for path, config in zip(wanted.metric_paths, wanted.configs, strict=True):
      writer = metrics.MetricWriter(path if main else None, resume_step=step)
      self._writers.append([self._stack.enter_context(writer)])
      if path is not None and main:
        for logger in metrics.open_loggers(
          _logger_names(config),
          path.parent,
          resume_step=step,
          config=cells.plain(config),
        ):
          self._stack.callback(logger.close)
          self._writers[-1].append(logger)
    self._progress = self._stack.enter_context(
      Progress(
        num_steps,
        label=wanted.label,
        initial=step,
        examples_per_unit=batch_size * len(wanted.configs),
        shown=main,
      )
    )

  @property
  def step_seconds(self) -> float | None:
    """How long a step takes: the median over all chunks but the first.

    The first compiles. None where there are no others in this process.
    """
    timed = self._step_seconds[1:]
    return statistics.median(timed) if timed else None

  @contextlib.contextmanager
  def chunk(self, step: int, length: int) -> Iterator[None]:
    """Times a chunk of steps, and traces it if one of them is asked for.

    Args:
      step: The number of steps taken before.
      length: How many it takes.
    """
    first, last = self._profiled
    folder = self._traces if step <= last and first < step + length else None
    waited = self._feed.seconds_waited if self._feed else 0.0
    start = time.monotonic()
    with (
      jax.profiler.trace(str(folder)) if folder else contextlib.nullcontext()
    ):
      yield
    seconds = (time.monotonic() - start) / length
    self._step_seconds.append(seconds)
    self._length = length
    self._times = {
      "time/step_seconds": seconds,
      # Counted once for each cell, as the progress display does.
      "time/examples_per_second": self._batch_size * self._num_cells / seconds,
    }
    if self._feed:
      waited = (self._feed.seconds_waited - waited) / length
      self._times["time/input_wait_seconds"] = waited

  def write(
    self,
    step: int,
    train_metrics: Mapping[str, np.ndarray],
    held_out: Mapping[str, np.ndarray],
  ) -> None:
    """Writes a line of metrics a cell, and moves the progress display on.

    Args:
      step: The number of steps taken, the last chunk's included.
      train_metrics: Means over that chunk, ``[cells]`` each.
      held_out: What evaluation found, likewise.
    """
    for cell, writers in enumerate(self._writers):
      scalars = {f"train/{k}": v[cell] for k, v in train_metrics.items()}
      scalars |= {f"validation/{k}": v[cell] for k, v in held_out.items()}
      for writer in writers:
        writer.write(step, scalars | self._times)
    accuracy = 100 * held_out["accuracy"].mean()
    self._progress.update(self._length, accuracy=accuracy)

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *_: object) -> None:
    self._stack.close()


def _traces(folder: pathlib.Path) -> pathlib.Path:
  """Where this process's traces go: files are named by the host alone."""
  folder = folder / "profile"
  if jax.process_count() == 1:
    return folder
  return folder / f"process{jax.process_index()}"
