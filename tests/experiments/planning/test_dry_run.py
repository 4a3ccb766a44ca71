"""Dry runs: what a command would train, without training it."""

import re

import pytest

from experiments import specs
from experiments.data.dataset import Task
from experiments.planning import dry_run
from experiments.training import sweep
from tests.experiments import tiny

# A forward pass of an 8 x 8 image by the student and the teacher of `tiny`.
STUDENT, TEACHER = 2 * (64 * 8 + 8 * 2), 2 * (64 * 16 + 16 * 2)


def listing(cells, workdir, **options):
  with dry_run.facts_reader(workdir) as facts:
    return dry_run.listing(cells, workdir, facts, **options).splitlines()


def test_it_trains_nothing_and_knows_what_is_finished(tmp_path):
  found = [tiny.cell("standard"), tiny.cell("vanilla")]
  text = listing(found, tmp_path, each=True)
  assert text[0] == (
    "[1/2] split0 standard: 12 steps of 25 examples, teacher inline"
  )
  assert text[2] == "2 cells in 2 stacks, 2 to train; 1 teacher, 1 to train."
  assert not list(tmp_path.iterdir())
  assert text == listing(found, None, each=True)
  sweep.run_cells(found[:1], tmp_path)
  longer = {"student.num_steps": 0, "student.num_epochs": 1e6}
  found[1] = specs.replace(found[1], longer)
  text = listing(found, tmp_path, each=True)
  assert text[0].endswith(", teacher inline, 1 finished")
  assert "vanilla: 4,000,000 steps" in text[1]  # 100 images, batches of 25.
  assert "2 stacks, 1 to train; 1 teacher, 0 to train" in text[2]
  assert re.match(r"About \S+ (min|h|days) on this machine", text[-1])


def test_the_total_is_the_sum_over_stacks_and_teachers():
  (*_, total, _) = listing([tiny.cell("standard"), tiny.cell("vanilla")], None)
  steps, teacher_steps, flops, read = re.match(
    r"Total: (\S+) steps .* and (\S+) of teachers, (\S+) FLOP .* read (\S+) ",
    total,
  ).groups()
  assert (steps, teacher_steps) == ("24", "12")
  batch = 25 * (3 * STUDENT + TEACHER)
  expected = 24 * batch + 12 * 100 * 3 * TEACHER
  assert float(flops) == pytest.approx(expected, rel=0.05)
  assert int(read) == 24 * 25
  cached = tiny.cell("vanilla", teacher__outputs="cached")
  (*_, total, _) = listing([cached], None)
  assert "read 1,797 examples" in total  # All of the digits, once.


def test_a_table_has_a_line_per_method_and_column():
  cells = [
    tiny.cell(method, column=column)
    for method in ("standard", "vanilla")
    for column in ("a", "b")
  ]
  header, *rows = listing(cells, None)[:5]
  assert header.split()[:4] == ["cells", "stacks", "steps", "FLOP"]
  assert [row.split()[:4] for row in rows] == [
    [name, "2", "2", "24"] for name in ("a", "b", "standard", "vanilla")
  ]


def test_a_row_that_needs_fine_labels_is_refused_as_in_training():
  with (
    dry_run.facts_reader(None) as facts,
    pytest.raises(ValueError, match=r"row 'oracle'.*'reviews'"),
  ):
    dry_run.listing(
      [tiny.cell("standard"), tiny.cell("oracle")],
      None,
      lambda cell: facts(cell)._replace(task=Task("reviews", 2)),
    )
