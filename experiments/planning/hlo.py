"""Reads the text of a compiled program: its parts and its loops."""

import dataclasses
import functools
import math
import re
from collections.abc import Mapping

_INSTRUCTION = re.compile(
  r"^\s+(?P<root>ROOT )?%?(?P<name>[\w.-]+) = (?P<shape>.*?) "
  r"(?P<opcode>[a-z][a-z0-9_-]*)\((?P<rest>.*)$"
)
_ARRAY = re.compile(r"([a-z]\w*)\[([\d,]*)\](\{[^}]*\})?")
_CALLED = re.compile(r"(?:calls|to_apply|body|condition)=%?([\w.-]+)")
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")


@dataclasses.dataclass(frozen=True)
class Array:
  """One array of a shape.

  Attributes:
    dims: Its dimensions.
    size: Bytes.
    in_memory: Whether it lies in the main memory and not on the chip.
  """

  dims: tuple[int, ...]
  size: int
  in_memory: bool


@dataclasses.dataclass(frozen=True)
class Instruction:
  """One instruction.

  Attributes:
    name: Unique in its computation.
    opcode: Such as "fusion".
    arrays: What it makes, a tuple's parts one by one.
    operands: Names of the instructions it reads.
    rest: The text behind the opening parenthesis.
    is_root: Whether it is its computation's result.
  """

  name: str
  opcode: str
  arrays: tuple[Array, ...]
  operands: tuple[str, ...]
  rest: str
  is_root: bool

  def attribute(self, name: str, pattern: str = r"[^,\s]+") -> str:
    """Returns the text of an attribute, "" where it has none."""
    found = re.search(rf"[\s,{{]{name}=({pattern})", self.rest)
    return found[1] if found else ""

  @property
  def called(self) -> tuple[str, ...]:
    """The computations it calls, but for those that reduce."""
    if self.opcode in ("fusion", "while", "call") or "-start" in self.opcode:
      return tuple(_CALLED.findall(self.rest))
    branches = _BRANCHES.search(self.rest)
    return tuple(re.findall(r"[\w.-]+", branches[1])) if branches else ()


Computation = Mapping[str, Instruction]


@dataclasses.dataclass(frozen=True)
class Module:
  """A compiled program.

  Attributes:
    computations: By name, each its instructions by name.
    entry: Name of the first one.
  """

  computations: Mapping[str, Computation]
  entry: str

  @functools.cached_property
  def times(self) -> dict[str, int]:
    """How often each computation runs; once, a loop of unknown length."""
    times = {self.entry: 1}
    # The text has callees before their callers.
    for name in reversed(list(self.computations)):
      for instruction in self.computations[name].values():
        trips = self.trips(instruction) or 1
        for called in instruction.called:
          more = times.get(name, 0) * trips
          times[called] = times.get(called, 0) + more
    return times

  @property
  def unknown_loops(self) -> int:
    """How many loops do not tell their length."""
    return sum(
      self.trips(instruction) is None
      for computation in self.computations.values()
      for instruction in computation.values()
    )

  def trips(self, instruction: Instruction) -> int | None:
    """How often a loop runs its body; None where the text does not tell."""
    if instruction.opcode != "while":
      return 1
    known = re.search(r'known_trip_count\D*"?(\d+)', instruction.rest)
    if known:
      return int(known[1])
    # JAX's loops count from zero up to a constant.
    condition = self.computations[instruction.attribute("condition").strip("%")]
    limits = [
      i.rest.split(")")[0] for i in condition.values() if i.opcode == "constant"
    ]
    limits = [int(limit) for limit in limits if limit.isdecimal()]
    return limits[0] if len(limits) == 1 else None


def parse(text: str) -> Module:
  """Parses the text of a compiled program.

  Args:
    text: What `jax.stages.Compiled.as_text` returns.

  Returns:
    Its computations.

  Raises:
    ValueError: If there is no entry in it.
  """
  computations: dict[str, dict[str, Instruction]] = {}
  entry, current = "", {}
  for line in text.splitlines():
    if line.endswith("{") and not line.startswith((" ", "HloModule")):
      name = re.match(r"(?:ENTRY )?%?([\w.-]+)", line)
      assert name
      current = computations[name[1]] = {}
      if line.startswith("ENTRY"):
        entry = name[1]
    elif found := _INSTRUCTION.match(line):
      current[found["name"]] = Instruction(
        name=found["name"],
        opcode=found["opcode"],
        arrays=arrays(found["shape"]),
        operands=tuple(re.findall(r"%([\w.-]+)", found["rest"].split(")")[0])),
        rest=found["rest"],
        is_root=bool(found["root"]),
      )
  if not entry:
    raise ValueError("the text of the compiled program has no ENTRY.")
  return Module(computations, entry)


def arrays(shape: str) -> tuple[Array, ...]:
  """Returns the arrays of a shape's text.

  >>> arrays("(f32[2,3]{1,0:T(8,128)S(1)}, pred[])")[0]
  Array(dims=(2, 3), size=24, in_memory=False)
  """
  found = []
  for kind, dims, layout in _ARRAY.findall(shape):
    sides = tuple(int(n) for n in dims.split(",") if n)
    digits = re.search(r"\d+", kind)
    bits = 8 if kind == "pred" else int(digits[0]) if digits else 0
    place = re.search(r"S\((\d+)\)", layout)
    size = math.ceil(math.prod(sides) * bits / 8)
    found.append(Array(sides, size, place is None or place[1] == "0"))
  return tuple(found)
