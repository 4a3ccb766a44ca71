"""Compiles for a TPU that is not there, in a process of its own.

The TPU's compiler must not disturb a backend in use, and when it crashes it
takes its process along.
"""

import dataclasses
import importlib.util
import json
import os
import pathlib
import pickle
import subprocess
import sys
import tempfile
from typing import Any

from experiments.planning import blank
from experiments.planning import chips
from experiments.specs import CellSpec

_ROOT = pathlib.Path(__file__).parents[2]
_WORKER = "experiments.planning.worker"
_ENVIRONMENT = {
  "JAX_PLATFORMS": "cpu",
  "TPU_SKIP_MDS_QUERY": "1",  # Nobody is asked which TPU this is.
  "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # As no chip is used.
  "XLA_FLAGS": "",  # Those of a CPU mean nothing to it.
}
_MISSING = (
  "the TPU compiler is not installed: pip install -e '.[tpu]', or use "
  "`make plan`, which does it."
)


@dataclasses.dataclass(frozen=True)
class Request:
  """What is to be compiled.

  Attributes:
    cells: The cells of a stack.
    topology: Such as "v4:2x2x1".
    assumed: What the config leaves open.
    name: Name of the config.
  """

  cells: tuple[CellSpec, ...]
  topology: str
  assumed: blank.Assumed = dataclasses.field(default_factory=blank.Assumed)
  name: str = ""


def compiled(request: Request) -> dict[str, Any]:
  """Compiles in a process of its own and returns what there is to tell.

  Args:
    request: What is to be compiled.

  Returns:
    Plain data: see `worker.measured`.

  Raises:
    ValueError: If the cells do not fit together, the topology is unknown,
      or the compiler is not installed or fails.
  """
  chips.parse_topology(request.topology)
  if not is_installed():
    raise ValueError(_MISSING)
  with tempfile.TemporaryDirectory() as folder:
    question = pathlib.Path(folder) / "request"
    question.write_bytes(pickle.dumps(request))
    answer = pathlib.Path(folder) / "answer"
    done = subprocess.run(
      [sys.executable, "-m", _WORKER, question, answer],
      cwd=_ROOT,
      env={**os.environ, **_ENVIRONMENT},
      capture_output=True,
      text=True,
      check=False,
    )
    if not answer.exists():
      lines = done.stderr.strip().splitlines() or ["it printed nothing"]
      raise ValueError(
        f"the compiler for {request.topology} ended with code "
        f"{done.returncode}: {lines[-1][:300]}"
      )
    result = json.loads(answer.read_text())
  if "error" in result:
    raise ValueError(result["error"])
  return result


def is_installed() -> bool:
  """Whether there is a compiler for TPUs."""
  return importlib.util.find_spec("libtpu") is not None
