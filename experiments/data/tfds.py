"""Reads data sets prepared by TensorFlow Datasets, without TensorFlow."""

import pathlib
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any

import numpy as np

from experiments.io.progress import tracked


class TfdsExamples:
  """Examples of a split that TFDS has prepared as ArrayRecord files.

  Attributes:
    name: The data set and the split.
  """

  def __init__(
    self,
    name: str,
    split: str,
    fields: Mapping[str, str],
    data_dir: pathlib.Path | None = None,
  ):
    """Opens a split; nothing is downloaded or prepared.

    Args:
      name: TFDS's name of the data set, such as "glue/cola".
      split: A split in TFDS's notation, such as "train" or "train[:10%]".
      fields: The TFDS feature of each part of an example. Nested features are
        written with "/", as in
        ``{"text": "data/review_body", "label": "stars"}``.
      data_dir: The folder of TFDS's data sets. By default TFDS chooses it.
    """
    self.name = f"{name} {split}"
    self._fields = dict(fields)
    builder = _builder(name, data_dir)
    self._folder = builder.data_dir
    try:
      self._records = builder.as_data_source(split)
    except (KeyError, NotImplementedError, ValueError) as error:
      raise _explained(error, builder, name, split) from error

  def __len__(self) -> int:
    return len(self._records)

  def __iter__(self) -> Iterator[dict[str, Any]]:
    for index in range(len(self)):
      try:
        record = self._records[index]
        example = {part: _plain(record, p) for part, p in self._fields.items()}
      except (KeyError, RuntimeError, TypeError) as error:
        raise ValueError(
          f"{self.name}: cannot read example {index} "
          f"({_first_line(str(error))}): prepare {self._folder} again."
        ) from error
      yield example

  def columns(self) -> dict[str, list[Any]]:
    """Returns the parts of all examples."""
    rows = list(tracked(self, label=self.name))
    return {part: [row[part] for row in rows] for part in self._fields}


def _builder(name: str, data_dir: pathlib.Path | None) -> Any:
  """Returns TFDS's builder of a data set."""
  # Imported lazily: the import takes half a second.
  import tensorflow_datasets as tfds

  # Registers the older text data sets, which TFDS otherwise finds only if h5py
  # is installed.
  import tensorflow_datasets.text

  try:
    return tfds.builder(name, data_dir=data_dir)
  except Exception as error:  # TFDS raises errors of many types.
    where = "its own folder" if data_dir is None else data_dir
    raise ValueError(
      f"TFDS cannot open {name!r} in {where}: {_first_line(str(error))}."
    ) from error


def _explained(
  error: Exception, builder: Any, name: str, split: str
) -> Exception:
  """Returns an error that says why a data set cannot be read."""
  root = builder.data_dir_root
  if not builder.info.splits:
    return FileNotFoundError(
      f"{name} is not prepared in {root}: run `tfds build {name} "
      f"--file_format=array_record --data_dir={root}`, which needs the "
      "`prepare` extra, or use its original files: `python -m "
      "experiments.prepare --dataset=ID --source=DIR --data_dir=DIR`."
    )
  formats = sorted(f.value for f in builder.info.available_file_formats())
  if not {"array_record", "parquet"}.intersection(formats):
    return ValueError(
      f"{name} is prepared as {formats[0]} in {builder.data_dir}, which "
      "cannot be read: run `tfds convert_format "
      f"--dataset_version_dir={builder.data_dir} "
      "--out_file_format=array_record`, which needs the `prepare` extra."
    )
  return ValueError(
    f"cannot read the split {split!r} of {name}: {_first_line(str(error))}."
  )


def _first_line(message: str) -> str:
  return message.strip().partition("\n")[0].rstrip(".:")


def _plain(record: Any, path: str) -> Any:
  """Returns one feature of a record as a str, an int or an image."""
  for key in path.split("/"):
    record = record[key]
  if record is None:  # TFDS's reader returns None for a truncated file.
    raise TypeError(f"no {path!r}")
  if isinstance(record, bytes):
    return record.decode()
  if isinstance(record, np.ndarray | np.generic) and record.ndim == 0:
    return record.item()
  return record
