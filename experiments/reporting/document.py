"""Structure of a report: sections of paragraphs, tables and pictures."""

import dataclasses
import itertools
import re
from collections.abc import Iterable
from collections.abc import Mapping
from typing import Any

BEST = "best"
SECOND = "second"
_MOST_LETTERS = 140


@dataclasses.dataclass(frozen=True)
class TableCell:
  """One cell of a table.

  Attributes:
    text: Text of the cell; it may have several lines.
    mark: `BEST`, `SECOND` or empty. The console does not show it.
    footnotes: Numbers of the table's footnotes, from 1.
    link: Path of the config that the number belongs to, relative to the base of
      the report, or empty.
    shade: Darkness of the cell in HTML, from 0 to 1.
  """

  text: str = ""
  mark: str = ""
  footnotes: tuple[int, ...] = ()
  link: str = ""
  shade: float = 0.0

  @property
  def reference(self) -> str:
    """Its footnotes as "[1, 2]", or nothing."""
    numbers = ", ".join(map(str, self.footnotes))
    return f"[{numbers}]" if numbers else ""


@dataclasses.dataclass(frozen=True)
class TableRow:
  """One row of a table.

  Attributes:
    label: First column.
    cells: One cell per column.
    group: A rule separates rows of different groups.
    detail: Whether the row belongs to the one above it, and is indented.
  """

  label: str
  cells: tuple[TableCell, ...]
  group: str = ""
  detail: bool = False

  @classmethod
  def of(
    cls,
    label: str,
    cells: Iterable[str | TableCell],
    group: str = "",
    detail: bool = False,
  ) -> "TableRow":
    """Makes a row of cells and plain texts."""
    made = (TableCell(c) if isinstance(c, str) else c for c in cells)
    return cls(label, tuple(made), group, detail)

  @classmethod
  def heading(cls, label: str, width: int) -> "TableRow":
    """Makes a row without numbers that names the group below it."""
    return cls.of(label, [""] * width, label)

  @property
  def is_heading(self) -> bool:
    """Returns whether the row was made by `heading`."""
    return bool(self.group) and self.label == self.group


@dataclasses.dataclass(frozen=True)
class Table:
  """A table with everything that is needed to understand it alone.

  Attributes:
    title: One line.
    header: One text per column, without the labels' column. Texts may have
      several lines, the same number for all.
    rows: The rows.
    caption: Meaning of the numbers.
    notes: Further remarks, one sentence each.
    footnotes: Footnotes that cells refer to.
    corner: Text above the labels, one line per line of the header.
  """

  title: str
  header: tuple[str, ...]
  rows: tuple[TableRow, ...]
  caption: str
  notes: tuple[str, ...] = ()
  footnotes: tuple[str, ...] = ()
  corner: str = ""

  @property
  def is_marked(self) -> bool:
    """Returns whether a cell is marked as the best or the second."""
    return any(cell.mark for row in self.rows for cell in row.cells)

  @property
  def has_links(self) -> bool:
    """Returns whether a cell has a link."""
    return any(cell.link for row in self.rows for cell in row.cells)

  @property
  def header_lines(self) -> list[list[str]]:
    """Lines of the header, each with the labels' column first."""
    columns = [text.split("\n") for text in (self.corner, *self.header)]
    height = max(map(len, columns))
    padded = [[""] * (height - len(lines)) + lines for lines in columns]
    return [list(line) for line in zip(*padded, strict=True)]

  @property
  def header_spans(self) -> list[tuple[str, list[tuple[str, int]]]]:
    """Corner and ``(text, width)`` of each line of the header.

    Equal neighbours are one cell, except in the last line.
    """
    *above, (last_corner, *last) = self.header_lines
    spans = [
      (corner, [(t, len(list(group))) for t, group in itertools.groupby(texts)])
      for corner, *texts in above
    ]
    return [*spans, (last_corner, [(text, 1) for text in last])]

  @property
  def row_groups(self) -> list[list[TableRow]]:
    """The rows, divided where the group changes."""
    groups = itertools.groupby(self.rows, lambda row: row.group)
    return [list(rows) for _, rows in groups]


class Footnotes:
  """Collects the footnotes of a table.

  Examples:
    >>> notes = Footnotes()
    >>> notes.refer("One.", "Two."), notes.refer("Two."), notes.texts
    ((1, 2), (2,), ['One.', 'Two.'])
  """

  def __init__(self) -> None:
    self.texts: list[str] = []

  def refer(self, *texts: str) -> tuple[int, ...]:
    """Returns the numbers of some footnotes, and adds those that are new."""
    self.texts += [text for text in texts if text not in self.texts]
    return tuple(self.texts.index(text) + 1 for text in texts)


@dataclasses.dataclass(frozen=True)
class Picture:
  """A picture in the report's folder, as NAME.png and NAME.svg.

  Attributes:
    name: Name of its files, without the suffix.
    caption: Sentence on what it shows.
  """

  name: str
  caption: str


@dataclasses.dataclass(frozen=True)
class Example:
  """An example of the data on a page.

  Attributes:
    labels: Lines of text below an image, or above a text.
    text: Its text, where it is one.
    image: Its image as `images.image` makes it, where it is one.
  """

  labels: tuple[str, ...]
  text: str = ""
  image: Mapping[str, Any] | None = None

  @property
  def start(self) -> str:
    """The start of a long text; empty for a short one."""
    if len(self.text) <= _MOST_LETTERS:
      return ""
    return self.text[:_MOST_LETTERS].rstrip()


@dataclasses.dataclass(frozen=True)
class Gallery:
  """Some examples of the data, with a heading and an explanation."""

  title: str
  caption: str
  examples: tuple[Example, ...]


Part = str | Table | Picture | Gallery


@dataclasses.dataclass(frozen=True)
class Section:
  """One section.

  Attributes:
    title: Heading, unique in the report or in its chapter.
    parts: Its parts, in order; texts are paragraphs.
    chapter: Chapter of the section in a report of several sweeps, else empty.
    is_folded: Whether HTML shows the heading alone until it is clicked.
  """

  title: str
  parts: tuple[Part, ...]
  chapter: str = ""
  is_folded: bool = False


@dataclasses.dataclass(frozen=True)
class Document:
  """A report."""

  title: str
  sections: tuple[Section, ...]

  @property
  def chapters(self) -> list[tuple[str, list[Section]]]:
    """Title and sections of each chapter."""
    groups = itertools.groupby(self.sections, lambda section: section.chapter)
    return [(title, list(sections)) for title, sections in groups]

  @property
  def tables(self) -> list[Table]:
    """All tables, in order."""
    return [p for s in self.sections for p in s.parts if isinstance(p, Table)]

  @property
  def pictures(self) -> list[Picture]:
    """All pictures, in order."""
    return [p for s in self.sections for p in s.parts if isinstance(p, Picture)]


def anchor(title: str) -> str:
  """Converts a title to the fragment of an address.

  Examples:
    >>> anchor("Table 3: ours, and the paper's")
    'table-3-ours-and-the-paper-s'
  """
  return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
