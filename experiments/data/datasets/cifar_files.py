"""The files that CIFAR was published in, and the forms it is passed on in."""

import io
import pathlib
import pickle
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments.data.datasets import definition
from experiments.data.sources import files

_CHANNELS = (3, 32, 32)  # Of an image in the published files.
_IMAGE_BYTES = 3072
_ROWS_AT_ONCE = 1000
# What unpickling an array needs, by the name it has in the published files.
_UNPICKLED: Mapping[tuple[str, str], Callable[..., Any]] = {
  ("numpy.core.multiarray", "_reconstruct"): np._core.multiarray._reconstruct,
  ("numpy", "ndarray"): np.ndarray,
  ("numpy", "dtype"): np.dtype,
}


def binary_split(
  paths: Sequence[pathlib.Path], num_labels: int
) -> definition.Split:
  """Returns the examples of the binary version's files.

  Args:
    paths: The files, one after another.
    num_labels: Bytes of labels in front of an image, of which the last counts:
      1, or 2 for CIFAR-100's coarse and fine.

  Raises:
    ValueError: If a file holds no whole number of examples.
  """
  row_bytes = num_labels + _IMAGE_BYTES
  for path in paths:
    size = path.stat().st_size
    if size % row_bytes:
      raise ValueError(
        f"{path} has {size:,} bytes, no multiple of {row_bytes:,}: it is cut "
        "short, or no file of this dataset"
      )

  def examples() -> Iterator[definition.Example]:
    for path in paths:
      with files.opened(path) as file:
        while chunk := file.read(_ROWS_AT_ONCE * row_bytes):
          rows = np.frombuffer(chunk, np.uint8).reshape(-1, row_bytes)
          labels = rows[:, num_labels - 1]
          yield from _examples(rows[:, num_labels:], labels)

  sizes = (path.stat().st_size // row_bytes for path in paths)
  return definition.Split(sum(sizes), examples)


def python_split(
  paths: Sequence[pathlib.Path], label_key: str
) -> definition.Split:
  """Returns the examples of the Python version's files.

  They are pickles, which can run code: only arrays are let in.

  Args:
    paths: The files, one after another.
    label_key: What the labels are called in them.

  Raises:
    ValueError: If a file is no pickle of arrays and lists, or lacks its parts.
  """
  sizes = [len(_unpickle(path, label_key)[1]) for path in paths]

  def examples() -> Iterator[definition.Example]:
    for path in paths:
      yield from _examples(*_unpickle(path, label_key))

  return definition.Split(sum(sizes), examples)


def _examples(rows: Any, labels: Any) -> Iterator[definition.Example]:
  """Yields images that are given as rows of bytes, and their labels."""
  images = rows.reshape(-1, *_CHANNELS).transpose(0, 2, 3, 1)
  for image, label in zip(images, labels, strict=True):
    yield {"image": image, "label": int(label)}


def _unpickle(
  path: pathlib.Path, label_key: str
) -> tuple[np.ndarray, list[int]]:
  """Returns images as rows of bytes, [N, 3072], and labels of a file."""
  with files.opened(path) as file:
    data = file.read()
  try:
    # Python 2 wrote them: its strings are bytes.
    batch = _ArrayUnpickler(io.BytesIO(data), encoding="bytes").load()
    rows, labels = batch[b"data"], list(batch[label_key.encode()])
  except (KeyError, TypeError) as error:
    raise ValueError(
      f"{path} lacks {error}, which CIFAR's files have"
    ) from error
  except Exception as error:  # Damaged pickles raise all kinds.
    reason = str(error).splitlines()[0] if str(error) else "it ends early"
    raise ValueError(
      f"{path} is damaged, cut short or no file of this dataset ({reason})"
    ) from error
  expected = (len(labels), _IMAGE_BYTES)
  if getattr(rows, "shape", None) != expected or rows.dtype != np.uint8:
    raise ValueError(f"{path} holds no uint8 images of shape {expected}")
  return rows, labels


class _ArrayUnpickler(pickle.Unpickler):
  """Unpickles NumPy arrays and Python's own types, and calls nothing else."""

  def find_class(self, module: str, name: str) -> Any:
    """Looks a callable up."""
    module = module.replace("numpy._core", "numpy.core")  # Of NumPy 2.
    try:
      return _UNPICKLED[module, name]
    except KeyError:
      raise pickle.UnpicklingError(
        f"it calls {module}.{name}, which no array needs"
      ) from None
