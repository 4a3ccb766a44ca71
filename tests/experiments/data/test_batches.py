"""Batches: epochs are permutations, the step decides, eval drops nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.data import batches
from experiments.distributed import mesh as mesh_lib

draw = jax.jit(
  batches.batch_indices, static_argnames=("num_examples", "batch_size")
)


def indices_of(steps, num_examples=23, batch_size=5, seed=0):
  sizes = {"num_examples": num_examples, "batch_size": batch_size}
  return np.stack([draw(jax.random.key(seed), step, **sizes) for step in steps])


def test_an_epoch_is_a_part_of_a_permutation_and_each_is_its_own():
  steps_per_epoch = 23 // 5
  epochs = indices_of(range(50 * steps_per_epoch)).reshape(50, -1)
  for epoch in epochs:
    assert len(set(epoch)) == 20
    assert epoch.min() >= 0
    assert epoch.max() < 23
  assert len({tuple(epoch) for epoch in epochs}) == 50
  # What one epoch leaves out, others have: 50 * 20 / 23 = 43 times each.
  seen = np.bincount(epochs.ravel(), minlength=23)
  assert seen.min() > 33


def test_an_epoch_that_divides_has_every_example():
  epoch = indices_of(range(4), num_examples=20).ravel()
  np.testing.assert_array_equal(np.sort(epoch), np.arange(20))


def test_positions_are_uniform():
  first = indices_of(range(0, 4 * 400, 4))[:, 0]
  seen = np.bincount(first, minlength=23)
  assert np.sum((seen - 400 / 23) ** 2 / (400 / 23)) < 60  # chi2, 22 degrees.


def test_key_and_step_decide_wherever_it_runs():
  expected = indices_of(range(12))
  assert expected.dtype == np.int32
  # After a resume, and not compiled.
  np.testing.assert_array_equal(indices_of([7])[0], expected[7])
  eager = batches.batch_indices(
    jax.random.key(0), 11, num_examples=23, batch_size=5
  )
  np.testing.assert_array_equal(eager, expected[11])
  # And with the answer spread over eight devices.
  mesh = mesh_lib.make_mesh(1, 16)
  key = mesh_lib.place(jax.random.key(0), mesh_lib.replicated(mesh))
  spread = jax.jit(
    lambda key, step: batches.batch_indices(
      key, step, num_examples=100, batch_size=16
    ),
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
  chunk = jax.jit(
    lambda step: batches.chunk_indices(key, step, num_steps=num_steps, **sizes)
  )
  steps = indices_of(range(10 + num_steps), **sizes)
  for start in range(10):
    np.testing.assert_array_equal(
      chunk(start), steps[start : start + num_steps]
    )


def test_batch_sizes_are_checked():
  key = jax.random.key(0)
  for size, message in (
    (11, "at most the number of examples, 10, got 11"),
    (0, "at least 1, got 0"),
  ):
    with pytest.raises(ValueError, match=message):
      batches.batch_indices(key, 0, num_examples=10, batch_size=size)
  with pytest.raises(ValueError, match="num_steps must be at least 1"):
    batches.chunk_indices(key, 0, num_steps=0, num_examples=9, batch_size=3)


def test_gather_takes_rows_of_every_array(rng):
  arrays = {
    "inputs": rng.integers(0, 17, size=(9, 2, 2, 1)).astype(np.uint8),
    "labels": np.arange(9, dtype=np.int32),
  }
  rows = np.array([3, 3, 0])
  for kind in (np.asarray, jnp.asarray):
    batch = batches.gather({k: kind(v) for k, v in arrays.items()}, rows)
    assert list(batch) == ["inputs", "labels"]
    for name, array in arrays.items():
      assert batch[name].dtype == array.dtype
      np.testing.assert_array_equal(batch[name], array[rows])


@pytest.mark.parametrize("num_examples", [1, 3, 4, 5, 8])
@pytest.mark.parametrize("kind", [np.asarray, jnp.asarray])
def test_eval_batches_have_every_example_once(num_examples, kind):
  arrays = {
    "inputs": kind(np.arange(num_examples * 2).reshape(num_examples, 2) + 50),
    "ids": kind(np.arange(num_examples) + 10),
  }
  seen = list(batches.eval_batches(arrays, 4))
  assert len(seen) == -(-num_examples // 4)
  for batch in seen:
    assert batch["inputs"].shape == (4, 2)
    assert batch["mask"].shape == (4,)
    assert batch["mask"].dtype == np.bool_
    np.testing.assert_array_equal(batch["ids"][~batch["mask"]], 10)
  kept = {
    name: np.concatenate([b[name][b["mask"]] for b in seen]) for name in arrays
  }
  for name, array in arrays.items():
    np.testing.assert_array_equal(kept[name], array)


def test_eval_batches_check_their_arguments():
  ids = np.arange(3)
  assert list(batches.eval_batches({"ids": ids[:0]}, 4)) == []
  for arrays, size, message in (
    ({"ids": ids}, 0, "batch_size must be at least 1"),
    ({"ids": ids, "labels": ids[:2]}, 2, "{'ids': 3, 'labels': 2}"),
    ({"ids": ids, "mask": ids}, 2, '"mask"'),
    ({}, 2, "same number of rows, got {}"),
  ):
    with pytest.raises(ValueError, match=message):
      list(batches.eval_batches(arrays, size))
