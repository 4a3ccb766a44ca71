"""A report as HTML, Markdown, LaTeX and text of a terminal."""

import html.parser
import re
import shutil
import subprocess
import textwrap

import pytest

from experiments.reporting import console
from experiments.reporting import drawing
from experiments.reporting import paper_tables
from experiments.reporting import render
from experiments.reporting import sections
from experiments.reporting import tables
from experiments.reporting.document import Document
from experiments.reporting.document import Section
from experiments.reporting.document import Table
from experiments.reporting.document import TableCell
from experiments.reporting.document import TableRow
from experiments.reporting.paper_grids import grid_tables
from tests.experiments.reporting_workdirs import make_results
from tests.experiments.reporting_workdirs import papers_own
from tests.experiments.reporting_workdirs import results_of

SMALL = Table(
  title="<T>",
  header=("A\nx|y", "A\nz"),
  rows=(
    TableRow(
      "m",
      (TableCell("1", "best", ("One.", "Two.")), TableCell("-2", "second")),
    ),
    TableRow(
      "more", (TableCell("3\n[0, 4]", link="a&b"), TableCell()), "", True
    ),
    TableRow.heading("g", 2),
    TableRow.of("x", ["+1", "5"], "g"),
  ),
  caption="%.",
  notes=("A & B.",),
  corner="C\nD",
)
DOCUMENT = Document("R", (Section("S", ("P.", SMALL)),))


class Page(html.parser.HTMLParser):
  """Contents of a page; fails unless elements are closed in order."""

  def __init__(self, text):
    super().__init__()
    self.open, self.addresses, self.ids = [], [], []
    self.found, self.words = [], []
    self.feed(text)
    self.close()
    assert not self.open

  def handle_starttag(self, tag, attrs):
    attributes = dict(attrs)
    self.found.append((tag, attributes))
    self.ids += [attributes["id"]] if "id" in attributes else []
    for name in ("href", "src"):
      self.addresses += [attributes[name]] if name in attributes else []
    if tag not in ("meta", "link", "img", "br", "rect"):
      self.open.append(tag)

  def handle_startendtag(self, tag, attrs):
    self.found.append((tag, dict(attrs)))

  def handle_endtag(self, tag):
    assert self.open.pop() == tag

  def handle_data(self, data):
    self.words.append((self.open[-1] if self.open else "", data))

  def all(self, tag):
    """Attributes of all elements of a kind."""
    return [attributes for name, attributes in self.found if name == tag]

  def texts(self, tag):
    """Texts directly inside elements of a kind."""
    return [data for inside, data in self.words if inside == tag]


def test_files_are_those_asked_for(tmp_path):
  results = make_results()
  assert render.write(DOCUMENT, [results], tmp_path, ["csv"]) == ["table.csv"]
  assert [path.name for path in tmp_path.iterdir()] == ["table.csv"]
  with pytest.raises(ValueError, match=r"--formats.*pdf"):
    render.check_formats(["md", "pdf"])


def test_html_of_a_table_by_hand(tmp_path):
  text = render.to_html(DOCUMENT, tmp_path)
  page = Page(text)
  body = text[text.index("<thead>") : text.index("</table>")]
  assert re.sub(r"\s*\n\s*", "", body) == (
    '<thead><tr><th>C</th><th colspan="2">A</th></tr>'
    '<tr><th>D</th><th scope="col">x|y</th><th scope="col">z</th></tr></thead>'
    '<tbody><tr><th scope="row">m</th><td><strong>1</strong> '
    '<sup><a href="#t-note-1">[1, 2]</a></sup></td>'
    '<td><span class="second">-2</span></td></tr>'
    '<tr class="detail"><th scope="row">more</th>'
    '<td><a href="../a%26b">3<br>[0, 4]</a></td><td></td></tr></tbody>'
    '<tbody><tr><th scope="rowgroup" colspan="3">g</th></tr>'
    '<tr><th scope="row">x</th><td>+1</td><td>5</td></tr></tbody>'
  )
  assert page.texts("li") == ["A & B.", "[1] One.", "[2] Two."]
  assert "P." in page.texts("p")
  assert "<T>" in page.texts("h3")


def test_markdown_by_hand():
  assert render.to_markdown(DOCUMENT) == textwrap.dedent(
    """\
    # R

    ## S

    P.

    ### <T>

    | C<br>D | A<br>x\\|y | A<br>z |
    | --- | --- | --- |
    | m | **1** [1, 2] | <u>-2</u> |
    | &emsp;more | 3<br>[0, 4] |  |
    | g |  |  |
    | x | +1 | 5 |

    %. **Bold**: the best student, <u>underlined</u>: the second best (the \
oracle is not ranked).

    * A & B.

    * [1] One.
    * [2] Two.
    """
  )


def test_latex_by_hand():
  assert render.to_latex([SMALL]).split("\n\n", 1)[1] == (
    r"""\begin{table}
  \centering\footnotesize
  \caption{\textbf{$<$T$>$.} \%. Bold: best student, underlined: second best.}
  \begin{tabular}{lrr}
    \toprule
    C & \multicolumn{2}{c}{A} \\
    D & \multicolumn{1}{c}{x\textbar{}y} & \multicolumn{1}{c}{z} \\
    \midrule
    m & \textbf{1}\textsuperscript{1,2} & \underline{$-$2} \\
    \quad more & \begin{tabular}[t]{@{}r@{}}3 \\ {[}0, 4]\end{tabular} &  \\
    \midrule
    g &  &  \\
    x & +1 & 5 \\
    \bottomrule
  \end{tabular}
  \par\smallskip\scriptsize\raggedright A \& B.
  \par\smallskip\scriptsize\raggedright \textsuperscript{1}\,One.
  \par\smallskip\scriptsize\raggedright \textsuperscript{2}\,Two.
\end{table}
"""
  )


def test_latex_compiles(tmp_path):
  """Tables 2 and 5 of the paper with its own numbers as ours."""
  compiler = shutil.which("pdflatex")
  if compiler is None:
    pytest.skip("needs pdflatex.")
  made = []
  for number in (2, 5):
    results = papers_own(number)
    made += [
      paper_tables.paper_layout(results),
      tables.accuracy_table(results),
      *grid_tables(results),
    ]
  (tmp_path / "table.tex").write_text(render.to_latex(made))
  (tmp_path / "all.tex").write_text(
    r"\documentclass{article}\usepackage{booktabs}"
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


def test_text_by_hand():
  assert console.to_text(SMALL, 80) == textwrap.dedent(
    """\
    <T>
    ===

    C       A         A
    D       x|y       z
    --------------------
    m       1 [1, 2]  -2
      more  3
            [0, 4]
    --------------------
    g
    x       +1        5
    --------------------

    %.
    * A & B.
    [1] One.
    [2] Two.
    """
  )


def test_text_of_a_terminal_wraps_labels_and_splits_wide_tables():
  label = "LELP - best baseline without subclass distillation"
  row = TableRow.of(label, ["+1\n[0, 2]"])
  table = Table("T", ("x",), (row,), "")
  lines = console.to_text(table, 80).split("\n")
  at = lines.index("LELP - best baseline without  +1")
  assert lines[at + 1] == "subclass distillation         [0, 2]"
  text = console.to_text(tables.accuracy_table(make_results()), 50)
  assert max(len(line) for line in text.splitlines()) <= 50
  assert text.count("Vanilla distillation ") == 3


def test_marks_go_by_the_number_and_not_by_its_digits():
  texts = (
    "88.6 ± 0.1",
    "88.60 ± 0.2",
    "9.5",
    "88.59",
    "= Vanilla distillation",
    "",
  )
  texts += ("99.0 (n=1)",)
  rows = [TableRow.of("", [text]) for text in texts]
  marked = tables.mark_rows(rows, lambda _: True)
  marks = [row.cells[0].mark for row in marked]
  assert marks == ["best", "best", "", "second", "", "", ""]


@pytest.mark.parametrize(
  ("selection", "words"),
  [("heldout", "chosen on held-out data"), ("test", "chosen on TEST data")],
)
def test_titles_say_where_was_chosen(monkeypatch, tmp_path, selection, words):
  titles = []
  monkeypatch.setattr(drawing, "write_title", lambda _, t: titles.append(t))
  monkeypatch.setattr(drawing, "save", lambda *_: None)
  column = "a-b-c-merged2"

  def titles_of(temperatures):
    results = results_of(
      [
        (column, method, {"temperature": tau, "num_projections": n}, (0.5,))
        for tau in temperatures
        for method, numbers in {
          "vanilla": (1,),
          "lelp": (1,),
          "lelp_unprojected": (1,),
          "lelp_random_ensemble": (2, 3),
        }.items()
        for n in numbers
      ],
      (column,),
      selection=selection,
    )
    titles.clear()
    sweep = sections.ReportedSweep(results, tmp_path)
    made = sections.make_document([sweep])
    of_tables = [table.title for table in made.tables]
    assert len(set(of_tables)) == len(of_tables)
    titles.extend(of_tables)
    assert len(made.pictures) == 5
    return [title for title in titles if words in title]

  assert len(titles_of((1.0, 2.0))) >= 12
  # Sensitivity shows each number of projections: only others can be chosen.
  assert not any("others" in title for title in titles_of((1.0,)))
