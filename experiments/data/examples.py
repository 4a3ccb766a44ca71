"""Reads examples from tables, .npz files and folders of images.

Only `label_name` decides which spellings of a label are the same class.
"""

import bisect
import collections
import dataclasses
import pathlib
import re
import sys
import unicodedata
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np

from experiments.data import images
from experiments.data import tables
from experiments.data.dataset import LeftOut

# Columns of examples, a function from a row to its place in the files (for
# messages), and the malformed rows.
_Columns = tuple[dict[str, Any], Callable[[int], str], LeftOut]
_SUFFIXES = (*tables.SUFFIXES, ".npz")
_MOST_CLASSES = 1000
_NUMBER = re.compile(r"[+-]?(0|[1-9][0-9]*)([.][0-9]*)?")
_BOOLEANS = {"true": "1", "false": "0"}
# Texts that pandas reads as missing values, too.
_MISSING = ("", *"NA N/A n/a <NA> NaN nan None NULL null".split())
_IMAGE_KEYS = ("images", "x", "data")
_LABEL_KEYS = ("labels", "y")
_CHANNELS = (1, 3)


@dataclasses.dataclass(frozen=True)
class Examples(Sequence[dict[str, Any]]):
  """A sequence of examples, stored as columns and returned as dicts.

  Attributes:
    name: Origin of the examples, for messages.
    columns: The values of all examples by name: "id" (int or str, unique),
      "text" (str) or "image" (uint8 ``[H, W, channels]``), and for examples
      with labels "label" (str, see `label_name`).
    bad: The malformed rows, which were left out.
    unlabelled: The rows that were left out because they have no label.
  """

  name: str
  columns: Mapping[str, Any]
  bad: LeftOut = dataclasses.field(default_factory=LeftOut)
  unlabelled: LeftOut = dataclasses.field(default_factory=LeftOut)

  def __post_init__(self):
    if not len(self):
      reasons = "; ".join(map(str, self.left_out(self.name)))
      raise ValueError(
        f"no row can be used in {reasons}."
        if reasons
        else f"{self.name} holds no examples."
      )

  def __len__(self) -> int:
    return len(self.columns["id"])

  def __getitem__(self, index: Any) -> Any:
    return {key: column[index] for key, column in self.columns.items()}

  def left_out(self, split: str) -> tuple[LeftOut, ...]:
    """Returns the rows that were left out, with the name of their split."""
    rows = (self.bad, self.unlabelled)
    return tuple(
      dataclasses.replace(each, split=split) for each in rows if each.count
    )


def label_name(value: Any) -> str | None:
  """Returns the class name of a label, or None if the label is missing.

  The name does not depend on the format of the file:

  * Text is stripped and normalized (NFC).
  * Equal numbers in decimal notation are one class, whether they are stored as
    numbers or as text: 1, 1.0, "1", "1.0" and "+1".
  * True and False are 1 and 0, and so are "true" and "false" in any case.
  * Missing values are None, NaN and the texts that pandas reads as missing: "",
    "NA", "NaN", "None", "null" and so on.

  >>> [label_name(value) for value in (" pos", 3.0, "+3", True, "true", "NA")]
  ['pos', '3', '3', '1', '1', None]
  """
  if value is None:
    return None
  if not isinstance(value, str | int | float | Decimal):
    kind = type(value).__name__
    raise ValueError(f"label is {kind}, not a number or a name")
  if isinstance(value, float) and np.isfinite(value):
    # Keep 7 digits, so that 0.1 as float32 and as float64 are one class.
    value = f"{Decimal(f'{value:.7g}' if value % 1 else int(value)):f}"
  name = unicodedata.normalize("NFC", str(value).strip())
  if name in _MISSING:
    return None
  if _NUMBER.fullmatch(name):
    name = _plain_number(name)
  return sys.intern(_BOOLEANS.get(name.lower(), name))


def _plain_number(text: str) -> str:
  """Returns the shortest spelling of a number, such as "1" for "+1.0"."""
  whole, _, fraction = text.removeprefix("+").partition(".")
  fraction = fraction.rstrip("0")
  number = f"{whole}.{fraction}" if fraction else whole
  return "0" if number == "-0" else number


def class_names(examples: Examples) -> tuple[str, ...]:
  """Returns the different labels: sorted numbers, then sorted other names."""
  _check_has_labels(examples)
  names: set[str] = set(examples.columns["label"])
  if not 1 < len(names) <= _MOST_CLASSES:
    raise ValueError(
      f"the number of different labels in {examples.name} is {len(names):,} "
      f"(such as {min(names)!r}), but it must be 2 to {_MOST_CLASSES:,}: check "
      "that config.data.label_column is the column of the labels."
    )
  numbers = {name for name in names if _NUMBER.fullmatch(name)}
  return (*sorted(numbers, key=Decimal), *sorted(names - numbers))


def _check_has_labels(examples: Examples) -> None:
  """Raises ValueError for examples without labels."""
  if "label" not in examples.columns:
    raise ValueError(
      f"{examples.name} has no labels: set config.data.label_column."
    )


def divide_by_label(examples: Examples) -> tuple[Examples, Examples | None]:
  """Returns the examples with a label, and those without (None if none)."""
  labels = examples.columns.get("label", ())
  if None not in labels:
    return examples, None
  with_label, without = (
    [row for row, label in enumerate(labels) if (label is None) is missing]
    for missing in (False, True)
  )
  if not with_label:
    raise ValueError(f"{examples.name}: no row has a label.")
  columns = {k: v for k, v in examples.columns.items() if k != "label"}
  return (
    dataclasses.replace(
      examples, columns=_selected(examples.columns, with_label)
    ),
    Examples(examples.name, _selected(columns, without)),
  )


def _selected(
  columns: Mapping[str, Any], rows: Sequence[int]
) -> dict[str, Any]:
  """Returns some rows of each column."""
  selected: dict[str, Any] = {}
  for key, column in columns.items():
    if isinstance(column, images.DecodedImages):
      selected[key] = column.select(rows)
    elif isinstance(column, np.ndarray):
      selected[key] = column[rows]
    else:
      selected[key] = [column[row] for row in rows]
  return selected


def class_numbers(examples: Examples, classes: Sequence[str]) -> list[int]:
  """Returns the number of the class of each example."""
  _check_has_labels(examples)
  numbers = {name: number for number, name in enumerate(classes)}
  found = examples.columns["label"]
  for id_, label in zip(examples.columns["id"], found, strict=True):
    if label not in numbers:
      known = ", ".join(map(repr, classes[:10]))
      more = ", ..." if len(classes) > 10 else ""
      raise ValueError(
        f"{examples.name}: example {id_!r} has the label {label!r}, which is "
        f"not one of the {len(classes)} classes {known}{more}."
      )
  return [numbers[label] for label in found]


def read(
  *paths: tables.Path,
  text_column: str | int | None = None,
  image_column: str | None = None,
  label_column: str | int | None = None,
  id_column: str | int | None = None,
  image_size: int | None = None,
  channels: int | None = None,
  labels: str = "required",
  **options: Any,
) -> Examples:
  """Reads the examples of one or several files.

  Texts and encoded images are read into memory. Each image is decoded once to
  check it, and again whenever it is looked up.

  Args:
    *paths: One or several tables, one .npz file, or one folder with a folder of
      images per class.
    text_column: Column of the texts.
    image_column: Column of a table with the paths of images or, in Parquet, the
      encoded images, as bytes or as Hugging Face stores them. For an .npz file,
      the name of the array of images, by default "images", "x" or "data".
    label_column: Column of the labels. For an .npz file, the name of the array
      of labels, by default "labels" or "y".
    id_column: Column of the ids. By default an id is the number of the row,
      counted from 0, or the path of an image relative to its folder.
    image_size: Height and width to which encoded images are resized, see
      `images.DecodedImages`.
    channels: Number of channels of encoded images, 1 or 3. By default it is 1
      if all images are grey.
    labels: With "required", rows without a label are left out. With "optional",
      their label is None. With "ignored", labels are not read, and a folder of
      images may have any sub-folders.
    **options: Those of `tables.TEXT_OPTIONS`, for text files.

  Raises:
    FileNotFoundError: If there is no such file.
    ValueError: If a file cannot be read, an argument does not apply to it, or
      it holds no examples.
  """
  if labels == "ignored":
    label_column = None
  path = pathlib.Path(paths[0]).expanduser()
  suffix = "" if path.is_dir() else tables.format_suffix(path)
  if suffix and suffix not in _SUFFIXES:
    raise ValueError(
      f"{path} is not a file of examples: expected {', '.join(_SUFFIXES)} "
      "(text files may be compressed to .gz, .bz2 or .xz), or a folder with "
      "one folder of images per class."
    )
  names = {
    "text_column": text_column,
    "image_column": image_column,
    "label_column": label_column,
    "id_column": id_column,
  }
  sizes = {"image_size": image_size, "channels": channels}
  columns_and_sizes = {*names, *sizes} if text_column is None else {*names}
  of_texts = "" if text_column is None else " of texts"
  what, allowed = {
    "": ("a folder of images", {*sizes}),
    ".npz": ("an .npz file", {"image_column", "label_column"}),
    ".parquet": (f"a Parquet file{of_texts}", columns_and_sizes),
  }.get(suffix, (f"a table{of_texts}", {*columns_and_sizes, *options}))
  for name, value in (names | sizes | options).items():
    if value is not None and name not in allowed:
      raise ValueError(f"{path}: config.data.{name} does not apply to {what}.")
  if suffix in ("", ".npz") and len(paths) > 1:
    raise ValueError(
      f"{path} is not a table, so it cannot be combined with other files: name "
      "only one folder of images or .npz file."
    )
  given: dict[str, Any] = {
    name.removesuffix("_column"): column
    for name, column in names.items()
    if column is not None
  }
  if not suffix:
    columns, place, bad = _read_folder(path, by_class=labels != "ignored")
  elif suffix == ".npz":
    columns, place, bad = _read_npz(path, labels, **given)
  else:
    columns, place, bad = _read_tables(paths, given, options)
  name = str(path) + (" ..." if len(paths) > 1 else "")
  # Leave out examples without a label.
  unlabelled = LeftOut(kind="without a label")
  rows: Sequence[int] = range(len(columns["id"]))
  if "label" in columns and labels == "required":
    for row, label in enumerate(columns["label"]):
      if label is None:
        unlabelled.add(place(row), "its label is missing")
    rows = [row for row in rows if columns["label"][row] is not None]
  # Leave out images that cannot be read.
  found = None  # The number of channels of encoded images.
  if isinstance(columns.get("image"), list):
    problems, found = images.find_unreadable(
      [columns["image"][row] for row in rows]
    )
    for row, problem in zip(rows, problems, strict=True):
      if problem:
        bad.add(place(row), f"the image cannot be read: {problem}")
    rows = [r for r, x in zip(rows, problems, strict=True) if not x]
  if len(rows) < len(columns["id"]):
    columns = _selected(columns, rows)
  if found and rows:
    size = None if image_size is None else (image_size, image_size)
    columns["image"] = images.DecodedImages(
      columns["image"], columns["id"], name, channels or found, size
    )
  return Examples(name, columns, bad, unlabelled)


def _read_tables(
  paths: Sequence[tables.Path],
  given: Mapping[str, Any],
  options: Mapping[str, Any],
) -> _Columns:
  """Reads tables, one after another."""
  if ("text" in given) == ("image" in given):
    raise ValueError(
      f"{paths[0]} is a table: set either config.data.text_column or "
      "config.data.image_column; its columns are "
      f"{tables.column_names(paths[0], **options)}."
    )
  bad = LeftOut()
  numbers: list[int] = []  # The number of each row, over all tables.
  columns: dict[str, Any] = {part: [] for part in given}
  readers: list[tables.TableReader] = []
  starts = [0]  # The number of the first row of each table.
  for path in paths:
    table = tables.TableReader(
      path,
      tuple(given.values()),
      may_lack=[column for part, column in given.items() if part == "label"],
      bad=bad,
      **options,
    )
    readers.append(table)
    for number, values in table:
      try:
        row = [
          converted(part, value, table.path)
          for part, value in zip(given, values, strict=True)
        ]
      except ValueError as error:
        table.leave_out(number, str(error))
        continue
      numbers.append(starts[-1] + number)
      for column, value in zip(columns.values(), row, strict=True):
        column.append(value)
    starts.append(starts[-1] + table.num_rows)
  ids = columns.setdefault("id", numbers)
  if "id" in given and len(set(ids)) < len(ids):
    twice, _ = collections.Counter(ids).most_common(1)[0]
    raise ValueError(
      f"{paths[0]}: ids must be unique, but {twice!r} occurs more than once: "
      "use another column of ids, or none."
    )

  def place(row: int) -> str:
    number = numbers[row]
    table = bisect.bisect_right(starts, number) - 1
    return readers[table].place(number - starts[table])

  return columns, place, bad


def converted(part: str, value: Any, table: pathlib.Path) -> Any:
  """Converts a value of a table to a part of an example.

  Args:
    part: "id", "label", "text" or "image".
    value: The value. Paths of images are relative to the folder of the table.
    table: The file of the table.

  Raises:
    ValueError: If the value cannot be converted.
  """
  if part == "id":
    return str(value)
  if part == "label":
    return label_name(value)
  if part == "image" and isinstance(value, dict):  # Hugging Face's format.
    value = value.get("bytes") or value.get("path")
  if part == "image" and isinstance(value, bytes):
    return value
  if not isinstance(value, str):
    expected = "str" if part == "text" else "bytes or a path"
    raise ValueError(f"{part} is {type(value).__name__}, not {expected}")
  if part == "text":
    return value
  path = table.parent / pathlib.Path(value.strip()).expanduser()
  if not path.is_file():
    raise ValueError(f"there is no image {path}")
  return path


def _read_folder(folder: pathlib.Path, *, by_class: bool) -> _Columns:
  """Reads the images of a folder, with the names of sub-folders as labels."""
  with tables.reading(folder):
    paths, left_out = images.find_images(folder, by_class=by_class)
  bad = LeftOut()
  for path, problem in left_out:
    bad.add(str(path), problem)
  columns: dict[str, Any] = {
    "id": [path.relative_to(folder).as_posix() for path in paths],
    "image": paths,
  }
  if by_class:
    columns["label"] = [label_name(path.parent.name) for path in paths]
  return columns, lambda row: str(paths[row]), bad


def _read_npz(
  path: pathlib.Path,
  needed: str,
  image: str | None = None,
  label: str | None = None,
) -> _Columns:
  """Reads the images and labels of an .npz file into memory.

  Images are uint8 of shape ``[N, H, W]``, ``[N, H, W, channels]`` or
  ``[N, channels, H, W]``, with 1 or 3 channels. Labels are numbers or strings
  of shape ``[N]`` or ``[N, 1]``.
  """
  with tables.opened(path) as file:  # NumPy does not close damaged files.
    archive = np.load(file, allow_pickle=False)
    if not isinstance(archive, np.lib.npyio.NpzFile):
      raise ValueError("it holds one array: use numpy.savez")
    arrays = dict(archive)
  if image is None:
    image = next((key for key in _IMAGE_KEYS if key in arrays), "images")
    label = label or next((k for k in _LABEL_KEYS if k in arrays), None)
  if needed == "ignored":
    label = None
  for part, name in (("image", image), ("label", label)):
    if name is not None and name not in arrays:
      raise ValueError(
        f"{path} has no array {name!r}: set config.data.{part}_column to one "
        f"of {[*arrays]}."
      )
  pixels = arrays[image]
  shape = pixels.shape
  if pixels.ndim == 3:
    pixels = pixels[..., None]
  elif pixels.ndim == 4 and shape[3] not in _CHANNELS:
    pixels = np.moveaxis(pixels, 1, 3)
  if pixels.ndim != 4 or pixels.shape[3] not in _CHANNELS:
    raise ValueError(
      f"{path}: images must have shape [N, H, W, channels] with 1 or 3 "
      f"channels, [N, H, W] or [N, channels, H, W], got {shape}."
    )
  if pixels.dtype != np.uint8:
    raise ValueError(
      f"{path}: images must be uint8, got {pixels.dtype}: scale them to 0 to "
      "255 and round."
    )
  columns: dict[str, Any] = {"id": range(len(pixels)), "image": pixels}
  if label is not None:
    labels = arrays[label]
    if labels.ndim == 2 and labels.shape[1] == 1:
      labels = labels[:, 0]
    if labels.shape != pixels.shape[:1] or labels.dtype.kind not in "biufU":
      raise ValueError(
        f"{path}: labels must be numbers or strings of shape "
        f"[{len(pixels)}], got {labels.dtype} {list(labels.shape)}."
      )
    columns["label"] = list(map(label_name, labels.tolist()))
  return columns, f"{path} example {{}}".format, LeftOut()
