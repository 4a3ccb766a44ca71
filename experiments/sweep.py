r"""Trains every cell of a table: columns x methods x grid x trials.

  python -m experiments.sweep \
    --config=experiments/configs/quickstart.py --workdir=runs/quickstart

Finished cells are kept, so the same command continues an interrupted sweep.
Several commands may work in the same workdir and divide the stacks among them,
on one machine or on machines that share its file system.
"""

from absl import flags

from experiments import cells as cells_lib
from experiments import cli
from experiments import results
from experiments import search
from experiments import specs
from experiments import stacks
from experiments.configs import validate
from experiments.distributed import processes
from experiments.planning import dry_run
from experiments.training import data
from experiments.training import description
from experiments.training import sweep

_CONFIG = cli.config_flag()
_TEACHERS = cli.teachers_flag()
_CHECKPOINTS = cli.checkpoints_flag()
_CONNECT = cli.processes_flags()
_ONLY = flags.DEFINE_list(
  "only",
  [],
  "Patterns of the cells to train: COLUMN/ROW, a COLUMN or a ROW, such as "
  "'*-mobilenet/lelp,vanilla'.",
)
_SKIP = flags.DEFINE_list("skip", [], "Patterns of the cells not to train.")
_SHARD = flags.DEFINE_string(
  "shard",
  "",
  "i/n: train every n-th stack, starting with the i-th. This is for machines "
  "that share no file system.",
)
_DRY_RUN = cli.dry_run_flags()
flags.adopt_module_key_flags(cli)  # So that --help shows them.


def main() -> None:
  """Trains the sweep that the config describes."""
  with cli.reported(_CONNECT):
    teachers = cli.folder(_TEACHERS.value)
    checkpoints = cli.checkpoint_folder(_CHECKPOINTS.value)
    if _DRY_RUN.is_asked.value:
      workdir = cli.folder(_DRY_RUN.workdir.value)
      with dry_run.facts_reader(workdir) as facts:
        cells, later = _planned(facts)
        text = dry_run.listing(
          cells,
          workdir,
          facts,
          teachers,
          later=later,
          each=_DRY_RUN.lists.value,
        )
      if processes.is_main_process():
        print(text)
      return
    workdir = _DRY_RUN.required_workdir()
    trained: list[specs.CellSpec] = []

    def train(
      cells: list[specs.CellSpec],
      described: results.SweepDescription,
      later: list[specs.CellSpec],
    ) -> None:
      if processes.is_main_process():
        text = description.announcement(described, len(cells), workdir)
        print(text, flush=True)
      sweep.run_cells(
        cells,
        workdir,
        teacher_directory=teachers,
        checkpoint_directory=checkpoints,
        later=later,
      )
      trained.extend(cells)

    search.run(
      _sweep_spec(),
      cells_lib.expand(_CONFIG.value, cli.set_fields(_CONFIG)),
      lambda cell: data.facts_of(cell.data, cell.selection, workdir).task,
      workdir,
      train,
      _selected,
    )
    if processes.is_main_process():
      print(f"All {len(trained)} cells are in {workdir}.")


def _sweep_spec() -> specs.SweepSpec:
  """Returns the sweep without its cells; checks that --shard fits it."""
  spec = validate.sweep_spec(_CONFIG.value)
  if spec.grid_trials and _SHARD.value:
    raise ValueError(
      "--shard cannot divide a sweep with config.sweep.grid_trials, whose "
      "second stage needs the results of the first: start several commands in "
      "one --workdir, or divide the columns and rows by --only."
    )
  return spec


def _selected(cells: list[specs.CellSpec]) -> list[specs.CellSpec]:
  return stacks.selected(
    cells, only=_ONLY.value, skip=_SKIP.value, shard=_SHARD.value
  )


def _planned(
  facts: dry_run.FactsOf,
) -> tuple[list[specs.CellSpec], list[specs.CellSpec]]:
  """Returns the cells to train, and cells that stand for the second stage."""
  spec = _sweep_spec()
  cells = cells_lib.expand(_CONFIG.value, cli.set_fields(_CONFIG))
  needed, _ = description.described(
    spec,
    search.first_stage(spec, cells),
    lambda cell: facts(cell).task,
  )
  here = _selected(needed)
  return here, search.stand_ins(spec, cells, here)


if __name__ == "__main__":
  cli.run(main)
