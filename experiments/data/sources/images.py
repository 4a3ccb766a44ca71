"""Encoded images, in folders with one folder a class or in a column."""

import io
import pathlib
from typing import Any

import numpy as np
import PIL
import pyarrow as pa
from PIL import Image

from experiments.data.sources import files
from experiments.data.sources.column_source import ArrowColumn
from experiments.data.sources.column_source import Column
from experiments.data.sources.column_source import ColumnSource
from experiments.data.sources.column_source import LabelColumn
from experiments.data.sources.column_source import Malformed

SUFFIXES = (
  ".bmp",
  ".gif",
  ".jpeg",
  ".jpg",
  ".pgm",
  ".png",
  ".ppm",
  ".tif",
  ".tiff",
  ".webp",
)
_MODES = {1: "L", 3: "RGB"}  # What Pillow calls them, by number of channels.
_GREY = ("1", "L", "LA")


class DecodedImages:
  """Encoded images, decoded when they are asked for.

  All have the shape of the first. Grey ones among coloured become coloured.

  Attributes:
    shape: Of each: height, width and channels.
  """

  def __init__(
    self,
    encoded: Column,
    ids: Column,
    name: str,
    *,
    image_size: int | tuple[int, int] | None = None,
    channels: int | None = None,
  ):
    """Decodes the first of them.

    Args:
      encoded: The bytes of each image, or the path of its file.
      ids: What each is called, for messages.
      name: Where they come from, for messages.
      image_size: Height and width (one number if equal) that each image is
        resized to: bilinear with antialiasing, its proportions not kept. By
        default all must have one size.
      channels: 1 makes all grey, 3 all coloured. By default the first decides.

    Raises:
      ValueError: If the first cannot be decoded, or an option makes no sense.
    """
    if channels not in (None, *_MODES):
      raise ValueError(f"channels must be 1 or 3, got {channels}.")
    self._encoded = encoded
    self._ids = ids
    self._name = name
    self._size = _height_and_width(image_size)
    self._channels = channels
    self.shape = self._decoded(0).shape
    if self.shape[-1] == 3:
      self._channels = 3

  def __len__(self) -> int:
    return len(self._encoded)

  def __getitem__(self, index: int) -> np.ndarray:
    """Returns an image, uint8 [H, W, channels].

    Raises:
      ValueError: If it cannot be decoded, or has another shape than the first.
    """
    image = self._decoded(index)
    if image.shape == self.shape:
      return image
    option = "image_size" if image.shape[:2] != self.shape[:2] else "channels"
    raise ValueError(
      f"{self._name}: images must have one shape, but {self._ids[index]!r} "
      f"has {image.shape} and {self._ids[0]!r} {self.shape}: give {option} to "
      f"make them alike."
    )

  def _decoded(self, index: int) -> np.ndarray:
    encoded = self._encoded[index]
    file = io.BytesIO(encoded) if isinstance(encoded, bytes) else encoded
    try:
      with Image.open(file) as image:
        return self._pixels(image)
    except PIL.UnidentifiedImageError:
      reason = "not a kind of image that Pillow reads"
    except Exception as error:  # Its decoders raise all kinds.
      reason = str(error).rstrip(".")
    raise ValueError(
      f"{self._name}: cannot read the image {self._ids[index]!r}: {reason}."
    )

  def _pixels(self, image: Image.Image) -> np.ndarray:
    """Returns an image as uint8 [H, W, channels], of the size asked for."""
    if image.mode[0] in "IF":
      raise ValueError(f"more than 8 bits a channel (mode {image.mode})")
    channels = self._channels or (1 if image.mode in _GREY else 3)
    converted = image.convert(_MODES[channels])
    if self._size is not None:
      height, width = self._size
      bilinear = Image.Resampling.BILINEAR
      converted = converted.resize((width, height), bilinear)
    return np.array(converted).reshape(*converted.size[::-1], channels)


def _height_and_width(image_size: Any) -> tuple[int, int] | None:
  """Returns an image_size as height and width."""
  if image_size is None:
    return None
  size = (image_size,) * 2 if isinstance(image_size, int) else tuple(image_size)
  if len(size) != 2 or not all(isinstance(n, int) and n > 0 for n in size):
    raise ValueError(
      f"image_size must be a positive int or two of them (height, width), got "
      f"{image_size!r}."
    )
  return size


def folder_source(
  folder: files.Path,
  *,
  image_size: int | tuple[int, int] | None = None,
  channels: int | None = None,
) -> ColumnSource:
  """Returns the images of a folder that has one folder for each class.

  Classes, and the images of a class, are in the order of their names. An id is
  the image's path in the folder, such as "cat/1.png", the label the class's
  name, or an int where the name is one. Hidden files are passed over.

  Args:
    folder: The folder.
    image_size: As for `DecodedImages`.
    channels: As for `DecodedImages`.

  Returns:
    The source. Its `malformed` counts the files that are no images.

  Raises:
    FileNotFoundError: If there is no such folder.
    OSError: If it cannot be read.
    ValueError: If a class has no images, or none can be found at all.
  """
  folder = pathlib.Path(folder)
  malformed = Malformed()
  labels, paths = [], []
  for child in _visible(folder):
    if not child.is_dir():
      malformed.add(str(child), "in no folder of a class")
      continue
    images = _images(child, malformed)
    if not images:
      raise ValueError(
        f"{child} holds no images ({', '.join(SUFFIXES)}): expected one folder "
        f"for each class in {folder}, with its images in it."
      )
    labels += [child.name] * len(images)
    paths += images
  if not paths:
    raise ValueError(
      f"{folder} holds no folders: expected one for each class, with its "
      f"images in it; of tables or arrays give the files."
    )
  ids = ArrowColumn(
    pa.array(path.relative_to(folder).as_posix() for path in paths)
  )
  decoded = DecodedImages(
    paths, ids, str(folder), image_size=image_size, channels=channels
  )
  columns = {
    "id": ids,
    "image": decoded,
    "label": LabelColumn(pa.array(labels)),
  }
  return ColumnSource(str(folder), columns, malformed)


def _visible(folder: pathlib.Path) -> list[pathlib.Path]:
  """Returns what is in a folder and not hidden, by name."""
  with files.reading(folder):
    children = sorted(folder.iterdir(), key=lambda child: child.name)
  return [child for child in children if not child.name.startswith(".")]


def _images(folder: pathlib.Path, malformed: Malformed) -> list[pathlib.Path]:
  """Returns the images in a folder, and counts what else there is."""
  images = []
  for child in _visible(folder):
    if child.suffix.lower() in SUFFIXES and not child.is_dir():
      images.append(child)
    else:
      malformed.add(str(child), "no image")
  return images
