"""8 devices against one: every method, and every family of architectures."""

import functools

import jax
import numpy as np
import pytest

from experiments import specs
from experiments.configs import pair
from experiments.configs import validate
from experiments.data.dataset import Ragged
from experiments.data.dataset import Splits
from experiments.data.dataset import Task
from experiments.methods import METHODS
from experiments.training import teacher as teacher_lib
from experiments.training.build import build_run
from experiments.training.step import build_program
from lelp_jax.models import MODELS
from tests.experiments import sweep_of_24
from tests.experiments import training_runs

pytestmark = pytest.mark.slow  # Two programs each.
_NUM_EXAMPLES = 48
_ALBERT = {
  "vocab_size": 20,
  "embedding_size": 8,
  "intermediate_size": 16,
  "num_layers": 1,
  "num_heads": 2,
  # As published, 0.02, untrained outputs hardly differ between examples: their
  # losses are near zero, and have no relative error.
  "initializer_range": 0.5,
}
# The smallest of each family: model, options, and a teacher of another width. A
# ResNet's embeddings are always 256 wide, and those of so short trained
# MobileNets hardly differ, so their teachers are other networks.
_FAMILIES = {
  "mlp": ("mlp", {"features": (8,)}, ("mlp", {"features": (12,)})),
  "cnn": (
    "cnn",
    {"features": (4, 4), "width": 8},
    ("cnn", {"features": (4, 4), "width": 12}),
  ),
  "resnet": ("resnet20", {}, ("mlp", {"features": (12,)})),
  "mobilenet": (
    "mobilenet",
    {"width_multiplier": 0.125, "stem_stride": 1},
    ("mlp", {"features": (12,)}),
  ),
  "albert": (
    "albert_base",
    _ALBERT | {"hidden_size": 8},
    ("albert_base", _ALBERT | {"hidden_size": 12}),
  ),
}
# Depth amplifies the rounding of float32 beyond comparison: students of these
# families compute in float64.
_DEEP_FAMILIES = ("resnet", "mobilenet")
_DEEP = ("mlp", {"features": (16,) * 12}, ("mlp", {"features": (14,)}))


def _splits(family: str) -> Splits:
  rng = np.random.default_rng(0)
  fine = np.arange(_NUM_EXAMPLES, dtype=np.int32) % 6
  if family == "albert":
    lengths = rng.integers(3, 9, _NUM_EXAMPLES)
    inputs = Ragged.concatenate(
      [rng.integers(2, 20, n) for n in lengths], np.int32
    )
  else:
    inputs = rng.integers(0, 256, (_NUM_EXAMPLES, 16, 16, 3)).astype(np.uint8)
  arrays = {
    "inputs": inputs,
    "labels": fine % 3,
    "fine_labels": fine,
    "ids": np.arange(_NUM_EXAMPLES, dtype=np.int32),
  }
  shape = None if family == "albert" else (16, 16, 3)
  # Three classes: of two, the gradients of DIST and of standardized logits are
  # rounding, in part or whole.
  task = Task("toy", 3, (0, 1, 2, 0, 1, 2), image_shape=shape, scale=255.0)
  return Splits(task, arrays, arrays, arrays, arrays, "toy")


def _cell(family: str, widths: str):
  model, options, wider = (_FAMILIES | {"deep": _DEEP})[family]
  config = pair.get_config("smoke=True")
  config.student.model, config.student.options = model, options
  config.teacher.model, config.teacher.options = model, options
  if widths == "unequal":
    config.teacher.model, config.teacher.options = wider
  elif family == "mobilenet":
    config.teacher.model, config.teacher.options = "mlp", {"features": (128,)}
  if family in _DEEP_FAMILIES:
    config.student.options.compute_dtype = "float64"
  for fields in (config.teacher, config.student):
    fields.num_steps = fields.steps_per_chunk = 20
    fields.batch_size = 16
    fields.max_shift, fields.flip = 0.0, False
  config.data.length_window = 1
  config.loss.num_negatives = 8
  config.clustering.num_clusters = 2
  config.teacher.outputs = "inline"
  return validate.cell_spec(config)


@functools.cache
def _teacher(family: str, widths: str, subclasses: int, folder):
  cell = specs.replace(
    _cell(family, widths), {"teacher.subclass.num_subclasses": subclasses}
  )
  return teacher_lib.load_or_train(cell, _splits(family), folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  yield tmp_path_factory.mktemp("teachers")
  _teacher.cache_clear()


@pytest.fixture(
  scope="module", params=[*METHODS, "subclass_teacher"], name="method"
)
def fixture_method(request):
  """Forgets compiled programs: hundreds of them end a process in a crash."""
  yield request.param
  build_program.cache_clear()
  jax.clear_caches()


def _first_step(method, family, widths, folder):
  """Loss and gradient of a method's first step, on the devices there are."""
  build_program.cache_clear()
  number = 2 if method == "subclass" else 1
  cell = specs.replace(
    training_runs.one_step(_cell(family, widths)),
    {"method": method, "teacher.subclass.num_subclasses": number},
  )
  if method == "subclass_teacher":
    cell, teacher = training_runs.subclass_teacher(cell), None
  else:
    teacher = _teacher(family, widths, number, folder)
  run = build_run([cell], _splits(family), teacher=teacher, names=["toy"])
  return training_runs.loss_and_gradient(run)


def _on_8_and_1(monkeypatch, *given):
  """The results of `_first_step` on eight devices and on one."""
  found = _first_step(*given)
  training_runs.use_one_device(monkeypatch)
  return found, _first_step(*given)


@pytest.mark.parametrize("widths", ["equal", "unequal"])
def test_every_method(folder, monkeypatch, method, widths):
  found, expected = _on_8_and_1(monkeypatch, method, "mlp", widths, folder)
  training_runs.assert_equal_steps(found, expected)


def test_every_method_on_a_deep_net(folder, monkeypatch, method):
  monkeypatch.setitem(MODELS, "mlp", sweep_of_24.FLOAT64_MLP)
  with jax.enable_x64(True):
    found, expected = _on_8_and_1(
      monkeypatch, method, "deep", "unequal", folder
    )
  assert expected[1].dtype == np.float64
  training_runs.assert_equal_steps(found, expected, (1e-12, 1e-9))


@pytest.mark.parametrize("widths", ["equal", "unequal"])
@pytest.mark.parametrize("family", ["cnn", "resnet", "mobilenet", "albert"])
@pytest.mark.parametrize("kind", ["standard", "lelp", "fitnet", "crd"])
def test_every_family(folder, monkeypatch, kind, family, widths):
  with jax.enable_x64(family in _DEEP_FAMILIES):
    found, expected = _on_8_and_1(monkeypatch, kind, family, widths, folder)
  training_runs.assert_equal_steps(found, expected)
  build_program.cache_clear()
  jax.clear_caches()
