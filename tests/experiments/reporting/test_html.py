"""The report as one HTML file, in a browser where there is one."""

import html.parser
import re

import pytest

from experiments.paper.tables import paper_table
from experiments.reporting import document
from experiments.reporting import files
from experiments.reporting import html as html_lib
from experiments.reporting import results
from experiments.reporting import sections
from experiments.reporting.layout import heading
from experiments.reporting.layout import Row
from experiments.reporting.layout import Table
from experiments.reporting.layout import TableCell
from tests.experiments import browser
from tests.experiments.reporting_workdirs import write_workdir


class Page(html.parser.HTMLParser):
  """What a page refers to, and whether its elements are closed in order."""

  def __init__(self, text):
    super().__init__()
    self.open, self.addresses, self.ids, self.tags = [], [], [], []
    self.feed(text)
    assert not self.open

  def handle_starttag(self, tag, attrs):
    attributes = dict(attrs)
    self.tags.append(tag)
    self.ids += [attributes["id"]] if "id" in attributes else []
    for name in ("href", "src"):
      self.addresses += [attributes[name]] if name in attributes else []
    if tag not in ("meta", "link", "img", "br"):
      self.open.append(tag)

  def handle_endtag(self, tag):
    assert self.open.pop() == tag


def made_of(root):
  report = root / "report"
  report.mkdir(exist_ok=True)
  return sections.make_document(
    [sections.Sweep(results.load(root), root, report)]
  )


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
    path.with_name("config.json").write_text("{}")
  files.write(
    made_of(root), [results.load(root)], root / "report", tuple(files.FORMATS)
  )
  return root


@pytest.fixture(scope="module")
def text(workdir):
  return (workdir / "report" / "report.html").read_text(encoding="utf-8")


def test_files_are_those_asked_for(workdir, tmp_path):
  loaded = results.load(workdir)
  made = document.Document("T", (document.Section("S", ("P",)),))
  assert files.write(made, [loaded], tmp_path, ["csv"]) == ["table.csv"]
  assert [path.name for path in tmp_path.iterdir()] == ["table.csv"]
  with pytest.raises(ValueError, match="among md,tex,csv,html, got pdf"):
    files.write(made, [loaded], tmp_path, ["md", "pdf"])
  assert len(list(tmp_path.iterdir())) == 1


def test_html_needs_nothing_else(text):
  page = Page(text)
  for address in page.addresses:
    assert address.startswith(("#", "data:", "../"))
  assert "script" not in page.tags
  assert "@import" not in text
  assert "url(" not in text
  assert page.tags.count("img") >= 1
  assert 'name="viewport"' in text
  assert "prefers-color-scheme: dark" in text


def test_html_links_lead_somewhere(text, workdir):
  page = Page(text)
  assert len(set(page.ids)) == len(page.ids)
  configs = set()
  for address in page.addresses:
    if address.startswith("#"):
      assert address[1:] in page.ids
    elif address.startswith("../"):
      assert (workdir / "report" / address).resolve().is_file()
      configs.add(address)
  # The first trial of each of the three methods.
  assert len(configs) == 3


def test_html_says_text_as_it_is(text):
  assert "<title>A &lt;b&gt;title&lt;/b&gt; &amp; more</title>" in text
  assert "<b>" not in text


def test_html_of_a_table_says_its_text_as_it_is(tmp_path):
  cells = (TableCell("1 < 2\n3", "best", link="a&b"), TableCell("", "second"))
  table = Table("<T>", ("<x>", "y"), (Row("<m>", cells),), "<c>", ("<n>",))
  made = document.Document("T", (document.Section("S", (table,)),))
  text = html_lib.to_html(made, tmp_path)
  Page(text)
  assert '<strong><a href="../a%26b">1 &lt; 2<br>3</a></strong>' in text
  for word in ("T", "x", "m", "c", "n"):
    assert f"&lt;{word}&gt;" in text


def test_html_of_a_heading_spans_the_table(tmp_path):
  rows = (heading("A column", 2), Row("m", (TableCell("1"),) * 2, "A column"))
  table = Table("T", ("x", "y"), rows, "C.")
  made = document.Document("T", (document.Section("S", (table,)),))
  text = html_lib.to_html(made, tmp_path)
  Page(text)
  assert '<th scope="rowgroup" colspan="3">A column</th></tr>' in text
  assert text.count("<td>") == 2


def test_html_has_contents_and_every_section(text):
  contents = text[text.index("<nav") : text.index("</nav>")]
  for title in re.findall(r"<h2 [^>]*>(.*?)</h2>", text):
    assert title in contents


@pytest.mark.parametrize("width", [1200, 500])
def test_html_opens_in_a_browser(text, tmp_path, width):
  seen = browser.opened(text, tmp_path, width)
  assert len(seen["pictures"]) == text.count("<img")
  assert min(seen["pictures"]) > 100
  # Wide tables scroll by themselves; the page does not.
  assert not seen["wide"]


def test_markdown_shows_the_pictures(workdir):
  report = workdir / "report"
  made = made_of(workdir)
  names = re.findall(r"!\[.*?\]\((.*?)\)", document.to_markdown(made))
  assert names
  for name in names:
    assert (report / name).is_file()
    assert (report / name).with_suffix(".svg").is_file()


def test_pictures_are_the_same_every_time(workdir):
  report = workdir / "report"
  before = {p.name: p.read_bytes() for p in report.glob("*.[sp]*g")}
  assert len(before) >= 2
  made_of(workdir)
  for name, contents in before.items():
    assert (report / name).read_bytes() == contents


def test_paper_layout_has_a_heading_of_its_own(workdir):
  titles = [table.title for table in made_of(workdir).tables]
  assert titles[0] == "Table 5 of the paper beside ours"
  assert len(set(titles)) == len(titles)
