"""Encoded images: folders with one folder per class, and columns of tables."""

import io
import pathlib
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

import numpy as np
import PIL
from PIL import Image

SUFFIXES = (
  ".bmp",
  ".gif",
  ".jfif",
  ".jpe",
  ".jpeg",
  ".jpg",
  ".pgm",
  ".png",
  ".ppm",
  ".tif",
  ".tiff",
  ".webp",
)
# Files that Windows and macOS put into folders.
_OF_SYSTEMS = ("Thumbs.db", "desktop.ini", "__MACOSX")
_MODES = {1: "L", 3: "RGB"}  # Pillow's names, by number of channels.
_GREY = ("1", "L", "LA")


class DecodedImages(Sequence[np.ndarray]):
  """Encoded images that are decoded when they are looked up.

  All have the shape of the first one. If that is in colour, grey images among
  the others are converted.

  Attributes:
    shape: Height, width and channels of each image.
  """

  def __init__(
    self,
    encoded: Sequence[bytes | pathlib.Path],
    ids: Sequence[Any],
    name: str,
    image_size: int | None = None,
  ):
    """Decodes the first image.

    Args:
      encoded: The bytes of each image, or the path of its file.
      ids: Id of each image, for messages.
      name: Where the images come from, for messages.
      image_size: Height and width that each image is resized to (bilinear with
        antialiasing, without keeping its proportions). By default all images
        must have one size.

    Raises:
      ValueError: If the first image cannot be decoded, or `image_size` is not
        positive.
    """
    if image_size is not None and image_size < 1:
      raise ValueError(f"image_size must be positive, got {image_size}.")
    self._encoded = encoded
    self._ids = ids
    self._name = name
    self._size = image_size
    self._channels = None
    self.shape = self._decoded(0).shape
    if self.shape[-1] == 3:
      self._channels = 3

  def __len__(self) -> int:
    return len(self._encoded)

  def __getitem__(self, index: Any) -> Any:
    """Returns one image, uint8 ``[H, W, channels]``.

    Raises:
      ValueError: If it cannot be decoded, or has another shape than the first.
    """
    image = self._decoded(index)
    if image.shape == self.shape:
      return image
    if image.shape[:2] == self.shape[:2]:
      remedy = "convert the images to one number of channels"
    else:
      remedy = "set config.data.image_size to resize all images"
    raise ValueError(
      f"{self._name}: images must have one shape, but {self._ids[index]!r} has "
      f"{image.shape} and {self._ids[0]!r} has {self.shape}: {remedy}."
    )

  def _decoded(self, index: int) -> np.ndarray:
    encoded = self._encoded[index]
    file = io.BytesIO(encoded) if isinstance(encoded, bytes) else encoded
    try:
      with Image.open(file) as image:
        return self._pixels(image)
    except PIL.UnidentifiedImageError:
      reason = "it is not in a format that Pillow reads"
    except Exception as error:  # Pillow's decoders raise all kinds of errors.
      reason = str(error).rstrip(".")
    raise ValueError(
      f"{self._name}: cannot read the image {self._ids[index]!r}: {reason}."
    )

  def _pixels(self, image: Image.Image) -> np.ndarray:
    """Returns an image as uint8 ``[H, W, channels]``, resized if asked for."""
    if image.mode[0] in "IF":
      raise ValueError(f"it has more than 8 bits per channel ({image.mode})")
    channels = self._channels or (1 if image.mode in _GREY else 3)
    converted = image.convert(_MODES[channels])
    if self._size is not None:
      size = (self._size, self._size)
      converted = converted.resize(size, Image.Resampling.BILINEAR)
    return np.array(converted).reshape(*converted.size[::-1], channels)


def find_images(
  folder: pathlib.Path,
) -> tuple[list[pathlib.Path], list[tuple[pathlib.Path, str]]]:
  """Finds the images in a folder that has one folder per class.

  Classes, and the images of a class, are in the order of their names. Files
  that are hidden or that Windows and macOS put there are ignored.

  Args:
    folder: The folder.

  Returns:
    The path of each image, and the path of each other file with the reason why
    it is left out.

  Raises:
    OSError: If the folder cannot be read.
    ValueError: If a class has no images, or there are no classes.
  """
  found: list[pathlib.Path] = []
  left_out: list[tuple[pathlib.Path, str]] = []
  for child in _visible(folder):
    if not child.is_dir():
      left_out.append((child, "it is not in the folder of a class"))
      continue
    files = [file for file in _visible(child) if not file.is_dir()]
    paths = [file for file in files if file.suffix.lower() in SUFFIXES]
    if not paths:
      raise ValueError(
        f"{child} holds no images ({', '.join(SUFFIXES)}): expected one folder "
        f"per class in {folder}, with the images of the class in it."
      )
    found += paths
    used = set(paths)
    others = [file for file in _files_below(child) if file not in used]
    left_out += [(file, _why_left_out(file, child)) for file in others]
  if not found:
    raise ValueError(
      f"{folder} holds no folders: expected one folder per class, with the "
      "images of the class in it. For tables or arrays, name the file."
    )
  return found, left_out


def _files_below(folder: pathlib.Path) -> Iterator[pathlib.Path]:
  """Yields the visible files in a folder and in its sub-folders."""
  for child in _visible(folder):
    if child.is_dir():
      yield from _files_below(child)
    else:
      yield child


def _why_left_out(file: pathlib.Path, folder: pathlib.Path) -> str:
  """Returns why a file in the folder of a class is not an example."""
  if file.suffix.lower() not in SUFFIXES:
    return "it is not an image"
  return f"it is in a sub-folder of {folder.name!r}, the folder of its class"


def _visible(folder: pathlib.Path) -> list[pathlib.Path]:
  """Returns what a folder holds, by name, without what systems put there."""
  children = sorted(folder.iterdir(), key=lambda child: child.name)
  return [
    child
    for child in children
    if not child.name.startswith(".") and child.name not in _OF_SYSTEMS
  ]
