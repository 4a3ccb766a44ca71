"""Starting a model from pretrained params with another head."""

from typing import Any

import jax.numpy as jnp
from flax import traverse_util

from lelp_jax.models import _head


def graft_pretrained(
  initial_params: Any, pretrained_params: Any, *, head: str = "head"
) -> dict[str, Any]:
  """Combines a pretrained body with an initial head, unless its own head fits.

  Use it to start a model with another number of outputs from trained weights.
  The pretrained head is kept if it has the shapes of the initial head.

  Args:
    initial_params: Params of a model's ``init``, nested dicts of arrays.
    pretrained_params: Nested dicts with the same body; the head may have
      another number of outputs, or be absent.
    head: Path of the last linear layer in both, as in `from_linen`.

  Returns:
    Nested dicts with the structure, shapes and dtypes of ``initial_params``.

  Raises:
    ValueError: If ``head`` is not a linear layer of ``initial_params``, or if
      the bodies differ, listing all names that are missing, unexpected or of
      another shape.

  Examples:
    >>> fresh = {"body": {"kernel": jnp.zeros([2, 4])},
    ...          "head": {"kernel": jnp.zeros([4, 6])}}
    >>> tuned = {"body": {"kernel": jnp.ones([2, 4])},
    ...          "head": {"kernel": jnp.ones([4, 2])}}
    >>> grafted = graft_pretrained(fresh, tuned)
    >>> grafted["body"]["kernel"][0, 0], grafted["head"]["kernel"].shape
    (Array(1., dtype=float32), (4, 6))
  """
  _head.layer(head, initial_params)
  path = _head.parse_path(head)
  initial: dict[Any, Any] = traverse_util.flatten_dict(initial_params)
  pretrained: dict[Any, Any] = traverse_util.flatten_dict(pretrained_params)
  fresh, tuned = (
    {name: array for name, array in params.items() if _starts(name, path)}
    for params in (initial, pretrained)
  )
  if _shapes(fresh) != _shapes(tuned):
    body = {k: v for k, v in pretrained.items() if k not in tuned}
    pretrained = {**body, **fresh}
  _check_same(_shapes(initial), _shapes(pretrained))
  return traverse_util.unflatten_dict(
    {
      name: jnp.asarray(pretrained[name], array.dtype)
      for name, array in initial.items()
    }
  )


def _starts(name: tuple[str, ...], path: tuple[str, ...]) -> bool:
  return name[: len(path)] == path


def _shapes(params: dict[Any, Any]) -> dict[Any, tuple[int, ...]]:
  return {name: jnp.shape(array) for name, array in params.items()}


def _check_same(
  expected: dict[Any, tuple[int, ...]], given: dict[Any, tuple[int, ...]]
) -> None:
  """Raises ValueError listing every difference between two models' shapes."""
  missing = ["/".join(name) for name in expected if name not in given]
  unexpected = ["/".join(name) for name in given if name not in expected]
  wrong = [
    f"{'/'.join(name)} {[*given[name]]}, not {[*shape]}"
    for name, shape in expected.items()
    if given.get(name, shape) != shape
  ]
  if missing or unexpected or wrong:
    raise ValueError(
      f"pretrained_params belong to another model: missing {missing}, "
      f"unexpected {unexpected}, of a wrong shape {wrong}."
    )
