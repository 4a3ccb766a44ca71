r"""Compiles the train step for a TPU that is not there, and says what it costs.

  python -m experiments.plan --topology=v4:2x2x1 --config=experiments/\
configs/pair.py:dataset=amazon,teacher=albert_xxlarge,student=albert_base
  python -m experiments.plan --config=... --topologies=v4:2x2x1,v4:4x4x4
  python -m experiments.plan --all --topology=v4:2x2x1

Needs the extra `tpu`, no TPU and no data. The stack is the largest of the
config's sweep.
"""

from absl import flags
from ml_collections import config_flags

from experiments import cli
from experiments.io import json_files
from experiments.planning import blank
from experiments.planning import scaling

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
  cli.no_arguments(argv)
  with cli.reported():
    names = [*filter(None, [_TOPOLOGY.value]), *_TOPOLOGIES.value]
    if not names:
      raise ValueError("give --topology=v4:2x2x1, or --topologies=A,B.")
    if bool(_CONFIG.value) == _ALL.value:
      raise ValueError("give --config=FILE or --all.")
    assumed = blank.Assumed(_LENGTH.value, _EXAMPLES.value, _CLASSES.value)
    if _ALL.value:
      plans = [
        p
        for p in scaling.every(names, _CELLS.value, assumed)
        if "topology" in p
      ]
    else:
      plans = scaling.scaled(_CONFIG.value, names, _CELLS.value, assumed)
    if _JSON.value:
      json_files.write_json(_JSON.value, plans)


if __name__ == "__main__":
  cli.run(main)
