"""Tables as LaTeX, compiled where there is a compiler."""

import re
import shutil
import subprocess

import pytest

from experiments.reporting import latex
from experiments.reporting import paper_comparison
from experiments.reporting import paper_tables
from experiments.reporting.layout import Row
from experiments.reporting.layout import Table
from experiments.reporting.layout import TableCell
from experiments.reporting.paper_grids import grid_tables
from experiments.reporting.tables import accuracy_table
from tests.experiments.reporting_workdirs import papers_own


def test_latex_of_a_table_by_hand():
  table = Table(
    title="T_1",
    header=("A\nx", "A\ny"),
    rows=(
      Row(
        "m", (TableCell("1.0 ± 0.1", "best", (1,)), TableCell("-2.0", "second"))
      ),
      Row("d", (TableCell("1\n[2]"), TableCell("3")), "g", True),
    ),
    caption="In %.",
    notes=("A & B.",),
    footnotes=("Why.",),
    corner="C\nD",
  )
  assert latex.to_latex([table]).split("\\fi\n\n", 1)[1] == (
    r"""\begin{table}
  \centering\footnotesize
  \caption{\textbf{T\_1.} In \%. Bold: best student, underlined: second.}
  \fittedtable{\begin{tabular}{lrr}
    \toprule
    C & \multicolumn{2}{c}{A} \\
    D & \multicolumn{1}{c}{x} & \multicolumn{1}{c}{y} \\
    \midrule
    m & \textbf{1.0 $\pm$ 0.1}\textsuperscript{1} & \underline{$-$2.0} \\
    \midrule
    \quad d & \begin{tabular}[t]{@{}r@{}}1 \\ {[}2]\end{tabular} & 3 \\
    \bottomrule
  \end{tabular}}
  \par\smallskip\scriptsize\raggedright A \& B.
  \par\smallskip\scriptsize\raggedright \textsuperscript{1}\,Why.
\end{table}
"""
  )


@pytest.fixture(scope="module")
def text():
  """Tables 2 and 5 of the paper with its own numbers as ours."""
  tables = []
  for number in (2, 5):
    results = papers_own(number)
    paper = paper_comparison.table_of(results)
    tables += [
      paper_tables.paper_layout(results, paper),
      accuracy_table(results),
      *grid_tables(results),
    ]
  return latex.to_latex(tables)


def test_latex_is_balanced(text):
  assert text.isascii()
  plain = re.sub(r"\\[{}\\]", "", text)
  assert plain.count("{") == plain.count("}")
  assert text.count(r"\begin{") == text.count(r"\end{")
  for columns, body in re.findall(
    r"\\begin\{tabular\}\{(\w+)\}(.*?)\n  \\end\{tabular\}\}", text, re.DOTALL
  ):
    for line in re.findall(r"^    (.*&.*) \\\\$", body, re.MULTILINE):
      spans = [int(n) for n in re.findall(r"\\multicolumn\{(\d+)\}", line)]
      cells = len(re.findall(r"(?<!\\)&", line)) + 1
      assert cells + sum(spans) - len(spans) == len(columns)


def test_latex_of_many_rows_is_in_parts():
  cells = (TableCell("1", footnotes=(1,)),)
  rows = tuple(
    Row(label, cells, str(i), detail=label != "m")
    for i in range(30)
    for label in ("m", "d", "d")
  )
  table = Table("T", ("A",), rows, "C.", ("N.",), ("F.",))
  first, second = latex.to_latex([table]).split(r"\begin{table}")[1:]
  assert first.count(r" & 1\text") == 69
  assert second.count(r" & 1\text") == 21
  assert r"\textbf{T (1 of 2).}" in first
  # What follows a row stays with it; notes stand at the end.
  assert second.index("    m &") < second.index("    \\quad d &")
  assert ("N." in first, "N." in second) == (False, True)


def test_latex_compiles(text, tmp_path):
  compiler = shutil.which("pdflatex")
  if compiler is None:
    pytest.skip("needs pdflatex.")
  (tmp_path / "table.tex").write_text(text)
  # So many that they must not all wait for the end.
  (tmp_path / "all.tex").write_text(
    r"\documentclass{article}\usepackage{booktabs}\usepackage{graphicx}"
    r"\begin{document}" + 4 * r"\input{table}" + r"\end{document}"
  )
  done = subprocess.run(
    [compiler, "-interaction=nonstopmode", "-halt-on-error", "all.tex"],
    cwd=tmp_path,
    capture_output=True,
    text=True,
    timeout=120,
    check=False,
  )
  assert done.returncode == 0, done.stdout[-2000:]
  # Nothing sticks out of a page.
  assert "Overfull" not in done.stdout
  assert "too large" not in done.stdout
