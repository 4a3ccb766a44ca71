r"""Compiles the train step for a TPU that is not there, and says what it costs.

  python -m experiments.plan --topology=v4:2x2x1 --config=experiments/\
configs/pair.py:dataset=amazon,teacher=albert_xxlarge,student=albert_base
  python -m experiments.plan --config=... --topologies=v4:2x2x1,v4:4x4x4
  python -m experiments.plan --all --topology=v4:2x2x1

Needs the extra `tpu`, no TPU and no data. The stack is the largest of the
config's sweep.
"""

import importlib
import itertools
import pathlib
from collections.abc import Sequence

from absl import flags
from ml_collections import config_flags
from ml_collections import ConfigDict

from experiments import commands
from experiments.planning import blank
from experiments.planning import compiling
from experiments.planning import report
from experiments.runtime import metric_writer
from experiments.training import cells

_CONFIGS = pathlib.Path(__file__).parent / "configs"
_CONFIG = config_flags.DEFINE_config_file(
  "config",
  None,
  "Config file, with its arguments behind a colon.",
  lock_config=True,
)
_TOPOLOGY = flags.DEFINE_string(
  "topology", None, "Chip and sides, such as v4:2x2x1 or v5e:4x4."
)
_TOPOLOGIES = flags.DEFINE_list(
  "topologies", [], "Several, for a table of how it scales."
)
_ALL = flags.DEFINE_bool("all", False, "Every config of experiments/configs.")
_CELLS = flags.DEFINE_integer(
  "cells", None, "Cells of the stack; by default those of the largest."
)
_LENGTH = flags.DEFINE_integer(
  "length", None, "Tokens of a text; by default the longest of the data."
)
_EXAMPLES = flags.DEFINE_integer(
  "num_examples", 10_000, "Training examples of data of your own."
)
_CLASSES = flags.DEFINE_integer(
  "num_classes", 2, "Classes of data of your own."
)
_JSON = flags.DEFINE_string("json", None, "File for the same as data.")


def main(argv: list[str]) -> None:
  """Prints a plan for each topology."""
  commands.no_arguments(argv)
  with commands.reported():
    names = [*filter(None, [_TOPOLOGY.value]), *_TOPOLOGIES.value]
    if not names:
      raise ValueError("give --topology=v4:2x2x1, or --topologies=A,B.")
    if bool(_CONFIG.value) == _ALL.value:
      raise ValueError("give --config=FILE or --all.")
    assumed = blank.Assumed(_LENGTH.value, _EXAMPLES.value, _CLASSES.value)
    if _ALL.value:
      plans = [
        p for p in every(names, _CELLS.value, assumed) if "topology" in p
      ]
    else:
      plans = scaled(_CONFIG.value, names, _CELLS.value, assumed)
    if _JSON.value:
      metric_writer.write_json(_JSON.value, plans)


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
  """
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


def _plan(
  config: ConfigDict,
  topology: str,
  num_cells: int | None,
  assumed: blank.Assumed | None,
) -> report.Plan:
  """The plan of a config's largest stack."""
  configs = list(cells.expand(config)) if config.sweep.methods else [config]
  stack = max(cells.stacks(configs), key=lambda stack: len(stack.configs))
  count = len(stack.configs) if num_cells is None else num_cells
  if count < 1:
    raise ValueError(f"--cells must be at least 1, got {count}.")
  repeated = tuple(itertools.islice(itertools.cycle(stack.configs), count))
  return compiling.compiled(
    compiling.Request(repeated, topology, assumed or blank.Assumed())
  )


if __name__ == "__main__":
  commands.run(main)
