"""Arrays as sources: in memory, memory-mapped .npy files and .npz archives."""

import contextlib
import pathlib
import zipfile
import zlib
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from experiments.data.sources import files
from experiments.data.sources.column_source import ArrowColumn
from experiments.data.sources.column_source import Column
from experiments.data.sources.column_source import ColumnSource
from experiments.data.sources.column_source import LabelColumn

_IMAGE_KEYS = ("images", "x", "data")
_LABEL_KEYS = ("labels", "y")
_CHANNELS = (1, 3)


class _Images:
  """Images [N, H, W, channels], each without its array's subclass."""

  def __init__(self, images: np.ndarray):
    self._images = images

  def __len__(self) -> int:
    return len(self._images)

  def __getitem__(self, index: int) -> np.ndarray:
    return np.asarray(self._images[index])


def array_source(
  *,
  images: np.ndarray | None = None,
  texts: Sequence[str] | None = None,
  labels: Any = None,
  ids: Any = None,
  name: str = "arrays",
) -> ColumnSource:
  """Returns examples whose parts lie in arrays.

  Args:
    images: uint8 [N, H, W, channels] with 1 or 3 channels, [N, H, W] or
      [N, channels, H, W]; may be memory-mapped. Either this or `texts`.
    texts: A str for each example, [N].
    labels: Integers or names, [N] or [N, 1]. Without them examples have none.
    ids: Integers or strings, [N]. Without them an id is the position.
    name: Where they come from, for messages.

  Returns:
    The source.

  Raises:
    ValueError: If one of them has the wrong dtype or shape, their lengths
      differ, or ids repeat.

  Examples:
    >>> source = array_source(texts=["good", "bad"], labels=["pos", "neg"])
    >>> source[1]
    {'id': 1, 'text': 'bad', 'label': 'neg'}
  """
  if (images is None) == (texts is None):
    raise ValueError(f"{name}: give either images or texts.")
  columns: dict[str, Column] = {}
  if ids is not None:
    columns["id"] = ArrowColumn(_scalars(name, "ids", ids))
  if images is not None:
    columns["image"] = _Images(_channels_last(name, images))
  if texts is not None:
    columns["text"] = ArrowColumn(_texts(name, texts))
  if labels is not None:
    columns["label"] = LabelColumn(_scalars(name, "labels", labels))
  return ColumnSource(name, columns)


def npz_source(
  path: files.Path,
  *,
  image_column: str | None = None,
  label_column: str | None = None,
  id_column: str | None = None,
) -> ColumnSource:
  """Returns the images and labels of an .npz archive.

  Args:
    path: The archive. It is read into memory.
    image_column: The name of its array of images, as `array_source` takes
      them. By default "images", "x" or "data", whichever there is, and labels
      "labels" or "y".
    label_column: The name of its array of labels.
    id_column: The name of its array of ids.

  Raises:
    FileNotFoundError: If there is no such file.
    ValueError: As `array_source`, and if it is no archive or lacks an array.
  """
  # NumPy would leave a damaged file open.
  with files.opened(path) as file:
    with _loading(path):
      archive = np.load(file, allow_pickle=False)
    if not isinstance(archive, np.lib.npyio.NpzFile):
      raise ValueError(f"{path} holds one array: its name should end in .npy.")
    names = archive.files
    if image_column is None:
      image_column = _guess(path, names, "image_column", _IMAGE_KEYS)
      if label_column is None and any(key in names for key in _LABEL_KEYS):
        label_column = _guess(path, names, "label_column", _LABEL_KEYS)
    keys = {"images": image_column, "labels": label_column, "ids": id_column}
    keys = {part: key for part, key in keys.items() if key is not None}
    for key in keys.values():
      if key not in names:
        raise ValueError(f"{path} has no array {key!r}: it has {names}.")
    with _loading(path):
      arrays: dict[str, Any] = {
        part: archive[key] for part, key in keys.items()
      }
  return array_source(name=str(path), **arrays)


def npy_source(
  path: files.Path,
  *,
  label_column: files.Path | None = None,
  id_column: files.Path | None = None,
) -> ColumnSource:
  """Returns the images of an .npy file, which stay on disk.

  Args:
    path: Images, as `array_source` takes them.
    label_column: The .npy file of their labels, seen from the images' folder.
    id_column: The .npy file of their ids, likewise.

  Raises:
    FileNotFoundError: If there is no such file.
    ValueError: As `array_source`, and if a file is damaged or no .npy file.
  """
  others = {"labels": label_column, "ids": id_column}
  arrays: dict[str, Any] = {
    name: _load_npy(pathlib.Path(path).parent / other)
    for name, other in others.items()
    if other is not None
  }
  return array_source(name=str(path), images=_load_npy(path), **arrays)


def _load_npy(path: files.Path) -> np.ndarray:
  with _loading(path):
    return np.lib.format.open_memmap(path, mode="r")


@contextlib.contextmanager
def _loading(path: files.Path) -> Iterator[None]:
  """Turns what NumPy says of a file that it cannot load into one line."""
  with files.reading(path):
    try:
      yield
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
      reason = str(error).splitlines()[0].rstrip(".")
      raise ValueError(
        f"{path} cannot be loaded as NumPy arrays ({reason}): write it again "
        f"with numpy.save or numpy.savez, without objects."
      ) from error


def _guess(
  path: files.Path, names: Sequence[str], option: str, keys: Sequence[str]
) -> str:
  """Returns the one of the usual names that an archive has."""
  found = [key for key in keys if key in names]
  if len(found) != 1:
    raise ValueError(f"{path}: give {option}, one of its arrays {names}.")
  return found[0]


def _channels_last(name: str, images: Any) -> np.ndarray:
  """Returns images as [N, H, W, channels], without copying them."""
  images = np.asanyarray(images)
  if images.dtype != np.uint8:
    raise ValueError(
      f"{name}: images must be uint8, got {images.dtype}: scale them to 0 to "
      f"255 and round."
    )
  shape = images.shape
  if images.ndim == 3:
    return images[..., None]
  if images.ndim == 4 and shape[3] in _CHANNELS:
    return images
  if images.ndim == 4 and shape[1] in _CHANNELS:
    return np.moveaxis(images, 1, 3)
  hint = ""
  if images.ndim == 2:
    hint = (
      ": reshape them, for instance to (-1, 3, 32, 32) if rows are the three "
      "channels one after another as in CIFAR's own files"
    )
  raise ValueError(
    f"{name}: images must have shape [N, H, W, channels] with 1 or 3 channels, "
    f"[N, H, W] or [N, channels, H, W], got {shape}{hint}."
  )


def _texts(name: str, texts: Sequence[str]) -> pa.Array:
  """Returns texts as Arrow stores them."""
  texts = list(texts)
  for i, text in enumerate(texts):
    if not isinstance(text, str):
      raise ValueError(
        f"{name}: texts must be strings, got {type(text).__name__} at {i}."
      )
  return pa.array(texts, pa.large_string())


def _scalars(name: str, what: str, values: Any) -> pa.Array:
  """Returns labels or ids as Arrow stores them."""
  values = np.asarray(values)
  if values.dtype.kind not in "biuSU":
    raise ValueError(
      f"{name}: {what} must be integers or strings, got {values.dtype}."
    )
  if values.ndim == 2 and values.shape[1] == 1:
    values = values[:, 0]
  if values.ndim != 1:
    raise ValueError(
      f"{name}: {what} must have shape [N], got {values.shape}; if it is "
      f"one-hot, give its argmax."
    )
  if values.dtype.kind == "S":
    values = np.char.decode(values, "utf-8")
  if values.dtype.kind == "U":
    return pa.array(values.tolist(), pa.string())
  return pa.array(values.astype(np.int64))
