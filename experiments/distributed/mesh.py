"""Devices: how a stack of cells and its batches are laid over them."""

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

# Auto and not jax.make_mesh's default, Explicit: with sharding in the types, a
# Gram matrix over the batch (the relational losses), Linen's Dropout and its
# Embed are errors. Under Auto the program means the same on any mesh.
_AXIS_TYPES = (AxisType.Auto, AxisType.Auto)


def make_mesh(
  num_cells: int,
  batch_size: int,
  devices: Sequence[jax.Device] | None = None,
) -> Mesh:
  """Returns a mesh ("cell", "data") for a stack of cells that share batches.

  Cells need nothing from each other, so they come first: the `cell` axis takes
  the largest divisor of the number of devices that also divides `num_cells`.
  The devices left to each group of cells share its batches along `data`: as
  many of them as divide the batch. Where that is not all of them the rest stay
  idle, and the result is the same: 7 devices, 1 cell and batches of 64 use 4.

  Args:
    num_cells: Number of cells in the stack, at least 1.
    batch_size: Number of examples in a batch, over all devices.
    devices: The devices to use; all that JAX sees if None.

  Returns:
    A mesh whose `cell` size divides `num_cells` and whose `data` size divides
    `batch_size`, with `AxisType.Auto` axes.

  Raises:
    ValueError: If a size is not positive, or if idle devices would leave a
      process with nothing to do.
  """
  for name, size in (("num_cells", num_cells), ("batch_size", batch_size)):
    if size < 1:
      raise ValueError(f"{name} must be at least 1, got {size}.")
  devices = list(jax.devices() if devices is None else devices)
  if not devices:
    raise ValueError("devices must name at least one device, got none.")
  cell = math.gcd(len(devices), num_cells)
  share = len(devices) // cell
  data = max(n for n in range(1, share + 1) if batch_size % n == 0)
  if cell * data == len(devices):
    # Knows the interconnect: neighbours along `data` are neighbours on it.
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
  """Returns so many of the devices, of as many processes as can be."""
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
  """Raises ValueError if a process owns devices, and none of those used."""
  idle = {d.process_index for d in devices} - {d.process_index for d in used}
  if idle:
    raise ValueError(
      f"{num_cells} cells with batches of {batch_size} use {len(used)} of "
      f"{len(devices)} devices, none of them on processes {sorted(idle)}: "
      "choose a batch size or a number of cells that the devices divide, or "
      "start fewer processes."
    )


def cell_sharding(mesh: Mesh) -> NamedSharding:
  """The sharding of what has one slice a cell on its first axis."""
  return NamedSharding(mesh, PartitionSpec("cell"))


def batch_sharding(mesh: Mesh) -> NamedSharding:
  """The sharding of what has one row an example on its first axis."""
  return NamedSharding(mesh, PartitionSpec("data"))


def replicated(mesh: Mesh) -> NamedSharding:
  """The sharding of what every device holds whole."""
  return NamedSharding(mesh, PartitionSpec())


def place(tree: Tree, sharding: Sharding) -> Tree:
  """Returns a tree of arrays with every leaf laid out by one sharding.

  With several processes each gives the same values, as they do when they
  compute them from the same seed.

  Args:
    tree: Arrays, of NumPy or JAX, typed keys included; or their shapes.
    sharding: Where they go: one of this file's, on a mesh of any size.

  Returns:
    The same tree of `jax.Array`; shapes get the sharding.
  """
  if any(isinstance(x, jax.ShapeDtypeStruct) for x in jax.tree.leaves(tree)):
    return jax.tree.map(lambda shape: shape.update(sharding=sharding), tree)
  if sharding.is_fully_addressable:
    return jax.device_put(tree, sharding)
  return jax.tree.map(lambda leaf: _place_everywhere(leaf, sharding), tree)


def _place_everywhere(leaf: Any, sharding: Sharding) -> jax.Array:
  """Lays out one array over the devices of several processes."""
  if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
    return jax.device_put(leaf, sharding)
  # From one process, device_put takes no keys.
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
  """Returns a tree of arrays, each split over `data` (fully sharded, "fsdp").

  Every array is cut along its largest axis that the size of `data` divides,
  and lies whole on every device if there is none.

  Args:
    tree: Arrays, as for `place`.
    mesh: One of this file's.

  Returns:
    The same tree of `jax.Array`.
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
  """Returns a tree of arrays, once they are computed if that has to be.

  Virtual CPU devices share a few threads: computations in flight at once keep
  each other's collectives from meeting, and XLA gives up after a while.

  Args:
    tree: Arrays on the devices of a mesh.
    mesh: The mesh.
  """
  crowded = mesh.size > 1 and mesh.devices.flat[0].platform == "cpu"
  return jax.block_until_ready(tree) if crowded else tree


def fetch(tree: Any, mesh: Mesh) -> Any:
  """Returns a tree of arrays in the memory of each process, of NumPy.

  With several processes all call it together: what lies on the devices of one
  comes to the others.

  Args:
    tree: Arrays on the devices of a mesh.
    mesh: The mesh.
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


def on_host(shapes: Any) -> Any:
  """Returns arrays of NumPy of the shapes given: where to read files to.

  Args:
    shapes: A tree of `jax.ShapeDtypeStruct`.
  """
  return jax.tree.map(lambda x: np.empty(x.shape, x.dtype), shapes)


def over_cells(
  mesh: Mesh,
  mapped: bool,
  function: Callable[..., Any],
  common: Any,
  *cells: Any,
) -> Any:
  """Applies a function to what cells have in common and to each of a stack.

  Args:
    mesh: Where the cells lie, along its axis `cell`.
    mapped: Whether the cells of a device run one by one, not as one batch.
    function: ``(common, *arrays of one cell)`` to a tree of arrays.
    common: A tree of arrays.
    *cells: Trees of arrays with a leading cell axis.

  Returns:
    The function's results, with a leading cell axis.
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

  # One cell of each group of devices at a time: what is one batch of cells to
  # the program is a single one to a device.
  along = cell_sharding(mesh)

  def dealt(leaf: jax.Array) -> jax.Array:
    leaf = leaf.reshape(groups, -1, *leaf.shape[1:])
    return jax.lax.with_sharding_constraint(leaf, along)

  def gathered(leaf: jax.Array) -> jax.Array:
    leaf = leaf.swapaxes(0, 1).reshape(num_cells, *leaf.shape[2:])
    return jax.lax.with_sharding_constraint(leaf, along)

  hands = jax.tree.map(dealt, cells)

  def one_of_each(number: jax.Array) -> Any:
    # An index and no transpose, twice of which the check of keys takes amiss.
    return together(*jax.tree.map(lambda leaf: leaf[:, number], hands))

  results = jax.lax.map(one_of_each, jnp.arange(num_cells // groups))
  return jax.tree.map(gathered, results)
