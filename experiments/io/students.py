"""Files of trained students, one MessagePack file per cell.

A file holds nested dicts of arrays, without the state of the optimizer.
"""

import os
import pathlib
from typing import Any

import jax
from flax import serialization

from experiments.io import json_files


def save_student(
  path: str | os.PathLike[str], params: Any, model_state: Any
) -> None:
  """Writes a student atomically."""
  tree = {"params": params, "model_state": model_state}
  data = serialization.msgpack_serialize(
    serialization.to_state_dict(jax.device_get(tree))
  )
  json_files.replace(pathlib.Path(path), data)


def load_student(path: str | os.PathLike[str]) -> tuple[Any, Any]:
  """Returns parameters and model state, as nested dicts of NumPy arrays."""
  try:
    tree = serialization.msgpack_restore(pathlib.Path(path).read_bytes())
    return tree["params"], tree["model_state"]
  except FileNotFoundError:
    raise FileNotFoundError(
      f"there is no student {path}: train its cell first."
    ) from None
  except Exception as error:
    raise ValueError(
      f"{path} is not a student ({error}): delete its folder and train the "
      "cell again."
    ) from error
