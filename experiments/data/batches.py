"""Batches: which examples, in what order, for training and for evaluation."""

from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def batch_indices(
  key: jax.Array,
  step: jax.Array | int,
  *,
  num_examples: int,
  batch_size: int,
) -> jax.Array:
  """Returns which examples make up the batch of one step.

  Each epoch is a permutation of its own of all examples, cut into batches;
  what is left over at its end is dropped, and has its chance in the next. The
  answer follows from `key` and `step` alone: the same after a resume, and on
  any number of devices.

  Args:
    key: The run's key for its data order.
    step: Number of updates made before, from 0; may be traced.
    num_examples: Number of examples, N.
    batch_size: Number of examples in a batch, B.

  Returns:
    Positions int32 [B], all different.

  Raises:
    ValueError: If there are fewer examples than fill one batch.
  """
  per_epoch = steps_per_epoch(num_examples, batch_size)
  order = epoch_order(key, step // per_epoch, num_examples)
  start = (step % per_epoch) * batch_size
  return jax.lax.dynamic_slice_in_dim(order, start, batch_size)


def chunk_indices(
  key: jax.Array,
  step: jax.Array | int,
  *,
  num_steps: int,
  num_examples: int,
  batch_size: int,
) -> jax.Array:
  """Returns the batches of several steps on end, for a loop that scans them.

  Row i is `batch_indices` of `step + i`. That sorts all examples for a single
  batch: 24 ms of a CPU for 50,000. This sorts them once for each epoch that
  the chunk touches.

  Args:
    key: The run's key for its data order.
    step: The first of the steps; may be traced.
    num_steps: How many there are.
    num_examples: Number of examples, N.
    batch_size: Number of examples in a batch, B.

  Returns:
    Positions int32 [num_steps, B].

  Raises:
    ValueError: If there are fewer examples than fill one batch, or no steps.
  """
  if num_steps < 1:
    raise ValueError(f"num_steps must be at least 1, got {num_steps}.")
  per_epoch = steps_per_epoch(num_examples, batch_size)
  # Wherever it starts, a chunk touches no more epochs than this.
  num_epochs = (num_steps - 2) // per_epoch + 2
  first = step // per_epoch
  orders = jax.vmap(lambda i: epoch_order(key, first + i, num_examples))(
    jnp.arange(num_epochs)
  )
  batches = orders[:, : per_epoch * batch_size].reshape(-1, batch_size)
  return jax.lax.dynamic_slice_in_dim(batches, step % per_epoch, num_steps)


def steps_per_epoch(num_examples: int, batch_size: int) -> int:
  """Returns how many full batches there are, which must be some.

  Args:
    num_examples: Number of examples, N.
    batch_size: Number of examples in a batch, B.

  Raises:
    ValueError: If there are fewer examples than fill one batch.
  """
  if batch_size < 1:
    raise ValueError(f"batch_size must be at least 1, got {batch_size}.")
  if batch_size > num_examples:
    raise ValueError(
      f"batch_size must be at most the number of examples, {num_examples}, "
      f"got {batch_size}."
    )
  return num_examples // batch_size


def epoch_order(
  key: jax.Array, epoch: jax.Array | int, num_examples: int
) -> jax.Array:
  """Returns all positions in the order of one epoch.

  Args:
    key: The run's key for its data order.
    epoch: Number of the epoch, from 0; may be traced.
    num_examples: Number of examples, N.

  Returns:
    A permutation, int32 [N].
  """
  key = jax.random.fold_in(key, epoch)
  return jax.random.permutation(key, jnp.arange(num_examples, dtype=jnp.int32))


def gather(arrays: Mapping[str, Any], indices: Any) -> dict[str, Any]:
  """Returns the chosen rows of each array.

  Args:
    arrays: Arrays of NumPy or JAX, one row an example.
    indices: Positions, int [B].
  """
  return {name: array[indices] for name, array in arrays.items()}


def eval_batches(
  arrays: Mapping[str, Any], batch_size: int
) -> Iterator[dict[str, Any]]:
  """Yields all examples once and in order, in batches of one size.

  Args:
    arrays: Arrays of NumPy or JAX, one row an example.
    batch_size: Number of rows in a batch, B.

  Yields:
    The arrays' rows, and "mask", bool [B]: False where a batch that would be
    too small was filled up with the first example.

  Raises:
    ValueError: If the arrays have different numbers of rows, or one of them is
      called "mask".
  """
  if batch_size < 1:
    raise ValueError(f"batch_size must be at least 1, got {batch_size}.")
  if "mask" in arrays:
    raise ValueError('no array may be called "mask": that name is taken.')
  rows = {name: len(array) for name, array in arrays.items()}
  if len(set(rows.values())) != 1:
    raise ValueError(f"arrays must have the same number of rows, got {rows}.")
  (num_examples,) = set(rows.values())
  for start in range(0, num_examples, batch_size):
    indices = np.arange(start, start + batch_size)
    mask = indices < num_examples
    batch = gather(arrays, np.where(mask, indices, 0))
    yield batch | {"mask": mask}
