"""What a compiled program costs: operations, bytes, cycles."""

import math
import re

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
  sources = [computation.get(name) for name in instruction.operands]
  if opcode.endswith("-start"):
    # (result, operand, ...) or (operands, result, ...): what is moved is the
    # smaller of both, once out of the memory and once into it.
    made = [a for a in instruction.arrays if a.dims]
    size = min((a.size for a in made), default=0)
    return size * sum(a.in_memory for a in made[:2])
  fused = opcode == "fusion"
  inside = module.computations[instruction.called[0]] if fused else {}
  total = 0
  for number, source in enumerate(sources):
    if source is None or len(source.arrays) != 1:
      continue
    (array,) = source.arrays
    if array.in_memory:
      total += (
        _read(module, inside, number, array.size) if fused else array.size
      )
  written = _written(module, inside) if fused else []
  for number, array in enumerate(instruction.arrays):
    if array.in_memory:
      update = written[number] if number < len(written) else None
      total += array.size if update is None else update
  return total


def _read(module: Module, inside: Computation, number: int, size: int) -> int:
  """What a fusion reads of its operand of a number."""
  (parameter,) = (
    i
    for i in inside.values()
    if i.opcode == "parameter" and i.rest.startswith(f"{number})")
  )
  return min(size, _used(module, inside, parameter.name, size))


def _used(module: Module, inside: Computation, name: str, size: int) -> int:
  """What is read of a value: slices of it, or all."""
  total = 0
  for user in inside.values():
    if name not in user.operands:
      continue
    if user.opcode == "bitcast":
      total += _used(module, inside, user.name, size)
    elif user.opcode in ("dynamic-slice", "slice"):
      total += user.arrays[0].size
    elif user.opcode == "fusion":
      called = module.computations[user.called[0]]
      number = user.operands.index(name)
      total += _read(module, called, number, size)
    elif user.opcode != "dynamic-update-slice" or user.operands[0] != name:
      return size
  return total


def _written(module: Module, inside: Computation) -> list[int | None]:
  """What a fusion writes of each result, None for all of it."""
  (root,) = (i for i in inside.values() if i.is_root)
  parts = [root]
  if root.opcode == "tuple":
    parts = [inside[name] for name in root.operands]
  return [_update(module, inside, part) for part in parts]


def _update(
  module: Module, inside: Computation, part: Instruction
) -> int | None:
  """The size of what is put into an array, None if all of it is new."""
  if part.opcode == "bitcast":
    return _update(module, inside, inside[part.operands[0]])
  if part.opcode == "dynamic-update-slice":
    return inside[part.operands[1]].arrays[0].size
  if part.opcode == "fusion" and len(part.arrays) == 1:
    return _written(module, module.computations[part.called[0]])[0]
  return None
