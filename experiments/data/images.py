"""Encoded images: finding them in folders, decoding and checking them."""

import dataclasses
import functools
import io
import pathlib
from collections.abc import Iterator
from collections.abc import Sequence
from concurrent import futures
from typing import Any

import numpy as np
import PIL
from PIL import Image
from PIL import ImageOps

from experiments.io.progress import tracked

SUFFIXES = tuple(
  ".bmp .gif .jfif .jpe .jpeg .jpg .pgm .png .ppm .tif .tiff .webp".split()
)
# Files that Windows and macOS add to folders.
_OF_SYSTEMS = ("Thumbs.db", "desktop.ini", "__MACOSX")
_MODES = {1: "L", 3: "RGB"}  # Pillow's mode by number of channels.
_GREY = ("1", "L", "LA")  # Pillow's modes of images without colour.


@dataclasses.dataclass(frozen=True)
class DecodedImages(Sequence[np.ndarray]):
  """Encoded images that are decoded when they are looked up.

  The orientation in EXIF data is applied, and transparent pixels become white.
  Colour profiles are ignored.

  Attributes:
    encoded: The bytes of each image, or the path of its file.
    ids: Id of each image, for messages.
    name: Origin of the images, for messages.
    channels: Number of channels to which images are converted: 1 or 3.
    size: Height and width to which each image is resized, whatever its
      proportions, with Pillow's bilinear filter (which averages pixels when it
      shrinks an image). With None, all images must have the shape of the first.
  """

  encoded: Sequence[bytes | pathlib.Path]
  ids: Sequence[Any]
  name: str
  channels: int
  size: tuple[int, int] | None = None

  @functools.cached_property
  def shape(self) -> tuple[int, ...]:
    """Height, width and channels of the first image."""
    return self._decoded(0).shape

  def __len__(self) -> int:
    return len(self.encoded)

  def __getitem__(self, index: Any) -> Any:
    """Returns one image, uint8 ``[H, W, channels]``."""
    image = self._decoded(index)
    if image.shape == self.shape:
      return image
    raise ValueError(
      f"{self.name}: images must all have the same shape, but image "
      f"{self.ids[index]!r} has {image.shape} and {self.ids[0]!r} has "
      f"{self.shape}: set config.data.image_size to resize all images."
    )

  def select(self, rows: Sequence[int]) -> "DecodedImages":
    """Returns the images at some positions."""
    return dataclasses.replace(
      self,
      encoded=[self.encoded[row] for row in rows],
      ids=[self.ids[row] for row in rows],
    )

  def stacked(self) -> np.ndarray:
    """Decodes all images in parallel, uint8 ``[N, H, W, channels]``."""
    with futures.ThreadPoolExecutor() as pool:
      return np.stack(list(pool.map(self.__getitem__, range(len(self)))))

  def _decoded(self, index: int) -> np.ndarray:
    encoded = self.encoded[index]
    try:
      with _opened(encoded) as image:
        _check_depth(image)
        return self._pixels(image)
    except Exception as error:  # Pillow's decoders raise errors of many types.
      name = "" if isinstance(encoded, bytes) else f" {encoded}"
      raise ValueError(
        f"image {self.ids[index]!r} of {self.name}: cannot read the image"
        f"{name}: {_reason(error)}."
      ) from error

  def _pixels(self, image: Image.Image) -> np.ndarray:
    image = ImageOps.exif_transpose(image)
    if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
      image = image.convert("RGBA")
      white = Image.new("RGBA", image.size, "white")
      image = Image.alpha_composite(white, image)
    image = image.convert(_MODES[self.channels])
    if self.size is not None:
      image = image.resize(self.size[::-1], Image.Resampling.BILINEAR)
    return np.array(image).reshape(*image.size[::-1], self.channels)


def find_unreadable(
  encoded: Sequence[bytes | pathlib.Path],
) -> tuple[list[str], int]:
  """Decodes images to find those that cannot be read.

  Returns:
    For each image the reason why it cannot be read, or "", and the number of
    channels that all images need: 1 if all are grey, otherwise 3.
  """
  pool = futures.ThreadPoolExecutor()
  checked = tracked(
    pool.map(_checked, encoded),
    label="reading images",
    unit="image",
    total=len(encoded),
  )
  try:
    found = list(checked)
  finally:
    pool.shutdown(cancel_futures=True)
  channels = max((count for problem, count in found if not problem), default=1)
  return [problem for problem, _ in found], channels


def _checked(encoded: bytes | pathlib.Path) -> tuple[str, int]:
  """Returns why an image cannot be read, or "", and its number of channels."""
  try:
    with _opened(encoded) as image:
      image.load()
      _check_depth(image)
      return "", 1 if image.mode in _GREY else 3
  except Exception as error:  # Pillow's decoders raise errors of many types.
    return _reason(error), 0


def _check_depth(image: Image.Image) -> None:
  if image.mode[0] in "IF":
    raise ValueError(f"it has more than 8 bits per channel ({image.mode})")


def _opened(encoded: bytes | pathlib.Path) -> Image.Image:
  file = io.BytesIO(encoded) if isinstance(encoded, bytes) else encoded
  return Image.open(file)


def _reason(error: Exception) -> str:
  """Returns the message of an error in one line."""
  if isinstance(error, PIL.UnidentifiedImageError):
    return "it is not in a format that Pillow reads"
  lines = str(error).splitlines() or [type(error).__name__]
  return lines[0].rstrip(".")


def find_images(
  folder: pathlib.Path, *, by_class: bool
) -> tuple[list[pathlib.Path], list[tuple[pathlib.Path, str]]]:
  """Finds the images in a folder.

  Hidden files, and files that Windows and macOS add to folders, are ignored.

  Args:
    folder: The folder.
    by_class: Whether the folder holds one folder of images per class. Otherwise
      the images may be in any sub-folder.

  Returns:
    The images, sorted by class and name, and every other file with the reason
    why it is left out.

  Raises:
    ValueError: If there are no images, or if a class has none.
  """
  found: list[pathlib.Path] = []
  left_out: list[tuple[pathlib.Path, str]] = []
  for file in _files_below(folder):
    classes = file.relative_to(folder).parts[:-1]
    if by_class and not classes:
      left_out.append((file, "it is not in the folder of a class"))
    elif file.suffix.lower() not in SUFFIXES:
      left_out.append((file, "it is not an image"))
    elif by_class and len(classes) > 1:
      place = f"{classes[0]!r}, the folder of its class"
      left_out.append((file, f"it is in a sub-folder of {place}"))
    else:
      found.append(file)
  suffixes = ", ".join(SUFFIXES)
  if not by_class:
    if not found:
      raise ValueError(f"{folder} holds no images ({suffixes}).")
    return found, left_out
  filled = {file.parent for file in found}
  for child in _visible(folder):
    if child.is_dir() and child not in filled:
      raise ValueError(
        f"{child} holds no images ({suffixes}): expected one folder per class "
        f"in {folder}, with the images of the class in it."
      )
  if not found:
    raise ValueError(
      f"{folder} holds no folders: expected one folder per class, with the "
      "images of the class in it. For tables or arrays, name the file."
    )
  return found, left_out


def _files_below(folder: pathlib.Path) -> Iterator[pathlib.Path]:
  """Yields the visible files in a folder and its sub-folders."""
  for child in _visible(folder):
    if child.is_dir():
      yield from _files_below(child)
    else:
      yield child


def _visible(folder: pathlib.Path) -> list[pathlib.Path]:
  """Returns the files and folders in a folder, sorted, without ignored ones."""
  children = sorted(folder.iterdir(), key=lambda child: child.name)
  return [
    child
    for child in children
    if not child.name.startswith(".") and child.name not in _OF_SYSTEMS
  ]
