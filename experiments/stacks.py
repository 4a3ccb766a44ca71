"""Stacks: cells that are trained together as one compiled program.

Cells form a stack if they differ only in fields that the compiled program takes
as arrays. The grouping depends on the cells alone, not on which of them are
left to train, so that a resumed sweep computes the same bits.
"""

import dataclasses
import fnmatch
from collections.abc import Iterable
from collections.abc import Sequence
from typing import Any

from experiments import identity
from experiments import specs

# A cell without the fields that may differ in a stack, and the null space if
# the cells of a stack have to share it.
_Key = tuple[specs.CellSpec, str | None]


@dataclasses.dataclass(frozen=True)
class Stack:
  """Cells that are trained as one program.

  Attributes:
    cells: The cells.
    names: Digest and trial of each cell.
    digest: Digest of the names, which names the folder of the stack.
  """

  cells: tuple[specs.CellSpec, ...]
  names: tuple[str, ...]
  digest: str

  @property
  def label(self) -> str:
    """Column, row and number of cells, for progress displays."""
    first, size = self.cells[0], len(self.cells)
    many = f", {size} cells" if size > 1 else ""
    return f"{first.column} {first.row}{many}"


def stacks(cells: Iterable[specs.CellSpec]) -> list[Stack]:
  """Groups cells into stacks that one compiled program can train.

  A stack has at most `config.stack.max_cells` cells. Groups of cells with the
  same program are in the order of their first cells.
  """
  groups: dict[_Key, list[specs.CellSpec]] = {}
  for cell in cells:
    groups.setdefault(_key(cell), []).append(cell)
  result = []
  for group in groups.values():
    most = group[0].stack.max_cells
    for start in range(0, len(group), most):
      part = tuple(group[start : start + most])
      names = tuple(
        f"{identity.cell_digest(cell)}/trial{cell.trial}" for cell in part
      )
      result.append(Stack(part, names, identity.digest(names)))
  return result


def _key(cell: specs.CellSpec) -> _Key:
  """Returns a key that cells of the same program share."""
  changes: dict[str, Any] = {"varied": ()}
  if cell.data.shared_batch_order:
    changes["trial"] = None
  common = dataclasses.replace(specs.without_stacked(cell), **changes)
  # Coordinates depend on the null space, and stacked cells share them.
  if cell.teacher.outputs == "coordinates":
    return common, cell.subspace.null_space
  return common, None


def selected(
  cells: Sequence[specs.CellSpec],
  *,
  only: Sequence[str] = (),
  skip: Sequence[str] = (),
  shard: str = "",
) -> list[specs.CellSpec]:
  """Returns the cells of a sweep that the flags of a command select.

  Args:
    cells: The cells of the sweep.
    only: Patterns of cells to keep, all cells if empty. A pattern such as
      ``"*-mobilenet/lelp"`` matches column and row; a pattern without a slash
      matches either of them.
    skip: Patterns of cells to drop.
    shard: ``"i/n"`` keeps every n-th of the remaining stacks, starting with the
      i-th, counted from 1; "" keeps all of them.

  Raises:
    ValueError: If a pattern matches no cell, no cell is left, or the shard is
      not valid.
  """
  for flag, patterns in (("only", only), ("skip", skip)):
    for pattern in patterns:
      if not any(_matches(cell, pattern) for cell in cells):
        columns = list(dict.fromkeys(cell.column for cell in cells))
        rows = list(dict.fromkeys(cell.row for cell in cells))
        raise ValueError(
          f"--{flag}={pattern} matches no cell: give COLUMN/ROW, a COLUMN or a "
          f"ROW; * stands for any text. The columns are {columns}, the rows "
          f"{rows}."
        )
  chosen = [
    cell
    for cell in cells
    if (not only or any(_matches(cell, pattern) for pattern in only))
    and not any(_matches(cell, pattern) for pattern in skip)
  ]
  if not chosen:
    raise ValueError("--only and --skip together leave no cell to train.")
  if not shard:
    return chosen
  first, number = _parse_shard(shard)
  return [c for stack in stacks(chosen)[first::number] for c in stack.cells]


def _matches(cell: specs.CellSpec, pattern: str) -> bool:
  names: tuple[str, ...] = (cell.column, cell.row)
  if "/" in pattern:
    names = ("/".join(names),)
  return any(fnmatch.fnmatchcase(name, pattern) for name in names)


def _parse_shard(shard: str) -> tuple[int, int]:
  """Returns the index of the first stack, from 0, and the stride."""
  first, _, number = shard.partition("/")
  if first.isdigit() and number.isdigit() and 1 <= int(first) <= int(number):
    return int(first) - 1, int(number)
  raise ValueError(
    f"--shard must be i/n with 1 <= i <= n, such as 2/8, got {shard!r}."
  )
