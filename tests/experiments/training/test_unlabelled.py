"""Examples without a label: students learn from the teacher what they are."""

import functools

import jax
import numpy as np
import pytest

import lelp_jax
from experiments import identity
from experiments import results
from experiments import specs
from experiments.configs import own
from experiments.configs import validate
from experiments.io.students import load_student
from experiments.methods import METHODS
from experiments.training import data
from experiments.training import sweep
from experiments.training import teacher as teacher_lib
from experiments.training.build import build_run
from tests.experiments import training_runs

NUM_LABELLED, NUM_UNLABELLED, NUM_MORE = 64, 40, 24


@pytest.fixture(name="config")
def fixture_config(tmp_path):
  """Bright and dark images; some have no label, a further file has none."""
  rng = np.random.default_rng(0)

  def images(labels):
    noise = rng.normal(110, 40, (len(labels), 4, 4))
    return np.clip(noise + 30 * labels[:, None, None], 0, 255).astype(np.uint8)

  truth = rng.permutation(np.arange(NUM_LABELLED + NUM_UNLABELLED) % 2)
  names = np.array(["dark", "light"])[truth]
  names[rng.permutation(len(names))[:NUM_UNLABELLED]] = ""
  np.savez(tmp_path / "train.npz", images=images(truth), labels=names)
  tested = np.arange(40) % 2
  names = np.array(["dark", "light"])[tested]
  np.savez(tmp_path / "test.npz", images=images(tested), labels=names)
  more = images(np.arange(NUM_MORE) % 2)
  np.savez(tmp_path / "more.npz", images=more, labels=np.arange(NUM_MORE))
  config = own.get_config("kind=images")
  config.data.train = str(tmp_path / "train.npz")
  config.data.test = config.data.validation = str(tmp_path / "test.npz")
  config.data.unlabelled = "transfer"
  for fields in (config.teacher, config.student):
    fields.model, fields.num_epochs = "mlp", 0.0
    fields.options.features = (8,)
    fields.num_steps, fields.steps_per_chunk, fields.batch_size = 12, 4, 16
    fields.max_shift, fields.flip = 0.0, False
    fields.learning_rate = 0.01
  config.teacher.num_steps = config.teacher.steps_per_chunk = 60
  config.subspace.num_subclasses = 2
  config.clustering.num_clusters = 2
  return config


def train(config, workdir, **changes):
  """The result and the student of a cell."""
  named = {name.replace("__", "."): x for name, x in changes.items()}
  config.update_from_flattened_dict(named)
  cell = validate.cell_spec(config)
  (folder,) = sweep.run_cells([cell], workdir)
  params, _ = load_student(folder / "student.msgpack")
  return results.read(folder, results.CellResult), params


def prepared(config, workdir):
  """A cell, its data and its teacher."""
  cell = validate.cell_spec(config)
  splits = data.load_splits(cell, workdir)
  teacher = teacher_lib.load_or_train(cell, splits, workdir / "teachers")
  return cell, splits, teacher


def same(first, second):
  pairs = zip(*map(jax.tree.leaves, (first, second)), strict=True)
  return all(np.array_equal(a, b) for a, b in pairs)


def test_examples_without_a_label_change_the_student(config, tmp_path):
  result, params = train(config, tmp_path / "a", method="vanilla")
  assert result.num_unlabelled_examples == NUM_UNLABELLED
  assert result.num_train_examples == NUM_LABELLED + NUM_UNLABELLED
  assert (result.left_out, result.data_notes) == ((), ())
  assert result.classes == ("dark", "light")
  changes = {
    "data__unlabelled": "drop",
    "data__validation": config.data.train,
    "teacher__allow_chance": True,
  }
  dropped, other = train(config, tmp_path / "b", **changes)
  assert dropped.data_notes == (
    "64 of 64 validation examples are also training examples",
  )
  assert dropped.num_unlabelled_examples == 0
  assert dropped.num_train_examples == NUM_LABELLED
  assert not same(params, other)
  # The files are others, so that the teachers have different names.
  assert result.teacher.digest != dropped.teacher.digest
  assert result.teacher.test.loss == dropped.teacher.test.loss


def test_standard_training_ignores_them(config, tmp_path):
  result, params = train(config, tmp_path / "a", method="standard")
  assert result.num_unlabelled_examples == 0
  assert result.num_train_examples == NUM_LABELLED
  _, other = train(config, tmp_path / "b", data__unlabelled="drop")
  assert same(params, other)


def test_further_files_without_labels(config, tmp_path):
  config.data.unlabelled_files = str(tmp_path / "more.npz")
  cell = validate.cell_spec(config)
  splits = data.load_splits(cell, tmp_path)
  sizes = NUM_LABELLED, NUM_UNLABELLED + NUM_MORE
  assert (np.asarray(splits.transfer["labels"]) >= 0).sum() == sizes[0]
  assert len(splits.transfer["labels"]) == sum(sizes)
  assert len(splits.unlabelled["labels"]) == sizes[1]
  assert len(np.unique(splits.transfer["ids"])) == sum(sizes)
  # A share of the students' examples is one of each kind.
  part = data.load_splits(
    specs.replace(cell, {"data.transfer_fraction": 0.5}), tmp_path
  )
  assert (np.asarray(part.transfer["labels"]) >= 0).sum() == sizes[0] // 2
  assert len(part.transfer["labels"]) == sum(sizes) // 2
  assert len(part.unlabelled["labels"]) == sizes[1]


@pytest.mark.slow
def test_every_method_trains_on_a_class_for_every_example(config, tmp_path):
  cell, splits, teacher = prepared(config, tmp_path)
  unknown = np.asarray(splits.transfer["labels"]) < 0
  for name in METHODS:
    if name in ("oracle", "subclass", "subclass_teacher"):
      continue  # They need fine labels, or a teacher of their own.
    run = build_run(
      [specs.replace(cell, {"method": name})],
      splits,
      teacher=teacher,
      names=[name],
    )
    labels = np.asarray(run.train["labels"])
    assert labels.min() == 0, name
    assert len(labels) == len(unknown) - METHODS[name].needs_labels * sum(
      unknown
    )
    if not METHODS[name].needs_labels:
      np.testing.assert_array_equal(run.train["is_labelled"], ~unknown)
    states = training_runs.initial(run)
    run.program.metric_shapes(states, run.inputs, run.data(), np.int32(0))


def test_the_class_is_the_one_that_the_teacher_predicts(config, tmp_path):
  _, splits, teacher = prepared(config, tmp_path)
  known = np.asarray(splits.transfer["labels"])
  predicted = teacher.outputs.on(splits.transfer).logits.argmax(axis=-1)
  expected = np.where(known < 0, predicted, known)
  found = teacher.statistics.transfer_labels
  np.testing.assert_array_equal(found, expected)
  assert (expected != predicted).any()  # The teacher is wrong about some.
  embeddings = teacher.outputs.on(splits.transfer).embeddings
  moments = lelp_jax.class_moments(embeddings, expected, num_classes=2)
  # No training example was held out here.
  assert len(splits.train["labels"]) == NUM_LABELLED
  for a, b in zip(
    jax.tree.leaves(teacher.statistics.moments),
    jax.tree.leaves(moments),
    strict=True,
  ):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_membership_by_the_teacher(config, tmp_path):
  config.subspace.membership = "teacher"
  _, splits, teacher = prepared(config, tmp_path)
  outputs = teacher.outputs.on(splits.transfer)
  predicted = outputs.logits.argmax(axis=-1)
  counts = teacher.statistics.moments.count
  np.testing.assert_array_equal(counts, np.bincount(predicted))


@pytest.mark.slow  # With labels: test_teacher_cache.py.
def test_cached_and_inline_outputs_agree(config, tmp_path):
  found = {}
  for outputs in ("inline", "cached", "coordinates"):
    folder = tmp_path / outputs
    found[outputs] = train(
      config, folder, teacher__outputs=outputs, loss__hard_label_weight=0.3
    )
  result, params = found.pop("inline")
  for other, other_params in found.values():
    assert other.num_unlabelled_examples == result.num_unlabelled_examples
    jax.tree.map(
      functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-4),
      other_params,
      params,
    )


def test_hard_labels_are_those_that_exist(config, tmp_path):
  config.loss.hard_label_weight = 1.0
  cell, splits, teacher = prepared(config, tmp_path)
  run = build_run([cell], splits, teacher=teacher, names=["a"])
  labels, known = run.train["labels"], run.train["is_labelled"]

  def loss(labels):
    run.train["labels"] = labels
    return training_runs.chunk(run)[1]["loss"]

  first = loss(labels)
  np.testing.assert_array_equal(loss(np.where(known, labels, 0)), first)
  assert loss(np.where(known, 0, labels)) != first


def test_students_of_labelled_examples_refuse_them(config):
  config.data.transfer = "labelled"
  for field in ("unlabelled", "unlabelled_files"):
    config.data.unlabelled_files = "more" * (field == "unlabelled_files")
    with pytest.raises(ValueError, match=f"transfer='labelled'.*{field}="):
      validate.cell_spec(config)


def test_their_names_are_part_of_a_cells_name(config, tmp_path):
  digests = set()
  for files in ("", str(tmp_path / "more.npz")):
    config.data.unlabelled_files = files
    digests.add(identity.cell_digest(validate.cell_spec(config)))
  assert len(digests) == 2
