"""Writes the prepared form of a dataset: aside, and in its place when whole."""

import contextlib
import dataclasses
import itertools
import json
import pathlib
import shutil
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any
from typing import Self

from experiments.data import dataset
from experiments.data import prepared
from experiments.data.prepared_rows import Rows
from experiments.distributed import signals
from experiments.io import json_files
from experiments.io import locks


class Writer:
  """Writes a dataset, split by split, into a folder beside its place.

  A split that is finished is kept if the writing is interrupted, and the next
  writer with the same manifest goes on after it; what is half written, or was
  begun with another manifest, is deleted. After any other error nothing stays.

    with Writer(folder) as writer:
      writer.begin(task, manifest)
      for split in splits:
        if split not in writer.finished:
          with writer.split(split) as rows:
            rows.extend(examples)
      writer.finish()

  Attributes:
    folder: Where the dataset will be.
    scratch: A folder for what is needed only until then; to be made.
  """

  def __init__(self, folder: Any, signals: signals.Interrupts | None = None):
    """Writes nothing yet.

    Args:
      folder: Where the dataset will be. What is there is replaced, at the end.
      signals: What was asked of the process, looked at while it waits for
        another that works there; None to wait for none.
    """
    self.folder = pathlib.Path(folder)
    self._aside = self.folder.with_name(f".{self.folder.name}.partial")
    self._replaced = self.folder.with_name(f".{self.folder.name}.replaced")
    self.scratch = self._aside / "scratch"
    self._signals = signals
    self._stack = contextlib.ExitStack()
    self._moved = False
    self._manifest: dict[str, Any] = {"splits": {}}

  def __enter__(self) -> Self:
    """Takes the folder aside for itself.

    Raises:
      Interrupted: On SIGINT or SIGTERM while it waits.
      ValueError: If another process works there, and it is not to wait.
    """
    self._new_parent = not self.folder.parent.exists()
    self._stack.enter_context(
      locks.exclusive(self._aside)
      if self._signals is None
      else locks.exclusive_alone(self._aside, self._signals)
    )
    if self._replaced.exists() and not self.folder.exists():
      self._replaced.rename(self.folder)  # Killed between two renames.
    shutil.rmtree(self.scratch, ignore_errors=True)
    return self

  def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
    del kind, traceback
    shutil.rmtree(self.scratch, ignore_errors=True)
    stopped = isinstance(error, signals.Interrupted | KeyboardInterrupt)
    worth_keeping = stopped and self.finished
    if not worth_keeping and not self._moved:
      shutil.rmtree(self._aside, ignore_errors=True)
      if self._new_parent:
        with contextlib.suppress(OSError):  # Others may have come to use it.
          self.folder.parent.rmdir()
    self._stack.close()

  def begin(
    self,
    task: dataset.Task,
    manifest: Mapping[str, Any],
    *,
    token_dtype: Any = None,
    num_bytes: int = 0,
  ) -> None:
    """Takes over what an interrupted writer of the same finished.

    Args:
      task: What there is to learn.
      manifest: What else the manifest is to say, as JSON has it. It decides
        whether the splits of an interrupted writer are used.
      token_dtype: The type of token ids, where texts come with tokens.
      num_bytes: About how much the whole dataset takes.

    Raises:
      ValueError: If the disk is too full.
    """
    self._task = task
    self._token_dtype = token_dtype
    manifest = {
      "format": prepared.FORMAT,
      **manifest,
      "task": dataclasses.asdict(task),
      "splits": {},
    }
    self._manifest = json.loads(json.dumps(manifest))
    with contextlib.suppress(ValueError, FileNotFoundError):
      found = json_files.read_json(self._aside / prepared.MANIFEST)
      if found | {"splits": {}} == self._manifest:
        self._manifest = found
    for entry in self._aside.iterdir():
      keep = entry.name in self.finished or entry == self.scratch
      if entry.is_dir() and not keep:
        shutil.rmtree(entry)
    check_space(self.folder, num_bytes - self._written())

  @property
  def finished(self) -> Mapping[str, Any]:
    """What the manifest says of each finished split, by name."""
    return self._manifest["splits"]

  @contextlib.contextmanager
  def split(self, name: str) -> Iterator[Rows]:
    """Writes one split, the ids of which continue those before.

    Args:
      name: Of the split.

    Yields:
      Where its examples go.

    Raises:
      ValueError: If it stays empty.
    """
    half = self._aside / f"{name}.half"
    half.mkdir()
    first_id = sum(s["num_examples"] for s in self.finished.values())
    try:
      with contextlib.ExitStack() as stack:
        rows = Rows(half, name, self._task, self._token_dtype, first_id, stack)
        yield rows
    except BaseException:
      shutil.rmtree(half)
      raise
    if not rows.num_examples:
      raise ValueError(f"{name} of {self._task.name} has no examples.")
    record = rows.record() | {"files": _describe(half)}
    half.rename(self._aside / name)
    self._manifest["splits"][name] = record
    json_files.write_json(self._aside / prepared.MANIFEST, self._manifest)

  def finish(self) -> None:
    """Moves the folder to its place."""
    shutil.rmtree(self.scratch, ignore_errors=True)
    (self._aside / ".lock").unlink()
    if self.folder.exists():
      self.folder.rename(self._replaced)
    self._aside.rename(self.folder)
    self._moved = True  # What is aside from now on is another process's.
    shutil.rmtree(self._replaced, ignore_errors=True)

  def _written(self) -> int:
    """Returns the bytes of the finished splits."""
    files = [split["files"].values() for split in self.finished.values()]
    return sum(file["bytes"] for file in itertools.chain.from_iterable(files))


def _describe(folder: pathlib.Path) -> dict[str, Any]:
  """Returns the size and SHA-256 of each file of a split."""
  return {
    path.name: {
      "bytes": path.stat().st_size,
      "sha256": prepared.file_sha256(path),
    }
    for path in sorted(folder.iterdir())
  }


def check_space(folder: pathlib.Path, num_bytes: int) -> None:
  """Raises ValueError if a folder's disk has no room for so many bytes."""
  existing = next(path for path in folder.absolute().parents if path.exists())
  free = shutil.disk_usage(existing).free
  if free < num_bytes:
    raise ValueError(
      f"{folder} needs about {num_bytes / 1e6:,.0f} MB and its disk has "
      f"{free / 1e6:,.0f} MB free: free some, or give another --data_dir."
    )
