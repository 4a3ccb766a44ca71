"""The structure of a report: sections of paragraphs, tables and pictures."""

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
    footnotes: Texts of footnotes, which the table numbers.
    link: Path of the config of the run that the number is from, relative to the
      base of the report; or empty.
    shade: Intensity of the cell's background in HTML, from 0 to 1.
  """

  text: str = ""
  mark: str = ""
  footnotes: tuple[str, ...] = ()
  link: str = ""
  shade: float = 0.0


@dataclasses.dataclass(frozen=True)
class TableRow:
  """One row of a table.

  Attributes:
    label: Text of the first column.
    cells: One cell per further column.
    group: Group of the row; a rule separates the groups.
    detail: Whether the row is a detail of a row above it, and is indented.
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
    """Makes a row from cells, or from plain texts."""
    made = (TableCell(c) if isinstance(c, str) else c for c in cells)
    return cls(label, tuple(made), group, detail)

  @classmethod
  def heading(cls, label: str, width: int) -> "TableRow":
    """Makes a row without numbers that names the group below it."""
    return cls.of(label, [""] * width, label)

  @property
  def is_heading(self) -> bool:
    """Whether the row was made by `heading`."""
    return bool(self.group) and self.label == self.group


@dataclasses.dataclass(frozen=True)
class Table:
  """A table, with everything that a reader needs to understand it.

  Attributes:
    title: One line.
    header: One text per column, except for the column of labels. A text may
      have several lines; the last lines of all texts are level.
    rows: The rows.
    caption: Meaning of the numbers.
    notes: Further remarks.
    corner: Text above the labels, with lines as in the header.
  """

  title: str
  header: tuple[str, ...]
  rows: tuple[TableRow, ...]
  caption: str
  notes: tuple[str, ...] = ()
  corner: str = ""

  @property
  def footnotes(self) -> list[str]:
    """The footnotes of all cells, each once."""
    cells = itertools.chain.from_iterable(row.cells for row in self.rows)
    return list(dict.fromkeys(note for c in cells for note in c.footnotes))

  def references(self, cell: TableCell) -> list[int]:
    """Returns the numbers, from 1, of the footnotes of a cell."""
    return [self.footnotes.index(note) + 1 for note in cell.footnotes]

  @property
  def is_marked(self) -> bool:
    """Whether any cell is marked as the best or the second best."""
    return any(cell.mark for row in self.rows for cell in row.cells)

  @property
  def has_links(self) -> bool:
    """Whether any cell has a link."""
    return any(cell.link for row in self.rows for cell in row.cells)

  @property
  def header_lines(self) -> list[list[str]]:
    """The lines of the header; each starts with the column of labels."""
    columns = [text.split("\n") for text in (self.corner, *self.header)]
    height = max(map(len, columns))
    padded = [[""] * (height - len(lines)) + lines for lines in columns]
    return [list(line) for line in zip(*padded, strict=True)]

  @property
  def header_spans(self) -> list[tuple[str, list[tuple[str, int]]]]:
    """The corner and the cells, ``(text, width)``, of each line of the header.

    Equal neighbours are merged into one cell, except in the last line.
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


@dataclasses.dataclass(frozen=True)
class Picture:
  """A picture in the report's folder, as NAME.png and NAME.svg.

  Attributes:
    name: Name of its files, without the suffix.
    caption: Sentence that says what the picture shows.
  """

  name: str
  caption: str


@dataclasses.dataclass(frozen=True)
class Example:
  """An example of the data, as a page shows it.

  Attributes:
    labels: Lines below an image, or in front of a text.
    text: The text; empty for an image.
    image: The result of `images.image`; None for a text.
  """

  labels: tuple[str, ...]
  text: str = ""
  image: Mapping[str, Any] | None = None

  @property
  def start(self) -> str:
    """The first letters of a long text; empty for a short text."""
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
    title: Heading, unique in its chapter.
    parts: Its parts, in order; a string is a paragraph.
    chapter: Title of the chapter; empty in a report on a single sweep.
    is_folded: Whether the HTML page shows only the heading until a click.
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
  """Converts a title to the id of an HTML element.

  Examples:
    >>> anchor("Table 3: ours, and the paper's")
    'table-3-ours-and-the-paper-s'
  """
  return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
