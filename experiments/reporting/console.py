"""Tables as aligned text for a terminal."""

import itertools
import textwrap
from collections.abc import Sequence

from experiments.reporting.document import Table
from experiments.reporting.document import TableRow

_GAP = "  "
_LONGEST_LABEL = 31


def to_text(table: Table, width: int) -> str:
  """Formats a table as aligned plain text of at most `width` characters.

  The text ends in a line feed. Columns that do not fit into the width follow
  below the others, each time with the labels of the rows.
  """
  # Each row is a list of columns, and each of these a list of lines.
  header = [list(lines) for lines in zip(*table.header_lines, strict=True)]
  groups = [[_row(table, row) for row in rows] for rows in table.row_groups]
  widths = [
    max(len(line) for lines in column for line in lines)
    for column in zip(header, *itertools.chain(*groups), strict=True)
  ]
  lines = [table.title, "=" * len(table.title), ""]
  for columns in _blocks(widths, width):
    own = [widths[column] for column in columns]
    rule = "-" * (sum(own) + len(_GAP) * (len(own) - 1))
    for rows in ([header], *groups):
      for row in rows:
        cells = (row[column] for column in columns)
        for texts in itertools.zip_longest(*cells, fillvalue=""):
          padded = (t.ljust(w) for t, w in zip(texts, own, strict=True))
          lines.append(_GAP.join(padded).rstrip())
      lines.append(rule)
    lines.append("")
  wrap = min(width, 80)
  lines += textwrap.wrap(table.caption, wrap)
  notes = [f"* {note}" for note in table.notes]
  notes += [f"[{i}] {n}" for i, n in enumerate(table.footnotes, start=1)]
  for note in notes:
    lines += textwrap.wrap(note, wrap, subsequent_indent="  ")
  return "\n".join(lines) + "\n"


def _row(table: Table, row: TableRow) -> list[list[str]]:
  """Returns the lines of a row's label and of each of its cells."""
  label = textwrap.wrap(row.label, _LONGEST_LABEL) or [""]
  label = [_GAP * row.detail + line for line in label]
  cells = (
    f"{cell.text} {table.references(cell) or ''}".strip() for cell in row.cells
  )
  return [label, *(cell.split("\n") for cell in cells)]


def _blocks(widths: Sequence[int], width: int) -> list[list[int]]:
  """Splits the columns into blocks that fit, each starting with the labels."""
  blocks, used = [[0]], widths[0]
  for column, own in enumerate(widths[1:], start=1):
    if len(blocks[-1]) > 1 and used + len(_GAP) + own > width:
      blocks.append([0])
      used = widths[0]
    blocks[-1].append(column)
    used += len(_GAP) + own
  return blocks
