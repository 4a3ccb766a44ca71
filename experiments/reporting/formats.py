"""How numbers are written, and which of a column are marked."""

import dataclasses
from collections.abc import Sequence

from experiments.reporting.layout import BEST
from experiments.reporting.layout import Row
from experiments.reporting.layout import SECOND
from experiments.reporting.layout import TableCell
from experiments.reporting.statistics import Estimate

_POWERS = tuple(2.0**i for i in range(1, 11))


def number(value: Estimate, expected: int, *, sign: bool = False) -> str:
  """Mean ± standard error, and the count where it is not the expected one.

  Examples:
    >>> from experiments.reporting.statistics import estimate
    >>> number(estimate([1.0, 2.0]), 2, sign=True)
    '+1.50 ± 0.50'
    >>> number(estimate([1.0]), 3)
    '1.00 (n=1)'
  """
  text = signed(value.mean) if sign else f"{value.mean:.2f}"
  if value.standard_error is not None:
    text += f" ± {value.standard_error:.2f}"
  return text if value.n == expected else f"{text} (n={value.n})"


def with_interval(value: Estimate, expected: int) -> str:
  r"""A difference as `number` writes it, its 95 % interval in another line.

  Examples:
    >>> from experiments.reporting.statistics import estimate
    >>> with_interval(estimate([1.0, 2.0]), 2)
    '+1.50 ± 0.50\n[-4.85, 7.85]'
    >>> with_interval(estimate([1.0]), 1)
    '+1.00'
  """
  text = number(value, expected, sign=True)
  return f"{text}\n{interval(value)}" if value.interval else text


def interval(value: Estimate) -> str:
  """The 95 % interval of a difference in brackets; empty where there is none.

  Examples:
    >>> from experiments.reporting.statistics import estimate
    >>> interval(estimate([1.0, 2.0]))
    '[-4.85, 7.85]'
  """
  if value.interval is None:
    return ""
  # Without a plus: a column of them is wide enough.
  low, high = (f"{round(x, 2) + 0.0:.2f}" for x in value.interval)
  return f"[{low}, {high}]"


def signed(value: float) -> str:
  """A difference with two digits and its sign; what rounds to zero is +0.00.

  Examples:
    >>> signed(-0.001), signed(-1.5)
    ('+0.00', '-1.50')
  """
  # Adding 0.0 turns the -0.0 that rounding leaves into 0.0.
  return f"{round(value, 2) + 0.0:+.2f}"


def short(value: float) -> str:
  """A setting as the paper writes it: fractions for powers of a half.

  Examples:
    >>> short(0.03125), short(4.0), short(50000), short(0.1)
    ('1/32', '4', '50,000', '0.1')
  """
  if 0 < value < 1 and 1 / value in _POWERS:
    return f"1/{1 / value:.0f}"
  return f"{value:,.0f}" if value >= 1000 else f"{value:g}"


def mark_rows(rows: Sequence[Row]) -> list[Row]:
  """Marks the best and the second best of each column, as printed."""
  columns = list(zip(*(row.cells for row in rows), strict=True))
  marked = [_mark_column(cells) for cells in columns]
  return [
    dataclasses.replace(row, cells=tuple(column[i] for column in marked))
    for i, row in enumerate(rows)
  ]


def _mark_column(cells: Sequence[TableCell]) -> list[TableCell]:
  # Two that print alike share a rank: the digits shown decide. A mean over
  # fewer runs than the others' is not ranked beside them, nor is "= vanilla".
  printed = [
    None
    if not cell.text or "(n=" in cell.text or cell.text.startswith("=")
    else float(cell.text.split(" ")[0])
    for cell in cells
  ]
  order = sorted({x for x in printed if x is not None}, reverse=True)
  marks = dict(zip(order, (BEST, SECOND), strict=False))
  return [
    dataclasses.replace(cell, mark=marks.get(x, "") if x is not None else "")
    for cell, x in zip(cells, printed, strict=True)
  ]
