"""A teacher's outputs computed once: the same targets, and no other pass."""

import dataclasses
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lelp_jax
from experiments import results
from experiments import specs
from experiments.data.dataset import Ragged
from experiments.data.dataset import Splits
from experiments.data.dataset import Task
from experiments.io import digests
from experiments.io.metrics import read_metrics
from experiments.methods.statistics import TeacherStatistics
from experiments.training import sweep
from experiments.training.models import Weights
from experiments.training.teacher_cache import TeacherCache
from lelp_jax.models import Outputs
from tests.experiments import tiny

# --- Whole runs ---------------------------------------------------------------


def cell(outputs):
  """A cell of two steps, at the last point of Table 12's grid."""
  return specs.replace(
    tiny.cell("lelp"),
    {
      "teacher.outputs": outputs,
      "teacher.options.features": (48,),
      "teacher.num_coordinates": 20 if outputs == "coordinates" else 0,
      "student.num_steps": 2,
      "student.steps_per_chunk": 1,
      "subspace.num_subclasses": 20,
      "loss.temperature": 10.0,
      "loss.subclass_temperature": 1.0,
    },
  )


def taken(folder):
  """The first line of metrics and the result of a cell, which is removed."""
  first, _ = read_metrics(folder / "metrics.jsonl")
  result = results.read(folder, results.CellResult)
  shutil.rmtree(folder)
  return first["train/loss"], result


@pytest.fixture(name="inline", scope="module")
def fixture_inline(tmp_path_factory):
  """A workdir with a teacher, and a cell that was trained inline."""
  workdir = tmp_path_factory.mktemp("inline")
  (folder,) = sweep.run_cells([cell("inline")], workdir)
  (teacher,) = (workdir / "teachers").iterdir()
  assert not (teacher / "outputs").exists()
  return workdir, folder, *taken(folder)


def test_cached_runs_repeat_the_one_inline(inline):
  workdir, expected_folder, expected_loss, expected = inline
  assert expected.teacher.outputs == "inline"
  kept = []
  for mode, name in (
    ("coordinates", "coordinates-weights-20"),
    ("cached", "embeddings"),
  ):
    (folder,) = sweep.run_cells([cell(mode)], workdir)
    assert folder == expected_folder
    loss, result = taken(folder)
    assert loss == pytest.approx(expected_loss, rel=1e-6)
    assert result.teacher.outputs == mode
    for split in ("validation", "test"):
      found, wanted = getattr(result, split), getattr(expected, split)
      assert found.accuracy == wanted.accuracy
      assert found.loss == pytest.approx(wanted.loss, 1e-5)
    np.testing.assert_allclose(
      result.variance_share, expected.variance_share, rtol=1e-5
    )
    kept.append(name)
    found = {path.name for path in workdir.glob("teachers/*/outputs/*/*")}
    assert found == set(kept)


# --- The cache itself, on texts -----------------------------------------------


def texts(rng, ids):
  rows = [rng.integers(1, 9, rng.integers(1, 30)) for _ in ids]
  return {
    "inputs": Ragged.concatenate(rows, np.int32),
    "labels": np.arange(len(ids), dtype=np.int32) % 2,
    "ids": np.asarray(ids, np.int32),
  }


@pytest.fixture(name="splits")
def fixture_splits(rng):
  """Few labels (A-31), chosen by the test set: splits overlap."""
  transfer = texts(rng, rng.permutation(40))
  few = rng.permutation(40)[:11]
  train = {name: array[few] for name, array in transfer.items()}
  test = texts(rng, np.arange(40, 53))
  task = Task(name="texts", num_classes=2)
  return Splits(task, train, transfer, test, test, "data", "tokens")


class Encoder:
  """A teacher of texts: its embedding counts tokens."""

  width = 5

  def __init__(self):
    self.params = {"head": {"kernel": np.eye(self.width, 2, dtype=np.float32)}}
    self.seen = 0

  def outputs(self, part):
    self.seen += len(part["ids"])
    counts = [
      [np.sum(part["inputs"][i] == token) for token in range(1, 1 + self.width)]
      for i in range(len(part["ids"]))
    ]
    embeddings = np.asarray(counts, np.float32)
    return Outputs(embeddings, embeddings @ self.params["head"]["kernel"])

  def cache(self, folder, splits, mode="cached"):
    return TeacherCache(
      mode=mode,
      outputs=folder,
      splits=splits,
      compute=self.outputs,
      weights=Weights(self.params, {}),
      widths=(self.width, 2),
      batch_size=2,
      label="texts",
    )

  def statistics(self, cache, splits):
    labels = jnp.asarray(splits.train["labels"])
    return TeacherStatistics(
      lambda: lelp_jax.class_moments(
        jnp.asarray(cache.on(splits.train).embeddings), labels, num_classes=2
      ),
      jnp.asarray(self.params["head"]["kernel"]),
      lambda: splits.transfer["labels"],
      lambda: cache.on(splits.transfer),
    )


def test_rows_are_found_by_id_and_computed_once(tmp_path, splits):
  encoder = Encoder()
  cache = encoder.cache(tmp_path, splits)
  for part in (splits.train, splits.transfer, splits.validation, splits.test):
    found = cache.on(part)
    for i, row in enumerate(found.embeddings):
      tokens = part["inputs"][i]
      expected = [np.sum(tokens == token) for token in range(1, 6)]
      np.testing.assert_array_equal(row, expected)
    np.testing.assert_array_equal(found.logits, found.embeddings[:, :2])
  assert encoder.seen == 40 + 13
  # The outputs on training examples are memory-mapped.
  assert isinstance(cache.on(splits.transfer).embeddings, np.memmap)


def changed(splits, **fields):
  return dataclasses.replace(splits, **fields)


@pytest.mark.parametrize(
  ("field", "change"),
  [
    (
      "teacher_parameters",
      lambda e, s, patch: e.params["head"].update(kernel=np.ones((5, 2))),
    ),
    ("data", lambda e, s, patch: changed(s, digest="other")),
    ("tokenizer", lambda e, s, patch: changed(s, tokenizer="other")),
  ],
)
def test_outputs_of_anything_else_are_refused(
  tmp_path, splits, monkeypatch, field, change
):
  encoder = Encoder()
  encoder.cache(tmp_path, splits).on(splits.test)
  other = change(encoder, splits, monkeypatch) or splits
  with pytest.raises(ValueError, match=rf"origin\.{field}: saved"):
    encoder.cache(tmp_path, other).on(splits.test)


def test_outputs_on_other_examples_are_kept_beside(tmp_path, splits):
  transfer = texts(np.random.default_rng(1), np.arange(60, 90))
  encoder = Encoder()
  for _ in range(2):
    for each in (splits, changed(splits, transfer=transfer)):
      cache = encoder.cache(tmp_path, each)
      assert cache.on(each.test).logits.shape == (13, 2)
  # All examples of both once: 40 + 13, and 11 + 30 + 13.
  assert encoder.seen == 53 + 54


@pytest.mark.parametrize(
  "change",
  [
    (jax, "__version__", "0.0"),
    (lelp_jax, "__version__", "0.0"),
    (digests, "of_sources", lambda name: f"other {name}"),
  ],
)
def test_outputs_of_other_code_are_computed_again(
  tmp_path, splits, monkeypatch, change, capsys
):
  encoder = Encoder()
  encoder.cache(tmp_path, splits).on(splits.test)
  seen = encoder.seen
  monkeypatch.setattr(*change)
  encoder.cache(tmp_path, splits).on(splits.test)
  assert encoder.seen == 2 * seen
  assert "computing its arrays again" in capsys.readouterr().err
  encoder.cache(tmp_path, splits).on(splits.test)
  assert encoder.seen == 2 * seen


def test_directions_by_the_teacher_are_those_of_the_students_examples(
  tmp_path, splits
):
  splits = changed(splits, train=splits.transfer)
  for size in (20, 40):
    few = {name: array[:size] for name, array in splits.transfer.items()}
    part = changed(splits, transfer=few)
    cache = Encoder().cache(tmp_path, part, "coordinates")
    statistics = Encoder().statistics(cache, part)
    subspace = specs.SubspaceSpec(membership="teacher")
    cache.coordinates(statistics, subspace, 3)
  (folder,) = tmp_path.iterdir()  # All examples are the same.
  assert len(list(folder.iterdir())) == 2


def test_coordinates_come_from_embeddings_where_those_are_cached(
  tmp_path, splits
):
  found = []
  for name, mode in (("both", "cached"), ("alone", "coordinates")):
    encoder = Encoder()
    cache = encoder.cache(tmp_path / name, splits, mode)
    if mode == "cached":
      cache.on(splits.test)
    statistics = encoder.statistics(cache, splits)
    found.append(cache.coordinates(statistics, specs.SubspaceSpec(), 3))
    # Alone: once for the moments and once for the coordinates.
    assert encoder.seen == 53 + (11 if mode == "coordinates" else 0)
    # Read back, nothing runs, and the directions are those that were used.
    again = Encoder()
    cache = again.cache(tmp_path / name, splits, "coordinates")
    statistics = again.statistics(cache, splits)
    read = cache.coordinates(statistics, specs.SubspaceSpec(), 3)
    assert again.seen == 0
    for one, other in zip(
      jax.tree.leaves(read), jax.tree.leaves(found[-1]), strict=True
    ):
      np.testing.assert_array_equal(one, other)
  (principal, one), (_, other) = found
  assert one["coordinates"].shape == (53, 2 * 3)
  np.testing.assert_allclose(
    one["coordinates"], other["coordinates"], atol=1e-5
  )
  whole = Encoder().cache(tmp_path / "both", splits).whole
  np.testing.assert_allclose(
    one["coordinates"],
    lelp_jax.principal_coordinates(jnp.asarray(whole["embeddings"]), principal),
    atol=1e-5,
  )
