"""Plans: the shapes of a real stack, what is compiled for TPUs, the text."""

import dataclasses
import json
import pathlib

import jax
import numpy as np
import pytest

from experiments import plan as command
from experiments.cells import expand
from experiments.cells import of_config
from experiments.configs import own
from experiments.configs import pair
from experiments.configs import quickstart
from experiments.configs import validate
from experiments.io import json_files
from experiments.planning import chips
from experiments.planning import report
from experiments.planning import shapes
from experiments.planning import worker
from experiments.stacks import stacks
from experiments.training import build
from experiments.training import data
from experiments.training import teacher as teacher_lib
from tests.experiments import tiny

_ROOT = pathlib.Path(__file__).parents[3]
_TEXTS = "dataset=amazon,teacher=albert_xxlarge,student=albert_base"
_IMAGES = "dataset=cifar10_bin,teacher=resnet92,student=resnet56"


def _pair(arg):
  return validate.cell_spec(pair.get_config(arg))


# --- What is planned is what is trained --------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  return tmp_path_factory.mktemp("teachers")


@pytest.mark.parametrize(
  ("method", "outputs"),
  [
    ("lelp", "inline"),
    ("lelp", "cached"),
    ("standard", "cached"),
    ("fitnet", "inline"),
    ("crd_bank", "inline"),
    ("kmeans", "inline"),
    ("kmeans_soft", "inline"),
    ("lelp_centroids", "cached"),
    ("oracle", "inline"),
  ],
)
def test_shapes_and_shardings_are_those_of_a_real_stack(
  folder, method, outputs
):
  cells = [
    tiny.cell(
      method,
      trial,
      teacher__outputs=outputs,
      loss__num_negatives=8,
      clustering__num_clusters=2 + trial,
    )
    for trial in (0, 1)
  ]
  splits = data.load_splits(cells[0])
  teacher = teacher_lib.load_or_train(cells[0], splits, folder)
  real = build.build_run(cells, splits, teacher=teacher, names=["a", "b"])
  planned = shapes.abstract_run(cells, splits, jax.devices())
  assert planned.spec == real.spec
  assert planned.sizes == real.sizes
  assert planned.program.mesh == real.program.mesh

  def described(tree):
    return jax.tree.map(lambda x: (x.shape, x.dtype, x.sharding), tree)

  _, inputs, examples, _ = shapes.arguments(planned)
  assert described(inputs) == described(real.inputs)
  assert described(examples) == described(real.data())


@pytest.mark.parametrize(
  ("arg", "train", "longest"),
  [
    (f"{_TEXTS},dataset=glue_sst2", 67_349 - 5_000, 128),
    (_TEXTS, 500_000 - 5_000, 256),
    ("dataset=cifar10_bin", 45_000, None),
  ],
)
def test_blank_data_have_the_published_sizes(arg, train, longest):
  cell = _pair(arg)
  splits = shapes.blank_splits(cell)
  assert len(splits.train["labels"]) == len(splits.train["inputs"]) == train
  if longest:
    assert splits.train["inputs"].longest == longest
    short = shapes.blank_splits(cell, shapes.Assumed(length=16))
    assert short.train["inputs"].longest == 16
  else:
    assert splits.train["inputs"].shape == (train, 32, 32, 3)
  # Classes are held out in their proportion.
  counts = np.bincount(splits.validation["labels"])
  assert counts.max() - counts.min() <= 1 or "sst2" in arg


def test_data_of_your_own_are_assumed():
  assumed = shapes.Assumed(num_examples=1000, num_classes=4)
  images = validate.cell_spec(own.get_config("kind=images"))
  splits = shapes.blank_splits(images, assumed)
  assert splits.task.num_classes == 4
  assert splits.train["inputs"].shape == (720, 32, 32, 3)
  texts = validate.cell_spec(own.get_config())
  assert shapes.blank_splits(texts, assumed).train["inputs"].longest == 128


# --- Compiled for TPUs -------------------------------------------------------


def _small(family):
  """A cell with the shape of a pair of the paper's, small."""
  if family == "albert":
    config = pair.get_config(f"smoke=True,{_TEXTS}")
    for fields in (config.teacher, config.student):
      fields.options.vocab_size = 64
    return validate.cell_spec(config)
  config = quickstart.get_config()
  config.subspace.num_subclasses = 3
  for fields in (config.teacher, config.student):
    del fields.options.features
    fields.model, fields.batch_size, fields.steps_per_chunk = family, 8, 2
    if family == "cnn":
      fields.options.width = 8
  return validate.cell_spec(config)


def _check_exchange(plan):
  """Cells exchange nothing, and the parts of a batch only sums."""
  assert not plan.unknown_loops
  kinds = {"all-reduce"} if plan.mesh["data"] > 1 else set()
  assert plan.counts.keys() == kinds


@pytest.mark.slow
@pytest.mark.skipif(not worker.is_installed(), reason="needs the extra tpu")
class TestCompiler:
  @pytest.mark.parametrize("topology", ["v4:2x2x1", "v4:2x2x2"])
  @pytest.mark.parametrize("family", ["cnn", "albert", "resnet20"])
  def test_cells_exchange_nothing_and_their_batches_sums(
    self, family, topology
  ):
    cells = (_small(family),) * 12
    plan = worker.plan(cells, topology, shapes.Assumed(length=8))
    assert plan.mesh["cell"] == 4
    _check_exchange(plan)
    assert plan.fits
    assert plan.cycles > 0
    assert plan.flops > 0
    if plan.mesh["data"] > 1:
      # At least the gradient of each of a device's three cells.
      assert plan.counts["all-reduce"] >= 3
    assert "x12" in report.table([plan])

  @pytest.mark.parametrize("topology", ["v4:2x2x1", "v4:4x4x4"])
  @pytest.mark.parametrize("arg", [_TEXTS, _IMAGES])
  def test_the_paper_s_largest_pairs_fit(self, arg, topology):
    stack = max(
      stacks(expand(pair.get_config(arg))), key=lambda stack: len(stack.cells)
    )
    plan = worker.plan(stack.cells[:16], topology)
    assert plan.fits
    assert plan.mesh["data"] == {"v4:2x2x1": 1, "v4:4x4x4": 4}[topology]
    _check_exchange(plan)

  def test_a_program_that_does_not_fit_comes_with_the_memory_it_needs(self):
    config = quickstart.get_config()
    config.student.options.features = (200_000, 200_000)
    plan = worker.plan([validate.cell_spec(config)], "v5e:2x2")
    assert not plan.fits
    assert report.text(plan).splitlines()[-1].startswith("does not fit: ")

  def test_errors_of_the_compiler_are_raised(self):
    with pytest.raises(ValueError, match="v4:3x1x1"):
      worker.plan([tiny.cell()], "v4:3x1x1")


# --- Text --------------------------------------------------------------------

_PLAN = report.Plan(
  cell=_pair(_TEXTS),
  topology="v4:2x2x2",
  mesh={"cell": 2, "data": 2},
  num_cells=8,
  num_subclasses=10,
  example_shape=(256,),
  compile_seconds=5.0,
  memory={
    "parameters": 2**30,
    "optimizer": 2**31,
    "teacher": 2**31,
    "examples": 0,
    "other": 100,
    "activations": 2**33,
    "results": 10,
    "code": 2**20,
  },
  flops=275e12,
  cycles=2 * 275e12 / (2 * 8 * 128 * 128),
  counts={"all-reduce": 3},
  sizes={"all-reduce": 2**20},
)
_BATCH = _PLAN.cell.student.batch_size


def test_the_time_follows_from_the_schedule_or_the_peak():
  assert _PLAN.step_seconds == pytest.approx(2)
  assert _PLAN.examples_per_second == pytest.approx(8 * _BATCH / 2)
  assert "50% of the chip's peak" in report.text(_PLAN)
  without = dataclasses.replace(_PLAN, cycles=0)
  assert without.step_seconds == pytest.approx(1)
  assert "as the compiler gives no cycles" in report.text(without)


def test_the_text_has_every_part():
  text = report.text(_PLAN)
  for part in (
    "amazon: albert_xxlarge to albert_base, method lelp, cached outputs",
    "8 chips as cell=2 x data=2, 4 chips idle",
    "Estimates: nothing was run",
    f"{'activations (temporary)':<28}{'8.00 GiB':>12}",
    f"{'total':<28}{'13.00 GiB':>12}",
    "fits: 41% of the memory.",
    "275.0 TFLOP",
    f"8 x {_BATCH} / 2,000.0 ms = {8 * _BATCH / 2:.0f}",
    "all-reduce: 3 per step, 1.00 MiB",
  ):
    assert part in text
  alone = dataclasses.replace(_PLAN, counts={}, sizes={}, unknown_loops=2)
  assert "no collectives" in report.text(alone)
  assert "2 loops have an unknown length" in report.text(alone)


def test_a_plan_that_does_not_fit_comes_with_advice():
  refused = dataclasses.replace(_PLAN, memory={}, needed=40 * 2**30)
  text = report.text(refused)
  assert "does not fit: 40.00 GiB of 32.00 GiB; try " in text
  assert "config.stack.max_cells below 8" in text
  assert "more chips along data" in text
  assert "remat" in text
  single = dataclasses.replace(refused, num_cells=2)
  assert "max_cells" not in report.text(single)
  table = report.table([refused, _PLAN, ("own", "why")])
  assert [line.split()[-1] for line in table.splitlines()[1:]] == [
    "fit",
    "fits",
    "why",
  ]


@pytest.mark.parametrize(
  ("name", "message"),
  [
    ("v7:2x2", "'v7:2x2'.*'v4'"),
    ("v4:2x2", 'must have 3 sides, for example "v4:2x2x1"'),
    ("v5e:2x2x1", 'must have 2 sides, for example "v5e:2x2"'),
    ("v4:2x0x1", "3 sides"),
  ],
)
def test_topologies_are_checked(name, message):
  with pytest.raises(ValueError, match=message):
    chips.parse_topology(name)


# --- The command -------------------------------------------------------------


def test_without_the_compiler_the_error_says_how_to_get_it(monkeypatch):
  monkeypatch.setattr(worker, "is_installed", lambda: False)
  with pytest.raises(ValueError, match=r"pip install -e '\.\[tpu\]'"):
    worker.plan([tiny.cell()], "v4:2x2x1")


@pytest.fixture
def asked(monkeypatch):
  """The cells of each plan; none is compiled."""
  asked = []

  def plan(cells, topology, assumed):
    asked.append(cells)
    if cells[0].data.source:
      raise ValueError("no")
    return dataclasses.replace(_PLAN, topology=topology)

  monkeypatch.setattr(worker, "plan", plan)
  return asked


def test_the_largest_stack_is_planned_on_every_topology(
  asked, capsys, tmp_path
):
  cells, assumed = of_config(quickstart.get_config()), shapes.Assumed()
  plans = command.plan_cells(cells, ["v4:2x2x1", "v4:2x2x2"], 5, assumed)
  printed = capsys.readouterr().out
  assert report.text(plans[0]) in printed
  assert printed.endswith(f"{report.table(plans)}\n")
  # LELP has the most cells of the quickstart's methods.
  assert [(len(each), each[0].method) for each in asked] == [(5, "lelp")] * 2
  command.plan_cells(cells, ["v4:2x2x1"], None, assumed)
  assert len(asked[-1]) == 48
  with pytest.raises(ValueError, match="--cells"):
    command.plan_cells(cells, ["v4:2x2x1"], 0, assumed)
  json_files.write_json(tmp_path / "plan.json", dataclasses.asdict(plans[0]))
  found = json.loads((tmp_path / "plan.json").read_text())
  assert found["cell"]["student"]["model"] == "albert_base"


def test_a_row_that_needs_fine_labels_is_refused_before_compiling(asked):
  config = own.get_config()
  config.method = "oracle"
  cells = [tiny.cell(), validate.cell_spec(config)]
  with pytest.raises(ValueError, match=r"row 'oracle'.*'own'"):
    command.plan_cells(cells, ["v4:2x2x1"], None, shapes.Assumed())
  assert not asked


@pytest.mark.slow  # It expands the sweep of every config.
def test_every_config_has_a_row(asked, capsys):
  plans = command.plan_all(["v4:2x2x2"], None, shapes.Assumed())
  assert "own v4:2x2x2" in capsys.readouterr().out
  names = {path.stem for path in (_ROOT / "experiments/configs").glob("*.py")}
  others = {
    "__init__",
    "base",
    "candidates",
    "dotted",
    "paper_table",
    "smoke",
    "validate",
  }
  assert len(asked) == len(names - others) == len(plans) + 1
