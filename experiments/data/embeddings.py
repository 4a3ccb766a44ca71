"""Folders of precomputed embeddings: write, open and match to examples.

  <folder>/embeddings.npy   float16, float32 or float64, [N, width]
  <folder>/ids.npy          unique integers or strings, [N]
  <folder>/manifest.json    encoder, texts, and SHA-256 of the arrays

`experiments.embed_sentence_t5` writes such a folder with Sentence-T5. For an
array from another source, save the two .npy files into a folder and call
`write_manifest` on it.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from experiments.data import examples as examples_lib
from experiments.data import prepared as prepared_lib
from experiments.data import tables
from experiments.io import array_files
from experiments.io import digests

_BATCHES_PER_PART = 16
_ROWS_AT_ONCE = 4096  # Number of rows that are checked at a time.


@dataclasses.dataclass(frozen=True)
class Embeddings:
  """Embeddings on disk.

  Attributes:
    folder: The folder of the embeddings.
    manifest: Contents of `manifest.json`.
    values: Float, ``[N, width]``, memory-mapped.
    ids: The id of each row, ``[N]``.
  """

  folder: pathlib.Path
  manifest: Mapping[str, Any]
  values: np.ndarray
  ids: np.ndarray

  @property
  def digest(self) -> str:
    """SHA-256 that identifies the embeddings and their ids."""
    contents = [self.manifest["parts"], self.manifest["fixed"]]
    return hashlib.sha256(json.dumps(contents).encode()).hexdigest()


def open_embeddings(folder: str | os.PathLike[str]) -> Embeddings:
  """Opens embeddings, and reads only the manifest and the ids."""
  folder = pathlib.Path(folder).expanduser()
  if not array_files.is_finished(folder):
    raise FileNotFoundError(
      f"there are no embeddings in {folder}: compute them with python -m "
      f"experiments.embed_sentence_t5 --output={folder}, or save "
      "embeddings.npy and ids.npy there and call embeddings.write_manifest."
    )
  manifest, arrays, fixed = array_files.load(folder)
  if not {"embeddings", "ids"} <= {*arrays, *fixed}:
    raise ValueError(f"{folder} holds {[*arrays]}, not embeddings and ids.")
  return Embeddings(folder, manifest, arrays["embeddings"], fixed["ids"])


def aligned(embeddings: Embeddings, ids: np.ndarray) -> np.ndarray:
  """Returns the embeddings of the examples with some ids.

  They are memory-mapped if they are stored contiguously and in this order.
  """
  ids = np.asarray(ids)
  order = np.argsort(embeddings.ids, kind="stable")
  places = np.searchsorted(embeddings.ids, ids, sorter=order)
  rows = order[np.minimum(places, len(order) - 1)]
  missing = ids[embeddings.ids[rows] != ids]
  if len(missing):
    raise ValueError(
      f"{embeddings.folder} has no embeddings for {len(missing)} of {len(ids)} "
      f"examples, the first with id {missing[0]}: embed the texts of this data "
      "set."
    )
  if len(rows) and np.array_equal(rows, rows[0] + np.arange(len(rows))):
    return embeddings.values[rows[0] : rows[0] + len(rows)]
  return embeddings.values[rows]


def check_dataset(
  embeddings: Embeddings, prepared: prepared_lib.Prepared
) -> None:
  """Raises ValueError if embeddings were computed from another data set.

  Ids are positions, so the embeddings of another data set, or of another
  version of this one, could be matched without an error. Embeddings whose
  manifest does not identify the texts cannot be checked, and are accepted.
  """
  texts = (embeddings.manifest["origin"].get("texts") or {}).get("splits")
  if texts is not None and texts != dataset_contents(prepared):
    raise ValueError(
      f"{embeddings.folder} holds embeddings of other texts than those in "
      f"{prepared.folder}: embed the texts of this data set, or use the data "
      "set that was embedded."
    )


def dataset_contents(prepared: prepared_lib.Prepared) -> dict[str, list[str]]:
  """Returns digests that identify the texts or images of a data set."""
  files = ("text.npy", "text_offsets.npy")
  if prepared.task.image_shape is not None:
    files = ("images.npy",)
  return {
    split: [record["files"][name]["sha256"] for name in files]
    for split, record in prepared.manifest["splits"].items()
  }


def write_manifest(
  folder: str | os.PathLike[str],
  *,
  encoder: Mapping[str, Any],
  texts: Mapping[str, Any] | None = None,
) -> None:
  """Checks embeddings that another program saved, and writes their manifest.

  Args:
    folder: Folder with `embeddings.npy` and `ids.npy`.
    encoder: Description of the model, such as ``{"model": "my-model"}``.
    texts: Description of the texts. Under "splits" it may hold
      `dataset_contents`, which `check_dataset` compares.

  Raises:
    FileNotFoundError: If a file is missing.
    ValueError: If the arrays are not embeddings and their ids.
  """
  folder = pathlib.Path(folder).expanduser()
  loaded = {}
  for name in ("embeddings", "ids"):
    path = folder / f"{name}.npy"
    if not path.is_file():
      raise FileNotFoundError(f"there is no {path}: write it with numpy.save.")
    with tables.reading(path):
      loaded[name] = np.load(path, mmap_mode="r", allow_pickle=False)
  values, ids = loaded.values()
  if values.ndim != 2 or values.dtype.kind != "f" or 0 in values.shape:
    raise ValueError(
      f"{folder / 'embeddings.npy'} must hold floats [N, width], got "
      f"{values.dtype}{[*values.shape]}."
    )
  if ids.shape != values.shape[:1] or ids.dtype.kind not in "iuU":
    raise ValueError(
      f"{folder / 'ids.npy'} must hold an integer or string for each of the "
      f"{len(values)} embeddings, got {ids.dtype}{[*ids.shape]}."
    )
  unique, counts = np.unique(ids, return_counts=True)
  if len(unique) < len(ids):
    twice = unique[np.argmax(counts > 1)]
    raise ValueError(f"{folder / 'ids.npy'} holds id {twice} more than once.")
  for start in range(0, len(values), _ROWS_AT_ONCE):
    finite = np.isfinite(values[start : start + _ROWS_AT_ONCE]).all(axis=1)
    if not finite.all():
      row = start + int(np.argmin(finite))
      raise ValueError(
        f"row {row} of {folder / 'embeddings.npy'}, of id {ids[row]}, holds "
        "NaN or infinity: compute it again in another precision."
      )
  content = array_files.Content(
    {"encoder": dict(encoder), "texts": texts and dict(texts)},
    {"embeddings": jax.ShapeDtypeStruct(values.shape, values.dtype)},
    (0, len(values)),
  )
  array_files.declare(folder, content, fixed=["ids"])


@dataclasses.dataclass(frozen=True)
class Encoder:
  """A model that computes embeddings.

  Attributes:
    encode: Computes the embeddings of a list of texts, floats ``[n, width]``. A
      text's embedding may depend, in its last bits, on the rest of the list.
    width: Width of an embedding.
    batch_size: Number of texts per batch in `encode`.
    description: JSON data that identifies the model.
  """

  encode: Callable[[list[str]], np.ndarray]
  width: int
  batch_size: int
  description: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Corpus:
  """Texts to embed.

  Attributes:
    texts: The texts.
    ids: The id of each text, integers or strings, ``[N]``.
    splits: `dataset_contents` of a prepared data set; None for a table.
  """

  texts: Sequence[str]
  ids: np.ndarray
  splits: Mapping[str, Any] | None = None

  def description(self) -> dict[str, Any]:
    """Returns JSON data that identifies the texts and their ids."""
    digest = hashlib.sha256()
    for number, text in zip(self.ids.tolist(), self.texts, strict=True):
      digest.update(json.dumps([number, text]).encode())
    return {"sha256": digest.hexdigest(), "splits": self.splits}


def read_corpus(
  path: pathlib.Path, text_column: str | None, id_column: str | None
) -> Corpus:
  """Reads the texts of a table, or of all splits of a prepared data set.

  Without `id_column`, the id of a text in a table is its row number.
  """
  if path.is_dir():
    if text_column or id_column:
      raise ValueError(
        f"{path} is a folder: --text_column and --id_column are for tables."
      )
    prepared = prepared_lib.open_prepared(path)
    texts = [text for name in prepared.splits for text in prepared.texts(name)]
    ids = np.concatenate([arrays["ids"] for arrays in prepared.splits.values()])
    return Corpus(texts, ids, dataset_contents(prepared))
  examples = examples_lib.read(
    path, text_column=text_column, id_column=id_column
  )
  if "text" not in examples.columns:
    raise ValueError(f"{path} holds no texts.")
  return Corpus(examples.columns["text"], np.array(examples.columns["id"]))


def compute_embeddings(
  folder: str | os.PathLike[str],
  corpus: Corpus,
  encoder: Encoder,
  *,
  dtype: str = "float32",
) -> None:
  """Computes embeddings into a folder that `open_embeddings` reads.

  A stopped computation continues after its last part, and gives the same files
  as one that was not stopped. The files of a finished folder are verified.
  """
  folder = pathlib.Path(folder)
  num_texts = len(corpus.texts)
  if not num_texts:
    raise ValueError("there are no texts to embed.")
  if not array_files.is_begun(folder) and any(folder.glob("*.npy")):
    raise ValueError(
      f"{folder} holds arrays of another program: use another --output."
    )

  def compute(start: int, stop: int, _: Any) -> dict[str, np.ndarray]:
    values = np.asarray(encoder.encode(list(corpus.texts[start:stop])))
    with np.errstate(over="ignore"):  # Overflow is reported as infinity.
      return {"embeddings": values.astype(dtype)}

  description = {**encoder.description, "batch_size": encoder.batch_size}
  step = _BATCHES_PER_PART * encoder.batch_size
  content = array_files.Content(
    {"encoder": description, "texts": corpus.description()},
    {"embeddings": jax.ShapeDtypeStruct((num_texts, encoder.width), dtype)},
    (*range(0, num_texts, step), num_texts),
  )
  array_files.load_or_compute(
    folder,
    content,
    compute,
    fixed={"ids": corpus.ids},
    label="embeddings",
  )


def sentence_transformer(
  model: str,
  *,
  revision: str | None = None,
  batch_size: int = 64,
  max_length: int | None = None,
  dtype: str = "bfloat16",
  device: str | None = None,
) -> Encoder:
  """Loads a sentence-transformers model from the hub or from a folder.

  The transformer computes in `dtype`, and the modules after it in float32.
  """
  try:
    import sentence_transformers
  except ImportError:
    raise ValueError(
      "embedding texts needs sentence-transformers: pip install -e '.[t5]'."
    ) from None
  try:
    network = sentence_transformers.SentenceTransformer(
      model,
      revision=revision,
      device=device,
      model_kwargs={"torch_dtype": dtype},
    )
  except (OSError, ValueError) as error:
    reason = str(error).strip().partition("\n")[0]
    raise ValueError(
      f"sentence-transformers cannot load {model!r} ({reason}): set --model to "
      "a hub id such as sentence-transformers/sentence-t5-base, or to a folder."
    ) from error
  transformer, *others = network
  for module in others:
    module.float()
  transformer.register_forward_hook(_widen)
  if max_length is not None:
    network.max_seq_length = max_length

  def encode(texts: list[str]) -> np.ndarray:
    return network.encode(texts, batch_size=batch_size, show_progress_bar=False)

  description = {
    "model": model,
    "revision": _revision(model, revision),
    "dtype": dtype,
    "max_length": network.max_seq_length,
  }
  width = encode(["a text"]).shape[1]
  return Encoder(encode, width, batch_size, description)


def _widen(_module, _inputs, outputs):
  """PyTorch forward hook that converts the token embeddings to float32."""
  return outputs | {"token_embeddings": outputs["token_embeddings"].float()}


def _revision(model: str, revision: str | None) -> str | None:
  """Returns the commit of a model on the hub, or a digest of local weights."""
  folder = pathlib.Path(model)
  if not folder.is_dir():
    import huggingface_hub

    path = huggingface_hub.try_to_load_from_cache(
      model, "modules.json", revision=revision
    )
    return pathlib.Path(path).parent.name if isinstance(path, str) else revision
  digest = hashlib.sha256()
  for file in sorted(folder.rglob("*")):
    if file.suffix in (".safetensors", ".bin"):
      digest.update(digests.of_file(file).encode())
  return f"sha256:{digest.hexdigest()}"
