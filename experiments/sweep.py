r"""Trains every cell of a table: columns x methods x grid x trials.

  python -m experiments.sweep \
    --config=experiments/configs/quickstart.py --workdir=runs/quickstart

Finished cells are kept, so that the same command continues an interrupted
sweep. Several commands in one workdir, on one machine or on several that share
its file system, divide the stacks among them.
"""

import contextlib
import pathlib
import tempfile

from absl import flags

from experiments import cells as cells_lib
from experiments import cli
from experiments import results
from experiments import specs
from experiments import stacks
from experiments.configs import validate
from experiments.data.dataset import Splits
from experiments.distributed import processes
from experiments.planning import shapes
from experiments.training import data
from experiments.training import description
from experiments.training import dry_run
from experiments.training import sweep

_CONFIG = cli.config_flag()
_WORKDIR = flags.DEFINE_string(
  "workdir",
  None,
  "Folder of results; --dry_run does without.",
  allow_override=True,
)
_TEACHERS = cli.teachers_flag()
_CHECKPOINTS = cli.checkpoints_flag()
_CONNECT = cli.processes_flags()
_ONLY = flags.DEFINE_list(
  "only",
  [],
  "Patterns of the cells to train: COLUMN/ROW, or either of the two, such as "
  "'*-mobilenet/lelp,vanilla'.",
)
_SKIP = flags.DEFINE_list("skip", [], "Patterns of the cells not to train.")
_SHARD = flags.DEFINE_string(
  "shard",
  "",
  "i/n: every n-th stack, starting with the i-th, for machines that share no "
  "file system.",
)
_DRY_RUN = flags.DEFINE_bool(
  "dry_run", False, "List the stacks and their cost without training them."
)
flags.adopt_module_key_flags(cli)  # So that --help shows them.


def main(argv: list[str]) -> None:
  """Trains the sweep that the config describes."""
  cli.no_arguments(argv)
  with cli.reported(_CONNECT), contextlib.ExitStack() as stack:
    if not _WORKDIR.value and not _DRY_RUN.value:
      raise ValueError("--workdir is required; --help explains it.")
    # A dry run may read a user's own files, which are prepared in a workdir.
    workdir = cli.folder(_WORKDIR.value) or pathlib.Path(
      stack.enter_context(tempfile.TemporaryDirectory())
    )
    teachers = cli.folder(_TEACHERS.value)
    checkpoints = cli.checkpoint_folder(_CHECKPOINTS.value)
    config = _CONFIG.value
    needed, described = description.described(
      validate.sweep_spec(config),
      cells_lib.expand(config, cli.set_fields(_CONFIG)),
      lambda cell: _splits(cell, workdir).task,
    )
    cells = stacks.selected(
      needed, only=_ONLY.value, skip=_SKIP.value, shard=_SHARD.value
    )
    if _DRY_RUN.value:
      text = dry_run.listing(cells, workdir, _splits, teachers)
      if processes.is_main_process():
        print(text)
      return
    processes.from_main(lambda: results.write(workdir, described))
    if processes.is_main_process():
      text = description.announcement(described, len(cells), workdir)
      print(text, flush=True)
    sweep.run_cells(
      cells,
      workdir,
      teacher_directory=teachers,
      checkpoint_directory=checkpoints,
    )
    if processes.is_main_process():
      print(f"All {len(cells)} cells are in {workdir}.")


def _splits(cell: specs.CellSpec, workdir: pathlib.Path) -> Splits:
  """Loads a cell's data; in a dry run, of the published size if missing."""
  try:
    return data.load_splits(cell, workdir)
  except FileNotFoundError:
    if not _DRY_RUN.value:
      raise
    return shapes.blank_splits(cell)


if __name__ == "__main__":
  cli.run(main)
