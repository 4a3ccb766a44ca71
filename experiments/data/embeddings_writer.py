"""Computes embeddings of texts into a folder, and goes on where it stopped."""

import dataclasses
import hashlib
import io
import json
import os
import pathlib
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments.data import embeddings
from experiments.distributed.signals import Interrupted
from experiments.distributed.signals import Interrupts
from experiments.io import json_files
from experiments.io import locks
from experiments.io import progress

_PROGRESS = "progress.json"
_BATCHES_A_CHUNK = 16


@dataclasses.dataclass(frozen=True)
class Encoder:
  """What computes embeddings.

  Attributes:
    encode: From a list of texts to floats ``[n, width]``. The same list gives
      the same bits; a text may give others in another list.
    width: Width of an embedding.
    batch_size: What `encode` divides its list into, or a divisor of that.
    description: What computes them, plain data.
  """

  encode: Callable[[list[str]], np.ndarray]
  width: int
  batch_size: int
  description: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Corpus:
  """What is embedded.

  Attributes:
    texts: The texts.
    ids: The id of each, integers or strings, ``[N]``.
    splits: `embeddings.dataset_texts` of a prepared dataset, None of others.
  """

  texts: Sequence[str]
  ids: np.ndarray
  splits: Mapping[str, Any] | None = None

  def description(self) -> dict[str, Any]:
    """Plain data that other texts, or other ids, do not share."""
    digest = hashlib.sha256()
    for number, text in zip(self.ids.tolist(), self.texts, strict=True):
      digest.update(json.dumps([number, text]).encode())
    return {"sha256": digest.hexdigest(), "splits": self.splits}


def write_embeddings(
  folder: Any,
  corpus: Corpus,
  encoder: Encoder,
  *,
  dtype: str = "float32",
  signals: Interrupts | None = None,
) -> None:
  """Computes embeddings into a folder that `open_embeddings` reads.

  Rows reach the disk chunk by chunk. However the process ends, the next one
  goes on after the last whole chunk, and the files come out as if nothing had
  happened. A finished folder is left as it is.

  Args:
    folder: The folder; made if need be.
    corpus: The texts and their ids.
    encoder: What computes the embeddings.
    dtype: What they are stored as, "float32" or "float16".
    signals: What was asked of the process.

  Raises:
    Interrupted: On SIGINT or SIGTERM, after saving.
    ValueError: If the folder holds something else, there are no texts, or an
      embedding is not finite or of the wrong shape.
  """
  folder = pathlib.Path(folder)
  if not len(corpus.texts):
    raise ValueError("there are no texts to embed.")
  job = {
    "encoder": dict(encoder.description),
    "texts": corpus.description(),
    "num_examples": len(corpus.texts),
    "width": encoder.width,
    "dtype": np.dtype(dtype).name,
  }
  job["encoder"]["batch_size"] = encoder.batch_size
  with locks.exclusive(folder):
    done = _resume(folder, job)
    if done is None:
      return
    with (folder / embeddings.ARRAY).open("r+b" if done else "wb") as file:
      _compute(file, folder, corpus, encoder, job, done, signals)
    np.save(folder / embeddings.IDS, corpus.ids)
    embeddings.write_manifest(
      folder, encoder=job["encoder"], texts=job["texts"]
    )
    (folder / _PROGRESS).unlink()


def _offset(job: Mapping[str, Any], rows: int) -> int:
  """Where the row behind some others starts in the file."""
  size = job["width"] * np.dtype(job["dtype"]).itemsize
  return len(_header(job)) + rows * size


def _resume(folder: pathlib.Path, job: Mapping[str, Any]) -> int | None:
  """Returns how many rows are there already; None if all are."""
  finished = (folder / embeddings.MANIFEST).is_file()
  if finished:
    manifest = embeddings.open_embeddings(folder).manifest
    there, done = {name: manifest[name] for name in job}, None
  elif (folder / _PROGRESS).is_file():
    saved = json_files.read_json(folder / _PROGRESS)
    there, done = saved["job"], saved["done"]
  elif (folder / embeddings.ARRAY).exists():
    raise ValueError(
      f"{folder} holds an {embeddings.ARRAY} of another origin: use another "
      "--output."
    )
  else:
    json_files.write_json(folder / _PROGRESS, {"job": job, "done": 0})
    return 0
  differences = json_files.differences(there, job)
  if differences:
    state = "holds" if finished else "holds a part of"
    raise ValueError(
      f"{folder} {state} other embeddings: {'; '.join(differences)}. Use "
      "another --output, or delete that folder."
    )
  if finished:
    (folder / _PROGRESS).unlink(missing_ok=True)
  elif done:
    array = folder / embeddings.ARRAY
    if not array.exists() or array.stat().st_size < _offset(job, done):
      raise ValueError(
        f"{array} lacks some of the {done} embeddings that were written: "
        f"delete {folder} to start over."
      )
  return done


def _compute(
  file: Any,
  folder: pathlib.Path,
  corpus: Corpus,
  encoder: Encoder,
  job: Mapping[str, Any],
  done: int,
  signals: Interrupts | None,
) -> None:
  """Writes the rows that are not there yet."""
  total = job["num_examples"]
  if not done:
    file.write(_header(job))
  # What a killed process wrote of the next chunk is written again. Plain
  # writes, no memory map: on a full disk that ends the process without a word.
  file.seek(_offset(job, done))
  size = _BATCHES_A_CHUNK * encoder.batch_size
  with progress.Progress(
    total, label="texts", unit="text", initial=done, examples_per_unit=1
  ) as bar:
    for start in range(done, total, size):
      texts = list(corpus.texts[start : start + size])
      values = _checked(encoder, texts, corpus.ids[start:], job["dtype"])
      file.write(values.tobytes())
      file.flush()
      os.fsync(file.fileno())
      end = start + len(texts)
      json_files.write_json(folder / _PROGRESS, {"job": job, "done": end})
      bar.update(len(texts))
      if signals and signals.requested and end < total:
        saved = f"{end} of {total} embeddings are in {folder}"
        raise Interrupted(signals.requested, saved)


def _checked(
  encoder: Encoder, texts: list[str], ids: np.ndarray, dtype: str
) -> np.ndarray:
  """Returns the embeddings of a chunk as they are stored."""
  with np.errstate(over="ignore"):  # Found below.
    values = np.asarray(encoder.encode(texts)).astype(dtype)
  if values.shape != (len(texts), encoder.width):
    raise ValueError(
      f"the encoder must return [{len(texts)}, {encoder.width}] for as many "
      f"texts, got {[*values.shape]}."
    )
  finite = np.isfinite(values).all(axis=1)
  if not finite.all():
    raise ValueError(
      f"the embedding of text {ids[np.argmin(finite)]} is not finite in "
      f"{dtype}: compute and store in a wider dtype."
    )
  return values


def _header(job: Mapping[str, Any]) -> bytes:
  """The start of the .npy file."""
  buffer = io.BytesIO()
  header = {
    "descr": np.lib.format.dtype_to_descr(np.dtype(job["dtype"])),
    "fortran_order": False,
    "shape": (job["num_examples"], job["width"]),
  }
  np.lib.format.write_array_header_1_0(buffer, header)
  return buffer.getvalue()
