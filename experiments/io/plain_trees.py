"""Trees of arrays in the form that goes to disk, and what differs in two.

Orbax refuses arrays without elements and NumPy's scalars, and it describes a
typed key as the words inside. So keys are stored as their words, arrays
without elements not at all, and what is expected says what to make of that.
"""

import hashlib
from collections.abc import Mapping
from typing import Any
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Sharding
from jax.sharding import SingleDeviceSharding

from experiments.distributed import mesh as mesh_lib

Tree = TypeVar("Tree")


class StructureError(ValueError):
  """What is saved and what is expected are different trees."""


def to_plain(tree: Any) -> Any:
  """Returns a state as it goes to disk: no keys, nothing empty.

  Args:
    tree: A tree of `jax.Array`, typed keys included, and `np.ndarray`.

  Returns:
    The same tree, with None for arrays without elements.

  Raises:
    TypeError: If it holds anything else.
  """
  return jax.tree.map_with_path(_leaf_to_plain, tree)


def to_abstract(like: Any) -> Any:
  """Returns what describes the tree that `to_plain` makes of a state.

  Args:
    like: The state, or `jax.ShapeDtypeStruct` in place of its arrays.

  Returns:
    Its tree of `jax.ShapeDtypeStruct` with shardings, and of `np.ndarray`.
  """
  return jax.tree.map(_leaf_to_abstract, like)


def from_plain(like: Tree, plain: Any) -> Tree:
  """Returns a state from what was read from disk.

  Args:
    like: The state to expect, as for `to_abstract`.
    plain: The tree that was read with it.

  Returns:
    The state.
  """
  return jax.tree.map(_leaf_from_plain, like, plain)


def described(tree: Any) -> dict[str, str]:
  """Returns dtype and shape of each array in a tree, by path.

  Args:
    tree: What `to_plain` or `to_abstract` returned.
  """
  leaves = jax.tree_util.tree_leaves_with_path(tree)
  return {
    jax.tree_util.keystr(path, simple=True, separator="/"): (
      f"{np.dtype(leaf.dtype).name}{list(leaf.shape)}"
    )
    for path, leaf in leaves
  }


def check_structure(where: object, saved: Mapping[str, str], like: Any) -> None:
  """Raises StructureError unless a saved tree has the arrays expected.

  Args:
    where: The place of the saved one, for the message.
    saved: Its description, from `described`.
    like: The state to expect, as for `to_abstract`.
  """
  found = differences(saved, described(to_abstract(like)))
  if found:
    more = f"; and {len(found) - 4} more" if len(found) > 4 else ""
    raise StructureError(
      f"{where} holds other arrays than expected: {'; '.join(found[:4])}{more}"
      ". Use the code and configuration it was written with, or delete it."
    )


def flat(tree: Any, prefix: str = "") -> dict[str, str]:
  """Returns the values in nested dicts as text, by dotted name."""
  if not isinstance(tree, dict) or not tree:
    return {prefix: repr(tree)}
  result = {}
  for name, value in tree.items():
    result |= flat(value, f"{prefix}.{name}" if prefix else name)
  return result


def differences(there: Mapping[str, str], here: Mapping[str, str]) -> list[str]:
  """Returns one phrase for each name whose two values differ."""
  return [
    f"{name} is {there.get(name, 'absent')} there "
    f"and {here.get(name, 'absent')} here"
    for name in sorted(there.keys() | here.keys())
    if there.get(name) != here.get(name)
  ]


def sha256(tree: Any) -> str:
  """Returns the SHA-256 of all arrays in a tree, at about 1 GB a second.

  Args:
    tree: Arrays of numbers, each whole in this process.
  """
  digest = hashlib.sha256()
  for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
    array = np.asarray(leaf)
    name = jax.tree_util.keystr(path)
    digest.update(f"{name} {array.dtype} {array.shape}".encode())
    digest.update(array.tobytes())
  return digest.hexdigest()


def _is_key(leaf: Any) -> bool:
  return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _leaf_to_plain(path: tuple[Any, ...], leaf: Any) -> Any:
  if isinstance(leaf, jax.Array) and _is_key(leaf):
    leaf = jax.random.key_data(leaf)
  elif isinstance(leaf, np.generic):
    leaf = np.asarray(leaf)
  elif not isinstance(leaf, jax.Array | np.ndarray):
    raise TypeError(
      f"what is saved holds arrays only, got {leaf!r} at "
      f"{jax.tree_util.keystr(path)}: wrap it in jnp.asarray."
    )
  return leaf if leaf.size else None


def _leaf_to_abstract(leaf: Any) -> Any:
  if leaf.size == 0:
    return None
  if isinstance(leaf, np.ndarray | np.generic):
    return np.asarray(leaf)
  words = jax.eval_shape(jax.random.key_data, leaf) if _is_key(leaf) else leaf
  return jax.ShapeDtypeStruct(
    words.shape, words.dtype, sharding=_sharding(leaf)
  )


def _leaf_from_plain(like: Any, plain: Any) -> Any:
  if isinstance(like, np.ndarray | np.generic):
    return np.zeros(like.shape, like.dtype) if plain is None else plain
  if plain is None and not _is_key(like):
    plain = jnp.zeros(like.shape, like.dtype)
  elif _is_key(like):
    words = jax.eval_shape(jax.random.key_data, like)
    plain = jnp.zeros(words.shape, words.dtype) if plain is None else plain
    plain = jax.random.wrap_key_data(plain, dtype=like.dtype)
  if plain.sharding == like.sharding:
    return plain
  return mesh_lib.place(plain, _sharding(like))


def _sharding(leaf: Any) -> Sharding:
  """The sharding of an array; without one, this process's first device."""
  if leaf.sharding is None:
    return SingleDeviceSharding(jax.local_devices()[0])
  return leaf.sharding
