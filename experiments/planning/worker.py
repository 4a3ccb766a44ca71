"""Compiles a stack for a TPU topology in a separate process.

The separate process keeps the TPU compiler away from the JAX backend in use,
and the compiler may crash the process that it runs in.
"""

import dataclasses
import importlib.util
import math
import os
import pathlib
import pickle
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

import jax
from jax.experimental import topologies

from experiments.planning import chips
from experiments.planning import hlo
from experiments.planning import shapes
from experiments.planning.report import Plan
from experiments.specs import CellSpec

_ROOT = pathlib.Path(__file__).parents[2]
_ENVIRONMENT = {
  "JAX_PLATFORMS": "cpu",
  "TPU_SKIP_MDS_QUERY": "1",  # Do not query the cloud's metadata server.
  "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # Compiling needs no chip.
  "XLA_FLAGS": "",  # The TPU compiler refuses flags for CPUs.
}
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def plan(
  cells: Sequence[CellSpec],
  topology: str,
  assumed: shapes.Assumed | None = None,
) -> Plan:
  """Plans a stack in another process.

  Args:
    cells: The cells of the stack.
    topology: Name of the topology, such as "v4:2x2x1".
    assumed: Properties of the data that the cells do not give.

  Raises:
    ValueError: If the cells do not fit the data, the topology is unknown, or
      the compiler is not installed or fails.
  """
  chips.parse_topology(topology)
  if not is_installed():
    raise ValueError(
      "the TPU compiler is not installed: pip install -e '.[tpu]', or use "
      "`make plan`, which installs it."
    )
  done = subprocess.run(
    [sys.executable, "-m", __name__],
    cwd=_ROOT,
    env={**os.environ, **_ENVIRONMENT},
    input=pickle.dumps((tuple(cells), topology, assumed)),
    capture_output=True,
    check=False,
  )
  if done.returncode:
    lines = done.stderr.decode().strip().splitlines() or ["it printed nothing"]
    raise ValueError(
      f"the compiler for {topology} failed with exit code {done.returncode}: "
      f"{lines[-1][:300]}"
    )
  result = pickle.loads(done.stdout)
  if isinstance(result, str):
    raise ValueError(result)
  return result


def is_installed() -> bool:
  """Returns whether the compiler for TPUs is installed."""
  return importlib.util.find_spec("libtpu") is not None


def compiled(
  cells: Sequence[CellSpec], topology: str, assumed: shapes.Assumed | None
) -> Plan:
  """Plans a stack in this process; see `plan`."""
  devices = _devices(topology)
  splits = shapes.blank_splits(cells[0], assumed)
  run = shapes.abstract_run(cells, splits, devices)
  arguments = shapes.arguments(run)
  spec = run.spec
  shape = dict(spec.shapes)[spec.student.input_field]
  result = Plan(
    cell=cells[0],
    topology=topology,
    mesh=dict(run.program.mesh.shape),
    num_cells=spec.num_cells,
    num_subclasses=spec.num_subclasses,
    example_shape=shape or (splits.train["inputs"].longest,),
  )
  # The program has a whole chunk of steps if the examples are on the devices,
  # and otherwise a single step.
  length = spec.student.steps_per_chunk if spec.on_device else 1
  lowered = run.program.lower(*arguments)
  start = time.monotonic()
  try:
    program = lowered.compile()
  except jax.errors.JaxRuntimeError as error:
    return dataclasses.replace(result, needed=_needed(str(error)))
  costs = hlo.costs(program.as_text() or "")
  return dataclasses.replace(
    result,
    compile_seconds=time.monotonic() - start,
    memory=_memory(program.memory_analysis(), arguments),
    flops=costs.flops / length,
    cycles=costs.cycles / length,
    counts={kind: count / length for kind, count in costs.counts.items()},
    sizes={kind: size / length for kind, size in costs.sizes.items()},
    unknown_loops=costs.unknown_loops,
  )


def _devices(name: str) -> Sequence[jax.Device]:
  """Returns the devices of a topology, one per chip."""
  chip, count = chips.parse_topology(name)
  options = {"chip_config_name": chip.config} if chip.config else {}
  try:
    devices = topologies.get_topology_desc(
      platform="tpu", topology_name=name, **options
    ).devices
  except jax.errors.JaxRuntimeError as error:
    raise ValueError(
      f"the TPU compiler does not know the topology {name!r}: "
      f"{str(error).splitlines()[0][:300]}"
    ) from error
  assert len(devices) == count, (name, len(devices))
  return devices


def _memory(analysis: Any, arguments: shapes.Arguments) -> dict[str, int]:
  """Returns the bytes per device by purpose, see `report.Plan.memory`."""
  states, inputs, data, _ = arguments
  examples = data.examples
  parts = {
    "parameters": _size((states.params, states.loss_params)),
    "optimizer": _size(states.opt_state),
    "teacher": _size(inputs.teacher),
    "examples": _size(examples) if isinstance(examples, dict) else 0,
  }
  # The remaining numbers are the compiler's and include the padding of arrays.
  parts["other"] = analysis.argument_size_in_bytes - sum(parts.values())
  parts["activations"] = analysis.temp_size_in_bytes
  parts["results"] = (
    analysis.output_size_in_bytes - analysis.alias_size_in_bytes
  )
  parts["code"] = analysis.generated_code_size_in_bytes
  return parts


def _size(tree: Any) -> int:
  """Returns the bytes of a tree's arrays on one device."""
  return sum(
    math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
    for leaf in jax.tree.leaves(tree)
  )


def _needed(message: str) -> int:
  """Returns the bytes that a program needs, from an out-of-memory error.

  Raises ValueError for any other error.
  """
  # Messages read "Used 45.1G of 31.25G hbm" or "total memory required for HLO
  # temporaries (45.1G) exceeds available HBM (31.25G)".
  used = re.search(r"(?:Used |temporaries \()([\d.]+)([KMGT]?)", message)
  if "RESOURCE_EXHAUSTED" not in message or not used:
    raise ValueError(f"the compiler failed: {message.splitlines()[0][:300]}")
  return round(float(used[1]) * _UNITS[used[2]])


def main() -> None:
  """Reads the arguments of `compiled` from stdin and writes the plan to stdout.

  An error is written as a string.
  """
  output = os.fdopen(os.dup(1), "wb")
  os.dup2(2, 1)  # The compiler may print to stdout, which is for the plan.
  try:
    result: Plan | str = compiled(*pickle.load(sys.stdin.buffer))
  except (ValueError, FileNotFoundError) as error:
    result = str(error)
  output.write(pickle.dumps(result))
  output.close()


if __name__ == "__main__":
  main()
