r"""Trains every cell of a table: columns x methods x grid x trials.

  python -m experiments.sweep \
    --config=experiments/configs/quickstart.py --workdir=runs/quickstart

Finished cells are kept: started again it continues where it was interrupted.
"""

from absl import flags

from experiments import commands
from experiments.runtime import metric_writer
from experiments.training import cells
from experiments.training import runs
from experiments.training import table

_CONFIG = commands.config_flag()
_WORKDIR = commands.workdir_flag()
_TEACHERS = commands.teachers_flag()
flags.adopt_module_key_flags(commands)  # So that --help shows them.


def main(argv: list[str]) -> None:
  """Trains the sweep that the config describes."""
  commands.no_arguments(argv)
  with commands.reported():
    workdir = commands.folder(_WORKDIR.value)
    configs = list(cells.expand(_CONFIG.value, commands.set_fields(_CONFIG)))
    runs.check(configs)
    said = table.remarks(
      configs, lambda config: runs.load_splits(config, workdir).task
    )
    description = table.describe(_CONFIG.value, configs, said)
    configs = table.needed(configs, said)
    metric_writer.write_json(workdir / "sweep.json", description)
    print(table.announcement(description, workdir), flush=True)
    runs.run_cells(
      configs,
      workdir,
      teacher_directory=commands.folder(_TEACHERS.value),
    )
    print(f"All {len(configs)} cells are in {workdir}.")


if __name__ == "__main__":
  commands.run(main)
