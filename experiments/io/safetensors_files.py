"""Reads and writes safetensors weights: one file, or shards with an index."""

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from experiments.io import json_files

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
# Patterns of the files of weights, for `hub.download`.
PATTERNS = (WEIGHTS, INDEX, "model-*.safetensors")


def read(folder: pathlib.Path) -> dict[str, np.ndarray]:
  """Returns all arrays of a model by name.

  bfloat16 arrays have the dtype of `ml_dtypes`. Raises FileNotFoundError if a
  shard is missing, and ValueError if a file is damaged.
  """
  safetensors, arrays = _safetensors(), {}
  for path in files(folder):
    try:
      arrays |= safetensors.numpy.load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
      raise ValueError(
        f"{path} cannot be read ({error}): download it again."
      ) from None
  return arrays


def files(folder: pathlib.Path) -> list[pathlib.Path]:
  """Returns the sorted files of weights in a folder, or [] if it has none."""
  if (folder / WEIGHTS).is_file():
    return [folder / WEIGHTS]
  if not (folder / INDEX).is_file():
    return []
  try:
    names = set(json_files.read_json(folder / INDEX)["weight_map"].values())
    paths = sorted(folder / name for name in names)
  except (AttributeError, KeyError, TypeError) as error:
    raise ValueError(
      f"{folder / INDEX} is not an index of weights ({error!r}): download it "
      "again."
    ) from None
  for path in paths:
    if not path.is_file():
      raise FileNotFoundError(
        f"{folder} lacks {path.name}, which {INDEX} names: download the whole "
        "model."
      )
  return paths


def write(folder: pathlib.Path, arrays: Mapping[str, np.ndarray]) -> None:
  """Writes all arrays of a model into one file, atomically."""
  data = _safetensors().numpy.save(dict(arrays))
  json_files.replace(folder / WEIGHTS, data)


def _safetensors() -> Any:
  """Imports safetensors, or raises ValueError if it is not installed."""
  try:
    import safetensors.numpy
  except ImportError:
    raise ValueError(
      "weights are kept in safetensors, which needs the package of that name: "
      "pip install -e '.[text]'."
    ) from None
  return safetensors
