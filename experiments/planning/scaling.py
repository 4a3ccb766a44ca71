"""Plans of several topologies, or of every config."""

import importlib
import itertools
import pathlib
from collections.abc import Sequence

from ml_collections import ConfigDict

from experiments import cells
from experiments.configs import validate
from experiments.planning import blank
from experiments.planning import chips
from experiments.planning import compiling
from experiments.planning import report
from experiments.stacks import stacks

_CONFIGS = pathlib.Path(__file__).parents[1] / "configs"


def scaled(
  config: ConfigDict,
  topologies: Sequence[str],
  num_cells: int | None = None,
  assumed: blank.Assumed | None = None,
) -> list[report.Plan]:
  """Plans one config on every topology, and prints what comes out.

  Args:
    config: The config.
    topologies: Such as "v4:2x2x1".
    num_cells: Of the stack; None for the largest of the sweep.
    assumed: What the config leaves open.

  Returns:
    The plans.

  Raises:
    ValueError: If a topology is none, before any is compiled for.
  """
  _check(topologies)
  plans = []
  for topology in topologies:
    plans.append(_plan(config, topology, num_cells, assumed))
    print(report.text(plans[-1]), flush=True)
    print()
  if len(plans) > 1:
    print(report.table(plans))
  return plans


def every(
  topologies: Sequence[str],
  num_cells: int | None = None,
  assumed: blank.Assumed | None = None,
) -> list[report.Plan | tuple[str, str]]:
  """Plans every config of experiments/configs, and prints a row each.

  Args:
    topologies: As those of `scaled`, and so the rest.
    num_cells: Of the stack.
    assumed: What the configs leave open.

  Returns:
    The plans, and name and error of those that there are none of.
  """
  _check(topologies)
  rows: list[report.Plan | tuple[str, str]] = []
  for path in sorted(_CONFIGS.glob("*.py")):
    module = importlib.import_module(f"experiments.configs.{path.stem}")
    if not hasattr(module, "get_config"):
      continue
    for topology in topologies:
      try:
        rows.append(_plan(module.get_config(), topology, num_cells, assumed))
      except ValueError as error:
        rows.append((f"{path.stem} {topology}", f"error: {error}"))
  print(report.table(rows))
  return rows


def _check(topologies: Sequence[str]) -> None:
  for topology in topologies:
    chips.parse_topology(topology)


def _plan(
  config: ConfigDict,
  topology: str,
  num_cells: int | None,
  assumed: blank.Assumed | None,
) -> report.Plan:
  """The plan of a config's largest stack."""
  expanded = [validate.cell_spec(config)]
  if config.sweep.methods:
    expanded = cells.expand(config)
  stack = max(stacks(expanded), key=lambda stack: len(stack.cells))
  count = len(stack.cells) if num_cells is None else num_cells
  if count < 1:
    raise ValueError(f"--cells must be at least 1, got {count}.")
  repeated = tuple(itertools.islice(itertools.cycle(stack.cells), count))
  return compiling.compiled(
    compiling.Request(
      repeated, topology, assumed or blank.Assumed(), config.name
    )
  )
