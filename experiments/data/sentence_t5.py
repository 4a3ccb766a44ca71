"""What Sentence-T5 is given, and how it computes; see embed_sentence_t5.py."""

import hashlib
import pathlib

import numpy as np

from experiments.data import embeddings
from experiments.data import prepared as prepared_lib
from experiments.data import tables
from experiments.data.embeddings_writer import Corpus
from experiments.data.embeddings_writer import Encoder


def read_corpus(
  path: pathlib.Path, text_column: str | None, id_column: str | None
) -> Corpus:
  """Reads texts and their ids.

  Args:
    path: A prepared dataset or a table.
    text_column: Of a table, where the texts are.
    id_column: Of a table, where the ids are, if anywhere.

  Returns:
    The texts; of a prepared dataset those of all splits, in its order.

  Raises:
    FileNotFoundError: If there is nothing at `path`.
    ValueError: If it holds no texts, or cannot be read.
  """
  if path.is_dir():
    if text_column or id_column:
      raise ValueError(
        f"{path} is a prepared dataset: --text_column and --id_column are of "
        "tables."
      )
    prepared = prepared_lib.open_prepared(path)
    texts = [text for name in prepared.splits for text in prepared.texts(name)]
    ids = np.concatenate([arrays["ids"] for arrays in prepared.splits.values()])
    return Corpus(texts, ids, embeddings.dataset_texts(prepared))
  examples = tables.read(path, text_column=text_column, id_column=id_column)
  if "text" not in examples.columns:
    raise ValueError(f"{path} holds no texts.")
  ids = np.array(examples.columns["id"])
  return Corpus(list(examples.columns["text"]), ids)


def sentence_transformer(
  model: str,
  *,
  revision: str | None = None,
  batch_size: int = 64,
  max_length: int | None = None,
  dtype: str = "bfloat16",
  device: str | None = None,
) -> Encoder:
  """Loads a model of sentence-transformers.

  Args:
    model: A hub id, downloaded if need be, or a folder.
    revision: Branch, tag or commit of the former.
    batch_size: Texts at a time.
    max_length: Tokens a text is cut to; None for what the model says.
    dtype: What the transformer computes in. The modules behind it, pooling
      and normalisation, compute in float32.
    device: Where; None for the best there is.

  Returns:
    The encoder.

  Raises:
    ValueError: If the model cannot be loaded, or sentence-transformers is not
      installed.
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
      f"sentence-transformers cannot load {model!r} ({reason}): give a hub id "
      "such as sentence-transformers/sentence-t5-base, or a folder."
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


def _widen(module, inputs, outputs):
  """A hook of torch: hands the tokens' vectors on in float32."""
  del module, inputs
  return outputs | {"token_embeddings": outputs["token_embeddings"].float()}


def _revision(model: str, revision: str | None) -> str | None:
  """Names the weights: the commit on the hub, or a digest of a folder's."""
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
      digest.update(prepared_lib.file_sha256(file).encode())
  return f"sha256:{digest.hexdigest()}"
