"""What a compiled program costs: operations, bytes, cycles."""

import math
import re
from collections.abc import Sequence

import numpy as np

from experiments.planning.hlo import Computation
from experiments.planning.hlo import Instruction
from experiments.planning.hlo import Module


def flops(module: Module) -> int:
  """Counts the operations of matrix products and convolutions.

  Args:
    module: A program.

  Returns:
    Multiplications and additions, loops as often as they run.
  """
  return sum(
    times * _flops(instruction, computation)
    for name, times in module.times.items()
    for computation in [module.computations[name]]
    for instruction in computation.values()
    if instruction.opcode in ("dot", "convolution")
  )


def _flops(instruction: Instruction, computation: Computation) -> int:
  left = computation[instruction.operands[0]].arrays[0].dims
  (out,) = instruction.arrays
  if instruction.opcode == "dot":
    axes = instruction.attribute("lhs_contracting_dims", r"\{[\d,]*\}")
    inner = math.prod(left[int(i)] for i in re.findall(r"\d+", axes))
    return 2 * math.prod(out.dims) * inner
  labels = instruction.attribute("dim_labels")
  left_labels, rest = labels.split("_")
  right_labels, out_labels = rest.split("->")
  right = computation[instruction.operands[1]].arrays[0].dims
  window = instruction.attribute("window", r"\{[^}]*\}")
  positions = [
    _positions(
      left[left_labels.index(str(axis))],
      right[right_labels.index(str(axis))],
      out.dims[out_labels.index(str(axis))],
      *(_window(window, name, axis) for name in _WINDOW),
    )
    for axis in range(len(left) - 2)
  ]
  groups = int(instruction.attribute("feature_group_count") or 1)
  batches = int(instruction.attribute("batch_group_count") or 1)
  return (
    2
    * math.prod(positions)
    * (left[left_labels.index("f")] // groups)
    * out.dims[out_labels.index("f")]
    * (left[left_labels.index("b")] // batches)
  )


_WINDOW = {"stride": 1, "pad": 0, "lhs_dilate": 1, "rhs_dilate": 1}


def _window(window: str, name: str, axis: int) -> int:
  """A window's field along one axis; of the padding, that in front."""
  found = re.search(rf"{name}=(\S+?)[\s}}]", window)
  if not found:
    return _WINDOW[name]
  return int(found[1].split("x")[axis].split("_")[0])


def _positions(
  size: int,
  kernel: int,
  out: int,
  stride: int,
  pad: int,
  dilate: int,
  kernel_dilate: int,
) -> int:
  """How many pairs of an output and a weight meet an input along one axis."""
  place = np.arange(out)[:, None] * stride - pad
  place = place + np.arange(kernel)[None] * kernel_dilate
  inside = (place >= 0) & (place <= (size - 1) * dilate)
  return int(np.sum(inside & (place % dilate == 0)))


def cycles(module: Module) -> int | None:
  """Adds up the compiler's own estimates, loops as often as they run.

  Args:
    module: A program.

  Returns:
    Clock cycles of what it gives an estimate for; None where it gives none.
  """
  found = [
    times * int(estimate)
    for name, times in module.times.items()
    for instruction in module.computations[name].values()
    for estimate in re.findall(r'"estimated_cycles":"(\d+)"', instruction.rest)
  ]
  return sum(found) if found else None


def traffic(module: Module) -> int:
  """Counts the bytes that are read from and written to the main memory.

  What a fusion cuts out of an array, or puts into one, counts by itself and
  not the array; values that stay on the chip do not count.

  Args:
    module: A program.

  Returns:
    Bytes, loops as often as they run.
  """
  fused = {
    called
    for computation in module.computations.values()
    for instruction in computation.values()
    if instruction.opcode == "fusion"
    for called in instruction.called
  }
  return sum(
    times * _traffic(module, instruction, module.computations[name])
    for name, times in module.times.items()
    if name not in fused
    for instruction in module.computations[name].values()
  )


_FREE = ("parameter", "tuple", "get-tuple-element", "bitcast", "constant")
_CALLS = ("while", "call", "conditional")


def _traffic(
  module: Module, instruction: Instruction, computation: Computation
) -> int:
  opcode = instruction.opcode
  if opcode in (*_FREE, *_CALLS) or opcode.endswith("-done"):
    return 0
  inside: Sequence[Instruction] = ()
  if opcode == "fusion":
    inside = tuple(module.computations[instruction.called[0]].values())
  parameters = {
    int(i.rest.split(")")[0]): i for i in inside if i.opcode == "parameter"
  }
  total = 0
  for number, operand in enumerate(instruction.operands):
    source = computation.get(operand)
    if (
      source is None
      or len(source.arrays) != 1
      or not source.arrays[0].in_memory
    ):
      continue
    total += _read(source.arrays[0].size, parameters.get(number), inside)
  updates = [i for i in inside if i.opcode == "dynamic-update-slice"]
  if updates and updates[-1].is_root:
    names = {i.name: i for i in inside}
    return total + names[updates[-1].operands[1]].arrays[0].size
  return total + sum(a.size for a in instruction.arrays if a.in_memory)


def _read(
  size: int, parameter: Instruction | None, inside: Sequence[Instruction]
) -> int:
  """What a fusion reads of an operand."""
  if parameter is None:
    return size
  users = [i for i in inside if parameter.name in i.operands]
  if users and all(i.opcode in ("dynamic-slice", "slice") for i in users):
    return sum(i.arrays[0].size for i in users)
  if users and all(
    i.opcode == "dynamic-update-slice" and i.operands[0] == parameter.name
    for i in users
  ):
    return 0
  return size
