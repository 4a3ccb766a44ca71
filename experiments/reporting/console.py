"""Tables as aligned text for a terminal."""

import dataclasses
import itertools
import textwrap
from collections.abc import Sequence

from experiments.reporting.document import Table
from experiments.reporting.document import TableCell
from experiments.reporting.document import TableRow

_GAP = "  "
_LONGEST_LABEL = 31


def to_text(table: Table, *, width: int | None = None) -> str:
  """Formats a table as aligned plain text.

  Returns the lines, with a line feed at the end.
  """
  lines = [table.title, "=" * len(table.title), ""]
  if width is not None:
    rows = [
      dataclasses.replace(
        row, label="\n".join(textwrap.wrap(row.label, _LONGEST_LABEL))
      )
      for row in table.rows
    ]
    table = dataclasses.replace(table, rows=tuple(rows))
  for block in _blocks(table, width):
    lines += [*_block_lines(table, block), ""]
  wrap = min(width or 80, 80)
  lines += textwrap.wrap(table.caption, wrap)
  notes = [f"* {note}" for note in table.notes]
  notes += [f"[{i}] {n}" for i, n in enumerate(table.footnotes, start=1)]
  for note in notes:
    lines += textwrap.wrap(note, wrap, subsequent_indent="  ")
  return "\n".join(lines) + "\n"


def _label(row: TableRow) -> list[str]:
  """The lines of a label."""
  lines = row.label.split("\n")
  return [f"{_GAP}{line}" for line in lines] if row.detail else lines


def _text(cell: TableCell) -> str:
  return f"{cell.text} {cell.reference}".strip()


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
  """Splits the columns into blocks that fit beside the labels."""
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
    for texts in table.header_lines
  ]
  for rows in table.row_groups:
    lines.append(rule)
    for row in rows:
      cells = [_label(row), *(_text(row.cells[c]).split("\n") for c in columns)]
      lines += map(line, itertools.zip_longest(*cells, fillvalue=""))
  return [*lines, rule]
