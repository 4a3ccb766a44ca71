"""Which code computed something: a digest of its sources."""

import functools
import hashlib
import importlib.util
import json
import pathlib


@functools.cache
def source_digest(*names: str) -> str:
  """Names the sources of modules; computed once, in milliseconds.

  It is the same wherever they lie, in a checkout or installed.

  Args:
    *names: Modules, and packages with all that is in them.

  Returns:
    Twelve hex digits.
  """
  digest = hashlib.sha256()
  for name in names:
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
      raise ModuleNotFoundError(f"there are no sources of {name}.")
    origin = pathlib.Path(spec.origin)
    package = spec.submodule_search_locations is not None
    files = {
      path.relative_to(origin.parent).as_posix(): path
      for path in (origin.parent.rglob("*.py") if package else (origin,))
    }
    for place, path in sorted(files.items()):
      # As text: a checkout may end its lines as the platform does.
      text = path.read_text(encoding="utf-8")
      digest.update(json.dumps([name, place, text]).encode())
  return digest.hexdigest()[:12]
