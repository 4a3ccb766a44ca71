"""Opens a dataset, from files or from what TFDS prepared."""

import contextlib
import dataclasses
import os
import pathlib
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any

from experiments.data.datasets import definition
from experiments.data.datasets import originals
from experiments.data.sources import TfdsSource


@dataclasses.dataclass(frozen=True)
class Found:
  """Where a dataset is opened from.

  Attributes:
    dataset: The dataset.
    files: Its original files; None for TFDS.
    tfds_dir: TFDS's folder; None for its own, or with files.
  """

  dataset: definition.Dataset
  files: originals.Originals | None = None
  tfds_dir: pathlib.Path | None = None

  @property
  def sizes(self) -> dict[str, Any]:
    """What a manifest has to say to have come from these files."""
    if self.files is None:
      return {}
    return {"sources": [originals.size(path) for path in self.files.given]}

  @contextlib.contextmanager
  def explained(self) -> Iterator[None]:
    """Adds to an error what is expected, and where it is."""
    try:
      yield
    except (FileNotFoundError, ValueError) as error:
      given = () if self.files is None else self.files.given
      parts = [str(error).rstrip("."), *originals.unofficial(given)]
      missing = isinstance(error, FileNotFoundError)
      raise (FileNotFoundError if missing else ValueError)(
        f"{'; '.join(parts)}. {_expected(self.dataset)}"
      ) from error

  def read(
    self,
    scratch: pathlib.Path,
    watch: definition.Watch,
    options: Mapping[str, Any],
  ) -> tuple[definition.Raw, dict[str, Any]]:
    """Reads what was found.

    Args:
      scratch: A folder to unpack in.
      watch: Shows how far it is.
      options: Those of the dataset.

    Returns:
      What there is, and what the manifest says of where it came from.

    Raises:
      FileNotFoundError: If TFDS has not prepared it.
      ValueError: If it is damaged, or not what it should be. That goes for
        its examples as well, when they are read.
    """
    with self.explained():
      if self.files is None:
        raw, origin = self._read_tfds(watch, options)
      else:
        raw, origin = self._read_files(self.files, scratch, watch, options)
    splits = {k: self._explaining(split) for k, split in raw.splits.items()}
    return dataclasses.replace(raw, splits=splits), origin

  def _read_files(
    self,
    found: originals.Originals,
    scratch: pathlib.Path,
    watch: definition.Watch,
    options: Mapping[str, Any],
  ) -> tuple[definition.Raw, dict[str, Any]]:
    found = originals.unpacked(found, self.dataset.layouts, scratch)
    assert found.layout is not None
    form = self.dataset.forms[found.layout]
    sources = [originals.describe(path) for path in found.given]
    raw = form.read(found.paths, watch=watch, **options)
    notes = (*raw.notes, *originals.differing(sources))
    raw = dataclasses.replace(raw, notes=notes)
    return raw, {"form": form.layout.name, "sources": sources}

  def _read_tfds(
    self, watch: definition.Watch, options: Mapping[str, Any]
  ) -> tuple[definition.Raw, dict[str, Any]]:
    opened: dict[str, None] = {}

    def open_tfds(name: str, split: str) -> TfdsSource:
      opened[name] = None
      return TfdsSource(name, split, self.tfds_dir)

    raw = self.dataset.read_tfds(open_tfds, watch=watch, **options)
    folders = [_tfds_root(self.tfds_dir) / name for name in opened]
    sources = [
      originals.describe(folder) for folder in folders if folder.is_dir()
    ]
    return raw, {"form": f"TFDS {', '.join(opened)}", "sources": sources}

  def _explaining(self, split: definition.Split) -> definition.Split:
    def examples() -> Iterator[definition.Example]:
      with self.explained():
        yield from split.examples()

    return dataclasses.replace(split, examples=examples)


def find(
  dataset: definition.Dataset, source: Any, data_dir: pathlib.Path
) -> Found:
  """Finds where a dataset can be opened from.

  Args:
    dataset: The dataset.
    source: Its original files, their folder or archive, or TFDS's folder. If
      None, `data_dir` if TFDS prepared the dataset there, else TFDS's own.
    data_dir: The folder of prepared datasets.

  Raises:
    FileNotFoundError: If there is no `source`.
    OSError: If it cannot be read.
    ValueError: If it does not hold the originals.
  """
  if source is None:
    is_there = _is_tfds(data_dir, dataset.tfds)
    return Found(dataset, tfds_dir=data_dir if is_there else None)
  source = pathlib.Path(source).expanduser()
  if _is_tfds(source, dataset.tfds):
    return Found(dataset, tfds_dir=source)
  with Found(dataset).explained():
    return Found(dataset, originals.find(source, dataset.layouts))


def _expected(dataset: definition.Dataset) -> str:
  """Says what is expected, and where it is."""
  forms = "; or ".join(map(str, dataset.layouts))
  return f"Expected: {forms}; or {dataset.tfds} of TFDS; {dataset.where}."


def _is_tfds(folder: pathlib.Path, name: str) -> bool:
  """Whether TFDS prepared a dataset in a folder."""
  return any((folder / name).glob("*/dataset_info.json"))


def _tfds_root(folder: pathlib.Path | None) -> pathlib.Path:
  """Returns TFDS's folder, which by default is where it says."""
  if folder is not None:
    return folder
  default = os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")
  return pathlib.Path(default).expanduser()
