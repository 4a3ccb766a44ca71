"""Finds, unpacks and reads the published files (originals) of a data set.

A `Dataset` lists the forms in which its originals are published. `find` looks
for one of these forms at the path that a user gives, and `Originals.read` reads
its examples.
"""

import contextlib
import dataclasses
import functools
import os
import pathlib
import shutil
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from experiments.data import contents
from experiments.data import examples as examples_lib
from experiments.data import prepared
from experiments.data import tables
from experiments.data.dataset import Columns
from experiments.data.dataset import LeftOut
from experiments.data.dataset import NO_LABEL
from experiments.data.dataset import Task
from experiments.data.dataset import UNLABELLED
from experiments.data.tfds import TfdsExamples

_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")
_EXPANSION = 4  # Estimated size of unpacked files, relative to the archive.


@dataclasses.dataclass(frozen=True)
class Raw:
  """A data set as it was read from its originals.

  Attributes:
    splits: Examples by split, in the order in which they are written.
    left_out: The rows that are not used, per split or file.
    notes: Remarks that matter for results, each without a final full stop.
    details: Further entries of the manifest.
  """

  splits: Mapping[str, Columns]
  left_out: tuple[LeftOut, ...] = ()
  notes: tuple[str, ...] = ()
  details: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def from_tables(
  splits: Mapping[str, examples_lib.Examples],
  classes: Sequence[str],
  **fields: Any,
) -> Raw:
  """Makes a `Raw` of examples that `examples.read` returned.

  Args:
    splits: Examples by split.
    classes: The possible labels, in the order of their numbers.
    **fields: Other attributes of `Raw`.
  """
  columns, left_out = {}, []
  for split, examples in splits.items():
    kept = {k: v for k, v in examples.columns.items() if k != "id"}
    kept["label"] = [NO_LABEL] * len(examples)
    if split not in UNLABELLED:
      kept["label"] = examples_lib.class_numbers(examples, classes)
    columns[split] = kept
    left_out += examples.left_out(split)
  return Raw(columns, tuple(left_out), **fields)


def tfds_reader(
  name: str,
  *,
  content: Mapping[str, str],
  label: str = "label",
  train: str = "train",
  test: str = "test",
  notes: tuple[str, ...] = (),
) -> Callable[..., Raw]:
  """Returns a `Dataset.read_tfds` for a data set that TFDS has prepared.

  Args:
    name: TFDS's name of the data set.
    content: ``{"text": feature}`` or ``{"image": feature}``.
    label: The feature with the class.
    train: TFDS's name of the training split.
    test: TFDS's name of the test split.
    notes: See `Raw`.
  """

  def read(folder: pathlib.Path | None, **_: Any) -> Raw:
    fields = {**content, "label": label}
    names = {"train": train, "test": test}
    found = {
      split: TfdsExamples(name, names[split], fields, folder).columns()
      for split in names
    }
    return Raw(found, notes=notes)

  return read


@dataclasses.dataclass(frozen=True)
class Form:
  """One form in which a data set is published, such as binary files.

  Attributes:
    name: The name of the form, for messages.
    files: Relative paths of its files or folders. Text files may also be
      compressed, with ".gz" after the name.
    read: Reads the files: ``read(paths, **options)`` with the path of each.
    folders: Sub-folders of the user's folder that may hold the files.
    archive: Name of the archive in which the files are published, if any.
  """

  name: str
  files: tuple[str, ...]
  read: Callable[..., Raw]
  folders: tuple[str, ...] = ("",)
  archive: str | None = None

  def __str__(self) -> str:
    if self.archive is not None:
      size = official_files().get(self.archive, {}).get("bytes")
      phrase = "" if size is None else f", {size:,} bytes"
      return f"{self.name} ({self.archive}{phrase}, or unpacked)"
    more = len(self.files) - 1
    return f"{self.name} ({self.files[0]}{f' and {more} more' if more else ''})"


def table_form(
  name: str,
  splits: Mapping[str, Sequence[str]],
  classes: Sequence[str],
  columns: Mapping[str, Any],
  *,
  folders: tuple[str, ...] = ("",),
  archive: str | None = None,
  **fields: Any,
) -> Form:
  """Returns a form that consists of tables.

  Args:
    name: See `Form`, as for `folders` and `archive`.
    splits: The names of the tables of each split.
    classes: The possible labels, in the order of their numbers.
    columns: Arguments of `examples.read`.
    folders: See `Form`.
    archive: See `Form`.
    **fields: Attributes of `Raw`.
  """

  def read(paths: Mapping[str, pathlib.Path]) -> Raw:
    found = {
      split: examples_lib.read(*(paths[name] for name in names), **columns)
      for split, names in splits.items()
    }
    return from_tables(found, classes, **fields)

  files = tuple(file for names in splits.values() for file in names)
  return Form(name, files, read, folders, archive)


@dataclasses.dataclass(frozen=True)
class Dataset:
  """A published data set.

  Attributes:
    task: Classes to learn, and the form of an example.
    tfds: TFDS's names of the data sets that `read_tfds` reads; () if TFDS does
      not have them.
    read_tfds: Reads what TFDS prepared: ``read_tfds(folder, **options)`` with
      the folder of TFDS's data sets, or None for TFDS's default folder.
    forms: The forms of the original files. The first one found is used.
    published: Number of examples per class, by split; {} to check nothing.
    where: A clause that says where to get the originals, for messages.
    max_length: Default length to which texts are truncated, in tokens with
      [CLS] and [SEP].
    options: The user's options and their defaults.
    groups: Computes the group (from 0) of each training text. Examples of one
      group are held out together (A-37). None if examples are independent.
  """

  task: Task
  tfds: tuple[str, ...] = ()
  read_tfds: Callable[..., Raw] | None = None
  forms: tuple[Form, ...] = ()
  published: Mapping[str, tuple[int, ...]] = dataclasses.field(
    default_factory=dict
  )
  where: str = "TFDS prepares it"
  max_length: int | None = None
  options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  groups: Callable[[Sequence[str]], Sequence[int]] | None = None

  @classmethod
  def from_tfds(cls, name: str, task: Task, **options: Any) -> "Dataset":
    """Makes a data set that is read from TFDS only.

    For example, add this to `datasets.DATASETS`:

      Dataset.from_tfds("ag_news_subset", Task("ag_news", 4),
                        content={"text": "description"}, max_length=128)

    Args:
      name: TFDS's name of the data set.
      task: Classes to learn, and for images `image_shape` and `scale`.
      **options: `max_length`, and arguments of `tfds_reader`.
    """
    max_length = options.pop("max_length", None)
    read = tfds_reader(name, **options)
    return cls(task, tfds=(name,), read_tfds=read, max_length=max_length)


@dataclasses.dataclass(frozen=True)
class Originals:
  """The originals of a data set on the user's disk.

  Attributes:
    dataset: The data set.
    given: The files of a form, or their archive; () for TFDS.
    form: The form of the files; None for TFDS, and for an archive that is not
      unpacked yet.
    paths: Path of each file of the form.
    tfds_dir: The folder of TFDS's data sets; None for TFDS's default.
  """

  dataset: Dataset
  given: tuple[pathlib.Path, ...] = ()
  form: Form | None = None
  paths: Mapping[str, pathlib.Path] = dataclasses.field(default_factory=dict)
  tfds_dir: pathlib.Path | None = None

  @functools.cached_property
  def sources(self) -> list[dict[str, Any]]:
    """Name, size in bytes and SHA-256 of each given file."""
    return [describe(path) for path in self.given]

  def read(
    self, scratch: pathlib.Path, options: Mapping[str, Any]
  ) -> tuple[Raw, dict[str, Any]]:
    """Returns the examples, and entries of the manifest about their origin.

    Archives are unpacked in `scratch`. Damaged files raise ValueError.
    """
    with self._explained():
      if not self.given:
        return self._read_tfds(options)
      found = self if self.form else self._unpacked(scratch)
      assert found.form is not None
      raw = found.form.read(found.paths, **options)
    notes = [
      f"{source['name']} is not the file that was published under that name"
      for source in self.sources
      if official_files().get(source["name"], source) != source
    ]
    raw = dataclasses.replace(raw, notes=(*raw.notes, *notes))
    return raw, {"form": found.form.name, "sources": self.sources}

  def _unpacked(self, scratch: pathlib.Path) -> "Originals":
    """Unpacks an archive, and ignores or rejects paths outside of `scratch`."""
    (archive,) = self.given
    forms = self.dataset.forms
    prepared.check_space(scratch, _EXPANSION * archive.stat().st_size)
    is_zip = archive.suffix.lower() == ".zip"
    options: Any = {} if is_zip else {"filter": "data"}
    with tables.reading(archive):
      shutil.unpack_archive(archive, scratch, **options)
    for form in forms:
      if (paths := _in_folder(scratch, form)) is not None:
        return dataclasses.replace(self, form=form, paths=paths)
    message = _missing(scratch, forms)
    raise ValueError(message.replace(str(scratch), str(archive)))

  def _read_tfds(
    self, options: Mapping[str, Any]
  ) -> tuple[Raw, dict[str, Any]]:
    if self.dataset.read_tfds is None:
      raise ValueError(
        f"--source is not set, and TFDS does not have {self.dataset.task.name}:"
        " set --source to the original files or their folder"
      )
    raw = self.dataset.read_tfds(self.tfds_dir, **options)
    default = os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")
    root = self.tfds_dir or pathlib.Path(default).expanduser()
    folders = [root / name for name in self.dataset.tfds]
    sources = [describe(folder) for folder in folders if folder.is_dir()]
    form = f"TFDS {', '.join(self.dataset.tfds)}"
    return raw, {"form": form, "sources": sources}

  @contextlib.contextmanager
  def _explained(self) -> Iterator[None]:
    """Adds to an error the files that are expected and where to get them."""
    try:
      yield
    except (FileNotFoundError, ValueError) as error:
      parts = [str(error).rstrip(".")]
      for path in self.given:
        published = official_files().get(path.name, {}).get("bytes")
        found = path.stat().st_size
        if published not in (None, found):
          parts.append(
            f"{path.name} has {found:,} bytes, published {published:,}"
          )
      kinds = [*map(str, self.dataset.forms)]
      if self.dataset.tfds:
        kinds.append(f"{self.dataset.tfds[0]} of TFDS")
      expected = f"{'; or '.join(kinds)}; {self.dataset.where}"
      missing = isinstance(error, FileNotFoundError)
      raise (FileNotFoundError if missing else ValueError)(
        f"{'; '.join(parts)}. Expected: {expected}."
      ) from error


def find(
  dataset: Dataset, source: tables.Path | None, data_dir: pathlib.Path
) -> Originals:
  """Finds the originals of a data set.

  `source` is a file, a folder or a folder of TFDS. If it is None, the data set
  is read from TFDS's data in `data_dir` or in TFDS's default folder.
  """
  folder = data_dir if source is None else pathlib.Path(source).expanduser()
  names = dataset.tfds
  if names and any((folder / names[0]).glob("*/dataset_info.json")):
    return Originals(dataset, tfds_dir=folder)
  if source is None:
    return Originals(dataset)
  with Originals(dataset)._explained():
    return _find_files(dataset, folder)


def _find_files(dataset: Dataset, source: pathlib.Path) -> Originals:
  with tables.reading(source):
    if not source.is_file():
      list(source.iterdir())  # Raises an error if it is not readable.
  if source.is_file():
    for form in dataset.forms:
      if len(form.files) == 1 and source.name in _spellings(form.files[0]):
        paths = {form.files[0]: source}
        return Originals(dataset, (source,), form, paths)
    if source.name.lower().endswith(_ARCHIVES):
      return Originals(dataset, (source,))
  for form in dataset.forms:
    if (paths := _in_folder(source, form)) is not None:
      return Originals(dataset, tuple(paths.values()), form, paths)
  for form in dataset.forms:
    if form.archive and (source / form.archive).is_file():
      return Originals(dataset, (source / form.archive,))
  raise ValueError(_missing(source, dataset.forms))


def _in_folder(
  source: pathlib.Path, form: Form
) -> dict[str, pathlib.Path] | None:
  """Returns the path of each file of a form, or None if a file is missing."""
  for folder in form.folders:
    found = _existing(source / folder, form)
    if len(found) == len(form.files):
      return found
  return None


def _existing(folder: pathlib.Path, form: Form) -> dict[str, pathlib.Path]:
  """Returns the path of each file of a form that exists."""
  return {
    name: folder / spelling
    for name in form.files
    for spelling in reversed(_spellings(name))
    if (folder / spelling).exists()
  }


def _spellings(name: str) -> tuple[str, ...]:
  is_text = name.endswith((*tables.TEXT_SUFFIXES, ".json"))
  return (name, f"{name}.gz") if is_text else (name,)


def _missing(source: pathlib.Path, forms: Iterable[Form]) -> str:
  """Returns a message with the files that are missing."""
  for form in forms:
    for folder in form.folders:
      if found := _existing(source / folder, form):
        lacking = ", ".join(name for name in form.files if name not in found)
        return f"{source / folder} lacks {lacking} of {form.name}"
  return f"{source} holds no originals"


def describe(path: pathlib.Path) -> dict[str, Any]:
  """Returns the name, size in bytes and SHA-256 of a file or folder.

  The SHA-256 of a folder covers the names and contents of its files.
  """
  files = [path]
  if path.is_dir():
    files = sorted(file for file in path.rglob("*") if file.is_file())
  num_bytes, sha256 = contents.size_and_digest(
    path, [(file.relative_to(path).as_posix(), file) for file in files]
  )
  name = f"{path.parent.name}/{path.name}" if path.is_dir() else path.name
  return {"name": name, "bytes": num_bytes, "sha256": sha256}


@functools.cache
def official_files() -> dict[str, dict[str, Any]]:
  """Returns what `describe` returns for each published file, by name."""
  path = pathlib.Path(__file__).with_name("official.tsv")
  return {
    name: {"name": name, "bytes": int(num_bytes), "sha256": sha256}
    for _, (name, num_bytes, sha256) in tables.TableReader(path)
  }
