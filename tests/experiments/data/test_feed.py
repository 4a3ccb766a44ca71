import json

import jax
import numpy as np
import pytest

from experiments.data import batches
from experiments.data import feed
from experiments.data.dataset import Ragged
from experiments.distributed import mesh as mesh_lib
from tests.experiments.processes import run_together

KEY_SEED = 7


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
  source = feed.Feed(texts(), 8)
  expected = batches.chunk_indices(
    jax.random.key(KEY_SEED), 3, num_steps=11, num_examples=50, batch_size=8
  )
  np.testing.assert_array_equal(rows_of(source, 3, 11), expected)


@pytest.mark.parametrize("window", [1, 2, 4])
def test_batches_resume_and_do_not_depend_on_devices(window):
  source = feed.Feed(texts(), 8, window)
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
    rows = rows_of(feed.Feed(arrays, 8, window), 0, 6)
    return sum(lengths[row].max() * 8 - lengths[row].sum() for row in rows)

  assert padding(6) < 0.5 * padding(1)
  # The short ones do not always come first.
  firsts = [
    lengths[rows_of(feed.Feed(arrays, 8, 6), 6 * epoch, 1)[0]].max()
    for epoch in range(4)
  ]
  assert len(set(firsts)) > 1


def test_batches_are_padded_to_the_longest_text():
  arrays = texts()
  source = feed.Feed(arrays, 8, 6)
  mesh = mesh_lib.make_mesh(1, 8)
  taken = source.batches(
    jax.random.key(KEY_SEED), 0, 6, mesh_lib.batch_sharding(mesh)
  )
  widths = set()
  for batch in taken:
    ids, mask = batch["inputs"]["input_ids"], batch["inputs"]["attention_mask"]
    assert ids.sharding.is_equivalent_to(mesh_lib.batch_sharding(mesh), 2)
    widths.add(ids.shape[1])
    longest = 0
    for row, label in enumerate(np.asarray(batch["labels"])):
      expected = arrays["inputs"][label]
      longest = max(longest, len(expected))
      np.testing.assert_array_equal(ids[row, : len(expected)], expected)
      assert not np.asarray(ids[row, len(expected) :]).any()
      assert mask[row].sum() == len(expected)
    width = min(w for w in feed.WIDTHS if w >= longest)
    assert ids.shape[1] == min(width, arrays["inputs"].longest)
  assert widths == {16, 32, arrays["inputs"].longest}


def test_texts_longer_than_every_width_keep_their_length():
  rows = [np.arange(1, 601), np.arange(1, 4)]
  batch = feed.collate(
    {"inputs": Ragged.concatenate(rows, np.int32)}, np.array([1, 0])
  )
  assert batch["inputs"]["input_ids"].shape == (2, 600)
  np.testing.assert_array_equal(batch["inputs"]["input_ids"][1], rows[0])


def test_images_and_vectors_pass_through():
  arrays = {
    "inputs": np.arange(20 * 12, dtype=np.uint8).reshape(20, 2, 2, 3),
    "labels": np.arange(20, dtype=np.int32),
  }
  source = feed.Feed(arrays, 4)
  mesh = mesh_lib.make_mesh(1, 4)
  (batch,) = source.batches(
    jax.random.key(0), 2, 1, mesh_lib.batch_sharding(mesh)
  )
  np.testing.assert_array_equal(
    batch["inputs"], arrays["inputs"][np.asarray(batch["labels"])]
  )
  assert source.example()["inputs"].shape == (4, 2, 2, 3)


@pytest.mark.parametrize("size", [1, 7, 64])
def test_eval_batches_have_every_text_once(size):
  arrays = texts()
  seen = []
  for batch in feed.eval_batches(arrays, size):
    assert batch["labels"].shape == (size,)
    np.testing.assert_array_equal(batch["labels"], batch["rows"])
    seen += batch["rows"][batch["mask"]].tolist()
  assert sorted(seen) == list(range(50))


def test_a_window_of_nothing_is_refused():
  with pytest.raises(ValueError, match="length_window must be at least 1"):
    feed.Feed(texts(), 8, 0)


BODY = """
import json
import numpy as np
from experiments.data import feed
from experiments.data.dataset import Ragged
from experiments.distributed import mesh as mesh_lib
from tests.experiments.data.test_feed import texts

arrays, read = texts(), []

class Watched(np.ndarray):
  def __getitem__(self, rows):
    read.extend(np.asarray(self)[rows].tolist())
    return np.asarray(self)[rows]

labels = arrays["labels"].view(Watched)
source = feed.Feed({**arrays, "labels": labels}, 8, 2)
sharding = mesh_lib.batch_sharding(mesh_lib.make_mesh(1, 8))
rows = []
for batch in source.batches(jax.random.key(7), 0, 6, sharding):
  replicated = jax.jit(
    lambda x: x, out_shardings=mesh_lib.replicated(sharding.mesh)
  )(batch["labels"])
  rows.append(np.asarray(replicated).tolist())
print("rows" + json.dumps([rows, len(read)]))
"""


@pytest.mark.parametrize("count", [2, 4])
def test_processes_make_one_batch_and_read_their_part_of_it(count):
  expected = rows_of(feed.Feed(texts(), 8, 2), 0, 6).tolist()
  for printed in run_together(BODY, count=count, devices=8 // count):
    rows, num_read = json.loads(printed.split("rows")[-1])
    assert rows == expected
    assert num_read == 48 // count
