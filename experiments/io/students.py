"""Finished students on disk: one small file each that anyone can read.

Checkpoints hold whole stacks with their optimizers; what is left of a cell in
the end is its student, as nested dicts of arrays in MessagePack.
"""

import os
import pathlib
from typing import Any

import jax
from flax import serialization


def save_student(
  path: str | os.PathLike[str], params: Any, model_state: Any
) -> None:
  """Writes a student in one go: whole, or not at all.

  Args:
    path: The file; its folder exists.
    params: Parameters, nested dicts of arrays.
    model_state: State such as BatchNorm's statistics, likewise.
  """
  tree = {"params": params, "model_state": model_state}
  data = serialization.msgpack_serialize(
    serialization.to_state_dict(jax.device_get(tree))
  )
  path = pathlib.Path(path)
  temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
  temporary.write_bytes(data)
  temporary.replace(path)


def load_student(path: str | os.PathLike[str]) -> tuple[Any, Any]:
  """Reads a student.

  Args:
    path: A file that `save_student` wrote.

  Returns:
    Parameters and model state, nested dicts of NumPy arrays.

  Raises:
    FileNotFoundError: If there is no such file.
    ValueError: If the file is cut short.
  """
  try:
    tree = serialization.msgpack_restore(pathlib.Path(path).read_bytes())
    return tree["params"], tree["model_state"]
  except FileNotFoundError:
    raise FileNotFoundError(
      f"there is no student {path}: train its cell first."
    ) from None
  except Exception as error:
    raise ValueError(
      f"{path} is no student ({error}): delete the folder it lies in and "
      "train its cell again."
    ) from error
