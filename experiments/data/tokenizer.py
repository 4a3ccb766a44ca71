"""Tokenizers of text models: texts become rows of ids, ``[CLS] x [SEP]``.

For ALBERT the ids are those of Google's code, and of transformers with the
`tokenizer.json` of the hub; a bare `spiece.model` gives the same ids. (With a
bare `spiece.model`, transformers 5 starts a new word after every full stop,
hyphen, quotation mark and bracket, which gives other ids for a third of SST-2
than ALBERT was pretrained on.)
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

_BATCH = 1024  # Texts at a time: the encodings of `tokenizers` are large.


@dataclasses.dataclass(frozen=True)
class Tokenizer:
  """A vocabulary and the rules that cut a text into its pieces; picklable.

  Attributes:
    name: Path or hub id that it was loaded from.
    digest: SHA-256 of the file.
    vocab_size: Ids are below it.
    pad_id: Id of the padding piece.
    cls_id: Id at the start of each row.
    sep_id: Id at the end of each row.
    pieces: The `tokenizers.Tokenizer`, which adds neither of these.
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
    """Computes a row of ids per text, ``[CLS] x [SEP]``, on all cores.

    Rows are cut to `max_length`. They are uint16, or int32 for a vocabulary of
    more than 65,536 pieces.
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
  """Tokenizer of texts, and the length that they are cut to.

  Attributes:
    tokenizer: Cuts a text into tokens.
    max_length: Longest text in tokens; None for the default of the data set.
  """

  tokenizer: Tokenizer
  max_length: int | None = None

  def encode(self, texts: list[str]) -> list[np.ndarray]:
    """Returns the token ids of each text."""
    return self.tokenizer.encode(texts, max_length=self.max_length or 0)

  def description(self) -> dict[str, Any]:
    """Returns the entry of the manifest."""
    return {
      "name": pathlib.Path(self.tokenizer.name).name,
      "sha256": self.tokenizer.digest,
      "vocab_size": self.tokenizer.vocab_size,
      "pad_id": self.tokenizer.pad_id,
      "max_length": self.max_length,
    }


def load_tokenizer(path: str | os.PathLike[str]) -> Tokenizer:
  """Loads a tokenizer.

  Args:
    path: A `tokenizer.json`; a SentencePiece model (`spiece.model`), which is
      used with ALBERT's normalisation; the word pieces of a BERT (`vocab.txt`),
      uncased unless the `tokenizer_config.json` beside it says otherwise; a
      folder with one of them, the first that it has; or the id of a model on
      the hub, such as "albert/albert-base-v2".
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
  except Exception as error:  # Rust's errors have no type of their own.
    kinds = {".json": "tokenizer.json", ".txt": "list of word pieces"}
    kind = kinds.get(file.suffix, "SentencePiece model")
    raise ValueError(
      f"{file} cannot be read as a {kind} ({error}): download it again."
    ) from None
  # The program that wrote the file may have stored its own lengths.
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
  """Returns the SHA-256 of a tokenizer on disk; an id of the hub as it is."""
  if not pathlib.Path(path).expanduser().exists():
    return str(path)
  return _digest(_file(path))


def _digest(file: pathlib.Path) -> str:
  """Returns the SHA-256 of a file, another one if its word pieces are cased."""
  suffix = b"" if _is_lowercase(file) else b"\ncased"
  return hashlib.sha256(file.read_bytes() + suffix).hexdigest()


def _file(path: str | os.PathLike[str]) -> pathlib.Path:
  """Finds the file that a path or the id of a model means."""
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
  """Looks up a special piece by any of its names."""
  for name in names:
    if (found := pieces.token_to_id(name)) is not None:
      return found
  raise ValueError(
    f"the vocabulary of {file} has no piece {' or '.join(names)}: rows are "
    "[CLS] x [SEP] and padding, so use ALBERT's or another one with them."
  )


def _is_lowercase(file: pathlib.Path) -> bool:
  """Returns whether texts are converted to lower case for its word pieces."""
  if file.suffix != ".txt":
    return True
  path = file.with_name(_SETTINGS)
  settings = json_files.read_json(path) if path.is_file() else {}
  return bool(settings.get("do_lower_case", True))


def _from_word_pieces(text: str, lowercase: bool) -> Any:
  """Builds a BERT's tokenizer from its word pieces, one per line."""
  from tokenizers import AddedToken
  from tokenizers import decoders
  from tokenizers import models
  from tokenizers import normalizers
  from tokenizers import pre_tokenizers
  from tokenizers import Tokenizer as Pieces

  lines = text.removesuffix("\n").split("\n")
  vocabulary = {line.rstrip("\r"): row for row, line in enumerate(lines)}
  result = Pieces(models.WordPiece(vocabulary, unk_token="[UNK]"))
  result.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
  result.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
  result.decoder = decoders.WordPiece()
  names = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
  present = [name for name in names if name in vocabulary]
  result.add_special_tokens([AddedToken(x, normalized=False) for x in present])
  return result


def _from_sentencepiece(data: bytes) -> Any:
  """Builds ALBERT's tokenizer from a SentencePiece model."""
  from sentencepiece import sentencepiece_model_pb2 as generated
  from tokenizers import AddedToken
  from tokenizers import models
  from tokenizers import normalizers
  from tokenizers import pre_tokenizers
  from tokenizers import Tokenizer as Pieces

  model: Any = generated  # Its classes are made when it is imported.
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
  # Without the user-defined pieces, such as "." and "-": an added piece ends a
  # word, but "e-mail" is one word for SentencePiece and ALBERT.
  result.add_special_tokens(
    [
      AddedToken(piece.piece, normalized=False)
      for piece in proto.pieces
      if piece.type in (kinds.UNKNOWN, kinds.CONTROL)
    ]
  )
  return result


def _score(piece: Any) -> float:
  """Returns the score of a piece, a bad one for "9," and the like.

  google-research/albert, tokenization.py, cuts such pieces into "9" and ",".
  """
  name = piece.piece
  is_cut = name[-1:] == "," and name[-2:-1].isdigit()
  return piece.score - 100 * is_cut
