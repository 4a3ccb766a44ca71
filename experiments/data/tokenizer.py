"""Texts to token ids, as ALBERT was pretrained: [CLS] x [SEP].

The ids are those of Google's code and of transformers with the `tokenizer.json`
of the hub, and a bare `spiece.model` gives the same. With that transformers 5
starts a new word after every full stop, hyphen, quotation mark and bracket,
which gives other ids than ALBERT was pretrained on: for a third of SST-2.
"""

import dataclasses
import hashlib
import os
import pathlib
import struct
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments.io import hub

# Those that a folder or a model of the hub is searched for, in this order.
FILES = ("tokenizer.json", "spiece.model")

_BATCH = (
  1024  # Texts in memory as the encodings of `tokenizers`, which are big.
)
# Piece types and the model type of SentencePiece's sentencepiece_model.proto.
_NORMAL, _UNKNOWN, _CONTROL, _UNIGRAM = 1, 2, 3, 1


@dataclasses.dataclass(frozen=True)
class Tokenizer:
  """A vocabulary and what cuts a text into its pieces; can be pickled.

  Attributes:
    name: Where it was loaded from.
    digest: SHA-256 of the file.
    vocab_size: Ids are below it.
    pad_id: What fills a batch's rows up.
    cls_id: What starts each row.
    sep_id: What ends each row.
    pieces: The `tokenizers.Tokenizer`, which leaves these two out.
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
    """Computes the ids of texts, on all cores.

    Args:
      texts: The texts, a list of str.
      max_length: The most ids of a row; longer texts lose their end.

    Returns:
      One row a text, ``[CLS] x [SEP]``, of length 2 to `max_length`: uint16,
      or int32 for more than 65,536 ids.

    Raises:
      TypeError: If `texts` is one str or holds something else.
      ValueError: If `max_length` leaves no room for a piece.
    """
    if max_length < 3:
      raise ValueError(
        f"max_length must be at least 3, for [CLS], a piece and [SEP], got "
        f"{max_length}."
      )
    if isinstance(texts, str):
      raise TypeError("texts must be a list of str, got one str.")
    for number, text in enumerate(texts):
      if not isinstance(text, str):
        raise TypeError(
          f"texts must be a list of str, got {text!r} at position {number}."
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


def load_tokenizer(path: str | os.PathLike[str]) -> Tokenizer:
  """Loads a tokenizer.

  Args:
    path: A `tokenizer.json`; a SentencePiece model (`spiece.model`), read with
      ALBERT's normalisation; a folder that holds one of them, the first if
      both; or the id of a model on the hub, such as "albert/albert-base-v2".

  Returns:
    The tokenizer.

  Raises:
    FileNotFoundError: If there is no such file, folder or model.
    ValueError: If the file is damaged, or its vocabulary lacks [CLS], [SEP] or
      a padding piece.
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
    else:
      pieces = _from_sentencepiece(data)
  except Exception as error:  # What Rust raises has no type of its own.
    kind = "tokenizer.json" if file.suffix == ".json" else "SentencePiece model"
    raise ValueError(
      f"{file} cannot be read as a {kind} ({error}): download it again."
    ) from None
  # A file may carry settings of the program that wrote it.
  pieces.no_padding()
  pieces.no_truncation()
  return Tokenizer(
    name=str(path),
    digest=hashlib.sha256(data).hexdigest(),
    vocab_size=max(pieces.get_vocab().values()) + 1,
    pad_id=_id(file, pieces, "<pad>", "[PAD]"),
    cls_id=_id(file, pieces, "[CLS]"),
    sep_id=_id(file, pieces, "[SEP]"),
    pieces=pieces,
  )


def _file(path: str | os.PathLike[str]) -> pathlib.Path:
  """Finds the file that a path or the id of a model means."""
  found = pathlib.Path(path).expanduser()
  if found.is_file():
    return found
  if not found.is_dir():
    found = hub.download(os.fspath(path), FILES)
  for name in FILES:
    if (found / name).is_file():
      return found / name
  raise FileNotFoundError(
    f"{path} holds neither {FILES[0]} nor {FILES[1]}: give the file itself if "
    "it is called something else."
  )


def _id(file: pathlib.Path, pieces: Any, *names: str) -> int:
  """Looks a special piece up, under any of its names."""
  for name in names:
    if (found := pieces.token_to_id(name)) is not None:
      return found
  raise ValueError(
    f"the vocabulary of {file} has no piece {' or '.join(names)}: rows are "
    "[CLS] x [SEP] and padding, so give ALBERT's or one that has them too."
  )


def _from_sentencepiece(data: bytes) -> Any:
  """Builds ALBERT's tokenizer from a SentencePiece model."""
  from tokenizers import AddedToken
  from tokenizers import models
  from tokenizers import normalizers
  from tokenizers import pre_tokenizers
  from tokenizers import Tokenizer as Pieces

  pieces, types, model_type, charsmap = _parse_model(data)
  if model_type != _UNIGRAM:
    raise ValueError("it is no unigram model")
  # "9," is read as "9" and ",": google-research/albert, tokenization.py, cuts
  # such pieces again; a bad score keeps them from being chosen.
  scores = [
    score - 100 if piece[-1:] == "," and piece[-2:-1].isdigit() else score
    for piece, score in pieces
  ]
  vocabulary = [
    (piece, score) for (piece, _), score in zip(pieces, scores, strict=True)
  ]
  result = Pieces(models.Unigram(vocabulary, unk_id=types.index(_UNKNOWN)))
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
  # Not the user-defined ones, "." and "-" among them: a piece added here ends
  # a word, where SentencePiece and ALBERT have "e-mail" as one.
  result.add_special_tokens(
    [
      AddedToken(piece, normalized=False)
      for (piece, _), kind in zip(pieces, types, strict=True)
      if kind in (_UNKNOWN, _CONTROL)
    ]
  )
  return result


def _parse_model(
  data: bytes,
) -> tuple[list[tuple[str, float]], list[int], int, bytes]:
  """Parses a `ModelProto`: its pieces, their types, model type, normaliser."""
  pieces, types, model_type, charsmap = [], [], _UNIGRAM, b""
  for number, value in _fields(data):
    if number == 1:
      piece = dict(_fields(value))
      # No score is a score of 0, and no type is a normal piece.
      (score,) = struct.unpack("<f", piece.get(2, bytes(4)))
      pieces.append((piece[1].decode(), score))
      types.append(piece.get(3, _NORMAL))
    elif number == 2:
      model_type = dict(_fields(value)).get(3, _UNIGRAM)
    elif number == 3:
      charsmap = dict(_fields(value)).get(2, b"")
  return pieces, types, model_type, charsmap


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
  """Yields number and value of each field of a protocol buffer.

  Args:
    data: One message.

  Yields:
    An int for a varint, bytes for everything else.

  Raises:
    ValueError: If that is not what it is.
  """
  position = 0

  def varint() -> int:
    nonlocal position
    value = 0
    for shift in range(0, 70, 7):
      byte = take(1)[0]
      value |= (byte & 127) << shift
      if byte < 128:
        return value
    raise ValueError("a number is too long")

  def take(length: int) -> bytes:
    nonlocal position
    position += length
    if position > len(data):
      raise ValueError("it is cut short")
    return data[position - length : position]

  while position < len(data):
    number, kind = divmod(varint(), 8)
    if kind == 0:
      yield number, varint()
    elif kind in (1, 2, 5):
      yield number, take({1: 8, 2: None, 5: 4}[kind] or varint())
    else:
      raise ValueError(f"a field has the unknown type {kind}")
