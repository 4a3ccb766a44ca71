"""How the devices of a compiled program exchange data."""

import dataclasses
import math
import re
from collections.abc import Mapping

import numpy as np

from experiments.planning.hlo import Instruction
from experiments.planning.hlo import Module

COLLECTIVES = (
  "all-reduce",
  "all-gather",
  "reduce-scatter",
  "all-to-all",
  "ragged-all-to-all",
  "collective-permute",
  "collective-broadcast",
)

# mesh['a'=2,'b'=4], device_ids=([4,2]T(1,0)) {'b'}: along axes of a mesh of
# the compiler's own.
_MESH = re.compile(
  r"replica_groups=@?mesh\[(?P<sides>[^\]]*)\]"
  r"(?:, device_ids=\((?P<order>[\d,\[\]]+(?:T\([\d,]+\))?)\))?"
  r" \{(?P<along>[\w',]*)\}"
)
_AXIS = re.compile(r"'(\w+)'=(\d+)")


@dataclasses.dataclass(frozen=True)
class Collective:
  """One instruction by which devices exchange data.

  Attributes:
    kind: One of `COLLECTIVES`.
    groups: The devices that exchange, as positions in the mesh.
    size: Bytes of its result on each device.
    times: How often it runs.
    origin: What it was made for, as JAX names it.
  """

  kind: str
  groups: tuple[tuple[int, ...], ...]
  size: int
  times: int
  origin: str

  def axes(self, mesh: Mapping[str, int]) -> tuple[str, ...]:
    """Returns the axes of a mesh that it goes along.

    Args:
      mesh: The size of each axis, in order.
    """
    shape = tuple(mesh.values())
    along = set()
    for group in self.groups:
      places = np.stack(np.unravel_index(np.array(group), shape))
      along |= set(np.flatnonzero((places != places[:, :1]).any(axis=1)))
    return tuple(name for i, name in enumerate(mesh) if i in along)


def collectives(module: Module, num_devices: int) -> list[Collective]:
  """Returns the collectives that run, in the order of the text.

  Args:
    module: A program.
    num_devices: Number of devices it runs on.

  Raises:
    ValueError: If its groups are written in a form that is not known.
  """
  found = []
  for name, computation in module.computations.items():
    for instruction in computation.values():
      kind = instruction.opcode.removesuffix("-start")
      if kind not in COLLECTIVES or not module.times.get(name):
        continue
      sizes = [array.size for array in instruction.arrays]
      if kind != instruction.opcode and kind != "all-reduce":
        # (operands, results, ...): the results are those of the operands' kind.
        half = len(instruction.operands)
        sizes = sizes[half : 2 * half]
      origin = re.search(r'op_name="([^"]*)"', instruction.rest)
      found.append(
        Collective(
          kind=kind,
          groups=_groups(instruction, num_devices),
          size=sum(sizes),
          times=module.times[name],
          origin=origin[1] if origin else "",
        )
      )
  return found


def _groups(
  instruction: Instruction, num_devices: int
) -> tuple[tuple[int, ...], ...]:
  """The devices that exchange data with each other."""
  text = instruction.rest
  if pairs := re.search(r"source_target_pairs=\{([{}\d,]*)\}", text):
    return _listed(pairs[1])
  if listed := re.search(r"replica_groups=\{([{}\d,]*)\}", text):
    return _listed(listed[1]) or (tuple(range(num_devices)),)
  # [groups, size]<=[sides]T(axes): an iota, reshaped and transposed.
  if iota := re.search(
    r"replica_groups=\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?", text
  ):
    sides = _numbers(iota[2])
    order = np.arange(math.prod(sides)).reshape(sides)
    order = order.transpose(_numbers(iota[3])) if iota[3] else order
    return _rows(order.reshape(_numbers(iota[1])))
  if mesh := _MESH.search(text):
    sides = {name: int(size) for name, size in _AXIS.findall(mesh["sides"])}
    along = re.findall(r"'(\w+)'", mesh["along"])
    order = _order(mesh["order"] or "", math.prod(sides.values()))
    order = order.reshape(list(sides.values()))
    rest = [axis for axis in sides if axis not in along]
    names = list(sides)
    order = order.transpose([names.index(axis) for axis in [*rest, *along]])
    return _rows(order.reshape(-1, math.prod(sides[axis] for axis in along)))
  raise ValueError(
    f"the groups of {instruction.name} are written in an unknown form: "
    f"{instruction.rest[:300]}"
  )


def _order(text: str, size: int) -> np.ndarray:
  """The devices in the order of their mesh: "[4,2]T(1,0)", "0,2,1,3", ""."""
  if iota := re.fullmatch(r"\[([\d,]+)\](?:T\(([\d,]+)\))?", text):
    order = np.arange(size).reshape(_numbers(iota[1]))
    return order.transpose(_numbers(iota[2])) if iota[2] else order
  return np.array(_numbers(text)) if text else np.arange(size)


def _listed(text: str) -> tuple[tuple[int, ...], ...]:
  return tuple(_numbers(part) for part in re.findall(r"\{([\d,]+)\}", text))


def _rows(array: np.ndarray) -> tuple[tuple[int, ...], ...]:
  return tuple(tuple(int(i) for i in row) for row in array)


def _numbers(text: str) -> tuple[int, ...]:
  return tuple(int(n) for n in text.split(","))
