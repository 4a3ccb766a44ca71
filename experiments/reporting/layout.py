"""A table of texts, and its two forms: a terminal's and Markdown's."""

import dataclasses
import textwrap
from collections.abc import Sequence

BEST = "best"
SECOND = "second"


@dataclasses.dataclass(frozen=True)
class TableCell:
  """One cell: a text, of several lines if need be, and its rank.

  Attributes:
    text: What stands in the cell; empty where there is nothing to say.
    mark: "best", "second" or empty. Only Markdown shows it.
  """

  text: str = ""
  mark: str = ""


@dataclasses.dataclass(frozen=True)
class Row:
  """One row.

  Attributes:
    label: What stands at the left.
    cells: One cell for each column.
    group: Rows of one group stand together, set apart from the next group's.
  """

  label: str
  cells: tuple[TableCell, ...]
  group: str = ""


@dataclasses.dataclass(frozen=True)
class Table:
  """A table with all that is needed to understand it alone.

  Attributes:
    title: One line.
    header: One text for each column, without the labels' column.
    rows: The rows.
    caption: What the numbers are.
    notes: What else a reader has to know, one sentence each.
  """

  title: str
  header: tuple[str, ...]
  rows: tuple[Row, ...]
  caption: str
  notes: tuple[str, ...] = ()


def to_markdown(table: Table) -> str:
  """Writes a table as Markdown: the best cell bold, the second underlined."""
  width = len(table.header) + 1
  lines = [f"### {table.title}", ""]
  lines.append(_markdown_line(["", *table.header]))
  lines.append(_markdown_line(["---"] * width))
  for row in table.rows:
    lines.append(
      _markdown_line([row.label, *(_marked(cell) for cell in row.cells)])
    )
  caption = table.caption
  if any(cell.mark for row in table.rows for cell in row.cells):
    caption += (
      " **Bold**: the best student, <u>underlined</u>: the second"
      " (the oracle is not ranked)."
    )
  lines += ["", caption]
  if table.notes:
    lines += ["", *(f"* {note}" for note in table.notes)]
  return "\n".join(lines) + "\n"


def _markdown_line(texts: Sequence[str]) -> str:
  escaped = (text.replace("|", "\\|").replace("\n", "<br>") for text in texts)
  return "| " + " | ".join(escaped) + " |"


def _marked(cell: TableCell) -> str:
  left, right = {
    BEST: ("**", "**"),
    SECOND: ("<u>", "</u>"),
  }.get(cell.mark, ("", ""))
  return f"{left}{cell.text}{right}"


def to_text(table: Table, *, width: int | None = None) -> str:
  """Writes a table as aligned plain text.

  Args:
    table: The table.
    width: Columns of the terminal. A wider table is broken into blocks, each
      with the labels at its left. None: never broken.

  Returns:
    The lines, with a line feed at the end.
  """
  lines = [table.title, "=" * len(table.title), ""]
  for block in _blocks(table, width):
    lines += [*_block_lines(table, block), ""]
  wrap = min(width or 80, 80)
  lines += textwrap.wrap(table.caption, wrap)
  for note in table.notes:
    lines += textwrap.wrap(
      note, wrap, initial_indent="* ", subsequent_indent="  "
    )
  return "\n".join(lines) + "\n"


_GAP = "  "


def _label_width(table: Table) -> int:
  return max((len(row.label) for row in table.rows), default=0)


def _column_width(table: Table, column: int) -> int:
  texts = [table.header[column]]
  for row in table.rows:
    texts += row.cells[column].text.split("\n")
  return max(len(text) for text in texts)


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
  lines = [line(["", *(table.header[c] for c in columns)])]
  group = None
  for row in table.rows:
    if row.group != group:
      lines.append(rule)
      group = row.group
    cells = [row.cells[c].text.split("\n") for c in columns]
    for i in range(max((len(cell) for cell in cells), default=1)):
      lines.append(
        line(
          [
            row.label if i == 0 else "",
            *(cell[i] if i < len(cell) else "" for cell in cells),
          ]
        )
      )
  return [*lines, rule]
