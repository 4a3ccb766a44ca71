"""Tables as LaTeX, for the packages booktabs and amssymb."""

import itertools
import re
from collections.abc import Iterable
from collections.abc import Sequence

from experiments.reporting.layout import BEST
from experiments.reporting.layout import header_lines
from experiments.reporting.layout import SECOND
from experiments.reporting.layout import Table
from experiments.reporting.layout import TableCell

_SPECIAL = {
  "\\": r"\textbackslash{}",
  **{sign: f"\\{sign}" for sign in "&%$#_{}"},
  # After the end of a line it would start an argument.
  "[": "{[}",
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


def to_latex(tables: Iterable[Table]) -> str:
  r"""Writes tables as floats of a LaTeX file to be read with ``\input``.

  The best cell is bold, the second underlined; they are marked where a title
  says so. Lines of the header with equal neighbours span them.

  Args:
    tables: The tables.
  """
  head = "% Needs \\usepackage{booktabs}.\n"
  return head + "\n".join(map(_float, tables))


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
    f"  \\begin{{tabular}}{{l{'r' * len(table.header)}}}",
    r"    \toprule",
    *_header(table),
    *_body(table),
    r"    \bottomrule",
    r"  \end{tabular}",
    *(f"  \\par\\smallskip\\raggedright {note}" for note in notes),
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
    text = f"\\shortstack[r]{{{stacked}}}"
  if cell.footnotes:
    numbers = ",".join(map(str, cell.footnotes))
    text += f"\\textsuperscript{{{numbers}}}"
  return text
