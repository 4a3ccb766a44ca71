"""Sweeps in two stages: which cells are trained, and what is recorded."""

import collections
import functools

import pytest

from experiments import cells as cells_lib
from experiments import identity
from experiments import results
from experiments import search
from experiments import stacks
from experiments.configs import validate
from experiments.data.dataset import Task
from experiments.reporting import workdirs
from experiments.training import data
from experiments.training import sweep
from tests.experiments import reporting_workdirs
from tests.experiments import tiny


def _config():
  config = tiny.config()
  config.data.shared_batch_order = True  # The trials form one stack.
  config.sweep.num_trials, config.sweep.grid_trials = 3, 1
  config.sweep.methods = {"vanilla": {"loss": {"temperature": (0.5, 4.0)}}}
  return config


def _run(config, workdir):
  trained = []

  def train(cells, _, later):
    trained.append((cells, later))
    sweep.run_cells(cells, workdir, later=later)

  _search(config, workdir, train, list)
  return trained


def _search(config, workdir, train, select):
  search.run(
    validate.sweep_spec(config),
    cells_lib.expand(config),
    lambda cell: data.load_splits(cell, workdir).task,
    workdir,
    train,
    select,
  )


@pytest.fixture(name="searched", scope="module")
def fixture_searched(tmp_path_factory):
  """A workdir with a finished sweep, and the cells of its two stages."""
  workdir = tmp_path_factory.mktemp("searched")
  return workdir, _run(_config(), workdir)


def test_only_the_chosen_grid_point_gets_more_trials(searched):
  workdir, ((first, later), (further, none)) = searched
  assert [cell.trial for cell in first] == [0] * 4
  assert [cell.trial for cell in later] == [1, 2] * 2
  assert not none
  # One digest per column, the better one on held-out data in the first trial.
  accuracies = collections.defaultdict(dict)
  for cell in first:
    folder = identity.cell_directory(workdir, cell)
    found = results.read(folder, results.CellResult).validation
    accuracies[cell.column][identity.cell_digest(cell)] = (
      -found.accuracy,
      found.loss,
    )
  best = {
    column: min(values, key=values.get) for column, values in accuracies.items()
  }
  assert len(best) == 2
  assert [(c.column, identity.cell_digest(c), c.trial) for c in further] == [
    (column, best[column], trial) for column in sorted(best) for trial in (1, 2)
  ]


def test_the_report_reads_the_chosen_cells_and_the_number_tried(searched):
  workdir, _ = searched
  found = workdirs.load(workdir, workdir)
  assert found.num_missing == 0
  for summary in found.summaries.values():
    assert [cell.trial for cell in summary.cells] == [0, 1, 2]
    assert summary.num_settings == 2
  assert found.num_cells == 2 * 3


def test_a_repeated_command_chooses_and_trains_the_same(searched):
  workdir, (_, (further, _)) = searched
  files = sorted(workdir.glob("cells/*/*/*/trial*/result.json"))
  (_, (again, _)) = _run(_config(), workdir)
  assert again == further
  assert sorted(workdir.glob("cells/*/*/*/trial*/result.json")) == files


def _write(workdir, cells, *_):
  """Makes results up: the greater temperature is better."""
  for cell in cells:
    made = reporting_workdirs.make_cell(
      cell.column,
      cell.row,
      cell.trial,
      accuracy=0.5,
      digest=identity.cell_digest(cell),
      validation=results.Evaluation(cell.loss.temperature / 10),
    )
    reporting_workdirs.write_cell(workdir, made)


def test_a_second_command_adds_its_rows_to_those_of_the_first(tmp_path):
  config = _config()
  config.sweep.methods.standard = {}
  for row in ("standard", "vanilla"):
    only = functools.partial(stacks.selected, only=[row])
    _search(config, tmp_path, functools.partial(_write, tmp_path), only)
  found = workdirs.load(tmp_path, tmp_path)
  assert found.num_tried == {"standard": 1, "vanilla": 2}
  assert len(found.cells) == 2 * 2 * 3


def test_rows_that_nobody_has_begun_are_skipped_in_both_stages(tmp_path):
  config = _config()
  config.sweep.methods.standard = {}
  write = functools.partial(_write, tmp_path)
  skip = functools.partial(stacks.selected, skip=["standard", "split1"])
  _search(config, tmp_path, write, skip)
  found = workdirs.load(tmp_path, tmp_path)
  assert list(found.summaries) == [("split0", "vanilla")]
  assert (len(found.cells), found.num_missing) == (3, 0)


def test_a_command_does_not_choose_for_the_rows_of_another(tmp_path):
  config = _config()
  config.sweep.methods.standard = {}

  write = functools.partial(_write, tmp_path)

  def command(row, train):
    only = functools.partial(stacks.selected, only=[row])
    _search(config, tmp_path, train, only)

  def write_beside_the_other(cells, *_):
    """The other command chooses when only the worse points are finished."""
    write([cell for cell in cells if cell.loss.temperature == 0.5])
    if all(cell.trial == 0 for cell in cells):
      command("standard", write)
      found = workdirs.load(tmp_path, tmp_path)
      assert found.num_tried == {"standard": 1}
      assert found.num_cells == 2 * (3 + 2)
    write(cells)

  command("vanilla", write_beside_the_other)
  found = workdirs.load(tmp_path, tmp_path)
  assert found.num_missing == 0
  assert found.num_tried == {"standard": 1, "vanilla": 2}
  assert found.summaries["split1", "vanilla"].validation.mean == 40


def test_a_row_that_needs_fine_labels_is_refused_before_training(tmp_path):
  config = _config()
  config.sweep.grid_trials = 0
  config.sweep.methods.upper_bound = {"method": "oracle"}
  trained = []

  def run(select):
    search.run(
      validate.sweep_spec(config),
      cells_lib.expand(config),
      lambda _: Task("reviews", 2),
      tmp_path,
      lambda cells, *_: trained.extend(cells),
      select,
    )

  with pytest.raises(ValueError, match=r"row 'upper_bound'.*'reviews'"):
    run(list)
  assert not trained
  assert not list(tmp_path.iterdir())
  run(functools.partial(stacks.selected, skip=["upper_bound"]))
  assert {cell.row for cell in trained} == {"vanilla"}


@pytest.mark.parametrize("grid_trials", [3, 4])
def test_no_trials_left_for_the_second_stage_is_an_error(grid_trials):
  config = _config()
  config.sweep.grid_trials = grid_trials
  with pytest.raises(ValueError, match=rf"grid_trials.*got {grid_trials}"):
    validate.sweep_spec(config)
