"""A teacher's outputs computed once: the same targets, and no other pass."""

import dataclasses
import functools
import shutil
import types
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

import lelp_jax
from experiments import cells
from experiments.data.dataset import Ragged
from experiments.data.dataset import Splits
from experiments.data.dataset import Task
from experiments.distributed import mesh as mesh_lib
from experiments.io.json_files import read_json
from experiments.io.metrics import read_metrics
from experiments.paper import grids
from experiments.training import cached_examples
from experiments.training import cached_outputs
from experiments.training import fitting
from experiments.training import program
from experiments.training import runs
from experiments.training import teacher as teacher_lib
from lelp_jax import models
from lelp_jax.models import Outputs
from tests.experiments import tiny

# --- Whole runs ---------------------------------------------------------------


def config(outputs, method="lelp"):
  cell = tiny.config(method)
  cell.teacher.outputs = outputs
  cell.teacher.options.features = (48,)
  cell.student.num_steps, cell.student.steps_per_chunk = 2, 1
  # The last point of the grid of Table 12 for CIFAR-10-bin.
  cell.subspace.num_subclasses = 20
  cell.loss.temperature, cell.loss.subclass_temperature = 10.0, 1.0
  return cell


def taken(folder):
  """The first line of metrics and the result of a cell, which is removed."""
  first, _ = read_metrics(folder / "metrics.jsonl")
  result = read_json(folder / "result.json")
  shutil.rmtree(folder)
  return first["train/loss"], result


@pytest.fixture(name="inline", scope="module")
def fixture_inline(tmp_path_factory):
  """A workdir with a teacher, and a cell that was trained inline."""
  workdir = tmp_path_factory.mktemp("inline")
  (folder,) = runs.run_cells([config("inline")], workdir)
  (teacher,) = (workdir / "teachers").iterdir()
  assert not (teacher / "outputs").exists()
  return workdir, folder, *taken(folder)


def assert_as_inline(inline, folder, mode):
  """One step's loss to rounding, and what it came to."""
  _, expected_folder, expected_loss, expected = inline
  loss, result = taken(folder)
  assert folder == expected_folder
  assert loss == pytest.approx(expected_loss, rel=1e-6)
  assert expected["teacher"]["outputs"] == "inline"
  assert result["teacher"]["outputs"] == mode
  for split in ("validation", "test"):
    for name in ("accuracy", "agreement", "num_examples"):
      assert result[split][name] == expected[split][name], (split, name)
    assert result[split]["loss"] == pytest.approx(expected[split]["loss"], 1e-5)
  np.testing.assert_allclose(
    result["variance_share"], expected["variance_share"], rtol=1e-5
  )


def test_a_run_on_coordinates_repeats_the_one_inline(inline):
  workdir = inline[0]
  (folder,) = runs.run_cells([config("coordinates")], workdir)
  assert_as_inline(inline, folder, "coordinates")
  kept = {path.name for path in workdir.glob("teachers/*/outputs/*")}
  assert kept == {"coordinates-weights-20"}


def test_the_grid_of_table_12_needs_one_pass_of_the_teacher(
  inline, monkeypatch
):
  sizes = []
  make = models.MODELS["mlp"]

  def counting(num_outputs, *, features):
    model = make(num_outputs, features=features)
    if features != (48,):
      return model

    def apply(params, model_state, inputs, **options):
      jax.debug.callback(sizes.append, len(inputs))
      return model.apply(params, model_state, inputs, **options)

    return model._replace(apply=apply)

  monkeypatch.setitem(models.MODELS, "mlp", counting)
  program.build.cache_clear()
  configs = _table_12()
  assert len(configs) == 90
  folders = runs.run_cells(configs, inline[0])
  jax.effects_barrier()
  program.build.cache_clear()
  # 1,000 to train on, 297 to choose on and 500 to measure on, by 250.
  assert [int(size) for size in sizes] == [250] * (4 + 2 + 2)
  assert all((folder / "result.json").exists() for folder in folders)
  assert_as_inline(inline, folders[-1], "cached")


def _table_12():
  """LELP's grid for CIFAR-10-bin, on the digits."""
  axes: dict[str, Any] = {}
  grid = grids.grid("lelp", "cifar10_bin-resnet92-mobilenet")
  for name, values in grid.items():
    section, field = name.split(".")
    axes.setdefault(section, {})[field] = values
  base = config("cached")
  base.stack.cells = "map"  # To the bit what they are alone.
  base.sweep.methods = ConfigDict({"lelp": axes})
  base.sweep.num_trials = 1
  del base.sweep.columns["split1"]
  return list(cells.expand(base))


# --- What is refused before any training --------------------------------------


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"teacher.outputs": "cache"}, "must be one of .*'cache'"),
    ({"student.flip": True}, "only right way with augmentation"),
    ({"student.max_shift": 0.1}, "only right way with augmentation"),
    (
      {"teacher.outputs": "coordinates", "method": "vid"},
      "method 'vid' needs the teacher's embeddings",
    ),
    (
      {"teacher.outputs": "coordinates", "method": "kmeans_soft"},
      "method 'kmeans_soft' needs the teacher's embeddings",
    ),
    (
      {"teacher.outputs": "coordinates", "subspace.kind": "random"},
      "'lelp' with subspace.kind='random' needs the teacher's embeddings",
    ),
    (
      {"teacher.outputs": "coordinates", "teacher.num_coordinates": 2},
      "num_subclasses=20 is more than config.teacher.num_coordinates=2",
    ),
    ({"teacher.num_coordinates": -1}, "num_coordinates must be at least 0"),
    ({"teacher.num_coordinates": 49}, "num_coordinates must be at most 48"),
  ],
)
def test_what_a_cache_cannot_serve_is_refused(tmp_path, changes, message):
  cell = config("cached")
  cell.update_from_flattened_dict(changes)
  with pytest.raises(ValueError, match=message) as caught:
    runs.run_cells([cell], tmp_path)
  assert "\n" not in str(caught.value)
  assert not list(tmp_path.iterdir())


def test_a_cache_changes_no_name_but_keeps_null_spaces_apart():
  inline, other = config("inline"), config("coordinates")
  assert cells.teacher_digest(inline) == cells.teacher_digest(other)
  assert cells.cell_digest(inline) == cells.cell_digest(other)
  for mode, count in (("inline", 1), ("cached", 1), ("coordinates", 2)):
    pair = [config(mode), config(mode)]
    pair[1].subspace.null_space = "none"
    assert len(cells.stacks(pair)) == count


def test_coordinates_are_those_of_the_largest_s():
  grid = [config("coordinates") for _ in range(4)]
  for cell, size in zip(grid, (2, 5, 4, 1), strict=True):
    cell.subspace.num_subclasses = size
  grid[2].subspace.kind = "pca"
  grid[3].teacher.num_coordinates = 3
  found = [c.teacher.num_coordinates for c in cached_examples.resolved(grid)]
  assert found == [5, 5, 4, 3]
  assert [c.teacher.num_coordinates for c in grid] == [0, 0, 0, 3]


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

  def embed(self, params, model_state, batch):
    ids = batch["inputs"]["input_ids"]
    self.seen += int(batch["mask"].sum())
    counts = [(ids == token).sum(-1) for token in range(1, 1 + self.width)]
    embeddings = np.stack(counts, axis=-1).astype(np.float32)
    return Outputs(embeddings, embeddings @ params["head"]["kernel"])

  def cache(self, folder, splits, mode="cached"):
    """The cache, and the statistics that `load_or_train` makes."""
    job = types.SimpleNamespace(
      program=types.SimpleNamespace(
        embed=self.embed, mesh=mesh_lib.make_mesh(1, 2)
      ),
      spec=types.SimpleNamespace(recipe={"eval_batch_size": 2}),
      arguments=((self.params, {}),),
    )
    return cached_outputs.CachedOutputs(
      mode,
      folder,
      splits,
      functools.partial(teacher_lib._outputs, job),
      teacher=self.params,
      sizes=(self.width, 2),
      batch_size=2,
      label="texts",
    )

  def statistics(self, cache, splits):
    labels = jnp.asarray(splits.train["labels"])
    return fitting.TeacherStatistics(
      lambda: lelp_jax.class_moments(
        jnp.asarray(cache.on(splits.train).embeddings), labels, num_classes=2
      ),
      jnp.asarray(self.params["head"]["kernel"]),
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
  # What is trained on is used as it lies on the disk.
  assert isinstance(cache.on(splits.transfer).embeddings, np.memmap)


def changed(splits, **fields):
  return dataclasses.replace(splits, **fields)


def other(*what):
  return lambda encoder, splits, patch: patch.setattr(*what)


@pytest.mark.parametrize(
  ("field", "change"),
  [
    (
      "teacher_parameters",
      lambda e, s, patch: e.params["head"].update(kernel=np.ones((5, 2))),
    ),
    ("data", lambda e, s, patch: changed(s, digest="other")),
    ("tokenizer", lambda e, s, patch: changed(s, tokenizer="other")),
    (
      "example_ids",
      lambda e, s, patch: changed(
        s, transfer={**s.transfer, "ids": s.transfer["ids"][::-1].copy()}
      ),
    ),
    ("jax", other(jax, "__version__", "0.0")),
    ("lelp_jax", other(lelp_jax, "__version__", "0.0")),
    (r"code\.experiments", other(cached_outputs, "_CODE", ("json",))),
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
    found.append(cache.coordinates(statistics, "weights", 3, 5e-3))
    # Alone: once for the moments and once for the coordinates.
    assert encoder.seen == 53 + (11 if mode == "coordinates" else 0)
    # Read back, nothing runs, and the directions are those that were used.
    again = Encoder()
    cache = again.cache(tmp_path / name, splits, "coordinates")
    statistics = again.statistics(cache, splits)
    read = cache.coordinates(statistics, "weights", 3, 5e-3)
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
