"""Registration of our dataclasses of arrays with `flax.serialization`."""

import dataclasses
from typing import Any

import jax
from flax import serialization

from lelp_jax.baselines.crd_bank import CRDBank
from lelp_jax.metrics import Mean
from lelp_jax.moments import ClassMoments
from lelp_jax.principal import PrincipalDirections
from lelp_jax.sketches import ClassSketch
from lelp_jax.subspaces import Subspaces


def register(cls: type) -> None:
  """Makes a dataclass of arrays serializable by Flax.

  A restored object holds NumPy arrays, as all objects that Flax restores. Its
  random keys have the implementation of the target's keys. An optional field
  that was not saved is None.

  Args:
    cls: The dataclass.
  """
  serialization.register_serialization_state(
    cls, _to_state_dict, _from_state_dict, override=True
  )


def _to_state_dict(value: Any) -> Any:
  fields = jax.tree.map(
    lambda leaf: jax.random.key_data(leaf) if _is_key(leaf) else leaf,
    _fields(value),
  )
  return serialization.to_state_dict(fields)


def _from_state_dict(target: Any, state: Any) -> Any:
  optional = {
    field.name for field in dataclasses.fields(target) if field.default is None
  }
  restored = {}
  for name, like in _fields(target).items():
    if name in optional and (like is None or state.get(name) is None):
      restored[name] = state.get(name)
    elif name in state:
      restored[name] = _restored(name, like, state[name])
    else:
      raise ValueError(
        f"{name} of {type(target).__name__} is missing from the saved fields "
        f"{', '.join(state)}."
      )
  return type(target)(**restored)


def _restored(name: str, target: Any, state: Any) -> Any:
  """Restores one field, in which random keys were saved as their data."""
  return jax.tree.map(
    lambda like, leaf: (
      jax.random.wrap_key_data(leaf, impl=jax.random.key_impl(like))
      if _is_key(like)
      else leaf
    ),
    target,
    serialization.from_state_dict(target, state, name),
  )


def _fields(value: Any) -> dict[str, Any]:
  return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}


def _is_key(leaf: Any) -> bool:
  dtype = getattr(leaf, "dtype", None)
  return dtype is not None and jax.dtypes.issubdtype(dtype, jax.dtypes.prng_key)


for _cls in (
  ClassMoments,
  ClassSketch,
  PrincipalDirections,
  Subspaces,
  Mean,
  CRDBank,
):
  register(_cls)
