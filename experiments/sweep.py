r"""Trains every cell of a table: columns x methods x grid x trials.

  python -m experiments.sweep \
    --config=experiments/configs/quickstart.py --workdir=runs/quickstart

Finished cells are kept: started again it continues where it was interrupted.
Started more than once in one workdir, on one machine or on several that share
its file system, the commands divide the stacks among them.
"""

import pathlib

from absl import flags
from ml_collections import ConfigDict

from experiments import cells
from experiments import cli
from experiments.data.dataset import Splits
from experiments.distributed import processes
from experiments.io import json_files
from experiments.planning import blank
from experiments.training import cached_examples
from experiments.training import dry_run
from experiments.training import runs
from experiments.training import sweeping
from experiments.training import table

_CONFIG = cli.config_flag()
_WORKDIR = cli.workdir_flag()
_TEACHERS = cli.teachers_flag()
_CHECKPOINTS = cli.checkpoints_flag()
_CONNECT = cli.processes_flags()
_ONLY = flags.DEFINE_list(
  "only",
  [],
  "Patterns of COLUMN/ROW, or of either, such as '*-mobilenet/lelp,vanilla': "
  "what to train.",
)
_SKIP = flags.DEFINE_list("skip", [], "Patterns of what not to train.")
_SHARD = flags.DEFINE_string(
  "shard",
  "",
  "i/n: every n-th stack from the i-th on, for machines that share nothing.",
)
_DRY_RUN = flags.DEFINE_bool(
  "dry_run", False, "Lists the stacks and what they cost, and trains nothing."
)
flags.adopt_module_key_flags(cli)  # So that --help shows them.


def main(argv: list[str]) -> None:
  """Trains the sweep that the config describes."""
  cli.no_arguments(argv)
  with cli.reported(_CONNECT):
    workdir = cli.folder(_WORKDIR.value)
    teachers = cli.folder(_TEACHERS.value)
    states = cli.checkpoint_folder(_CHECKPOINTS.value)
    configs = list(cells.expand(_CONFIG.value, cli.set_fields(_CONFIG)))
    runs.check(configs)
    said = table.remarks(configs, lambda config: _splits(config, workdir).task)
    description = table.describe(_CONFIG.value, configs, said)
    configs = sweeping.selected(
      cached_examples.resolved(table.needed(configs, said)),
      only=_ONLY.value,
      skip=_SKIP.value,
      shard=_SHARD.value,
    )
    if _DRY_RUN.value:
      text = dry_run.listing(configs, workdir, _splits, teachers)
      if processes.is_main_process():
        print(text)
      return
    processes.from_main(
      lambda: json_files.write_json(workdir / "sweep.json", description)
    )
    if processes.is_main_process():
      print(table.announcement(description, len(configs), workdir), flush=True)
    runs.run_cells(
      configs,
      workdir,
      teacher_directory=teachers,
      checkpoint_directory=states,
    )
    if processes.is_main_process():
      print(f"All {len(configs)} cells are in {workdir}.")


def _splits(config: ConfigDict, workdir: pathlib.Path) -> Splits:
  """A config's data; for a dry run, of the published size if not prepared."""
  try:
    return runs.load_splits(config, workdir)
  except FileNotFoundError:
    if not _DRY_RUN.value:
      raise
    return blank.splits(config, blank.Assumed())


if __name__ == "__main__":
  cli.run(main)
