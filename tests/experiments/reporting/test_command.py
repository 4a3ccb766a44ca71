"""The command of the report: where it goes, and what it can do without."""

import pathlib
import re
import urllib.parse

import numpy as np
import pytest

from experiments import report as command
from experiments.data.dataset import Splits
from experiments.data.dataset import Task
from tests.experiments.reporting.test_html import Page
from tests.experiments.reporting.test_workdirs import write_sweep


def write_mapped(root, monkeypatch, embeddings):
  """A sweep whose report has a map of these embeddings."""
  write_sweep(root, name="mine", title="Mine")
  labels = np.arange(len(embeddings)) % 2
  task = Task("mine", 2, class_names=("even", "odd"))
  splits = Splits(task, {}, {}, {}, {"labels": labels})
  monkeypatch.setattr(command.runs, "load_splits", lambda *_: splits)
  monkeypatch.setattr(command.runs, "student_embeddings", lambda *_: embeddings)


@pytest.mark.parametrize(
  ("embeddings", "reason"),
  [
    (np.zeros([8, 5]), "diverged or is dead"),
    (np.eye(8, 3), r"4 or more each, got \(8, 3\)"),
    (np.eye(3, 5), r"4 or more each, got \(3, 5\)"),
  ],
)
def test_a_report_can_do_without_the_map(
  tmp_path, monkeypatch, capsys, embeddings, reason
):
  write_mapped(tmp_path / "runs", monkeypatch, embeddings)
  command.report([tmp_path / "runs"], ["html", "md"])
  out = capsys.readouterr().out
  assert re.search(f"No embeddings are drawn: Vanilla .*: .*{reason}", out)
  report = tmp_path / "runs" / "report"
  assert (report / "accuracy.png").is_file()
  assert not (report / "embeddings.png").exists()
  assert "embeddings" not in (report / "table.md").read_text()


def test_a_report_may_go_to_where_one_stands(tmp_path, monkeypatch):
  write_sweep(tmp_path / "runs" / "one")
  for here, output in (("out", "."), ("out/sub", ".."), ("out", "sub/../new")):
    folder = tmp_path / here
    folder.mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir(folder)
    command.report([tmp_path / "runs"], ["html"], pathlib.Path(output))
    made = folder / output
    addresses = Page((made / "report.html").read_text()).addresses
    configs = [a for a in addresses if not a.startswith(("#", "data:"))]
    assert configs
    for address in configs:
      assert (made / urllib.parse.unquote(address)).is_file(), address
