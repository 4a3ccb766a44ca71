"""Lines of a text file, decoded, and cut into fields."""

import codecs
import csv
import io
from collections.abc import Iterator
from typing import NamedTuple

from experiments.data.sources import files


class Line(NamedTuple):
  """What stands between delimiters, in one line or, in quotes, several.

  Attributes:
    first: The number of the first line, from 1.
    last: The number of the last.
    fields: What stands between the delimiters.
    problem: Why it could not be cut, "" where it could.
  """

  first: int
  last: int
  fields: list[str]
  problem: str = ""


def text_lines(path: files.Path, encoding: str) -> Iterator[str]:
  r"""Yields a file's lines, which end with "\n" and nothing else.

  Bytes that are not in the encoding come as lone surrogates.
  """
  try:
    name = codecs.lookup(encoding).name
  except LookupError:
    raise ValueError(
      f"{path}: there is no encoding {encoding!r}; try 'utf-8' or 'latin-1'."
    ) from None
  with (
    files.opened(path) as file,
    io.TextIOWrapper(
      file,
      "utf-8-sig" if name == "utf-8" else name,
      errors="surrogateescape",
      newline="\n",
    ) as text,
  ):
    yield from text


def plain_lines(lines: Iterator[str], delimiter: str) -> Iterator[Line]:
  """Cuts lines at each delimiter; blank ones are left out."""
  for number, line in enumerate(lines, 1):
    line = line.removesuffix("\n").removesuffix("\r")
    if line:
      yield Line(number, number, line.split(delimiter))


def quoted_lines(lines: Iterator[str], delimiter: str) -> Iterator[Line]:
  """Cuts lines at delimiters that are not in quotes, which are taken off.

  A field in quotes may go on over several lines. Blank lines are left out.
  """
  reader = csv.reader(lines, delimiter=delimiter, strict=True)
  while True:
    first = reader.line_num + 1
    try:
      fields = next(reader)
    except StopIteration:
      return
    except csv.Error as error:  # The reader goes on with the next line.
      yield Line(first, reader.line_num, [], f"unusable quotes ({error})")
      continue
    if fields:
      yield Line(first, reader.line_num, fields)
