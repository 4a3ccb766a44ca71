"""Tokenizers of text models, which turn texts into ids: ``[CLS] x [SEP]``.

ALBERT's ids equal those of Google's code, whether they are made with the
`tokenizer.json` of the hub or with `spiece.model`.

Note: transformers 5 gives the same ids for `tokenizer.json`, but not for a
`spiece.model` alone. It then starts a new word after every full stop, hyphen,
quotation mark and bracket, so that a third of SST-2 gets other ids than ALBERT
was pretrained on.
"""

import dataclasses
import hashlib
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments.io import hub
from experiments.io import json_files

# The files of a folder or a model of the hub, in the order of preference.
FILES = ("tokenizer.json", "spiece.model", "vocab.txt")
_SETTINGS = "tokenizer_config.json"  # Says whether vocab.txt is uncased.

# Texts per call of `tokenizers`, whose encodings take a lot of memory.
_BATCH = 1024


@dataclasses.dataclass(frozen=True)
class Tokenizer:
  """A vocabulary and the rules that split a text into its pieces; picklable.

  Attributes:
    name: Path or hub id from which the tokenizer was loaded.
    digest: SHA-256 of the file.
    vocab_size: The largest id plus 1.
    pad_id: Id of the padding piece.
    cls_id: Id at the start of each row.
    sep_id: Id at the end of each row.
    pieces: A `tokenizers.Tokenizer` that does not add special pieces.
  """

  name: str
  digest: str
  vocab_size: int
  pad_id: int
  cls_id: int
  sep_id: int
  pieces: Any = dataclasses.field(repr=False, compare=False)

  def encode(
    self, texts: Sequence[str], *, max_length: int
  ) -> list[np.ndarray]:
    """Returns a row of ids per text, ``[CLS] x [SEP]``, using all cores.

    Rows are truncated to `max_length` ids. They are uint16, or int32 for a
    vocabulary of more than 65,536 pieces.
    """
    if max_length < 3:
      raise ValueError(
        "max_length must be at least 3, for [CLS], a piece and [SEP], got "
        f"{max_length}."
      )
    dtype = np.uint16 if self.vocab_size <= 2**16 else np.int32
    rows = []
    for start in range(0, len(texts), _BATCH):
      encodings = self.pieces.encode_batch_fast(
        list(texts[start : start + _BATCH]), add_special_tokens=False
      )
      for encoding in encodings:
        ids = encoding.ids[: max_length - 2]
        rows.append(np.array([self.cls_id, *ids, self.sep_id], dtype))
    return rows


@dataclasses.dataclass(frozen=True)
class Tokenization:
  """A tokenizer and the length to which it truncates texts.

  Attributes:
    tokenizer: The tokenizer.
    max_length: Largest number of tokens of a text, with [CLS] and [SEP]; None
      for the default of the data set.
  """

  tokenizer: Tokenizer
  max_length: int | None = None

  def encode(self, texts: list[str]) -> list[np.ndarray]:
    """Returns the token ids of each text."""
    return self.tokenizer.encode(texts, max_length=self.max_length or 0)

  def description(self) -> dict[str, Any]:
    """Returns the entry "tokenizer" of a manifest."""
    return {
      "name": pathlib.Path(self.tokenizer.name).name,
      "sha256": self.tokenizer.digest,
      "vocab_size": self.tokenizer.vocab_size,
      "pad_id": self.tokenizer.pad_id,
      "max_length": self.max_length,
    }


def load_tokenizer(path: str | os.PathLike[str]) -> Tokenizer:
  """Loads a tokenizer from a file, a folder or the Hugging Face hub.

  Args:
    path: One of the following:
      * a `tokenizer.json`,
      * a SentencePiece model (`spiece.model`), which is used with ALBERT's
        normalization,
      * the word pieces of a BERT (`vocab.txt`), which is uncased unless the
        `tokenizer_config.json` next to it says otherwise,
      * a folder with one of these files; they are tried in this order,
      * the id of a model on the hub, such as "albert/albert-base-v2".
  """
  try:
    import tokenizers
  except ImportError:
    raise ValueError(
      "texts need the package tokenizers: pip install -e '.[text]'."
    ) from None
  file = _file(path)
  data = file.read_bytes()
  try:
    if file.suffix == ".json":
      pieces = tokenizers.Tokenizer.from_str(data.decode())
    elif file.suffix == ".txt":
      pieces = _from_word_pieces(data.decode(), _is_lowercase(file))
    else:
      pieces = _from_sentencepiece(data)
  except ImportError:
    raise ValueError(
      f"{file} needs the package sentencepiece: pip install -e '.[text]', or "
      "use the tokenizer.json of the same model, which the hub has."
    ) from None
  except Exception as error:  # `tokenizers` raises plain Exception.
    kinds = {".json": "tokenizer.json", ".txt": "list of word pieces"}
    kind = kinds.get(file.suffix, "SentencePiece model")
    raise ValueError(
      f"{file} cannot be read as a {kind} ({error}): download it again."
    ) from None
  # The file may ask for padding and truncation.
  pieces.no_padding()
  pieces.no_truncation()
  return Tokenizer(
    name=str(path),
    digest=_digest(file),
    vocab_size=max(pieces.get_vocab().values()) + 1,
    pad_id=_id(file, pieces, "<pad>", "[PAD]"),
    cls_id=_id(file, pieces, "[CLS]", "<s>"),
    sep_id=_id(file, pieces, "[SEP]", "</s>"),
    pieces=pieces,
  )


def tokenizer_content(path: str | os.PathLike[str]) -> str:
  """Returns the SHA-256 of a tokenizer on disk, or an id of the hub itself."""
  if not pathlib.Path(path).expanduser().exists():
    return str(path)
  return _digest(_file(path))


def _digest(file: pathlib.Path) -> str:
  """Returns the SHA-256 of a tokenizer's file and of whether it is cased."""
  suffix = b"" if _is_lowercase(file) else b"\ncased"
  return hashlib.sha256(file.read_bytes() + suffix).hexdigest()


def _file(path: str | os.PathLike[str]) -> pathlib.Path:
  """Returns the file of a tokenizer, given a file, a folder or a hub id."""
  found = pathlib.Path(path).expanduser()
  if found.is_file():
    return found
  if not found.is_dir():
    found = hub.download(os.fspath(path), (*FILES, _SETTINGS))
  for name in FILES:
    if (found / name).is_file():
      return found / name
  raise FileNotFoundError(
    f"{path} holds no tokenizer ({', '.join(FILES)}): name the file itself if "
    "it has another name, or write it with AutoTokenizer.from_pretrained(MODEL)"
    ".save_pretrained(FOLDER) of transformers."
  )


def _id(file: pathlib.Path, pieces: Any, *names: str) -> int:
  """Returns the id of a special piece, looked up by any of its names."""
  for name in names:
    if (found := pieces.token_to_id(name)) is not None:
      return found
  raise ValueError(
    f"the vocabulary of {file} has no piece {' or '.join(names)}: rows are "
    "[CLS] x [SEP] and padding, so use ALBERT's or another one with them."
  )


def _is_lowercase(file: pathlib.Path) -> bool:
  """Returns False for the word pieces of a cased BERT, otherwise True."""
  if file.suffix != ".txt":
    return True
  path = file.with_name(_SETTINGS)
  settings = json_files.read_json(path) if path.is_file() else {}
  return bool(settings.get("do_lower_case", True))


def _from_word_pieces(text: str, lowercase: bool) -> Any:
  """Builds a BERT's tokenizer from its word pieces, one per line."""
  import tokenizers

  lines = text.removesuffix("\n").split("\n")
  vocabulary = {line.rstrip("\r"): row for row, line in enumerate(lines)}
  made = tokenizers.BertWordPieceTokenizer(vocabulary, lowercase=lowercase)
  return tokenizers.Tokenizer.from_str(made.to_str())


def _from_sentencepiece(data: bytes) -> Any:
  """Builds ALBERT's tokenizer from a SentencePiece model."""
  from sentencepiece import sentencepiece_model_pb2 as generated
  from tokenizers import AddedToken
  from tokenizers import models
  from tokenizers import normalizers
  from tokenizers import pre_tokenizers
  from tokenizers import Tokenizer as Pieces

  model: Any = generated  # Type checkers do not see its generated classes.
  proto = model.ModelProto.FromString(data)
  if proto.trainer_spec.model_type != proto.trainer_spec.UNIGRAM:
    raise ValueError("it is not a unigram model")
  vocabulary = [(piece.piece, _score(piece)) for piece in proto.pieces]
  types = [piece.type for piece in proto.pieces]
  charsmap = proto.normalizer_spec.precompiled_charsmap
  kinds = model.ModelProto.SentencePiece
  result = Pieces(models.Unigram(vocabulary, unk_id=types.index(kinds.UNKNOWN)))
  result.normalizer = normalizers.Sequence(
    [
      normalizers.Replace("``", '"'),
      normalizers.Replace("''", '"'),
      normalizers.NFKD(),
      normalizers.StripAccents(),
      normalizers.Lowercase(),
      *([normalizers.Precompiled(charsmap)] if charsmap else []),
    ]
  )
  result.pre_tokenizer = pre_tokenizers.Sequence(
    [
      pre_tokenizers.WhitespaceSplit(),
      pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always"),
    ]
  )
  # The user-defined pieces, such as "." and "-", are not added: an added piece
  # would split the word "e-mail", which SentencePiece and ALBERT do not split.
  result.add_special_tokens(
    [
      AddedToken(piece.piece, normalized=False)
      for piece in proto.pieces
      if piece.type in (kinds.UNKNOWN, kinds.CONTROL)
    ]
  )
  return result


def _score(piece: Any) -> float:
  """Returns the score of a piece, lowered for a digit and a comma ("9,").

  google-research/albert, tokenization.py, splits such pieces into "9" and ",".
  """
  name = piece.piece
  is_cut = name[-1:] == "," and name[-2:-1].isdigit()
  return piece.score - 100 * is_cut
