r"""Trains one cell: its teacher if there is none yet, then its student.

  python -m experiments.main \
    --config=experiments/configs/quickstart.py:method=lelp --workdir=runs/one

Interrupted and started again it continues from its last checkpoint; with other
settings it refuses to begin anew beside what is saved.
"""

from absl import flags

from experiments import cli
from experiments.distributed import processes
from experiments.training import resuming
from experiments.training import runs

_CONFIG = cli.config_flag()
_WORKDIR = cli.workdir_flag()
_TEACHERS = cli.teachers_flag()
_CHECKPOINTS = cli.checkpoints_flag()
_CONNECT = cli.processes_flags()
flags.adopt_module_key_flags(cli)  # So that --help shows them.


def main(argv: list[str]) -> None:
  """Trains the cell that the flags describe."""
  cli.no_arguments(argv)
  with cli.reported(_CONNECT):
    workdir = cli.folder(_WORKDIR.value)
    states = cli.checkpoint_folder(_CHECKPOINTS.value)
    resuming.check(_CONFIG.value, workdir, states)
    (folder,) = runs.run_cells(
      [_CONFIG.value],
      workdir,
      teacher_directory=cli.folder(_TEACHERS.value),
      checkpoint_directory=states,
    )
    if processes.is_main_process():
      cli.print_result(folder)


if __name__ == "__main__":
  cli.run(main)
