"""Fits subspaces to a stream of embeddings that are never all in memory.

Each of 8 devices accumulates the moments of its own rows, without
communication. At the end, the moments of all devices are merged. Here the
devices are parts of a CPU, and the data are synthetic: each of the 2 classes
consists of 4 clusters, which differ along 3 directions.
"""

import functools
import operator
import time

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

import lelp_jax

C, CLUSTERS, D, S = 2, 4, 128, 3  # 4 clusters differ along 3 directions.
CENTRES = np.random.default_rng(0).normal(size=(C, CLUSTERS, 64))
WEIGHTS = np.random.default_rng(1).normal(size=(64, D)) / 16


def read_batch(index, size):
  """Stands for reading a part of the data set from a disk."""
  rng = np.random.default_rng(index)
  labels, clusters = rng.integers(0, [[C], [CLUSTERS]], (2, size))
  noise = rng.standard_normal((size, 64), np.float32)
  return np.float32(CENTRES[labels, clusters]) + noise, np.int32(labels)


def teacher(x):
  """Stands for a frozen teacher: the embeddings [B, D] of inputs [B, 64]."""
  return jnp.tanh(x @ jnp.float32(WEIGHTS))


def add_batch(moments, x, labels):
  """Adds a device's rows to its moments, whose leading axis has length 1."""
  own = lelp_jax.class_moments(teacher(x), labels, num_classes=C)
  merged = lelp_jax.merge_moments(jax.tree.map(lambda m: m[0], moments), own)
  return jax.tree.map(lambda m: m[None], merged)


def main(num_batches=256, batch_size=8192):
  mesh = jax.make_mesh((jax.device_count(),), ("data",))
  sharded = NamedSharding(mesh, P("data"))
  # Donating the old moments keeps one copy of them, however many rows come.
  add = jax.jit(
    jax.shard_map(
      add_batch, mesh=mesh, in_specs=P("data"), out_specs=P("data")
    ),
    donate_argnums=0,
  )
  # All devices start with the moments of no rows.
  none = lelp_jax.class_moments(
    np.zeros((0, D), np.float32), np.zeros(0, np.int32), num_classes=C
  )
  moments = jax.tree.map(
    lambda m: jax.device_put(jnp.stack([m] * mesh.size), sharded), none
  )
  start = time.perf_counter()
  for index in range(num_batches):
    batch = jax.device_put(read_batch(index, batch_size), sharded)
    moments = add(moments, *batch)
  # Merge the moments of the devices, which lie along the leading axis.
  parts = [
    jax.tree.map(operator.itemgetter(device), jax.device_get(moments))
    for device in range(mesh.size)
  ]
  moments = functools.reduce(lelp_jax.merge_moments, parts)
  # Step 1 of LELP. This head tells the classes apart by their means.
  difference = moments.mean[1] - moments.mean[0]
  subspaces = lelp_jax.fit_subspaces_from_moments(
    moments,
    jnp.stack([-difference, difference], axis=1),
    num_subclasses=S,
    key=jax.random.key(0),
  )
  seconds = time.perf_counter() - start

  rows = int(moments.count.sum())
  held = sum(leaf.nbytes for leaf in jax.tree.leaves(moments))
  shares = 100 * lelp_jax.variance_share(subspaces, moments)
  print(f"{rows:,} embeddings, {rows * D / 2**18:,.0f} MiB, in {seconds:.1f} s")
  print(f"held per device: {held / 2**20:.2f} MiB of moments, and a batch")
  print(
    f"{S} of {D} directions hold {shares.round()} % of each class's variance"
  )


if __name__ == "__main__":
  jax.config.update("jax_num_cpu_devices", 8)
  main()
