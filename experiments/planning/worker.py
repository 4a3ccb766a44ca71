"""What a process of its own does: lower, compile, measure what came out."""

import collections
import json
import math
import pathlib
import pickle
import re
import sys
import time
from collections.abc import Sequence
from typing import Any

import jax
from jax.experimental import topologies

from experiments.planning import abstract
from experiments.planning import blank
from experiments.planning import chips
from experiments.planning import costs
from experiments.planning import hlo
from experiments.planning.collectives import collectives
from experiments.planning.compiling import Request
from experiments.training.types import Run

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def measured(request: Request) -> dict[str, Any]:
  """Compiles the train step of a stack for a topology.

  Args:
    request: What is to be compiled.

  Returns:
    Plain data: what was compiled ("topology", "chip", "mesh", "num_cells",
    "batch_size", ...); "memory" in bytes a device, by what it is for; a
    step's "flops", "bytes" and "cycles" a device; "collectives"; or "needed",
    the bytes that the compiler says would do.

  Raises:
    ValueError: If the configs do not fit together or do not compile.
  """
  devices = topology_devices(request.topology)
  splits = blank.splits(request.cells[0], request.assumed)
  run = abstract.abstract_run(request.cells, splits, devices)
  given = abstract.arguments(run)
  lowered, length = abstract.lower(run, given)
  start = time.monotonic()
  described = {**_described(run, request, splits), "steps": length}
  try:
    compiled = lowered.compile()
  except jax.errors.JaxRuntimeError as error:
    return {**described, "needed": _needed(str(error))}
  seconds = time.monotonic() - start
  module = hlo.parse(compiled.as_text() or "")
  cycles = costs.cycles(module)
  own = compiled.cost_analysis() or {}
  optimal = own.get("optimal_seconds")
  return {
    **described,
    "compile_seconds": round(seconds, 1),
    "memory": _memory(compiled.memory_analysis(), given),
    "flops": costs.flops(module) / length,
    "bytes": costs.traffic(module) / length,
    "cycles": None if cycles is None else cycles / length,
    # XLA counts a loop's body once in it, and some of its parts are negative.
    "optimal_seconds": optimal if optimal and optimal > 0 else None,
    "unknown_loops": module.unknown_loops,
    "collectives": _exchanged(module, run, length),
  }


def topology_devices(name: str) -> Sequence[jax.Device]:
  """Returns the devices of a topology, a chip one device.

  Args:
    name: Such as ``"v4:2x2x1"``.

  Raises:
    ValueError: If the compiler knows no such topology.
  """
  chip, count = chips.parse_topology(name)
  options = {"chip_config_name": chip.config} if chip.config else {}
  try:
    found = topologies.get_topology_desc(
      platform="tpu", topology_name=name, **options
    ).devices
  except jax.errors.JaxRuntimeError as error:
    raise ValueError(
      f"the TPU compiler knows no topology {name!r}: {_first_line(error)}"
    ) from error
  assert len(found) == count, (name, len(found))
  return found


def _described(run: Run, request: Request, splits: Any) -> dict[str, Any]:
  """What is compiled."""
  cell, spec = request.cells[0], run.spec
  shape = dict(spec.shapes)[spec.student.input_field]
  longest = None if shape else splits.train["inputs"].longest
  return {
    "config": request.name,
    "column": cell.column,
    "method": cell.method,
    "dataset": cell.data.dataset,
    "teacher": cell.teacher.model,
    "student": cell.student.model,
    "topology": request.topology,
    "chip": chips.parse_topology(request.topology)[0].name,
    "num_devices": chips.parse_topology(request.topology)[1],
    "mesh": dict(run.program.mesh.shape),
    "num_cells": spec.num_cells,
    "num_subclasses": spec.num_subclasses,
    "batch_size": spec.student.batch_size,
    "num_examples": spec.num_examples,
    "example_shape": list(shape) if shape else [longest],
  }


def _memory(analysis: Any, given: abstract.Arguments) -> dict[str, int]:
  """Bytes a device, by what they are for."""
  states, inputs, data, _ = given
  examples = data.examples
  parts = {
    "parameters": _size((states.params, states.loss_params)),
    "optimizer": _size(states.opt_state),
    "teacher": _size(inputs.teacher),
    "examples": _size(examples) if isinstance(examples, dict) else 0,
  }
  arguments = analysis.argument_size_in_bytes
  parts["other"] = arguments - sum(parts.values())
  parts["activations"] = analysis.temp_size_in_bytes
  results = analysis.output_size_in_bytes - analysis.alias_size_in_bytes
  parts["results"] = results
  parts["code"] = analysis.generated_code_size_in_bytes
  return {**parts, "total": sum(parts.values())}


def _size(tree: Any) -> int:
  """Bytes of a tree's arrays on one device."""
  return sum(
    math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
    for leaf in jax.tree.leaves(tree)
  )


def _exchanged(
  module: hlo.Module, run: Run, length: int
) -> list[dict[str, Any]]:
  """Collectives by kind and axes of the mesh; counts and bytes of a step."""
  mesh = run.program.mesh
  counts: dict[Any, float] = collections.defaultdict(float)
  sizes: dict[Any, float] = collections.defaultdict(float)
  for found in collectives(module, mesh.size):
    key = found.kind, found.axes(mesh.shape)
    counts[key] += found.times / length
    sizes[key] += found.times * found.size / length
  return [
    {"kind": kind, "axes": list(axes), "count": count, "bytes": sizes[key]}
    for key, count in sorted(counts.items())
    for kind, axes in [key]
  ]


def _needed(message: str) -> int:
  """The memory that a compiler asks for when there is too little."""
  # "Used 45.1G of 31.25G hbm", "total memory required for HLO temporaries
  # (45.1G) exceeds available HBM (31.25G)".
  used = re.search(r"(?:Used |temporaries \()([\d.]+)([KMGT]?)", message)
  if "RESOURCE_EXHAUSTED" not in message or not used:
    raise ValueError(f"the compiler says: {message.splitlines()[0][:300]}")
  return round(float(used[1]) * _UNITS[used[2]])


def _first_line(error: Exception) -> str:
  return str(error).splitlines()[0][:300]


def main(question: str, answer: str) -> None:
  """Answers a request: both are files."""
  request = pickle.loads(pathlib.Path(question).read_bytes())
  try:
    result = measured(request)
  except (ValueError, FileNotFoundError) as error:
    result = {"error": str(error)}
  pathlib.Path(answer).write_text(json.dumps(result))


if __name__ == "__main__":
  main(*sys.argv[1:])
