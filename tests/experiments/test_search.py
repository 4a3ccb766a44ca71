"""Sweeps in two stages: which cells are trained, and what is recorded."""

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
from tests.experiments import reporting_workdirs
from tests.experiments import tiny


def _config():
  config = tiny.config()
  config.sweep.num_trials, config.sweep.grid_trials = 3, 1
  config.sweep.methods = {"vanilla": {"loss": {"temperature": (3.0, 4.0)}}}
  return config


def _write(workdir, cells, *_):
  """Makes results up: the greater temperature is better in the first trial."""
  for cell in cells:
    accuracy = 0.0 if cell.trial else cell.loss.temperature / 10
    made = reporting_workdirs.make_cell(
      cell.column,
      cell.row,
      cell.trial,
      accuracy=0.5,
      digest=identity.cell_digest(cell),
      validation=results.Evaluation(accuracy),
    )
    reporting_workdirs.write_cell(workdir, made)


def _run(workdir):
  """Runs a sweep; returns the cells of each stage, and those that follow."""
  stages = []

  def train(cells, _, later):
    stages.append((cells, later))
    _write(workdir, cells)

  _search(_config(), workdir, train, list)
  return stages


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
  return workdir, _run(workdir)


def test_only_the_chosen_grid_point_gets_more_trials(searched):
  _, ((first, later), (further, none)) = searched
  assert [cell.trial for cell in first] == [0] * 4
  assert [cell.trial for cell in later] == [1, 2] * 2
  assert not none
  assert [(c.column, c.loss.temperature, c.trial) for c in further] == [
    (column, 4.0, trial) for column in ("split0", "split1") for trial in (1, 2)
  ]


def test_the_report_reads_the_chosen_cells_and_the_number_tried(searched):
  workdir, _ = searched
  found = workdirs.load(workdir, workdir)
  assert found.num_missing == 0
  for summary in found.summaries.values():
    assert [cell.trial for cell in summary.cells] == [0, 1, 2]
    assert summary.num_settings == 2
  assert found.num_cells == 2 * 3


def test_a_repeated_command_chooses_the_same(searched):
  workdir, stages = searched
  assert _run(workdir) == stages


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
    write([cell for cell in cells if cell.loss.temperature == 3.0])
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
  (first, *_) = found.summaries["split1", "vanilla"].cells
  assert first.validation.accuracy == 0.4


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
