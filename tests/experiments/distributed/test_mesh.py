"""Meshes: the layout rule, idle devices, the same result on any mesh."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType
from jax.sharding import PartitionSpec

from experiments.distributed import mesh as mesh_lib


@pytest.mark.parametrize(
  ("num_devices", "num_cells", "batch_size", "expected"),
  [
    (8, 1, 64, (1, 8)),
    (8, 8, 64, (8, 1)),
    (8, 29, 64, (1, 8)),
    (8, 12, 64, (4, 2)),
    (8, 6, 64, (2, 4)),
    (6, 4, 64, (2, 2)),  # 3 devices per group do not divide 64.
    (7, 1, 64, (1, 4)),
    (8, 4, 1, (4, 1)),
    (8, 1, 6, (1, 6)),  # Not a divisor of 8, and more than any that is.
    (1, 5, 7, (1, 1)),
  ],
)
def test_cells_first_then_data(num_devices, num_cells, batch_size, expected):
  devices = jax.devices()[:num_devices]
  mesh = mesh_lib.make_mesh(num_cells, batch_size, devices)
  assert mesh.axis_names == ("cell", "data")
  assert mesh.devices.shape == expected
  assert mesh.axis_types == (AxisType.Auto, AxisType.Auto)
  used = list(mesh.devices.flat)
  assert len(set(used)) == len(used)
  assert set(used) <= set(devices)


def test_idle_devices_leave_no_process_without_one():
  class Device:
    def __init__(self, number):
      self.number, self.process_index = number, number // 4

  devices = [Device(number) for number in range(8)]
  for count, expected in (
    (2, [0, 4]),
    (5, [0, 1, 2, 4, 5]),
    (6, [0, 1, 2, 4, 5, 6]),
  ):
    used = mesh_lib._spread(devices, count)
    assert [device.number for device in used] == expected


def test_shardings_lay_out_the_first_axis():
  mesh = mesh_lib.make_mesh(4, 2)
  array = jnp.arange(32.0).reshape(8, 4)
  for sharding, spec, shard in (
    (mesh_lib.cell_sharding(mesh), PartitionSpec("cell"), (2, 4)),
    (mesh_lib.batch_sharding(mesh), PartitionSpec("data"), (4, 4)),
    (mesh_lib.replicated(mesh), PartitionSpec(), (8, 4)),
  ):
    assert sharding.spec == spec
    placed = mesh_lib.place(array, sharding)
    assert placed.sharding == sharding
    assert {s.data.shape for s in placed.addressable_shards} == {shard}
    np.testing.assert_array_equal(placed, array)
    abstract = mesh_lib.place(jax.eval_shape(lambda: array), sharding)
    assert (abstract.shape, abstract.sharding) == (array.shape, sharding)


def test_split_arrays_are_cut_along_their_largest_axis_that_divides():
  mesh = mesh_lib.make_mesh(2, 8)  # 4 devices along `data`.
  tree = {
    "tall": np.arange(96, dtype=np.float32).reshape(16, 6),
    "wide": np.zeros((8, 12)),
    "odd": np.zeros((7, 9)),
    "bias": np.zeros(4),
    "scalar": np.float32(3),
    "empty": np.zeros((0, 4)),
  }
  placed = mesh_lib.place_split(tree, mesh)
  shards = {k: v.addressable_shards[0].data.shape for k, v in placed.items()}
  assert shards == {
    "tall": (4, 6),
    "wide": (8, 3),
    "odd": (7, 9),
    "bias": (1,),
    "scalar": (),
    "empty": (0, 1),
  }
  np.testing.assert_array_equal(
    mesh_lib.fetch(placed, mesh)["tall"], tree["tall"]
  )


@pytest.mark.parametrize("num_devices", [1, 8])
def test_place_takes_numpy_keys_and_empty_containers(num_devices):
  mesh = mesh_lib.make_mesh(8, 8, jax.devices()[:num_devices])
  tree = {
    "images": np.arange(16, dtype=np.uint8).reshape(8, 2),
    "keys": jax.random.split(jax.random.key(0), 8),
    "nothing": (None, (), {}),
  }
  placed = mesh_lib.place(tree, mesh_lib.cell_sharding(mesh))
  assert jax.tree.structure(placed) == jax.tree.structure(tree)
  assert placed["images"].dtype == jnp.uint8
  assert len(placed["images"].sharding.device_set) == num_devices
  np.testing.assert_array_equal(placed["images"], tree["images"])
  np.testing.assert_array_equal(
    jax.random.key_data(placed["keys"]), jax.random.key_data(tree["keys"])
  )


def test_a_loss_over_the_batch_is_the_same_on_any_mesh(rng):
  """Explicit axes would refuse it, and per-device means would be wrong."""
  embeddings = rng.normal(size=(4, 8, 5)).astype(np.float32)

  @jax.jit
  def gram_spread(cells):
    grams = jnp.einsum("cbd,ced->cbe", cells, cells)
    return jnp.std(grams, axis=(1, 2))

  expected = np.std(
    np.einsum("cbd,ced->cbe", *[embeddings.astype(np.float64)] * 2), axis=(1, 2)
  )
  for count in (1, 2, 8):
    mesh = mesh_lib.make_mesh(4, 8, jax.devices()[:count])
    spec = PartitionSpec("cell", "data")
    placed = mesh_lib.place(embeddings, jax.NamedSharding(mesh, spec))
    np.testing.assert_allclose(gram_spread(placed), expected, rtol=1e-5)


@pytest.mark.parametrize("num_cells", [1, 2, 4, 12])
@pytest.mark.parametrize("mapped", [False, True])
def test_over_cells_is_a_loop_over_them(num_cells, mapped, rng):
  mesh = mesh_lib.make_mesh(num_cells, 6)
  batch = rng.normal(size=(6, 3)).astype(np.float32)
  weights = rng.normal(size=(num_cells, 3)).astype(np.float32)
  keys = mesh_lib.place(
    jax.vmap(jax.random.key)(np.arange(num_cells)), mesh_lib.cell_sharding(mesh)
  )

  def one_cell(common, weight, key):
    product = common @ weight
    return {"sum": product.sum(), "key": key, "product": product}

  found = jax.jit(
    lambda *cells: mesh_lib.over_cells(mesh, mapped, one_cell, *cells)
  )(
    mesh_lib.place(batch, mesh_lib.batch_sharding(mesh)),
    mesh_lib.place(weights, mesh_lib.cell_sharding(mesh)),
    keys,
  )
  product = weights @ batch.T
  np.testing.assert_allclose(found["product"], product, rtol=1e-5)
  np.testing.assert_allclose(found["sum"], product.sum(axis=1), rtol=1e-5)
  assert (found["key"] == keys).all()
  assert found["key"].shape == (num_cells,)
  if mesh.shape["cell"] > 1:
    assert not found["sum"].sharding.is_fully_replicated


@pytest.mark.parametrize("num_devices", [1, 8])
def test_settled_waits_for_cpus(num_devices, monkeypatch):
  waited = []

  def block_until_ready(tree):
    waited.append(tree)
    return tree

  monkeypatch.setattr(jax, "block_until_ready", block_until_ready)
  mesh = mesh_lib.make_mesh(1, 8, jax.devices()[:num_devices])
  tree = {"loss": jnp.ones(3)}
  assert mesh_lib.settled(tree, mesh) is tree
  assert waited == [tree]
