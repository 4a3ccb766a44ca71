"""Numbers on disk: metrics as JSON lines, results as JSON files."""

import contextlib
import json
import math
import os
import pathlib
import time
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any
from typing import Self

import numpy as np
from etils import epath

from experiments.runtime import storage

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
    _replace(path, "".join(_line(metrics) for metrics in kept))
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
    with named(self._file.name):
      self._file.write(_line(metrics))
      self._file.flush()

  def close(self) -> None:
    """Closes the file; twice does no harm."""
    if self._file is not None:
      with named(self._file.name):
        self._file.close()

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *_: object) -> None:
    self.close()


@contextlib.contextmanager
def named(path: PathLike) -> Iterator[None]:
  """Names a file in the errors of writing to it, which do not by themselves.

  Args:
    path: The file.
  """
  try:
    yield
  except OSError as error:
    if error.errno is not None and error.filename is None:
      error.filename = os.fspath(path)
    raise


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


def write_json(path: PathLike, obj: Any) -> None:
  """Writes a JSON file in one go: whole, or not at all.

  Args:
    path: The file, also of a bucket; its folder is made if need be.
    obj: Dicts, lists, tuples, strings, numbers, None and paths, and arrays and
      scalars of NumPy and JAX. Dicts keep their order; NaN and infinity become
      null, as JSON has neither.

  Raises:
    TypeError: If there is something else in it. No file is written then.
  """
  text = json.dumps(_plain(obj), indent=2, allow_nan=False)
  _replace(_path(path), text + "\n")


def read_json(path: PathLike) -> Any:
  """Returns what a JSON file holds.

  Args:
    path: The file, also of a bucket.

  Returns:
    Its contents, as `json.loads` returns them.

  Raises:
    FileNotFoundError: If there is no such file.
    ValueError: If it is not JSON.
  """
  text = _read(_path(path))
  try:
    return json.loads(text)
  except json.JSONDecodeError as error:
    raise ValueError(
      f"{path} is not JSON ({error}): delete it, and run the command that "
      "writes it again."
    ) from None


def _parse(path: pathlib.Path) -> list[dict[str, Any]]:
  """Returns the whole lines of a metrics file."""
  # What follows the last line break is torn, or nothing.
  lines = _read(path).split("\n")[:-1]
  metrics = []
  for number, line in enumerate(lines, start=1):
    try:
      metrics.append(json.loads(line))
    except json.JSONDecodeError as error:
      raise ValueError(
        f"line {number} of {path} is not JSON ({error.msg}): delete that line."
      ) from None
  return metrics


def _path(path: PathLike) -> pathlib.Path | epath.Path:
  return epath.Path(path) if storage.in_bucket(path) else pathlib.Path(path)


def _read(path: pathlib.Path | epath.Path) -> str:
  """Returns the text of a file."""
  try:
    return path.read_text(encoding="utf-8")
  except FileNotFoundError:
    raise FileNotFoundError(
      f"there is no file {path}: run the command that writes it first."
    ) from None


def _replace(path: pathlib.Path | epath.Path, text: str) -> None:
  """Puts a file in the place of another, which is there until it is not."""
  if isinstance(path, epath.Path):
    path.write_text(text)  # In a bucket that is so of itself.
    return
  path.parent.mkdir(parents=True, exist_ok=True)
  temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
  try:
    with (
      named(path),
      temporary.open("w", encoding="utf-8") as file,
    ):
      file.write(text)
      file.flush()
      # Else a crash of the machine can leave the new name and no contents.
      os.fsync(file.fileno())
    temporary.replace(path)
  finally:
    temporary.unlink(missing_ok=True)


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
  return _plain(array.reshape(()))


def _plain(obj: Any) -> Any:
  """Returns an object with what JSON lacks replaced by what it has."""
  if isinstance(obj, Mapping):
    return {str(name): _plain(value) for name, value in obj.items()}
  if isinstance(obj, list | tuple):
    return [_plain(value) for value in obj]
  if isinstance(obj, float):
    return float(obj) if math.isfinite(obj) else None
  if isinstance(obj, str | int | None):
    return obj
  if isinstance(obj, os.PathLike):
    return os.fspath(obj)
  if hasattr(obj, "__array__"):
    return _plain(np.asarray(obj).tolist())
  raise TypeError(
    f"JSON cannot hold {obj!r}, a {type(obj).__name__}: give numbers, strings, "
    "lists, dicts or arrays."
  )
