"""Plans: the real stack's shapes, what is compiled for TPUs, what is said."""

import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest

from experiments import cells
from experiments.configs import own
from experiments.configs import pair
from experiments.configs import quickstart
from experiments.data import load
from experiments.planning import abstract
from experiments.planning import blank
from experiments.planning import chips
from experiments.planning import compiling
from experiments.planning import report
from experiments.planning import scaling
from experiments.specs import DataSpec
from experiments.training import jobs
from experiments.training import loop
from experiments.training import teacher as teacher_lib
from tests.experiments import tiny

_ROOT = pathlib.Path(__file__).parents[3]
_TEXTS = "dataset=amazon,teacher=albert_xxlarge,student=albert_base"
_IMAGES = "dataset=cifar10_bin,teacher=resnet92,student=resnet56"
needs_compiler = pytest.mark.skipif(
  not compiling.is_installed(), reason="needs the extra tpu"
)


# --- What is planned is what is trained --------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
  """A teacher of the digits and its data."""
  config = tiny.config()
  splits = load.load(DataSpec(**config.data.to_dict()), config.selection, None)
  folder = tmp_path_factory.mktemp("teachers")
  return teacher_lib.load_or_train(config, splits, folder), splits


@pytest.mark.parametrize(
  "method",
  ["lelp", "standard", "fitnet", "crd_bank", "kmeans", "kmeans_soft", "oracle"],
)
def test_shapes_and_shardings_are_those_of_a_real_stack(trained, method):
  teacher, splits = trained
  first = tiny.config(method)
  first.loss.num_negatives = 8
  first.clustering.num_clusters = 2
  second = tiny.config(method, trial=1)
  second.loss.num_negatives = 8
  second.clustering.num_clusters = 3
  configs = [first, second]
  real = jobs.make_job(
    configs, splits, train=splits.transfer, teacher=teacher, names=["a", "b"]
  )
  planned = abstract.abstract_job(configs, splits, jax.devices())
  assert planned.spec == real.spec
  assert planned.sizes == real.sizes
  assert planned.program.mesh == real.program.mesh

  def described(tree):
    return jax.tree.map(lambda x: (x.shape, x.dtype, x.sharding), tree)

  _, *given, _ = abstract.arguments(planned)
  assert described(tuple(given)) == described(loop.placed(real))


@pytest.mark.parametrize(
  ("arg", "train", "longest"),
  [
    (f"{_TEXTS},dataset=glue_sst2", 67_349 - 5_000, 128),
    (_TEXTS, 500_000 - 5_000, 256),
    ("dataset=cifar10_bin", 45_000, None),
  ],
)
def test_blank_data_have_the_published_sizes(arg, train, longest):
  config = pair.get_config(arg)
  splits = blank.splits(config, blank.Assumed())
  assert len(splits.train["labels"]) == len(splits.train["inputs"]) == train
  if longest:
    assert splits.train["inputs"].longest == longest
    short = blank.splits(config, blank.Assumed(length=16))
    assert short.train["inputs"].longest == 16
  else:
    assert splits.train["inputs"].shape == (train, 32, 32, 3)
  # Classes are held out in their proportion.
  counts = np.bincount(splits.validation["labels"])
  assert counts.max() - counts.min() <= 1 or "sst2" in arg


def test_data_of_your_own_are_assumed():
  assumed = blank.Assumed(num_examples=1000, num_classes=4)
  splits = blank.splits(own.get_config("kind=images"), assumed)
  assert splits.task.num_classes == 4
  assert splits.train["inputs"].shape == (720, 32, 32, 3)
  texts = blank.splits(own.get_config(), assumed)
  assert texts.train["inputs"].longest == 128


# --- Compiled for TPUs -------------------------------------------------------


def _small(family: str):
  """A config with the shape of a pair of the paper's, small."""
  if family == "albert":
    config = pair.get_config(f"smoke=True,{_TEXTS}")
    for fields in (config.teacher, config.student):
      fields.options.vocab_size = 64
    return config
  config = quickstart.get_config()
  config.subspace.num_subclasses = 3
  for fields in (config.teacher, config.student):
    del fields.options.features
    fields.model, fields.batch_size, fields.steps_per_chunk = family, 8, 2
    if family == "cnn":
      fields.options.width = 8
  return config


def _check_exchange(made):
  """Nothing crosses cells; along the batch there are sums and nothing else."""
  assert made["unknown_loops"] == 0
  assert made["collectives"]
  for found in made["collectives"]:
    assert found["kind"] == "all-reduce", found
    assert found["axes"] == ["data"], found


@needs_compiler
@pytest.mark.parametrize(
  "family", ["cnn", "albert", pytest.param("resnet20", marks=pytest.mark.slow)]
)
def test_cells_exchange_nothing_and_their_batches_sums(family):
  configs = (_small(family),) * 12
  request = compiling.Request(configs, "v4:2x2x2", blank.Assumed(length=8))
  made = compiling.compiled(request)
  assert made["mesh"] == {"cell": 4, "data": 2}
  _check_exchange(made)
  assert report.fits(made)
  assert made["cycles"] > 0
  assert made["flops"] > 0
  # At least the gradient of each of a device's three cells.
  (exchanged,) = made["collectives"]
  assert exchanged["count"] >= 3
  assert f"x{len(configs)}" in report.table([made])
  assert "all-reduce along data" in report.text(made)


@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize("topology", ["v4:2x2x1", "v4:4x4x4"])
@pytest.mark.parametrize("arg", [_TEXTS, _IMAGES])
def test_the_paper_s_largest_pairs_fit(arg, topology):
  stack = max(
    cells.stacks(cells.expand(pair.get_config(arg))),
    key=lambda stack: len(stack.configs),
  )
  made = compiling.compiled(
    compiling.Request(stack.configs[:16], topology, blank.Assumed())
  )
  assert report.fits(made)
  data = {"v4:2x2x1": 1, "v4:4x4x4": 4}[topology]
  assert made["mesh"]["data"] == data
  if data > 1:
    _check_exchange(made)
  else:
    assert not made["collectives"]


@pytest.mark.slow
@needs_compiler
def test_what_does_not_fit_says_what_would_do():
  config = quickstart.get_config()
  config.student.options.features = (200_000, 200_000)
  made = compiling.compiled(compiling.Request((config,), "v5e:2x2"))
  assert not report.fits(made)
  assert report.text(made).splitlines()[-1].startswith("does not fit: ")


# --- What is said ------------------------------------------------------------

_PLAN = {
  "dataset": "amazon",
  "column": "amazon-albert_xxlarge-albert_base",
  "method": "lelp",
  "teacher": "albert_xxlarge",
  "student": "albert_base",
  "topology": "v4:2x2x2",
  "chip": "v4",
  "num_devices": 8,
  "mesh": {"cell": 2, "data": 2},
  "num_cells": 8,
  "num_subclasses": 10,
  "batch_size": 64,
  "example_shape": [256],
  "compile_seconds": 5.0,
  "memory": {
    "parameters": 2**30,
    "optimizer": 2**31,
    "teacher": 2**31,
    "examples": 0,
    "other": 100,
    "activations": 2**33,
    "results": 10,
    "code": 2**20,
    "total": 2**30 + 2 * 2**31 + 2**33 + 110 + 2**20,
  },
  "flops": 275e12,
  "bytes": 1.2e11,
  "cycles": 2 * 275e12 / (2 * 8 * 128 * 128),
  "optimal_seconds": None,
  "unknown_loops": 0,
  "collectives": [
    {"kind": "all-reduce", "axes": ["data"], "count": 3, "bytes": 2**20}
  ],
}


def test_the_estimate_follows_from_the_schedule_or_the_roofline():
  assert report.step_seconds(_PLAN) == pytest.approx(2)
  assert report.examples_per_second(_PLAN) == pytest.approx(8 * 64 / 2)
  without = {**_PLAN, "cycles": None}
  assert report.step_seconds(without) == pytest.approx(1)
  assert "as the compiler gives no cycles" in report.text(without)
  slow = {**without, "bytes": 1.2e13}
  assert report.step_seconds(slow) == pytest.approx(10)


def test_the_text_has_every_part():
  text = report.text(_PLAN)
  for part in (
    "8 chips as cell=2 x data=2, 4 chips idle",
    "Estimates: nothing was run",
    f"{'activations (temporary)':<28}{'8.00 GiB':>12}",
    f"{'total':<28}{'13.00 GiB':>12}",
    "fits: 41 % of the memory.",
    "275.0 TFLOP",
    "2292 FLOP/byte; the chip's peaks meet at 229",
    "optimal_seconds: missing or negative",
    "8 x 64 / 2,000.0 ms = 256",
    "all-reduce along data: 3 a step, 1.00 MiB",
  ):
    assert part in text
  alone = report.text({**_PLAN, "collectives": []})
  assert "no collectives" in alone
  unknown = report.text({**_PLAN, "unknown_loops": 2})
  assert "2 loops of unknown length are counted once" in unknown


def test_what_does_not_fit_comes_with_advice():
  needed = {k: v for k, v in _PLAN.items() if k != "memory"}
  text = report.text({**needed, "needed": 40 * 2**30})
  assert "does not fit: 40.00 GiB of 32.00 GiB; try " in text
  assert "config.stack.max_cells below 8" in text
  assert "more chips along data" in text
  single = {**needed, "needed": 2**36, "num_cells": 2}
  assert "max_cells" not in report.text(single)
  table = report.table([{**needed, "needed": 2**36}, _PLAN, ("own", "why")])
  assert [line.split()[-1] for line in table.splitlines()[1:]] == [
    "fit",
    "fits",
    "why",
  ]


@pytest.mark.parametrize(
  ("name", "message"),
  [
    ("v7:2x2", r"unknown topology 'v7:2x2': it names one of \['v4'"),
    ("v4", 'must give 3 sides of v4, for example "v4:2x2x1"'),
    ("v4:2x2", "must give 3 sides"),
    ("v5e:2x2x1", 'must give 2 sides of v5e, for example "v5e:2x2"'),
    ("v4:2x0x1", "must give 3 sides"),
  ],
)
def test_topologies_are_checked(name, message):
  with pytest.raises(ValueError, match=message):
    chips.parse_topology(name)


def _run(*flags):
  return subprocess.run(
    [sys.executable, "-m", "experiments.plan", *flags],
    capture_output=True,
    text=True,
    cwd=_ROOT,
    timeout=300,
    check=False,
  )


def test_without_the_compiler_the_command_says_how_to_get_it(monkeypatch):
  monkeypatch.setattr(compiling, "is_installed", lambda: False)
  config = quickstart.get_config()
  with pytest.raises(ValueError, match=r"pip install -e '\.\[tpu\]'.*make pl"):
    compiling.compiled(compiling.Request((config,), "v4:2x2x1"))


def test_errors_of_the_command_are_one_line():
  done = _run("--config=experiments/configs/quickstart.py", "--topology=v9:2")
  assert done.returncode == 1
  assert done.stderr.startswith("error: unknown topology 'v9:2'")
  assert len(done.stderr.splitlines()) == 1


@needs_compiler
def test_errors_of_the_compiler_s_process_are_raised_here():
  request = compiling.Request((tiny.config(),), "v4:3x1x1")
  with pytest.raises(ValueError, match="knows no topology 'v4:3x1x1'"):
    compiling.compiled(request)


def test_the_command_prints_a_plan_of_the_largest_stack(monkeypatch, capsys):
  asked = []

  def compiled(request):
    asked.append(request)
    return {**_PLAN, "topology": request.topology}

  monkeypatch.setattr(compiling, "compiled", compiled)
  plans = scaling.scaled(quickstart.get_config(), ["v4:2x2x1", "v4:2x2x2"], 5)
  printed = capsys.readouterr().out
  assert report.text(plans[0]) in printed
  assert printed.endswith(f"{report.table(plans)}\n")
  assert [request.topology for request in asked] == ["v4:2x2x1", "v4:2x2x2"]
  # Of the quickstart, LELP has the most cells.
  (largest,) = {(len(r.configs), r.configs[0].method) for r in asked}
  assert largest == (5, "lelp")
  scaling.scaled(quickstart.get_config(), ["v4:2x2x1"])
  assert len(asked[-1].configs) == 160
  for plan in (
    lambda names: scaling.scaled(quickstart.get_config(), names),
    scaling.every,
  ):
    with pytest.raises(ValueError, match="unknown topology 'v9:2'"):
      plan(["v4:2x2x1", "v9:2"])
  assert len(asked) == 3  # Names are read before anything is compiled.


@pytest.mark.slow  # A minute: it makes the sweep of every config.
def test_every_config_has_a_row(monkeypatch):
  def compiled(request):
    if request.configs[0].name == "own":
      raise ValueError("no")
    return _PLAN

  monkeypatch.setattr(compiling, "compiled", compiled)
  rows = scaling.every(["v4:2x2x2"])
  assert ("own v4:2x2x2", "error: no") in rows
  names = {path.stem for path in (_ROOT / "experiments/configs").glob("*.py")}
  assert len(rows) == len(
    names - {"__init__", "common", "paper_table", "smoke"}
  )
