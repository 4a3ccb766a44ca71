"""One report of several workdirs."""

import csv
import os
import pathlib
import re
import urllib.parse

import pytest

from experiments import report as command
from experiments.reporting import workdirs
from experiments.reporting.files import FORMATS
from tests.experiments.reporting.test_html import Page
from tests.experiments.reporting_workdirs import write_workdir

COLUMN = "cifar10_bin-resnet92-mobilenet"
ACCURACIES = {COLUMN: {"vanilla": (0.93, 0.92), "lelp": (0.94, 0.95)}}


def write_sweep(root, **changes):
  """A sweep with the configs that links lead to."""
  root.mkdir(parents=True)
  fields = {"name": "table3", "title": "Table 3", "columns_are": "settings"}
  write_workdir(root, ACCURACIES, **(fields | changes))
  for path in root.glob("cells/*/*/*/*/result.json"):
    path.with_name("config.json").write_text("{}")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
  """Two sweeps, one of which nothing is finished, and what is no sweep."""
  runs = tmp_path_factory.mktemp("all") / "runs"
  write_sweep(runs / "binary")
  write_sweep(runs / "few labels", title="Table 4")
  write_sweep(runs / "later")
  for path in (runs / "later").glob("cells/*/*/*/*/result.json"):
    path.unlink()
  (runs / "teachers").mkdir()
  command.report([runs], list(FORMATS))
  return runs


@pytest.fixture(scope="module")
def text(runs):
  return (runs / "report" / "report.html").read_text(encoding="utf-8")


def test_all_sweeps_of_a_folder_are_in_one_report(runs, text):
  page = Page(text)
  assert len(set(page.ids)) == len(page.ids)
  assert re.findall(r"<h1 id=.*?>(.*?)</h1>", text) == ["Table 3", "Table 4"]
  contents = text[text.index("<nav") : text.index("</nav>")]
  for name in ("overview", "table-3", "table-3-accuracy", "table-4-cost"):
    assert f'href="#{name}"' in contents
  configs = set()
  for address in page.addresses:
    if address.startswith("#"):
      assert address[1:] in page.ids
    elif not address.startswith("data:"):
      path = runs / "report" / urllib.parse.unquote(address)
      assert path.is_file(), address
      configs.add(path.parts[-7])
  assert configs == {"binary", "few labels"}
  assert not (runs / "binary" / "report").exists()


def test_every_format_has_all_sweeps(runs):
  report = runs / "report"
  markdown = (report / "table.md").read_text()
  assert re.findall(r"^# (.*)$", markdown, re.M) == [
    "2 sweeps",
    "Table 3",
    "Table 4",
  ]
  for name in re.findall(r"!\[.*?\]\((.*?)\)", markdown):
    assert (report / name).is_file()
  latex = (report / "table.tex").read_text()
  assert latex.count("Table 3 of the paper beside ours") == 2
  with (report / "table.csv").open() as file:
    rows = list(csv.DictReader(file))
  assert {row["workdir"] for row in rows} == {"binary", "few labels"}
  links = {row["config"] for row in rows} - {""}
  assert len(links) == 4
  assert all((runs / link).is_file() for link in links)


def test_pictures_of_sweeps_do_not_collide(runs):
  pictures = {p.name for p in (runs / "report").glob("*.png")}
  assert {"binary-accuracy.png", "few-labels-accuracy.png"} <= pictures


def test_what_is_not_finished_is_named_and_counted(runs, text, capsys):
  assert "no cell is finished: 1 (later)" in text
  assert text.count("later") == 1
  command.report([runs / "binary", runs / "later"], ["md"])
  out = capsys.readouterr().out
  assert "Nothing is finished in 1: later." in out
  assert f"Report in {runs / 'report'}: table.md" in out
  text = (runs / "report" / "table.md").read_text()
  assert re.findall(r"^# (.*)$", text, re.M) == ["1 sweep", "Table 3"]
  assert "no cell is finished: 1 (later)" in text


def test_a_report_may_go_elsewhere(runs, tmp_path):
  write_sweep(tmp_path / "other" / "binary", title="Table 3")
  paths = [runs / "binary", tmp_path / "other" / "binary"]
  with pytest.raises(ValueError, match="--output must say where"):
    command.report(paths, ["html"])
  command.report(paths, ["html"], tmp_path / "new" / "all")
  text = (tmp_path / "new" / "all" / "report.html").read_text()
  # Equal titles are told apart by their folders.
  assert "Table 3 (../other/binary)" in text
  for address in Page(text).addresses:
    if not address.startswith(("#", "data:")):
      assert (tmp_path / "new" / "all" / address).is_file()
  assert len(list((tmp_path / "new" / "all").glob("*accuracy.png"))) == 2


def test_a_workdir_alone_is_reported_in_itself(tmp_path):
  write_sweep(tmp_path / "runs" / "one")
  command.report([tmp_path / "runs" / "one"], ["html", "csv"])
  report = tmp_path / "runs" / "one" / "report"
  inside = (report / "report.html").read_text()
  # A folder with this sweep alone has the same report, elsewhere.
  command.report([tmp_path / "runs"], ["html", "csv"])
  outside = (tmp_path / "runs" / "report" / "report.html").read_text()
  assert outside.replace("../one/cells", "../cells") == inside
  assert (report / "accuracy.png").is_file()


def test_errors_are_one_line_each(tmp_path):
  empty = tmp_path / "empty"
  empty.mkdir()
  for paths, message in (
    ([tmp_path / "nowhere"], "is no folder"),
    ([empty], "holds no sweep, nor does a folder in it"),
  ):
    with pytest.raises(FileNotFoundError, match=message) as error:
      command.report(paths, ["md"])
    assert "\n" not in str(error.value)
  (tmp_path / "a" / "cells").mkdir(parents=True)
  (tmp_path / "b" / "cells").mkdir(parents=True)
  with pytest.raises(FileNotFoundError, match="no cell of a sweep is finished"):
    command.report([tmp_path], ["md"])
  assert not list(tmp_path.glob("**/report"))


def test_a_comma_may_be_in_a_name(tmp_path):
  text = f"{tmp_path / 'a'},{tmp_path / 'b'}"
  assert workdirs.parse_paths(text) == [tmp_path / "a", tmp_path / "b"]
  (tmp_path / "a,b").mkdir()
  text = str(tmp_path / "a,b")
  assert workdirs.parse_paths(text) == [tmp_path / "a,b"]


def test_workdirs_are_found_once(tmp_path):
  write_sweep(tmp_path / "runs" / "b")
  write_sweep(tmp_path / "runs" / "a")
  runs = tmp_path / "runs"
  found = workdirs.find_sweeps([runs / "b", runs, runs / "." / "a"])
  assert [path.name for path in found] == ["b", "a"]
  assert workdirs.seen_from(runs / "a", runs) == "a"
  assert workdirs.seen_from(runs, runs) == ""
  assert workdirs.seen_from(runs, runs / "a") == ".."
  assert workdirs.default_output([runs]) == runs / "report"
  here = pathlib.Path(os.path.relpath(runs))
  assert workdirs.default_output([here / "a", runs / "b"]).resolve() == (
    runs / "report"
  )
