"""A report as HTML, Markdown, LaTeX and text of a terminal."""

import html.parser
import re
import shutil
import subprocess
import textwrap

import pytest

from experiments.paper.tables import paper_table
from experiments.reporting import console
from experiments.reporting import drawing
from experiments.reporting import paper_tables
from experiments.reporting import render
from experiments.reporting import sections
from experiments.reporting import tables
from experiments.reporting import workdirs
from experiments.reporting.document import Document
from experiments.reporting.document import Section
from experiments.reporting.document import Table
from experiments.reporting.document import TableCell
from experiments.reporting.document import TableRow
from experiments.reporting.paper_grids import grid_tables
from tests.experiments import browser
from tests.experiments.reporting_workdirs import make_results
from tests.experiments.reporting_workdirs import papers_own
from tests.experiments.reporting_workdirs import results_of
from tests.experiments.reporting_workdirs import write_config
from tests.experiments.reporting_workdirs import write_workdir

SMALL = Table(
  title="<T>",
  header=("A\nx|y", "A\nz"),
  rows=(
    TableRow("m", (TableCell("1", "best", (1, 2)), TableCell("-2", "second"))),
    TableRow(
      "more", (TableCell("3\n[0, 4]", link="a&b"), TableCell()), "", True
    ),
    TableRow.heading("g", 2),
    TableRow.of("x", ["+1", "5"], "g"),
  ),
  caption="%.",
  notes=("A & B.",),
  footnotes=("One.", "Two."),
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


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
  """A workdir of Table 5 with one of its columns run, and its report."""
  root = tmp_path_factory.mktemp("runs")
  column = "cifar100-resnet92-mobilenet-10000"
  accuracies = {
    method: tuple(cell.mean / 100 + k / 1000 for k in range(3))
    for method in ("vanilla", "rkd", "lelp")
    if (cell := paper_table(5).cell(method, column))
  }
  write_workdir(
    root, {column: accuracies}, name="table5", title="A <b>title</b> & more."
  )
  for path in root.glob("cells/*/*/*/*/result.json"):
    write_config(path.parent)
  results = workdirs.load(root, root)
  report = root / "report"
  report.mkdir()
  render.write(made_of(root), [results], report, tuple(render.FORMATS))
  return root


def made_of(root):
  sweep = sections.ReportedSweep(
    workdirs.load(root, root), root, root / "report"
  )
  return sections.make_document([sweep])


@pytest.fixture(scope="module")
def text(workdir):
  return (workdir / "report" / "report.html").read_text(encoding="utf-8")


def test_files_are_those_asked_for(tmp_path):
  results = make_results()
  assert render.write(DOCUMENT, [results], tmp_path, ["csv"]) == ["table.csv"]
  assert [path.name for path in tmp_path.iterdir()] == ["table.csv"]
  with pytest.raises(ValueError, match=r"--formats.*pdf"):
    render.write(DOCUMENT, [results], tmp_path, ["md", "pdf"])
  assert len(list(tmp_path.iterdir())) == 1


def test_html_needs_nothing_else_and_links_lead_somewhere(text, workdir):
  page = Page(text)
  assert len(set(page.ids)) == len(page.ids)
  configs = set()
  for address in page.addresses:
    if address.startswith("#"):
      assert address[1:] in page.ids
    elif not address.startswith("data:"):
      assert (workdir / "report" / address).resolve().is_file()
      configs.add(address)
  # The first trial of each of the three methods.
  assert len(configs) == 3
  assert not page.all("script")
  assert not re.search(r"@import|url\(|https?:", text)
  assert page.all("img")
  assert 'name="viewport"' in text
  assert "prefers-color-scheme: dark" in text


def test_html_has_contents_and_every_section_and_escapes_titles(text):
  contents = text[text.index("<nav") : text.index("</nav>")]
  titles = re.findall(r"<h2[^>]*>(.*?)</h2>", text)
  assert len(titles) >= 5
  for title in titles:
    assert title in contents
  assert "<title>A &lt;b&gt;title&lt;/b&gt; &amp; more</title>" in text
  assert "<b>" not in text


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


def test_html_opens_in_a_browser(text, tmp_path):
  seen = browser.opened(text, tmp_path, width=500)
  assert len(seen["pictures"]) == text.count("<img")
  assert min(seen["pictures"]) > 100
  # Wide tables scroll by themselves; the page does not.
  assert not seen["wide"]


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


def test_a_report_is_the_same_every_time_and_its_titles_differ(workdir):
  report = workdir / "report"
  before = {p.name: p.read_bytes() for p in report.glob("*.[sp]*g")}
  assert len(before) >= 2
  titles = [table.title for table in made_of(workdir).tables]
  for name, contents in before.items():
    assert (report / name).read_bytes() == contents
  assert titles[0] == "Table 5 of the paper beside ours"
  assert len(set(titles)) == len(titles)


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
    paper = paper_tables.table_of(results)
    made += [
      paper_tables.paper_layout(results, paper),
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
  marks = [row.cells[0].mark for row in tables.mark_rows(rows)]
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
    sweep = sections.ReportedSweep(results, tmp_path, tmp_path)
    titles.clear()
    made = sections.make_document([sweep])
    titles.extend(table.title for table in made.tables)
    assert len(made.pictures) == 5
    return [title for title in titles if words in title]

  assert len(titles_of((1.0, 2.0))) >= 12
  # Sensitivity shows each number of projections: only others can be chosen.
  assert not any("others" in title for title in titles_of((1.0,)))
