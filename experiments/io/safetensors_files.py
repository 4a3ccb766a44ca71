"""A model's weights in safetensors, in one file or in shards with an index."""

import pathlib

import numpy as np

from experiments.io import json_files

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
# What to ask the hub for.
PATTERNS = (WEIGHTS, INDEX, "model-*.safetensors")


def read(folder: pathlib.Path) -> dict[str, np.ndarray]:
  """Reads the arrays of a model, by name, from all of its files.

  Args:
    folder: Holds `model.safetensors`, or shards and their index.

  Returns:
    The arrays, bfloat16 among them as `ml_dtypes` has it.

  Raises:
    FileNotFoundError: If a shard is missing.
    ValueError: If a file is damaged, or safetensors is not installed.
  """
  try:
    from safetensors import numpy as safetensors
    from safetensors import SafetensorError
  except ImportError:
    raise ValueError(
      f"{folder} holds safetensors, which need the package of that name: "
      "pip install -e '.[text]'."
    ) from None
  arrays = {}
  for name, expected in _shards(folder).items():
    try:
      found = safetensors.load_file(folder / name)
    except (OSError, SafetensorError) as error:
      raise ValueError(
        f"{folder / name} cannot be read ({error}): download it again."
      ) from None
    if missing := expected - found.keys():
      raise ValueError(
        f"{folder / name} lacks {sorted(missing)}, which {INDEX} says it "
        "holds: download both again."
      )
    arrays |= found
  return arrays


def files(folder: pathlib.Path) -> list[pathlib.Path]:
  """Returns the files that `read` reads, sorted; none if there are no weights.

  Args:
    folder: The folder.

  Raises:
    FileNotFoundError: If a shard is missing.
  """
  if not any((folder / name).is_file() for name in (WEIGHTS, INDEX)):
    return []
  return [folder / name for name in _shards(folder)]


def _shards(folder: pathlib.Path) -> dict[str, set[str]]:
  """The weight files, sorted, and what an index says that each holds."""
  if (folder / WEIGHTS).is_file():
    return {WEIGHTS: set()}
  index = json_files.read_json(folder / INDEX)
  try:
    places = dict(index["weight_map"])
    # A name with a folder in it would lead out of this one.
    if not places or {pathlib.Path(f).name for f in places.values()} != {
      *places.values()
    }:
      raise ValueError("it names no files")
  except (KeyError, TypeError, ValueError) as error:
    raise ValueError(
      f"{folder / INDEX} is no index of weights ({error}): download it again."
    ) from None
  shards: dict[str, set[str]] = {}
  for array, file in places.items():
    shards.setdefault(file, set()).add(array)
  if missing := [file for file in shards if not (folder / file).is_file()]:
    raise FileNotFoundError(
      f"{folder} lacks {', '.join(sorted(missing))}, which {INDEX} names: "
      "download the whole model."
    )
  return dict(sorted(shards.items()))
