"""Encoded images: folders with one folder per class, and columns of tables."""

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
# Files that Windows and macOS put into folders.
_OF_SYSTEMS = ("Thumbs.db", "desktop.ini", "__MACOSX")
_MODES = {1: "L", 3: "RGB"}  # Pillow's names, by number of channels.
_GREY = ("1", "L", "LA")


@dataclasses.dataclass(frozen=True)
class DecodedImages(Sequence[np.ndarray]):
  """Encoded images that are decoded when they are looked up.

  Pixels are those that a viewer shows: EXIF's orientation is applied, and what
  is transparent is white. Colour profiles are not applied.

  Attributes:
    encoded: The bytes of each image, or the path of its file.
    ids: Id of each image, for messages.
    name: Where the images come from, for messages.
    channels: 1 for grey images, 3 for colour. Other images are converted.
    image_size: Height and width that each image is resized to, with Pillow's
      bilinear filter, which averages what it shrinks; proportions are not kept.
      With None all images must have the shape of the first one.
  """

  encoded: Sequence[bytes | pathlib.Path]
  ids: Sequence[Any]
  name: str
  channels: int
  image_size: int | None = None

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
      f"{self.name}: images must have one shape, but {self.ids[index]!r} has "
      f"{image.shape} and {self.ids[0]!r} has {self.shape}: set "
      "config.data.image_size to resize all images."
    )

  def select(self, rows: Sequence[int]) -> "DecodedImages":
    """Returns the images at some positions."""
    return dataclasses.replace(
      self,
      encoded=[self.encoded[row] for row in rows],
      ids=[self.ids[row] for row in rows],
    )

  def _decoded(self, index: int) -> np.ndarray:
    size = None
    if self.image_size is not None:
      size = (self.image_size, self.image_size)
    place = f"image {self.ids[index]!r} of {self.name}"
    return _decoded(self.encoded[index], self.channels, size, place)


def _decoded(
  encoded: bytes | pathlib.Path,
  channels: int,
  size: tuple[int, int] | None,
  place: str,
) -> np.ndarray:
  """Decodes an image, uint8 ``[H, W, channels]``."""
  try:
    with _opened(encoded) as image:
      _check_depth(image)
      return _pixels(image, channels, size)
  except Exception as error:  # Pillow's decoders raise all kinds of errors.
    name = "" if isinstance(encoded, bytes) else f" {encoded}"
    raise ValueError(
      f"{place}: cannot read the image{name}: {_reason(error)}."
    ) from error


def _pixels(
  image: Image.Image, channels: int, size: tuple[int, int] | None
) -> np.ndarray:
  """Returns an image as uint8 ``[H, W, channels]``, resized to [H, W]."""
  image = ImageOps.exif_transpose(image)
  if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
    image = image.convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    image = Image.alpha_composite(white, image)
  converted = image.convert(_MODES[channels])
  if size is not None:
    converted = converted.resize(size[::-1], Image.Resampling.BILINEAR)
  return np.array(converted).reshape(*converted.size[::-1], channels)


def decoded(
  encoded: Sequence[bytes | pathlib.Path],
  shape: Sequence[int],
  places: Sequence[str],
) -> np.ndarray:
  """Decodes images of one shape, uint8 ``[N, H, W, channels]``.

  Each image is converted to the shape, `[H, W, channels]`. Raises ValueError if
  one cannot be read, with its place and its path.
  """
  height, width, channels = shape

  def pixels(one: bytes | pathlib.Path, place: str) -> np.ndarray:
    return _decoded(one, channels, (height, width), place)

  with futures.ThreadPoolExecutor() as pool:
    return np.stack(list(pool.map(pixels, encoded, places)))


def find_unreadable(
  encoded: Sequence[bytes | pathlib.Path],
) -> tuple[list[str], int]:
  """Returns the fault of each image, "" if there is none.

  Also returns the number of channels that shows all of them: 1 if all are grey.
  """
  pool = futures.ThreadPoolExecutor()
  try:
    found = list(
      tracked(
        pool.map(_checked, encoded),
        total=len(encoded),
        label="reading images",
        unit="image",
        saved="nothing is written yet",
      )
    )
  finally:
    pool.shutdown(cancel_futures=True)
  channels = max((count for problem, count in found if not problem), default=1)
  return [problem for problem, _ in found], channels


def _checked(encoded: bytes | pathlib.Path) -> tuple[str, int]:
  """Returns what is wrong with an image, and its number of channels."""
  try:
    with _opened(encoded) as image:
      image.load()
      _check_depth(image)
      return "", 1 if image.mode in _GREY else 3
  except Exception as error:  # Pillow's decoders raise all kinds of errors.
    return _reason(error), 0


def _check_depth(image: Image.Image) -> None:
  if image.mode[0] in "IF":
    raise ValueError(f"it has more than 8 bits per channel ({image.mode})")


def _opened(encoded: bytes | pathlib.Path) -> Image.Image:
  file = io.BytesIO(encoded) if isinstance(encoded, bytes) else encoded
  return Image.open(file)


def _reason(error: Exception) -> str:
  """Returns why an image cannot be read."""
  if isinstance(error, PIL.UnidentifiedImageError):
    return "it is not in a format that Pillow reads"
  lines = str(error).splitlines() or [type(error).__name__]
  return lines[0].rstrip(".")


def find_images(
  folder: pathlib.Path, *, by_class: bool
) -> tuple[list[pathlib.Path], list[tuple[pathlib.Path, str]]]:
  """Returns the images of a folder, and the reason why others are left out.

  With `by_class` they lie in one folder per class, otherwise in any sub-folder.
  Classes, and the images of a class, are in the order of their names. Files
  that are hidden or that Windows and macOS put there are ignored.
  """
  suffixes = ", ".join(SUFFIXES)
  if not by_class:
    files = list(_files_below(folder))
    found = [file for file in files if _is_image(file)]
    if not found:
      raise ValueError(f"{folder} holds no images ({suffixes}).")
    others = [file for file in files if not _is_image(file)]
    return found, [(file, "it is not an image") for file in others]
  found: list[pathlib.Path] = []
  left_out: list[tuple[pathlib.Path, str]] = []
  for child in _visible(folder):
    if not child.is_dir():
      left_out.append((child, "it is not in the folder of a class"))
      continue
    num_before = len(found)
    for file in _files_below(child):
      if not _is_image(file):
        left_out.append((file, "it is not an image"))
      elif file.parent != child:
        place = f"{child.name!r}, the folder of its class"
        left_out.append((file, f"it is in a sub-folder of {place}"))
      else:
        found.append(file)
    if len(found) == num_before:
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


def _is_image(file: pathlib.Path) -> bool:
  return file.suffix.lower() in SUFFIXES


def _files_below(folder: pathlib.Path) -> Iterator[pathlib.Path]:
  """Yields the visible files in a folder and in its sub-folders."""
  for child in _visible(folder):
    if child.is_dir():
      yield from _files_below(child)
    else:
      yield child


def _visible(folder: pathlib.Path) -> list[pathlib.Path]:
  """Returns what a folder holds, by name, without what systems put there."""
  children = sorted(folder.iterdir(), key=lambda child: child.name)
  return [
    child
    for child in children
    if not child.name.startswith(".") and child.name not in _OF_SYSTEMS
  ]
