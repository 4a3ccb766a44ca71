"""Functions of a whole batch on meshes with explicit axes.

`jax.make_mesh` makes explicit axes by default. Along these, JAX refuses
operations whose output sharding is ambiguous, such as products of all pairs of
a sharded batch.
"""

from collections.abc import Callable
from typing import Any

import jax


def on_auto_axes(
  function: Callable[..., Any], *arrays: jax.Array, like: Any = None
) -> Any:
  """Calls a function with all explicit axes of the mesh left to the compiler.

  Args:
    function: Takes the arrays and returns a pytree of arrays.
    *arrays: Arrays, sharded or not.
    like: A prefix of the returned pytree. The leading axis of each result is
      sharded like that of the array at its place. By default, all results are
      replicated.

  Returns:
    The results of the function. Without explicit axes, this is a plain call.
  """
  meshes = [
    mesh for array in arrays if (mesh := _sharding(array).mesh).explicit_axes
  ]
  if not meshes:
    return function(*arrays)
  specs = jax.P()
  if like is not None:
    specs = jax.tree.map(lambda x: jax.P(*_sharding(x).spec[:1]), like)
  with jax.sharding.use_abstract_mesh(meshes[0]):
    automatic = jax.sharding.auto_axes(
      function, axes=meshes[0].explicit_axes, out_sharding=specs
    )
    return automatic(*arrays)


def _sharding(array: jax.Array) -> Any:
  """Returns the sharding in an array's type."""
  return jax.typeof(array).sharding
