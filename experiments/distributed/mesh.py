"""Distribution of a stack of cells and its batches over devices."""

import functools
import math
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType
from jax.sharding import Mesh
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec
from jax.sharding import Sharding

Tree = TypeVar("Tree")

# Not the explicit axes that jax.make_mesh has by default: with these, Linen's
# Dropout and Embed and a Gram matrix over the batch (as in relational losses)
# raise errors. With automatic axes, a program has the same meaning on any mesh.
_AXIS_TYPES = (AxisType.Auto, AxisType.Auto)


def make_mesh(
  num_cells: int,
  batch_size: int,
  devices: Sequence[jax.Device] | None = None,
) -> Mesh:
  """Returns a mesh ("cell", "data") for a stack of cells that share batches.

  Cells are divided over devices first, because they do not communicate: the
  size of `cell` is the greatest common divisor of `num_cells` and the number of
  devices. The devices of a group then share its batches: the size of `data` is
  the largest divisor of `batch_size` that is not larger than the group. Other
  devices are idle. For example, 1 cell with batches of 64 uses 4 of 7 devices.
  """
  devices = list(jax.devices() if devices is None else devices)
  cell = math.gcd(len(devices), num_cells)
  share = len(devices) // cell
  data = max(n for n in range(1, share + 1) if batch_size % n == 0)
  if cell * data == len(devices):
    # jax.make_mesh makes devices that are close in the interconnect neighbours
    # along `data`.
    return jax.make_mesh(
      (cell, data), ("cell", "data"), axis_types=_AXIS_TYPES, devices=devices
    )
  used = _spread(devices, cell * data)
  _check_every_process_has_one(devices, used, num_cells, batch_size)
  return Mesh(
    np.array(used).reshape(cell, data),
    ("cell", "data"),
    axis_types=_AXIS_TYPES,
  )


def _spread(devices: list[jax.Device], count: int) -> list[jax.Device]:
  """Returns some of the devices, from as many processes as possible."""
  seen: dict[int, int] = {}
  places = []
  for number, device in enumerate(devices):
    turn = seen.setdefault(device.process_index, 0)
    seen[device.process_index] += 1
    places.append((turn, number))
  return [
    devices[number] for number in sorted(n for _, n in sorted(places)[:count])
  ]


def _check_every_process_has_one(
  devices: list[jax.Device],
  used: list[jax.Device],
  num_cells: int,
  batch_size: int,
) -> None:
  """Raises ValueError if none of a process's devices are used."""
  idle = {d.process_index for d in devices} - {d.process_index for d in used}
  if idle:
    raise ValueError(
      f"{num_cells} cells with batches of {batch_size} use {len(used)} of "
      f"{len(devices)} devices, none of them on processes {sorted(idle)}: "
      "choose a batch size or a number of cells divisible by the number of "
      "devices, or start fewer processes."
    )


def cell_sharding(mesh: Mesh) -> NamedSharding:
  """Returns the sharding of arrays with a leading axis of cells."""
  return NamedSharding(mesh, PartitionSpec("cell"))


def batch_sharding(mesh: Mesh) -> NamedSharding:
  """Returns the sharding of arrays with a leading axis of examples."""
  return NamedSharding(mesh, PartitionSpec("data"))


def replicated(mesh: Mesh) -> NamedSharding:
  """Returns the sharding of arrays that are copied to every device."""
  return NamedSharding(mesh, PartitionSpec())


def place(tree: Tree, sharding: Sharding) -> Tree:
  """Places all arrays of a tree on devices, with one sharding.

  All processes pass the same values. In a tree of `jax.ShapeDtypeStruct`, the
  sharding is set.
  """
  if any(isinstance(x, jax.ShapeDtypeStruct) for x in jax.tree.leaves(tree)):
    return jax.tree.map(lambda shape: shape.update(sharding=sharding), tree)
  if sharding.is_fully_addressable:
    return jax.device_put(tree, sharding)
  return jax.tree.map(lambda leaf: _place_everywhere(leaf, sharding), tree)


def _place_everywhere(leaf: Any, sharding: Sharding) -> jax.Array:
  """Places one array on the devices of several processes."""
  if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
    return jax.device_put(leaf, sharding)
  # device_put cannot place typed keys on the devices of several processes.
  if isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(
    leaf.dtype, jax.dtypes.prng_key
  ):
    words = _place_everywhere(jax.random.key_data(leaf), sharding)
    return jax.random.wrap_key_data(words, impl=jax.random.key_impl(leaf))
  values = np.asarray(leaf)
  return jax.make_array_from_callback(
    values.shape, sharding, lambda index: values[index]
  )


def place_split(tree: Tree, mesh: Mesh) -> Tree:
  """Places arrays divided over the axis `data` of the mesh (FSDP).

  Each array is divided along its largest axis that is divisible by the size of
  `data`. If there is no such axis, every device has a copy.
  """
  size = mesh.shape["data"]

  def put(leaf: Any) -> Any:
    fitting = [i for i, n in enumerate(leaf.shape) if n and n % size == 0]
    spec: list[str | None] = [None] * len(leaf.shape)
    if fitting:
      spec[max(fitting, key=lambda i: leaf.shape[i])] = "data"
    return place(leaf, NamedSharding(mesh, PartitionSpec(*spec)))

  return jax.tree.map(put, tree)


def settled(tree: Tree, mesh: Mesh) -> Tree:
  """Returns a tree, on CPU devices after waiting for its arrays.

  A computation takes its memory when it is dispatched. Steps that wait for each
  other make a CPU no faster, but those of a MiniLM took more than 20 GB
  together. Virtual CPU devices also share a few threads, so that two
  computations at a time could block each other's collectives until XLA's
  timeout.
  """
  is_cpu = mesh.devices.flat[0].platform == "cpu"
  return jax.block_until_ready(tree) if is_cpu else tree


def fetch(tree: Any, mesh: Mesh) -> Any:
  """Copies arrays from all devices into NumPy arrays, in every process.

  All processes call this together, since they exchange the parts on their
  devices.
  """
  if not all(
    leaf.is_fully_addressable or leaf.is_fully_replicated
    for leaf in jax.tree.leaves(tree)
    if isinstance(leaf, jax.Array)
  ):
    tree = jax.jit(_same, out_shardings=replicated(mesh))(tree)
  return jax.device_get(tree)


def _same(tree: Tree) -> Tree:
  return tree


def over_cells(
  mesh: Mesh,
  mapped: bool,
  function: Callable[..., Any],
  common: Any,
  *cells: Any,
) -> Any:
  """Applies a function to each cell of a stack, in parallel over the mesh.

  Args:
    mesh: The mesh. The axis of cells is divided over its axis `cell`.
    mapped: Whether each device runs its cells one after another (`jax.lax.map`)
      rather than as one batch (`jax.vmap`).
    function: Takes `common`, and the arrays of one cell from each of `cells`.
    common: Arguments that all cells share.
    *cells: Trees of arrays with a leading axis of cells.

  Returns:
    The results, with a leading axis of cells.
  """
  (num_cells,) = {leaf.shape[0] for leaf in jax.tree.leaves(cells)}
  if num_cells == 1:
    first = jax.tree.map(lambda x: x[0], cells)
    return jax.tree.map(lambda x: x[None], function(common, *first))
  groups = mesh.shape["cell"]
  together = jax.vmap(functools.partial(function, common))
  if not mapped or groups == num_cells:
    return together(*cells)
  if groups == 1:
    return jax.lax.map(lambda cell: function(common, *cell), cells)

  # Each step of the loop runs a batch with one cell per group of devices, so
  # that each device runs a single cell.
  sharding = cell_sharding(mesh)

  def grouped(leaf: jax.Array) -> jax.Array:
    leaf = leaf.reshape(groups, -1, *leaf.shape[1:])
    return jax.lax.with_sharding_constraint(leaf, sharding)

  def ungrouped(leaf: jax.Array) -> jax.Array:
    leaf = leaf.swapaxes(0, 1).reshape(num_cells, *leaf.shape[2:])
    return jax.lax.with_sharding_constraint(leaf, sharding)

  cells_by_group = jax.tree.map(grouped, cells)

  def one_cell_per_group(number: jax.Array) -> Any:
    # An index instead of a transpose: JAX's key-reuse checker rejects two
    # transposes of a key array.
    return together(*jax.tree.map(lambda leaf: leaf[:, number], cells_by_group))

  results = jax.lax.map(one_cell_per_group, jnp.arange(num_cells // groups))
  return jax.tree.map(ungrouped, results)
