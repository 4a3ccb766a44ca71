r"""Trains one cell: its teacher if there is none yet, then its student.

  python -m experiments.main \
    --config=experiments/configs/quickstart.py:method=lelp --workdir=runs/one

Interrupted and started again it continues from its last checkpoint; with other
settings it refuses to begin anew beside what is saved.
"""

from absl import flags

from experiments import commands
from experiments.runtime import processes
from experiments.training import resuming
from experiments.training import runs

_CONFIG = commands.config_flag()
_WORKDIR = commands.workdir_flag()
_TEACHERS = commands.teachers_flag()
_CHECKPOINTS = commands.checkpoints_flag()
_CONNECT = commands.processes_flags()
flags.adopt_module_key_flags(commands)  # So that --help shows them.


def main(argv: list[str]) -> None:
  """Trains the cell that the flags describe."""
  commands.no_arguments(argv)
  with commands.reported(_CONNECT):
    workdir = commands.folder(_WORKDIR.value)
    states = commands.checkpoint_folder(_CHECKPOINTS.value)
    resuming.check(_CONFIG.value, workdir, states)
    (folder,) = runs.run_cells(
      [_CONFIG.value],
      workdir,
      teacher_directory=commands.folder(_TEACHERS.value),
      checkpoint_directory=states,
    )
    if processes.is_main_process():
      commands.print_result(folder)


if __name__ == "__main__":
  commands.run(main)
