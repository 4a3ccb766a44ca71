"""Tables as LaTeX, for the packages booktabs and graphicx."""

import dataclasses
import itertools
import re
from collections.abc import Iterable
from collections.abc import Sequence

from experiments.reporting.layout import BEST
from experiments.reporting.layout import header_lines
from experiments.reporting.layout import Row
from experiments.reporting.layout import SECOND
from experiments.reporting.layout import Table
from experiments.reporting.layout import TableCell

_SPECIAL = {
  "\\": r"\textbackslash{}",
  **{sign: f"\\{sign}" for sign in "&%$#_{}"},
  # After the end of a line it would start an argument.
  "[": "{[}",
  "|": r"\textbar{}",
  "~": r"\textasciitilde{}",
  "^": r"\textasciicircum{}",
  "±": r"$\pm$",
  "×": r"$\times$",
  "<": r"$<$",
  ">": r"$>$",
  "τ": r"$\tau$",
  "β": r"$\beta$",
  "λ": r"$\lambda$",
}
_COMMANDS = {BEST: r"\textbf", SECOND: r"\underline"}
_HEAD = r"""% Needs \usepackage{booktabs} and \usepackage{graphicx}.
% A table that is too wide or too high for a page is made smaller: wide ones are
% best read in landscape, \usepackage[landscape,margin=1.5cm]{geometry}.
\ifx\fittedtable\undefined
  \newsavebox{\tabletofit}
  \newcommand{\fittedtable}[1]{%
    \sbox{\tabletofit}{#1}%
    \ifdim\wd\tabletofit>\linewidth
      \sbox{\tabletofit}{\resizebox{\linewidth}{!}{\usebox{\tabletofit}}}%
    \fi
    \ifdim\dimexpr\ht\tabletofit+\dp\tabletofit\relax>0.58\textheight
      \sbox{\tabletofit}{\resizebox*{!}{0.58\textheight}{\usebox{\tabletofit}}}%
    \fi
    \usebox{\tabletofit}}
\fi
"""
# Smaller than this many rows on a page nobody can read.
_MOST_ROWS = 70
_MOST_FLOATS = 16  # LaTeX gives up on many that wait for their page.


def to_latex(tables: Iterable[Table]) -> str:
  r"""Writes tables as floats of a LaTeX file to be read with ``\input``.

  The best cell is bold, the second underlined; they are marked where a title
  says so. Lines of the header with equal neighbours span them. A table of more
  rows than a page holds becomes several.

  Args:
    tables: The tables.
  """
  parts = [_float(part) for table in tables for part in _parts(table)]
  for place in range(_MOST_FLOATS, len(parts), _MOST_FLOATS):
    parts[place] = f"\\clearpage\n{parts[place]}"
  return "\n".join([_HEAD, *parts])


def _parts(table: Table) -> list[Table]:
  """A table in pieces that fit a page; details stay with their row."""
  blocks: list[list[Row]] = [[]]
  for row in table.rows:
    if not row.detail:
      blocks.append([])
    blocks[-1].append(row)
  pieces: list[list[Row]] = [[]]
  for block in blocks:
    if pieces[-1] and len(pieces[-1]) + len(block) > _MOST_ROWS:
      pieces.append([])
    pieces[-1] += block
  if len(pieces) == 1:
    return [table]
  last = len(pieces)
  return [
    dataclasses.replace(
      table,
      title=f"{table.title} ({number} of {last})",
      rows=tuple(rows),
      notes=table.notes if number == last else (),
      footnotes=table.footnotes if number == last else (),
    )
    for number, rows in enumerate(pieces, start=1)
  ]


def escape(text: str) -> str:
  r"""Writes text so that LaTeX prints it, a minus before a digit as one.

  Examples:
    >>> print(escape("50 % of x_1: -0.5 ± 1"))
    50 \% of x\_1: $-$0.5 $\pm$ 1
  """
  text = "".join(_SPECIAL.get(sign, sign) for sign in text)
  return re.sub(r"(?<![\w.])-(?=\d)", "$-$", text)


def _float(table: Table) -> str:
  caption = f"\\textbf{{{escape(table.title)}.}} {escape(table.caption)}"
  if table.is_marked:
    caption += " Bold: best student, underlined: second."
  notes = [escape(note) for note in table.notes]
  notes += [
    f"\\textsuperscript{{{i}}}\\,{escape(note)}"
    for i, note in enumerate(table.footnotes, start=1)
  ]
  lines = [
    r"\begin{table}",
    r"  \centering\footnotesize",
    f"  \\caption{{{caption}}}",
    f"  \\fittedtable{{\\begin{{tabular}}{{l{'r' * len(table.header)}}}",
    r"    \toprule",
    *_header(table),
    *_body(table),
    r"    \bottomrule",
    r"  \end{tabular}}",
    *(f"  \\par\\smallskip\\scriptsize\\raggedright {n}" for n in notes),
    r"\end{table}",
  ]
  return "\n".join(lines) + "\n"


def _header(table: Table) -> list[str]:
  lines = []
  *above, last = header_lines(table)
  for first, *texts in above:
    parts = [escape(first)]
    for text, group in itertools.groupby(texts):
      width = len(list(group))
      parts.append(f"\\multicolumn{{{width}}}{{c}}{{{escape(text)}}}")
    lines.append(_line(parts))
  first, *texts = last
  parts = [f"\\multicolumn{{1}}{{c}}{{{escape(text)}}}" for text in texts]
  return [*lines, _line([escape(first), *parts])]


def _body(table: Table) -> list[str]:
  lines, group = [], None
  for row in table.rows:
    if row.group != group:
      lines.append(r"    \midrule")
      group = row.group
    label = escape(row.label)
    if row.detail:
      label = f"\\quad {label}"
    lines.append(_line([label, *map(_cell, row.cells)]))
  return lines


def _line(parts: Sequence[str]) -> str:
  return f"    {' & '.join(parts)} \\\\"


def _cell(cell: TableCell) -> str:
  texts = [escape(text) for text in cell.text.split("\n")]
  if cell.mark:
    texts = [f"{_COMMANDS[cell.mark]}{{{text}}}" for text in texts]
  text = texts[0]
  if len(texts) > 1:
    stacked = r" \\ ".join(texts)
    text = f"\\begin{{tabular}}[t]{{@{{}}r@{{}}}}{stacked}\\end{{tabular}}"
  if cell.footnotes:
    numbers = ",".join(map(str, cell.footnotes))
    text += f"\\textsuperscript{{{numbers}}}"
  return text
