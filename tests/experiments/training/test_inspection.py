"""Subclasses of finished cells, found again as training found them."""

import dataclasses
import shutil

import numpy as np
import pytest

from experiments import identity
from experiments import results
from experiments import specs
from experiments import subclasses
from experiments.configs import validate
from experiments.data.embeddings import write_manifest
from experiments.io import json_files
from experiments.methods import METHODS
from experiments.methods.base import Setup
from experiments.paper.tables import paper_table
from experiments.training import data
from experiments.training import inspection
from experiments.training import sweep
from experiments.training import teacher as teacher_lib
from experiments.training.build import build_run
from experiments.training.inference import FrozenModel
from tests import reference
from tests.experiments import tiny
from tests.experiments.reporting.test_subclass_pages import Page
from tests.experiments.reporting_workdirs import write_workdir


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
  """A workdir with two trials of LELP."""
  workdir = tmp_path_factory.mktemp("runs")
  sweep.run_cells([tiny.cell(), tiny.cell(trial=1)], workdir)
  return workdir


def folder_of(workdir, cell):
  return identity.cell_directory(workdir, cell)


def result_of(workdir, cell):
  return results.read(folder_of(workdir, cell), results.CellResult)


def found_again(workdir, cell, split="train", result=None):
  splits = data.load_splits(cell, workdir)
  return splits, inspection.subclasses(
    cell,
    splits,
    result or result_of(workdir, cell),
    workdir / "teachers",
    split,
  )


@pytest.mark.parametrize(("trial", "split"), [(0, "train"), (1, "test")])
def test_directions_are_those_that_the_cell_was_trained_with(
  finished, trial, split
):
  cell = tiny.cell(trial=trial)
  splits, found = found_again(finished, cell, split)
  teacher = teacher_lib.load_or_train(cell, splits, finished / "teachers")
  run = build_run([cell], splits, teacher=teacher, names=["x"])
  directions = np.asarray(run.targets["directions"][0])
  means = np.asarray(run.shared_targets["means"])
  examples = {"train": splits.train, "test": splits.test}[split]
  assert found.kind == "direction"
  assert found.examples is examples
  outputs = outputs_of(cell, teacher, splits, examples)
  for row, h in enumerate(outputs.embeddings):
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
  recorded = result_of(finished, cell).variance_share
  np.testing.assert_allclose(
    found.variance_shares.sum(axis=1), recorded, rtol=1e-4
  )


def outputs_of(cell, teacher, splits, examples):
  model = FrozenModel(cell.teacher, teacher.weights, splits.task.scale)
  return model.outputs(examples)


def test_cached_coordinates_give_the_same_directions(finished):
  cell = tiny.cell()
  _, expected = found_again(finished, cell)
  cached = specs.replace(
    cell, {"teacher.outputs": "coordinates", "teacher.num_coordinates": 3}
  )
  _, found = found_again(finished, cached)
  np.testing.assert_array_equal(found.coordinates, expected.coordinates)


def without_student(workdir, cell):
  """The teacher of a cell, and a result as its student would have."""
  splits, teachers = data.load_splits(cell, workdir), workdir / "teachers"
  teacher = teacher_lib.load_or_train(cell, splits, teachers)
  own = results.read(teachers / teacher.summary.digest, results.TeacherResult)
  model = {
    field.name: getattr(own, field.name)
    for field in dataclasses.fields(results.ModelResult)
  }
  return teacher, results.CellResult(
    **model,
    column=cell.column,
    method=cell.method,
    digest=identity.cell_digest(cell),
    trial=cell.trial,
    selection=cell.selection,
    hyperparameters={},
    teacher=teacher.summary,
    stack=results.StackResult(digest="", num_cells=1, seconds=None),
    seconds=results.CellSeconds(),
  )


@pytest.mark.parametrize("method", ["kmeans", "kmeans_soft"])
def test_clusters_of_a_class_are_those_of_its_details(finished, method):
  cell = specs.replace(tiny.cell(method), {"clustering.num_clusters": 3})
  teacher, result = without_student(finished, cell)
  splits, found = found_again(finished, cell, result=result)
  assert found.kind == "cluster"
  assert found.examples["ids"] is splits.transfer["ids"]
  setup = Setup(cell, splits.task, 16, teacher.statistics, 3)
  details = METHODS[method].details(setup)
  labels = splits.transfer["labels"]
  for c, sizes in enumerate(details["clustering"]["sizes"]):
    own = found.assignments[labels == c]
    np.testing.assert_array_equal(np.bincount(own, minlength=3), sizes)


def test_examples_are_shown_with_their_nearest_centroid(finished):
  cell = tiny.cell("lelp_centroids", clustering__num_clusters=3)
  teacher, result = without_student(finished, cell)
  splits, found = found_again(finished, cell, "test", result)
  assert (found.kind, found.examples) == ("direction", splits.test)
  centroids = teacher.statistics.centroids(
    3, null_space="weights", rtol=cell.subspace.rtol
  ).centroids
  head = np.asarray(teacher.statistics.head_kernel)
  _, kept = reference.head_bases(head, 16)
  outputs = outputs_of(cell, teacher, splits, splits.test)
  own = centroids[splits.test["labels"]].astype(float) @ kept
  points = np.asarray(outputs.embeddings, float) @ kept
  distances = np.linalg.norm(points[:, None] - own, axis=-1)
  np.testing.assert_array_equal(found.assignments, distances.argmin(axis=1))


@pytest.mark.slow
def test_the_outputs_of_a_teacher_with_subclasses(tmp_path):
  cell = specs.replace(
    tiny.cell("standard"),
    {"method": "subclass", "teacher.subclass.num_subclasses": 2},
  )
  teacher, result = without_student(tmp_path, cell)
  splits, found = found_again(tmp_path, cell, "validation", result)
  outputs = outputs_of(cell, teacher, splits, splits.validation)
  labels = splits.validation["labels"]
  own = outputs.logits.reshape(-1, 2, 2)[np.arange(len(labels)), labels]
  np.testing.assert_allclose(found.coordinates, own, atol=1e-5)
  assert (found.kind, found.variance_shares) == ("output", None)


def test_the_command_writes_the_pages_of_the_reports_choice(finished, capsys):
  # Two trials of LELP are there, of one setting.
  folder = subclasses.find_cell(finished, None)
  assert folder == folder_of(finished, tiny.cell())
  index = subclasses.write_pages(finished, folder, split="test", num_shown=3)
  name = f"split0-lelp-{folder.parts[-2]}-trial0"
  assert index == finished / "report/subclasses" / name / "index.html"
  assert "reads its 1,000 training examples" in capsys.readouterr().out
  page = Page(index.read_text())
  assert "500 of digits (test)" in page.texts("dd")
  assert [a["href"] for a in page.all("a")] == ["class0.html", "class1.html"]
  for link in page.all("a"):
    images = Page((index.parent / link["href"]).read_text()).all("img")
    assert len(images) == 3 * 2 * 3


def test_the_first_column_is_that_of_the_report(tmp_path):
  columns = [column.id for column in paper_table(3).columns][:2]
  accuracies = {column: {"lelp": (0.5,)} for column in reversed(columns)}
  write_workdir(tmp_path, accuracies, name="table3", columns_are="settings")
  for path in tmp_path.glob("cells/*/*/*/*/result.json"):
    cell = json_files.plain(tiny.cell())
    json_files.write_json(path.with_name("config.json"), cell)
  folder = subclasses.find_cell(tmp_path, None)
  assert folder == tmp_path / "cells" / columns[0] / "lelp/d0/trial0"


def test_cells_are_named_by_folder_or_by_place(finished, monkeypatch):
  folder = folder_of(finished, tiny.cell(trial=1))
  assert subclasses.find_cell(finished, str(folder)) == folder
  place = "/".join(folder.parts[-4:])
  assert subclasses.find_cell(finished, place) == folder
  monkeypatch.chdir(folder.parent)
  assert subclasses.find_cell(finished, "trial1").resolve() == folder


def test_what_cannot_be_inspected_is_one_line(finished, tmp_path):
  folder = folder_of(finished, tiny.cell())
  for named in ("split0/lelp/nope/trial0", str(tmp_path), "split0/lelp"):
    with pytest.raises(FileNotFoundError, match=f"--cell={named} "):
      subclasses.find_cell(finished, named)
  vanilla, soft = tmp_path / "vanilla", tmp_path / "soft"
  for other, method in ((vanilla, "vanilla"), (soft, "kmeans_soft")):
    shutil.copytree(folder, other)
    cell = json_files.plain(tiny.cell(method))
    json_files.write_json(other / "config.json", cell)
  with pytest.raises(ValueError, match=r"'vanilla' .*lelp"):
    subclasses.write_pages(finished, vanilla)
  with pytest.raises(ValueError, match=r"'kmeans_soft' .*'test'"):
    subclasses.write_pages(finished, soft, split="test")
  with pytest.raises(FileNotFoundError, match=r"teacher .* --teacher_dir"):
    subclasses.write_pages(finished, folder, teachers=tmp_path)
  half = tmp_path / "cells/split0/lelp/x/trial0"
  shutil.copytree(folder, half)
  (half / "result.json").unlink()
  with pytest.raises(FileNotFoundError, match="trial0"):
    subclasses.find_cell(tmp_path, "split0/lelp/x/trial0")
  result = json_files.read_json(folder / "result.json")
  result["method"] = "vanilla"
  only = tmp_path / "cells/split0/vanilla" / result["digest"] / "trial0"
  shutil.copytree(vanilla, only)
  json_files.write_json(only / "result.json", result)
  with pytest.raises(ValueError, match="split0"):
    subclasses.find_cell(tmp_path, None)
  assert not (tmp_path / "report").exists()


def test_another_teacher_or_other_data_are_noticed(finished):
  cell = tiny.cell()
  result = result_of(finished, cell)
  splits, teachers = data.load_splits(cell), finished / "teachers"
  first, second = result.variance_share
  moved = dataclasses.replace(result, variance_share=(first, second + 0.01))
  with pytest.raises(ValueError, match="share of the variance"):
    inspection.subclasses(cell, splits, moved, teachers)
  other = specs.replace(cell, {"teacher.seed": 1})
  with pytest.raises(ValueError, match=result.teacher.digest):
    inspection.subclasses(other, splits, result, teachers)


@pytest.mark.slow
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
  config.teacher.input_field = config.student.input_field = "embeddings"
  config.teacher.max_shift = config.student.max_shift = 0.0
  config.subspace.num_subclasses = 1
  cell = validate.cell_spec(config)
  folder = identity.cell_directory(tmp_path / "run", cell)
  _, result = without_student(tmp_path / "run", cell)
  json_files.write_json(folder / "config.json", cell)
  results.write(folder, result)
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
