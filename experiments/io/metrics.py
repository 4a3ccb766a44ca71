"""Metrics on disk: one JSON object per line."""

import json
import math
import os
import pathlib
import time
from collections.abc import Mapping
from typing import Any
from typing import Self

import numpy as np

from experiments.io import json_files

PathLike = str | os.PathLike[str]


class MetricWriter:
  """Appends one JSON object a line: step, wall time, and named scalars.

  Every line reaches the file before `write` returns, so a killed process
  loses none. JSON has no NaN and no infinity: both are written as null.

  Use it as a context manager:

    with MetricWriter(workdir / "metrics.jsonl", resume_step=step) as writer:
      writer.write(step, {"loss": loss, "accuracy": accuracy})
  """

  def __init__(self, path: PathLike | None, resume_step: int | None = None):
    """Opens the file, and makes the folder it lies in.

    Args:
      path: The file; None writes nothing, for all processes but the main one.
      resume_step: The step of the checkpoint that the run continues from:
        later lines are dropped, as they will be written again. None starts a
        new file.
    """
    self._file = None
    if path is None:
      return
    path = pathlib.Path(path)
    kept = []
    if resume_step is not None and path.exists():
      kept = [m for m in _parse(path) if m["step"] <= resume_step]
    # Even a new file takes the old one's place in one go.
    json_files.replace(path, "".join(_line(metrics) for metrics in kept))
    self._file = path.open("a", encoding="utf-8")

  def write(self, step: int, scalars: Mapping[str, Any]) -> None:
    """Appends one line.

    Args:
      step: The number of updates made when the scalars were measured.
      scalars: Numbers by name: of Python, or arrays of one element.

    Raises:
      ValueError: If a name is taken or a value is not a single number.
    """
    if self._file is None:
      return
    metrics: dict[str, Any] = {"step": int(step), "wall_time": time.time()}
    for name, value in scalars.items():
      if name in metrics:
        raise ValueError(f"the metric {name!r} must be called something else.")
      metrics[name] = _number(name, value)
    with json_files.named(self._file.name):
      self._file.write(_line(metrics))
      self._file.flush()

  def close(self) -> None:
    """Closes the file; twice does no harm."""
    if self._file is not None:
      with json_files.named(self._file.name):
        self._file.close()

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *_: object) -> None:
    self.close()


def read_metrics(path: PathLike) -> list[dict[str, Any]]:
  """Returns the lines of a metrics file, in order.

  Args:
    path: A file that a `MetricWriter` wrote. A last line that was cut short,
      by a full disk or by reading while it is written, is left out.

  Returns:
    One dict a line, with "step", "wall_time" and the scalars; null is NaN.

  Raises:
    FileNotFoundError: If there is no such file.
    ValueError: If another line than the last is broken.
  """
  nan = math.nan
  return [
    {name: nan if value is None else value for name, value in metrics.items()}
    for metrics in _parse(pathlib.Path(path))
  ]


def _parse(path: pathlib.Path) -> list[dict[str, Any]]:
  """Returns the whole lines of a metrics file."""
  # What follows the last line break is torn, or nothing.
  lines = json_files.read_text(path).split("\n")[:-1]
  metrics = []
  for number, line in enumerate(lines, start=1):
    try:
      metrics.append(json.loads(line))
    except json.JSONDecodeError as error:
      raise ValueError(
        f"line {number} of {path} is not JSON ({error.msg}): delete that line."
      ) from None
  return metrics


def _line(metrics: Mapping[str, Any]) -> str:
  return json.dumps(metrics, allow_nan=False) + "\n"


def _number(name: str, value: Any) -> float | int | None:
  """Returns a single number as JSON has it."""
  array = np.asarray(value)
  # Objects, texts, times and complex numbers are no numbers here.
  if array.size != 1 or array.dtype.kind in "OUSMmc":
    raise ValueError(
      f"the metric {name!r} must be a single number, got {value!r}."
    )
  return json_files.plain(array.reshape(()))
