"""Encodings of text files: byte order marks, and UTF-8 from all others."""

import codecs
import io
from typing import Any
from typing import IO

# UTF-32's mark starts with that of UTF-16.
_MARKS = (
  (codecs.BOM_UTF8, "utf-8"),
  (codecs.BOM_UTF32_LE, "utf-32-le"),
  (codecs.BOM_UTF32_BE, "utf-32-be"),
  (codecs.BOM_UTF16_LE, "utf-16-le"),
  (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# In these a delimiter, a quote and a line end are the bytes of ASCII.
_LIKE_ASCII = ("utf-8", "ascii", "iso8859-1", "cp1252")


def check_encoding(encoding: str) -> None:
  """Raises ValueError for an encoding that does not exist; "" is automatic."""
  try:
    "".encode(encoding or "utf-8")  # An encoding of text, unlike base64.
  except LookupError:
    raise ValueError(
      "config.data.encoding must be an encoding that Python knows, such as "
      f"'utf-8', 'cp1252' or 'utf-16', got {encoding!r}."
    ) from None


def as_text(file: IO[bytes], encoding: str) -> tuple[IO[bytes], str, str]:
  """Skips a byte order mark, and converts to UTF-8 where that is needed.

  Returns the file to read from, the encoding of its bytes, and the original
  encoding. Bytes that cannot be decoded are passed on as bytes that are not
  UTF-8, so that the reader can report their row.
  """
  start: bytes = getattr(file, "peek")(4)[:4]  # noqa: B009
  for mark, name in _MARKS:
    if start.startswith(mark):
      file.read(len(mark))
      encoding = name
      break
  encoding = encoding or "utf-8"
  if codecs.lookup(encoding).name in _LIKE_ASCII:
    return file, encoding, encoding
  return io.BufferedReader(_Utf8(file, encoding)), "utf-8", encoding


class _Utf8(io.RawIOBase):
  """A file of another encoding, read as UTF-8."""

  def __init__(self, file: IO[bytes], encoding: str):
    super().__init__()
    self._file = file
    self._decoder = codecs.getincrementaldecoder(encoding)("surrogateescape")
    self._left = b""

  def readable(self) -> bool:
    return True

  def readinto(self, buffer: Any) -> int:
    while not self._left:
      data = self._file.read(2**16)
      text = self._decoder.decode(data, final=not data)
      self._left = text.encode("utf-8", "surrogateescape")
      if not data:
        break
    size = min(len(buffer), len(self._left))
    buffer[:size] = self._left[:size]
    self._left = self._left[size:]
    return size
