"""Runs the modules of benchmarks, and saves their rows."""

import importlib
import importlib.metadata
import pathlib
import sys
import time
from concurrent.futures.process import BrokenProcessPool

from benchmarks import apart
from benchmarks import row as row_lib
from benchmarks.row import Results

RESULTS = pathlib.Path(__file__).parent / "results"
MODULES = (
  "moments",
  "fit",
  "subsplit",
  "lelp",
  "losses",
  "models",
  "data",
  "steps",
  "grid",
  "streaming",
  "start",
  "sweep",
  "stacks",
  "growth",
)


def measure(name: str, full: bool) -> Results:
  """Measures a module."""
  from benchmarks import timing  # Keeps JAX out of the main process.

  rows = []
  for row in importlib.import_module(f"benchmarks.{name}").rows(full):
    ratio = "" if row.ratio is None else f", ratio {row.ratio:.3g}"
    print(
      f"  {row.name}, {row.size}: {row.ours:.3g} {row.unit}{ratio} "
      f"{row.verdict}",
      file=sys.stderr,
      flush=True,
    )
    rows.append(row)
  versions = {
    library: importlib.metadata.version(library)
    for library in ("jax", "torch", "transformers")
  }
  return Results(timing.machine(), versions, {name: rows})


def run(names: list[str], full: bool, folder: pathlib.Path) -> bool:
  """Measures modules; returns whether all of them finished."""
  path, failed = None, []
  for name in names:
    print(f"{name} ...", file=sys.stderr, flush=True)
    start = time.perf_counter()
    try:
      new = apart.call(measure, name, full)
    except BrokenProcessPool:
      failed.append(f"benchmarks.{name} was killed, perhaps for its memory.")
      continue
    except Exception as error:
      text = str(error).strip().partition("\n")[0]
      failed.append(f"benchmarks.{name}: {type(error).__name__}: {text}")
      continue
    print(f"  took {time.perf_counter() - start:.0f} s", file=sys.stderr)
    path = folder / f"{new.machine}{'-full' if full else ''}.json"
    old = row_lib.read(path) if path.exists() else None
    modules = dict(old.modules if old else {}) | dict(new.modules)
    ordered = {name: modules[name] for name in MODULES if name in modules}
    row_lib.write(path, Results(new.machine, new.versions, ordered))
  if path is not None:
    print(row_lib.table(row_lib.read(path).rows))
    print(f"\nwritten to {path}")
  for text in failed:
    print(f"error: {text}", file=sys.stderr)
  return not failed
