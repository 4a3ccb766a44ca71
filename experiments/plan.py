r"""Estimates the memory and time of a training on TPUs, without a TPU.

  python -m experiments.plan --topology=v4:2x2x1 --config=experiments/\
configs/pair.py:dataset=amazon,teacher=albert_xxlarge,student=albert_base
  python -m experiments.plan --config=... --topologies=v4:2x2x1,v4:4x4x4
  python -m experiments.plan --all --topology=v4:2x2x1

The command compiles the training program of the largest stack of the config's
sweep. It needs the extra `tpu`, but neither data nor weights.
"""

import functools
import importlib
import itertools
import pathlib
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence

from absl import flags

from experiments import cells as cells_lib
from experiments import cli
from experiments.io import json_files
from experiments.planning import chips
from experiments.planning import report
from experiments.planning import shapes
from experiments.planning import worker
from experiments.specs import CellSpec
from experiments.stacks import stacks
from experiments.training import data

_CONFIGS = pathlib.Path(__file__).parent / "configs"
_CONFIG = cli.config_flag(required=False)  # --all takes its place.
_TOPOLOGY = flags.DEFINE_string(
  "topology", None, "TPU topology: chip and sides, as v4:2x2x1 or v5e:4x4."
)
_TOPOLOGIES = flags.DEFINE_list(
  "topologies", [], "Several topologies, to be compared in a table."
)
_ALL = flags.DEFINE_bool(
  "all", False, "Plan every config of experiments/configs."
)
_CELLS = flags.DEFINE_integer(
  "cells", None, "Number of cells; by default that of the largest stack."
)
_LENGTH = flags.DEFINE_integer(
  "length", None, "Tokens per text; by default the data's maximum length."
)
_EXAMPLES = flags.DEFINE_integer(
  "num_examples", 10_000, "Number of training examples of your own data."
)
_CLASSES = flags.DEFINE_integer(
  "num_classes", 2, "Number of classes of your own data."
)
_JSON = flags.DEFINE_string("json", None, "JSON file to write the plans to.")
flags.adopt_module_key_flags(cli)  # So that --help shows them.


def main() -> None:
  """Prints a plan for each topology."""
  with cli.reported():
    names = [*filter(None, [_TOPOLOGY.value]), *_TOPOLOGIES.value]
    if not names:
      raise ValueError("give --topology=v4:2x2x1, or --topologies=A,B.")
    for name in names:
      chips.parse_topology(name)
    if bool(_CONFIG.value) == _ALL.value:
      raise ValueError("give either --config=FILE or --all.")
    assumed = shapes.Assumed(_LENGTH.value, _EXAMPLES.value, _CLASSES.value)
    if _ALL.value:
      plans = plan_all(names, _CELLS.value, assumed)
    else:
      cells = cells_lib.of_config(_CONFIG.value)
      plans = plan_cells(cells, names, _CELLS.value, assumed)
    if _JSON.value:
      json_files.write_json(_JSON.value, plans)


def plan_cells(
  cells: Sequence[CellSpec],
  topologies: Sequence[str],
  num_cells: int | None,
  assumed: shapes.Assumed,
) -> list[report.Plan]:
  """Plans the largest stack of some cells on every topology, and prints it.

  Args:
    cells: The cells of a config.
    topologies: Names of the topologies.
    num_cells: Number of cells; None for that of the largest stack.
    assumed: Properties of the data that the cells do not give.

  Returns:
    The plans.
  """
  plans = []
  for topology in topologies:
    plans.append(_plan(cells, topology, num_cells, assumed))
    print(report.text(plans[-1]), end="\n\n", flush=True)
  if len(plans) > 1:
    print(report.table(plans))
  return plans


def plan_all(
  topologies: Sequence[str], num_cells: int | None, assumed: shapes.Assumed
) -> list[report.Plan]:
  """Plans every config on every topology, and prints a table.

  Args:
    topologies: Names of the topologies.
    num_cells: Number of cells; None for that of the largest stack.
    assumed: Properties of the data that the configs do not give.

  Returns:
    The plans that did not fail.
  """
  rows: list[report.Plan | tuple[str, str]] = []
  for (name, make), topology in itertools.product(_configs(), topologies):
    try:
      rows.append(_plan(make(), topology, num_cells, assumed))
    except ValueError as error:
      rows.append((f"{name} {topology}", f"error: {error}"))
  print(report.table(rows))
  return [row for row in rows if isinstance(row, report.Plan)]


def _configs() -> Iterator[tuple[str, Callable[[], list[CellSpec]]]]:
  """Yields the name of every config, and a function that returns its cells."""
  for path in sorted(_CONFIGS.glob("*.py")):
    module = importlib.import_module(f"experiments.configs.{path.stem}")
    if hasattr(module, "get_config"):
      config = module.get_config()
      yield path.stem, functools.partial(cells_lib.of_config, config)


def _plan(
  cells: Sequence[CellSpec],
  topology: str,
  num_cells: int | None,
  assumed: shapes.Assumed,
) -> report.Plan:
  """Plans the largest stack, after checking that the data fit every row."""
  data.check_tasks(cells, lambda cell: shapes.blank_splits(cell, assumed).task)
  stack = max(stacks(cells), key=lambda stack: len(stack.cells))
  count = len(stack.cells) if num_cells is None else num_cells
  if count < 1:
    raise ValueError(f"--cells must be at least 1, got {count}.")
  repeated = tuple(itertools.islice(itertools.cycle(stack.cells), count))
  return worker.plan(repeated, topology, assumed)


if __name__ == "__main__":
  cli.run(main)
