"""A table of texts, and two of its forms: a terminal's and Markdown's."""

import dataclasses
import itertools
import textwrap
from collections.abc import Sequence

BEST = "best"
SECOND = "second"


@dataclasses.dataclass(frozen=True)
class TableCell:
  """One cell: a text, of several lines if need be, and its rank.

  Attributes:
    text: What stands in the cell; empty where there is nothing to say.
    mark: "best", "second" or empty. A terminal does not show it.
    footnotes: Numbers of the table's footnotes, from 1.
    link: What the number is of: a path relative to that of `Results`, or empty.
  """

  text: str = ""
  mark: str = ""
  footnotes: tuple[int, ...] = ()
  link: str = ""


@dataclasses.dataclass(frozen=True)
class Row:
  """One row.

  Attributes:
    label: What stands at the left.
    cells: One cell for each column.
    group: Rows of one group stand together, set apart from the next group's.
    detail: Whether it says more of the row above it, and is set back.
  """

  label: str
  cells: tuple[TableCell, ...]
  group: str = ""
  detail: bool = False

  @property
  def is_heading(self) -> bool:
    """Whether it is the label of those that follow, as `heading` makes it."""
    return bool(self.group) and self.label == self.group


def heading(label: str, width: int) -> Row:
  """A row without contents above others, which are its details and group."""
  return Row(label, (TableCell(),) * width, label)


@dataclasses.dataclass(frozen=True)
class Table:
  """A table with all that is needed to understand it alone.

  Attributes:
    title: One line.
    header: One text for each column, without the labels' column; of several
      lines if need be, the same number for all.
    rows: The rows.
    caption: What the numbers are.
    notes: What else a reader has to know, one sentence each.
    footnotes: What cells refer to.
    corner: What stands above the labels, a line for each of the header's.
  """

  title: str
  header: tuple[str, ...]
  rows: tuple[Row, ...]
  caption: str
  notes: tuple[str, ...] = ()
  footnotes: tuple[str, ...] = ()
  corner: str = ""

  @property
  def is_marked(self) -> bool:
    """Whether a cell is marked as the best or the second."""
    return any(cell.mark for row in self.rows for cell in row.cells)


def header_lines(table: Table) -> list[list[str]]:
  """The lines of the header, each with the labels' column first."""
  columns = [text.split("\n") for text in (table.corner, *table.header)]
  height = max(map(len, columns))
  padded = [[""] * (height - len(lines)) + lines for lines in columns]
  return [list(line) for line in zip(*padded, strict=True)]


def reference(cell: TableCell) -> str:
  """A cell's footnotes as "[1, 2]", or nothing."""
  if not cell.footnotes:
    return ""
  return f"[{', '.join(map(str, cell.footnotes))}]"


def to_markdown(table: Table) -> str:
  """Writes a table as Markdown: the best cell bold, the second underlined."""
  width = len(table.header) + 1
  lines = [f"### {table.title}", ""]
  lines.append(_markdown_line([table.corner, *table.header]))
  lines.append(_markdown_line(["---"] * width))
  for row in table.rows:
    label = f"&emsp;{row.label}" if row.detail else row.label
    lines.append(_markdown_line([label, *map(_marked, row.cells)]))
  caption = table.caption
  if table.is_marked:
    caption += (
      " **Bold**: the best student, <u>underlined</u>: the second"
      " (the oracle is not ranked)."
    )
  lines += ["", caption]
  if table.notes:
    lines += ["", *(f"* {note}" for note in table.notes)]
  if table.footnotes:
    numbered = enumerate(table.footnotes, start=1)
    lines += ["", *(f"* [{i}] {note}" for i, note in numbered)]
  return "\n".join(lines) + "\n"


def _markdown_line(texts: Sequence[str]) -> str:
  escaped = (text.replace("|", "\\|").replace("\n", "<br>") for text in texts)
  return "| " + " | ".join(escaped) + " |"


def _marked(cell: TableCell) -> str:
  left, right = {
    BEST: ("**", "**"),
    SECOND: ("<u>", "</u>"),
  }.get(cell.mark, ("", ""))
  return f"{left}{cell.text}{right} {reference(cell)}".strip()


def to_text(table: Table, *, width: int | None = None) -> str:
  """Writes a table as aligned plain text.

  Args:
    table: The table.
    width: Columns of the terminal. Long labels get several lines, and a wider
      table is broken into blocks, each with the labels at its left. None:
      neither.

  Returns:
    The lines, with a line feed at the end.
  """
  lines = [table.title, "=" * len(table.title), ""]
  if width is not None:
    table = _with_short_labels(table)
  for block in _blocks(table, width):
    lines += [*_block_lines(table, block), ""]
  wrap = min(width or 80, 80)
  lines += textwrap.wrap(table.caption, wrap)
  notes = [f"* {note}" for note in table.notes]
  notes += [f"[{i}] {n}" for i, n in enumerate(table.footnotes, start=1)]
  for note in notes:
    lines += textwrap.wrap(note, wrap, subsequent_indent="  ")
  return "\n".join(lines) + "\n"


_GAP = "  "
_LONGEST_LABEL = 31


def _with_short_labels(table: Table) -> Table:
  rows = [
    dataclasses.replace(
      row, label="\n".join(textwrap.wrap(row.label, _LONGEST_LABEL))
    )
    for row in table.rows
  ]
  return dataclasses.replace(table, rows=tuple(rows))


def _label(row: Row) -> list[str]:
  """The lines of a label."""
  lines = row.label.split("\n")
  return [f"{_GAP}{line}" for line in lines] if row.detail else lines


def _text(cell: TableCell) -> str:
  return f"{cell.text} {reference(cell)}".strip()


def _label_width(table: Table) -> int:
  labels = table.corner.split("\n")
  labels += [line for row in table.rows for line in _label(row)]
  return max(map(len, labels))


def _column_width(table: Table, column: int) -> int:
  texts = table.header[column].split("\n")
  for row in table.rows:
    texts += _text(row.cells[column]).split("\n")
  return max(map(len, texts))


def _blocks(table: Table, width: int | None) -> list[list[int]]:
  """Splits the columns into runs that fit beside the labels."""
  blocks: list[list[int]] = [[]]
  used = label_width = _label_width(table)
  for column in range(len(table.header)):
    needed = len(_GAP) + _column_width(table, column)
    if width is not None and blocks[-1] and used + needed > width:
      blocks.append([])
      used = label_width
    blocks[-1].append(column)
    used += needed
  return blocks


def _block_lines(table: Table, columns: Sequence[int]) -> list[str]:
  widths = [_label_width(table), *(_column_width(table, c) for c in columns)]

  def line(texts: Sequence[str]) -> str:
    padded = (t.ljust(w) for t, w in zip(texts, widths, strict=True))
    return _GAP.join(padded).rstrip()

  rule = "-" * (sum(widths) + len(_GAP) * (len(widths) - 1))
  lines = [
    line([texts[0], *(texts[c + 1] for c in columns)])
    for texts in header_lines(table)
  ]
  group = None
  for row in table.rows:
    if row.group != group:
      lines.append(rule)
      group = row.group
    cells = [_label(row), *(_text(row.cells[c]).split("\n") for c in columns)]
    lines += map(line, itertools.zip_longest(*cells, fillvalue=""))
  return [*lines, rule]
