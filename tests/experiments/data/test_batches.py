"""Batches: epochs are permutations, the step decides, eval drops nothing."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.data import batches
from experiments.data.dataset import Ragged
from experiments.distributed import mesh as mesh_lib
from tests.experiments.processes import run_together

KEY_SEED = 7

draw = jax.jit(
  batches.chunk_indices,
  static_argnames=("num_steps", "num_examples", "batch_size"),
)


def indices_of(steps, num_examples=23, batch_size=5, seed=0):
  key = jax.random.key(seed)
  sizes = {"num_examples": num_examples, "batch_size": batch_size}
  return np.stack([draw(key, step, num_steps=1, **sizes)[0] for step in steps])


def test_an_epoch_is_a_part_of_a_permutation_and_each_is_its_own():
  steps_per_epoch = 23 // 5
  epochs = indices_of(range(50 * steps_per_epoch)).reshape(50, -1)
  for epoch in epochs:
    assert len(set(epoch)) == 20
    assert epoch.min() >= 0
    assert epoch.max() < 23
  assert len({tuple(epoch) for epoch in epochs}) == 50
  # Each epoch leaves out 3 other examples of the 23. An example occurs about
  # 50 * 20 / 23 = 43 times.
  seen = np.bincount(epochs.ravel(), minlength=23)
  assert seen.min() > 33


def test_key_and_step_decide_wherever_it_runs():
  expected = indices_of(range(12))
  assert expected.dtype == np.int32
  # After a resume, and not compiled.
  np.testing.assert_array_equal(indices_of([7])[0], expected[7])
  eager = batches.chunk_indices(
    jax.random.key(0), 11, num_steps=1, num_examples=23, batch_size=5
  )
  np.testing.assert_array_equal(eager[0], expected[11])
  # And with the answer spread over eight devices.
  mesh = mesh_lib.make_mesh(1, 16)
  key = mesh_lib.place(jax.random.key(0), mesh_lib.replicated(mesh))
  spread = jax.jit(
    lambda key, step: batches.chunk_indices(
      key, step, num_steps=1, num_examples=100, batch_size=16
    )[0],
    out_shardings=mesh_lib.batch_sharding(mesh),
  )
  wanted = indices_of(range(8), num_examples=100, batch_size=16)
  for step in range(8):
    np.testing.assert_array_equal(spread(key, jnp.int32(step)), wanted[step])
  assert (indices_of(range(12), seed=1) != expected).any()


@pytest.mark.parametrize(
  ("num_examples", "batch_size", "num_steps"),
  [(23, 5, 1), (23, 5, 4), (23, 5, 17), (7, 7, 6)],
)
def test_a_chunk_is_its_steps(num_examples, batch_size, num_steps):
  sizes = {"num_examples": num_examples, "batch_size": batch_size}
  key = jax.random.key(0)
  steps = indices_of(range(10 + num_steps), **sizes)
  for start in range(10):
    chunk = draw(key, start, num_steps=num_steps, **sizes)
    np.testing.assert_array_equal(chunk, steps[start : start + num_steps])


def test_a_batch_of_more_than_all_examples_is_refused():
  with pytest.raises(ValueError, match=r"batch_size .* 10, got 11"):
    batches.steps_per_epoch(10, 11)


def texts(num_examples=50, most=40):
  rng = np.random.default_rng(1)
  rows = [rng.integers(1, 99, rng.integers(1, most)) for _ in range(50)]
  return {
    "inputs": Ragged.concatenate(rows[:num_examples], np.uint16),
    "labels": np.arange(num_examples, dtype=np.int32),
  }


def rows_of(source, first, num_steps, num_devices=8):
  """The labels of each batch, which are positions."""
  mesh = mesh_lib.make_mesh(1, source.batch_size, jax.devices()[:num_devices])
  key = jax.random.key(KEY_SEED)
  sharding = mesh_lib.batch_sharding(mesh)
  taken = source.batches(key, first, num_steps, sharding)
  return np.array([batch["labels"] for batch in taken])


def test_batches_at_random_are_those_of_the_devices():
  source = batches.Feed(texts(), 8)
  expected = batches.chunk_indices(
    jax.random.key(KEY_SEED), 3, num_steps=11, num_examples=50, batch_size=8
  )
  np.testing.assert_array_equal(rows_of(source, 3, 11), expected)


@pytest.mark.parametrize("window", [1, 2, 4])
def test_batches_resume_and_do_not_depend_on_devices(window):
  source = batches.Feed(texts(), 8, window)
  whole = rows_of(source, 0, 14)
  np.testing.assert_array_equal(rows_of(source, 5, 9), whole[5:])
  np.testing.assert_array_equal(rows_of(source, 0, 14, 1), whole)
  for epoch in (whole[:6], whole[6:12]):
    assert len(np.unique(epoch)) == 48
  assert (whole[:6] != whole[6:12]).any()


def test_a_window_groups_texts_by_length():
  arrays = texts()
  lengths = arrays["inputs"].lengths

  def padding(window):
    rows = rows_of(batches.Feed(arrays, 8, window), 0, 6)
    return sum(lengths[row].max() * 8 - lengths[row].sum() for row in rows)

  assert padding(6) < 0.5 * padding(1)
  # The short ones do not always come first.
  firsts = [
    lengths[rows_of(batches.Feed(arrays, 8, 6), 6 * epoch, 1)[0]].max()
    for epoch in range(4)
  ]
  assert len(set(firsts)) > 1


def test_batches_are_padded_to_the_longest_text():
  arrays = texts()
  source = batches.Feed(arrays, 8, 6)
  mesh = mesh_lib.make_mesh(1, 8)
  taken = source.batches(
    jax.random.key(KEY_SEED), 0, 6, mesh_lib.batch_sharding(mesh)
  )
  widths = set()
  for batch in taken:
    ids, mask = batch["inputs"]["input_ids"], batch["inputs"]["attention_mask"]
    assert ids.sharding.is_equivalent_to(mesh_lib.batch_sharding(mesh), 2)
    widths.add(ids.shape[1])
    ids, mask = np.asarray(ids), np.asarray(mask)  # A slice is not compiled.
    longest = 0
    for row, label in enumerate(np.asarray(batch["labels"])):
      expected = arrays["inputs"][label]
      longest = max(longest, len(expected))
      np.testing.assert_array_equal(ids[row, : len(expected)], expected)
      assert not ids[row, len(expected) :].any()
      assert mask[row].sum() == len(expected)
    width = min(w for w in batches.WIDTHS if w >= longest)
    assert ids.shape[1] == min(width, arrays["inputs"].longest)
  assert widths == {16, 32, arrays["inputs"].longest}


def test_texts_longer_than_every_width_keep_their_length():
  rows = [np.arange(1, 601), np.arange(1, 4)]
  batch = batches.collate(
    {"inputs": Ragged.concatenate(rows, np.int32)}, np.array([1, 0])
  )
  assert batch["inputs"]["input_ids"].shape == (2, 600)
  np.testing.assert_array_equal(batch["inputs"]["input_ids"][1], rows[0])


@pytest.mark.parametrize("size", [1, 7, 50, 64])
def test_eval_batches_have_every_example_once(size):
  arrays = texts()
  assert len(list(batches.eval_batches(arrays, size))) == -(-50 // size)
  seen = []
  for batch in batches.eval_batches(arrays, size):
    assert batch["labels"].shape == batch["mask"].shape == (size,)
    np.testing.assert_array_equal(batch["labels"], batch["rows"])
    seen += batch["rows"][batch["mask"]].tolist()
  lengths = arrays["inputs"].lengths
  np.testing.assert_array_equal(seen, np.argsort(lengths, kind="stable"))
  # Without texts they come in their order.
  arrays = {"ids": np.arange(50) + 10}
  found = list(batches.eval_batches(arrays, size))
  ids = np.concatenate([batch["ids"][batch["mask"]] for batch in found])
  np.testing.assert_array_equal(ids, arrays["ids"])


BODY = """
import json
import numpy as np
from experiments.data import batches
from experiments.data.dataset import Ragged
from experiments.distributed import mesh as mesh_lib
from tests.experiments.data.test_batches import texts

arrays, read = texts(), []

class Watched(np.ndarray):
  def __getitem__(self, rows):
    read.extend(np.asarray(self)[rows].tolist())
    return np.asarray(self)[rows]

labels = arrays["labels"].view(Watched)
source = batches.Feed({**arrays, "labels": labels}, 8, 2)
sharding = mesh_lib.batch_sharding(mesh_lib.make_mesh(1, 8))
rows = []
for batch in source.batches(jax.random.key(7), 0, 6, sharding):
  replicated = jax.jit(
    lambda x: x, out_shardings=mesh_lib.replicated(sharding.mesh)
  )(batch["labels"])
  rows.append(np.asarray(replicated).tolist())
print("rows" + json.dumps([rows, len(read)]))
"""


@pytest.mark.parametrize("count", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_processes_make_one_batch_and_read_their_part_of_it(count):
  expected = rows_of(batches.Feed(texts(), 8, 2), 0, 6).tolist()
  for printed in run_together(BODY, count=count, devices=8 // count):
    rows, num_read = json.loads(printed.split("rows")[-1])
    assert rows == expected
    assert num_read == 48 // count
