"""Subclasses of finished cells, found again as training found them."""

import json
import shutil

import numpy as np
import pytest

from experiments import cells
from experiments import subclasses
from experiments.data.embeddings import write_manifest
from experiments.io import json_files
from experiments.io.json_files import read_json
from experiments.methods import METHODS
from experiments.paper.tables import paper_table
from experiments.training import inspection
from experiments.training import jobs
from experiments.training import passes
from experiments.training import runs
from experiments.training import teacher as teacher_lib
from tests import reference
from tests.experiments import tiny
from tests.experiments.reporting.test_subclass_pages import Page
from tests.experiments.reporting_workdirs import write_workdir


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
  """A workdir with two trials of LELP."""
  workdir = tmp_path_factory.mktemp("runs")
  runs.run_cells([tiny.config(), tiny.config(trial=1)], workdir)
  return workdir


def folder_of(workdir, config):
  return cells.cell_directory(workdir, config)


def found_again(workdir, config, split="train", result=None):
  if result is None:
    result = read_json(folder_of(workdir, config) / "result.json")
  splits = runs.load_splits(config, workdir)
  return splits, inspection.subclasses(
    config, splits, result, workdir / "teachers", split
  )


@pytest.mark.parametrize(("trial", "split"), [(0, "train"), (1, "test")])
def test_directions_are_those_that_the_cell_was_trained_with(
  finished, trial, split
):
  config = tiny.config(trial=trial)
  splits, found = found_again(finished, config, split)
  teacher = teacher_lib.load_or_train(config, splits, finished / "teachers")
  job = jobs.make_job(
    [config], splits, train=splits.transfer, teacher=teacher, names=["x"]
  )
  directions = np.asarray(job.targets["directions"][0])
  means = np.asarray(job.shared_targets["means"])
  examples = {"train": splits.train, "test": splits.test}[split]
  assert found.kind == "direction"
  assert found.examples is examples
  fields = cells.plain(config.teacher)
  for rows, outputs in passes.outputs(
    fields, teacher.params, teacher.model_state, examples, splits.task.scale
  ):
    for row, h in zip(rows, outputs.embeddings, strict=True):
      own = reference.subclass_logits(h, directions, means)
      own = own[examples["labels"][row]]
      np.testing.assert_allclose(found.coordinates[row], own, atol=1e-4)
      assert found.assignments[row] == found.coordinates[row].argmax()
  assert found.coordinates.any(axis=1).all()
  scatter = np.asarray(teacher.statistics.moments.scatter, np.float64)
  for c in range(2):
    for s, v in enumerate(directions[c]):
      share = v @ scatter[c] @ v / (v @ v) / np.trace(scatter[c])
      assert found.variance_shares[c, s] == pytest.approx(share, rel=1e-3)
  recorded = read_json(folder_of(finished, config) / "result.json")
  np.testing.assert_allclose(
    found.variance_shares.sum(axis=1), recorded["variance_share"], rtol=1e-4
  )


def test_trials_have_their_own_rotation(finished):
  _, first = found_again(finished, tiny.config())
  _, second = found_again(finished, tiny.config(trial=1))
  assert np.abs(first.coordinates - second.coordinates).max() > 0.1
  # The span is one, so that the lengths are alike up to the scale of a class.
  lengths = [np.linalg.norm(x.coordinates, axis=1) for x in (first, second)]
  for c in range(2):
    of_class = np.asarray(first.examples["labels"]) == c
    ratio = lengths[0][of_class] / lengths[1][of_class]
    np.testing.assert_allclose(ratio, ratio.mean(), rtol=1e-3)


def without_student(workdir, config):
  """The result of a cell of which only the teacher is trained."""
  splits, teachers = runs.load_splits(config, workdir), workdir / "teachers"
  teacher = teacher_lib.load_or_train(config, splits, teachers)
  return teacher, {
    "column": config.column,
    "method": config.method,
    "digest": cells.cell_digest(config),
    "trial": config.trial,
    "hyperparameters": {},
    "test": teacher.summary["test"],
    "teacher": teacher.summary,
    "variance_share": None,
  }


@pytest.mark.parametrize("method", ["kmeans", "kmeans_soft"])
def test_clusters_of_a_class_are_those_of_its_details(finished, method):
  config = tiny.config(method)
  config.clustering.num_clusters = 3
  teacher, result = without_student(finished, config)
  splits, found = found_again(finished, config, result=result)
  assert found.kind == "cluster"
  assert found.examples is splits.transfer
  details = METHODS[method].details(config, teacher.statistics)
  labels = splits.transfer["labels"]
  for c, sizes in enumerate(details["clustering"]["sizes"]):
    own = found.assignments[labels == c]
    np.testing.assert_array_equal(np.bincount(own, minlength=3), sizes)


@pytest.mark.slow
def test_the_outputs_of_a_teacher_with_subclasses(tmp_path):
  config = tiny.config("subclass")
  config.teacher.subclass.num_subclasses = 2
  teacher, result = without_student(tmp_path, config)
  splits, found = found_again(tmp_path, config, "validation", result)
  labels = splits.validation["labels"]
  for rows, outputs in passes.outputs(
    cells.plain(config.teacher),
    teacher.params,
    teacher.model_state,
    splits.validation,
    16.0,
  ):
    logits = outputs.logits.reshape(-1, 2, 2)
    own = logits[np.arange(len(rows)), labels[rows]]
    np.testing.assert_allclose(found.coordinates[rows], own, atol=1e-5)
  assert (found.kind, found.variance_shares) == ("output", None)


def test_the_command_writes_the_pages_of_the_reports_choice(finished, capsys):
  # Two trials of LELP are there, of one setting.
  folder = subclasses.find_cell(finished, None)
  assert folder == folder_of(finished, tiny.config())
  index = subclasses.write_pages(finished, folder, split="test", num_shown=3)
  name = f"split0-lelp-{folder.parts[-2]}-trial0"
  assert index == finished / "report/subclasses" / name / "index.html"
  assert "reads its 1,000 training examples" in capsys.readouterr().out
  page = Page(index.read_text())
  assert "digits, 500 examples, test" in page.texts("dd")
  assert [a["href"] for a in page.all("a")] == ["class0.html", "class1.html"]
  for link in page.all("a"):
    images = Page((index.parent / link["href"]).read_text()).all("img")
    assert len(images) == 3 * 2 * 3


def test_the_first_column_is_that_of_the_report(tmp_path):
  columns = [column.id for column in paper_table(3).columns][:2]
  accuracies = {column: {"lelp": (0.5,)} for column in reversed(columns)}
  write_workdir(tmp_path, accuracies, name="table3", columns_are="settings")
  for path in tmp_path.glob("cells/*/*/*/*/result.json"):
    json_files.write_json(path.with_name("config.json"), {"method": "lelp"})
  folder = subclasses.find_cell(tmp_path, None)
  assert folder == tmp_path / "cells" / columns[0] / "lelp/d0/trial0"


def test_cells_are_named_by_folder_or_by_place(finished, monkeypatch):
  folder = folder_of(finished, tiny.config(trial=1))
  assert subclasses.find_cell(finished, str(folder)) == folder
  place = "/".join(folder.parts[-4:])
  assert subclasses.find_cell(finished, place) == folder
  monkeypatch.chdir(folder.parent)
  assert subclasses.find_cell(finished, "trial1").resolve() == folder


def test_what_cannot_be_inspected_is_one_line(finished, tmp_path):
  folder = folder_of(finished, tiny.config())
  for named in ("split0/lelp/nope/trial0", str(tmp_path), "split0/lelp"):
    with pytest.raises(FileNotFoundError, match=f"--cell={named} is no cell"):
      subclasses.find_cell(finished, named)
  vanilla, soft = tmp_path / "vanilla", tmp_path / "soft"
  for other, method in ((vanilla, "vanilla"), (soft, "kmeans_soft")):
    shutil.copytree(folder, other)
    config = cells.plain(tiny.config(method))
    json_files.write_json(other / "config.json", config)
  with pytest.raises(ValueError, match=r"'vanilla' has no subclasses .* lelp,"):
    subclasses.write_pages(finished, vanilla)
  with pytest.raises(ValueError, match="none of the split 'test'"):
    subclasses.write_pages(finished, soft, split="test")
  with pytest.raises(FileNotFoundError, match=r"teacher .* --teacher_dir"):
    subclasses.write_pages(finished, folder, teachers=tmp_path)
  half = tmp_path / "cells/split0/lelp/x/trial0"
  shutil.copytree(folder, half)
  (half / "result.json").unlink()
  with pytest.raises(FileNotFoundError, match="is not finished"):
    subclasses.find_cell(tmp_path, "split0/lelp/x/trial0")
  result = read_json(folder / "result.json") | {"method": "vanilla"}
  only = tmp_path / "cells/split0/vanilla" / result["digest"] / "trial0"
  shutil.copytree(vanilla, only)
  json_files.write_json(only / "result.json", result)
  with pytest.raises(ValueError, match=r"of split0 in .* has subclasses"):
    subclasses.find_cell(tmp_path, None)
  assert not (tmp_path / "report").exists()


def test_another_teacher_or_other_data_are_noticed(finished):
  config = tiny.config()
  result = read_json(folder_of(finished, config) / "result.json")
  splits, teachers = runs.load_splits(config), finished / "teachers"
  moved = json.loads(json.dumps(result))
  moved["variance_share"][1] += 0.01
  with pytest.raises(ValueError, match="another share of the variance"):
    inspection.subclasses(config, splits, moved, teachers)
  config.teacher.seed = 1
  with pytest.raises(ValueError, match="its config now means"):
    inspection.subclasses(config, splits, result, teachers)


def test_planted_subclasses_of_texts_with_vectors(tmp_path, rng):
  """The teacher reads vectors in which two kinds hide; the texts are beside."""
  num, width = 400, 12
  labels, kind = rng.integers(2, size=(2, num))
  vectors = 0.2 * rng.standard_normal((num, width)).astype(np.float32)
  vectors[:, 0] += 4 * labels - 2
  vectors[:, 1] += 6 * kind - 3
  lines = [
    f'{label},"<script> {("calm", "loud")[k]} {i}"\n'
    for i, (label, k) in enumerate(zip(labels, kind, strict=True))
  ]
  (tmp_path / "own.csv").write_text("verdict,review\n" + "".join(lines))
  np.save(tmp_path / "embeddings.npy", vectors)
  np.save(tmp_path / "ids.npy", np.arange(num))
  write_manifest(tmp_path, encoder={})
  config = tiny.config()
  config.data.update(
    dataset="own",
    source="files",
    train=str(tmp_path / "own.csv"),
    text_column="review",
    label_column="verdict",
    embeddings=str(tmp_path),
    options={},
  )
  config.teacher.reads = config.student.reads = "embeddings"
  config.teacher.max_shift = config.student.max_shift = 0.0
  config.subspace.num_subclasses = 1
  folder = cells.cell_directory(tmp_path / "run", config)
  _, result = without_student(tmp_path / "run", config)
  json_files.write_json(folder / "config.json", cells.plain(config))
  json_files.write_json(folder / "result.json", result)
  index = subclasses.write_pages(tmp_path / "run", folder, num_shown=6)
  for c in range(2):
    content = (index.parent / f"class{c}.html").read_text()
    assert "<script" not in content
    shown = [t for t in Page(content).texts("span") if "script" in t]
    assert len(shown) == 12
    numbers = [int(text.split()[-1]) for text in shown]
    assert {labels[i] for i in numbers} == {c}
    for text, i in zip(shown, numbers, strict=True):
      assert text == f"<script> {('calm', 'loud')[kind[i]]} {i}"
    # The one direction is the planted one: either end is of one kind.
    ends = [{kind[i] for i in end} for end in (numbers[:6], numbers[6:])]
    assert sorted(map(len, ends)) == [1, 1]
    assert ends[0] != ends[1]
