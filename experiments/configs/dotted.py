"""Access to fields of configs by dotted name, such as "loss.temperature"."""

from collections.abc import Mapping
from typing import Any

from flax import traverse_util
from ml_collections import ConfigDict


def flatten(tree: ConfigDict | Mapping[str, Any]) -> dict[str, Any]:
  """Returns the values of nested fields by dotted name."""
  fields = tree.to_dict() if isinstance(tree, ConfigDict) else dict(tree)
  return traverse_util.flatten_dict(fields, sep=".")


def nested(values: Mapping[str, Any]) -> ConfigDict:
  """Returns nested fields: the inverse of `flatten`."""
  return ConfigDict(traverse_util.unflatten_dict(dict(values), sep="."))


def override(config: ConfigDict, values: Mapping[str, Any]) -> None:
  """Sets fields in place; they must exist, except in `options`."""
  for name, value in values.items():
    *path, field = name.split(".")
    section = config
    for part in path:
      section = section.get(part) if isinstance(section, ConfigDict) else None
    if not isinstance(section, ConfigDict) or (
      field not in section and "options" not in path
    ):
      raise ValueError(
        f"config.sweep sets config.{name}, and there is no such field."
      )
    try:
      section[field] = value
    except TypeError as error:
      raise ValueError(f"config.sweep sets config.{name}: {error}") from error
