"""SHA-256 digests of files, of source code and of arrays."""

import ast
import functools
import hashlib
import importlib.util
import json
import os
import pathlib
from typing import Any

import jax
import numpy as np


def of_file(path: str | os.PathLike[str]) -> str:
  """Returns the digest of a file, which takes about 1 second per GB."""
  with open(path, "rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()


@functools.cache
def of_sources(package: str) -> str:
  """Returns a digest of a package's source code, 12 hexadecimal digits.

  It is stored with cached outputs, so that they are computed again after the
  code has changed. It depends neither on comments and docstrings nor on where
  the package is installed.
  """
  spec = importlib.util.find_spec(package)
  if spec is None or spec.origin is None:
    raise ModuleNotFoundError(f"the package {package} has no source code.")
  folder = pathlib.Path(spec.origin).parent
  digest = hashlib.sha256()
  for path in sorted(folder.rglob("*.py")):
    code = _without_prose(path.read_text(encoding="utf-8"))
    place = path.relative_to(folder).as_posix()
    digest.update(json.dumps([package, place, code]).encode())
  return digest.hexdigest()[:12]


def _without_prose(source: str) -> str:
  """Returns Python code without its comments, docstrings and formatting."""
  tree = ast.parse(source)
  kinds = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
  for node in ast.walk(tree):
    if isinstance(node, kinds) and ast.get_docstring(node) is not None:
      del node.body[0]
  return ast.unparse(tree)


def of_arrays(tree: Any) -> str:
  """Returns a digest of all arrays in a tree, in about 1 second per GB."""
  digest = hashlib.sha256()
  for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
    array = np.asarray(leaf)
    name = jax.tree_util.keystr(path)
    digest.update(f"{name} {array.dtype} {array.shape}".encode())
    digest.update(array.tobytes())
  return digest.hexdigest()
