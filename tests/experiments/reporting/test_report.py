"""The command of the report: several workdirs, links, and missing maps."""

import csv
import json
import pathlib
import re
import urllib.parse

import numpy as np
import pytest

from experiments import report as command
from experiments.data import load
from experiments.data.dataset import Splits
from experiments.data.dataset import Task
from experiments.io import json_files
from experiments.io import packed
from experiments.reporting.images import image
from experiments.reporting.render import FORMATS
from experiments.training import data
from experiments.training import inspection
from tests.experiments import browser
from tests.experiments import tiny
from tests.experiments.reporting.test_owner import made
from tests.experiments.reporting.test_render import Page
from tests.experiments.reporting_workdirs import make_cell
from tests.experiments.reporting_workdirs import write_cell
from tests.experiments.reporting_workdirs import write_workdir

COLUMN = "cifar10_bin-resnet92-mobilenet"
CONFIG = json_files.plain(tiny.cell(data__dataset="cifar10_bin"))
ACCURACIES = {COLUMN: {"vanilla": (0.93, 0.92), "lelp": (0.94, 0.95)}}


def write_sweep(root, **changes):
  """A sweep with the configs that links lead to."""
  fields = {"name": "table3", "title": "Table 3", "columns_are": "settings"}
  write_workdir(root, ACCURACIES, **(fields | changes))
  for path in root.glob("cells/*/*/*/*/result.json"):
    path.with_name("config.json").write_text(json.dumps(CONFIG))


def linked(report):
  """The configs that a report links to, which must exist."""
  found = set()
  for address in Page((report / "report.html").read_text()).addresses:
    if not address.startswith(("#", "data:")):
      path = report / urllib.parse.unquote(address)
      assert path.is_file(), address
      found.add(path)
  assert found
  return found


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
  """Two finished sweeps, one without a finished cell, and another folder."""
  runs = tmp_path_factory.mktemp("all") / "runs"
  write_sweep(runs / "binary")
  write_sweep(runs / "few labels", title="A <b>title</b> & more.")
  write_sweep(runs / "later")
  for path in (runs / "later").glob("cells/*/*/*/*/result.json"):
    path.unlink()
  (runs / "teachers").mkdir()
  command.report([runs], list(FORMATS))
  return runs


def test_all_sweeps_of_a_folder_are_in_one_page(runs):
  text = (runs / "report" / "report.html").read_text(encoding="utf-8")
  page = Page(text)
  assert len(set(page.ids)) == len(page.ids)
  titles = re.findall(r"<h1 id=.*?>(.*?)</h1>", text)
  assert titles == ["Table 3", "A &lt;b&gt;title&lt;/b&gt; &amp; more"]
  contents = text[text.index("<nav") : text.index("</nav>")]
  for title in re.findall(r"<h2[^>]*>(.*?)</h2>", text):
    assert title in contents
  for name in ("overview", "table-3", "table-3-accuracy"):
    assert f'href="#{name}"' in contents
  for address in page.addresses:
    assert address[0] != "#" or address[1:] in page.ids
  folders = {path.parts[-7] for path in linked(runs / "report")}
  assert folders == {"binary", "few labels"}
  assert not (runs / "binary" / "report").exists()
  pictures = {p.name for p in (runs / "report").glob("*.png")}
  assert {"binary-accuracy.png", "few-labels-accuracy.png"} <= pictures
  # The page needs nothing else.
  assert not page.all("script")
  assert not re.search(r"@import|url\(|https?:", text)
  assert 'name="viewport"' in text
  assert "prefers-color-scheme: dark" in text


def test_the_page_opens_in_a_browser(runs, tmp_path):
  text = (runs / "report" / "report.html").read_text(encoding="utf-8")
  seen = browser.opened(text, tmp_path, width=500)
  assert len(seen["pictures"]) == text.count("<img")
  assert min(seen["pictures"]) > 100
  # Wide tables scroll by themselves; the page does not.
  assert not seen["wide"]


def test_every_format_has_all_sweeps(runs):
  report = runs / "report"
  markdown = (report / "table.md").read_text()
  assert re.findall(r"^# (.*)$", markdown, re.M) == [
    "2 sweeps",
    "Table 3",
    "A <b>title</b> & more",
  ]
  for name in re.findall(r"!\[.*?\]\((.*?)\)", markdown):
    assert (report / name).is_file()
    assert (report / name).with_suffix(".svg").is_file()
  latex = (report / "table.tex").read_text()
  assert latex.count("Table 3 of the paper beside ours") == 2
  with (report / "table.csv").open() as file:
    rows = list(csv.DictReader(file))
  assert {row["workdir"] for row in rows} == {"binary", "few labels"}
  links = {row["config"] for row in rows} - {""}
  assert len(links) == 4
  assert all((runs / link).is_file() for link in links)


def test_unfinished_workdirs_are_named_and_counted(runs, capsys):
  said = "Workdirs without a finished cell (1): later."
  assert said in (runs / "report" / "report.html").read_text(encoding="utf-8")
  command.report([runs / "binary", runs / "later"], ["md"])
  out = capsys.readouterr().out
  assert said in out
  assert f"Report in {runs / 'report'}: table.md" in out
  text = (runs / "report" / "table.md").read_text()
  assert re.findall(r"^# (.*)$", text, re.M) == ["1 sweep", "Table 3"]
  assert said in text


def test_a_report_may_go_elsewhere(runs, tmp_path, monkeypatch):
  write_sweep(tmp_path / "other" / "binary", title="Table 3")
  paths = [runs / "binary", tmp_path / "other" / "binary"]
  with pytest.raises(ValueError, match="--output"):
    command.report(paths, ["html"])
  command.report(paths, ["html"], tmp_path / "new" / "all")
  text = (tmp_path / "new" / "all" / "report.html").read_text()
  # Equal titles are told apart by their folders.
  assert "Table 3 (../other/binary)" in text
  linked(tmp_path / "new" / "all")
  assert len(list((tmp_path / "new" / "all").glob("*accuracy.png"))) == 2
  # Also to where one stands.
  for here, output in (("out", "."), ("out/sub", ".."), ("out", "sub/../new")):
    folder = tmp_path / here
    folder.mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir(folder)
    command.report([runs / "binary"], ["html"], pathlib.Path(output))
    linked(folder / output)


def test_a_workdir_alone_is_reported_in_itself(tmp_path):
  write_sweep(tmp_path / "runs" / "one")
  command.report([tmp_path / "runs" / "one"], ["html", "csv"])
  report = tmp_path / "runs" / "one" / "report"
  inside = (report / "report.html").read_text()
  # A folder with this sweep alone has the same report, elsewhere.
  command.report([tmp_path / "runs"], ["html", "csv"])
  again = tmp_path / "runs" / "report"
  outside = (again / "report.html").read_text()
  assert outside.replace("../one/cells", "../cells") == inside
  picture = (report / "accuracy.png").read_bytes()
  assert (again / "accuracy.png").read_bytes() == picture


@pytest.fixture(name="drawn")
def fixture_drawn(tmp_path):
  """A packed sweep whose maps need weights of students, which are missing."""
  workdir = tmp_path / "runs" / "one"
  write_sweep(workdir, title="Digits")
  config = json.dumps(json_files.plain(tiny.cell()))
  for path in workdir.glob("cells/*/*/*/*/config.json"):
    path.write_text(config)
  packed.pack(workdir, tmp_path / "files" / "one.parquet", ())
  return tmp_path


def test_a_packed_sweep_has_the_same_report(drawn, capsys):
  command.report([drawn / "runs" / "one"], ["md"], drawn / "a")
  first = capsys.readouterr().out.partition("Report in")[0]
  assert "LELP" in first
  # A file, and a folder of them.
  for number, path in enumerate(("files/one.parquet", "files")):
    output = drawn / f"b{number}"
    command.report([drawn / path], ["md", "html"], output)
    found = capsys.readouterr().out.partition("Report in")[0]
    assert re.sub("there is no student [^ ]*", "", found) == re.sub(
      "there is no student [^ ]*", "", first
    )
    assert "No embeddings are drawn: there is no student" in found
    table = (output / "table.md").read_text()
    assert table == (drawn / "a" / "table.md").read_text()
    linked(output)  # To the configs that were unpacked.
  # A report can be repeated.
  command.report([drawn / "files"], ["md"], output)


def test_packed_sweeps_and_workdirs_of_a_folder_are_reported(drawn, capsys):
  write_sweep(drawn / "files" / "two", title="Two")
  command.report([drawn / "files"], ["md"], drawn / "out")
  text = (drawn / "out" / "table.md").read_text()
  assert re.findall(r"^# (.*)$", text, re.M) == ["2 sweeps", "Digits", "Two"]
  # A file inside a workdir is a copy of it.
  (drawn / "files" / "one.parquet").rename(drawn / "files/two/one.parquet")
  command.report([drawn / "files" / "two"], ["md"])
  text = (drawn / "files/two/report/table.md").read_text()
  assert re.findall(r"^# (.*)$", text, re.M) == ["Two"]


def test_a_packed_sweep_needs_a_folder_of_its_own(drawn, tmp_path):
  file = drawn / "files" / "one.parquet"
  with pytest.raises(ValueError, match=f"--output .*--workdir={file} is a f"):
    command.report([file], ["md"])
  copy = tmp_path / "copies" / "one.parquet"
  copy.parent.mkdir()
  copy.write_bytes(file.read_bytes())
  with pytest.raises(ValueError, match=r"--workdir .*two files one\.parquet"):
    command.report([file, copy], ["md"], tmp_path / "out")
  write_sweep(tmp_path / "other" / "workdirs" / "one", title="Other")
  with pytest.raises(ValueError, match=r"holds other results than .*one"):
    command.report([file], ["md"], tmp_path / "other")


def test_without_a_finished_cell_nothing_is_written(tmp_path):
  (tmp_path / "a" / "cells").mkdir(parents=True)
  (tmp_path / "b" / "cells").mkdir(parents=True)
  with pytest.raises(FileNotFoundError, match="a, b") as error:
    command.report([tmp_path], ["md"])
  assert "\n" not in str(error.value)
  assert not list(tmp_path.glob("**/report"))


def test_a_report_can_do_without_the_map(tmp_path, monkeypatch, capsys):
  write_sweep(tmp_path, name="mine", title="Mine")
  labels = np.arange(8) % 2
  task = Task("mine", 2, class_names=("even", "odd"))
  splits = Splits(task, {}, {}, {}, {"labels": labels})
  monkeypatch.setattr(data, "load_splits", lambda *_: splits)
  collapsed = np.zeros([8, 5])
  monkeypatch.setattr(inspection, "student_embeddings", lambda *_: collapsed)
  command.report([tmp_path], ["html", "md"])
  out = capsys.readouterr().out
  assert re.search(r"No embeddings are drawn: Vanilla .*: .*not finite", out)
  report = tmp_path / "report"
  assert (report / "accuracy.png").is_file()
  assert not (report / "embeddings.png").exists()
  assert "embeddings" not in (report / "table.md").read_text()


@pytest.mark.parametrize("is_text", [True, False])
def test_mistakes_are_shown_where_the_data_are(
  tmp_path, rng, monkeypatch, capsys, is_text
):
  evaluation, _, _ = made(rng)
  cells = [make_cell("a", m, 0, 0.9, test=evaluation) for m in ("lelp", "dkd")]
  for cell in cells:
    write_cell(tmp_path, cell, data__dataset="mine")
  inputs = rng.integers(255, size=(200, 4, 4, 1)).astype(np.uint8)
  task = Task("mine", 3, image_shape=(4, 4, 1), scale=255.0)
  test = {"inputs": inputs, "ids": 1000 + np.arange(200)}
  splits = Splits(task, {}, {}, {}, test)
  monkeypatch.setattr(command, "_maps", lambda _: [])
  monkeypatch.setattr(data, "load_splits", lambda *_: splits)
  monkeypatch.setattr(
    load, "text_of", lambda *_: "text {}".format if is_text else None
  )
  command.report([tmp_path], ["html"])
  page = (tmp_path / "report" / "report.html").read_text()
  for mistake in evaluation.predictions.mistakes:
    shown = image(inputs[mistake.id - 1000], 255.0)["data"]
    assert (f"text {mistake.id}" in page) is is_text
    assert (shown in page) is not is_text

  def missing(*_):
    raise FileNotFoundError("no data.")

  monkeypatch.setattr(load, "text_of", missing)
  command.report([tmp_path], ["html"])
  assert "without their contents: no data." in capsys.readouterr().out
  number = evaluation.predictions.mistakes[0].id
  page = (tmp_path / "report" / "report.html").read_text()
  assert f"example {number}" in page
