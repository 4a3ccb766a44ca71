r"""Trains one cell: a student, and its teacher if it does not exist yet.

  python -m experiments.main \
    --config=experiments/configs/quickstart.py:method=lelp --workdir=runs/one

After an interruption the same command continues from the last checkpoint.
"""

import sys

from absl import flags

from experiments import cli
from experiments.configs import validate
from experiments.distributed import processes
from experiments.planning import dry_run
from experiments.training import resuming
from experiments.training import sweep

_CONFIG = cli.config_flag()
_TEACHERS = cli.teachers_flag()
_CHECKPOINTS = cli.checkpoints_flag()
_CONNECT = cli.processes_flags()
_DRY_RUN = cli.dry_run_flags()
flags.adopt_module_key_flags(cli)  # So that --help shows them.


def main() -> None:
  """Trains the cell that the flags describe."""
  with cli.reported(_CONNECT):
    teachers = cli.folder(_TEACHERS.value)
    if _DRY_RUN.is_asked.value:
      cell = validate.cell_spec(_CONFIG.value)
      workdir = cli.folder(_DRY_RUN.workdir.value)
      with dry_run.facts_reader(workdir) as facts:
        text = dry_run.listing(
          [cell], workdir, facts, teachers, each=_DRY_RUN.lists.value
        )
      if processes.is_main_process():
        print(text)
      return
    workdir = _DRY_RUN.required_workdir()
    cell = validate.cell_spec(_CONFIG.value)
    if processes.is_main_process():
      for other in resuming.unfinished(cell, workdir):
        print(f"unfinished run with other settings in {other}", file=sys.stderr)
    (folder,) = sweep.run_cells(
      [cell],
      workdir,
      teacher_directory=teachers,
      checkpoint_directory=cli.checkpoint_folder(_CHECKPOINTS.value),
    )
    if processes.is_main_process():
      cli.print_result(folder)


if __name__ == "__main__":
  cli.run(main)
