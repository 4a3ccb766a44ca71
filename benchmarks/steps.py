"""Compares steps of LELP and of vanilla distillation, inline and cached.

Both methods train the same student by Adam, with the teacher inline. Peak
memory is that of a process that takes two steps, minus that of its imports. An
"epoch" is eight steps, either inline or on saved outputs of the teacher.
"""

import pathlib
import tempfile
from collections.abc import Iterator
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import lelp_jax
from benchmarks import apart
from benchmarks import timing
from benchmarks.row import Row
from lelp_jax import baselines
from lelp_jax.models import MODELS
from lelp_jax.models import Outputs
from lelp_jax.train_step import LossInputs
from lelp_jax.train_step import make_distill_step
from lelp_jax.train_step import make_train_step
from lelp_jax.train_step import TrainState

_STEPS = 8  # Number of steps per epoch.


class Pair(NamedTuple):
  """A teacher and a student.

  Attributes:
    teacher: The teacher's name in `MODELS`, and its options.
    student: The student's name in `MODELS`, and its options.
    batch: Number of examples.
    shape: Shape of one example.
    size: Description of the size in the table.
  """

  teacher: tuple[str, dict[str, Any]]
  student: tuple[str, dict[str, Any]]
  batch: int
  shape: tuple[int, ...]
  size: str


_ALBERT = Pair(
  ("albert_large", {"num_layers": 6}),
  ("albert_base", {"num_layers": 3}),
  8,
  (64,),
  "ALBERT-large to base, a fourth of the layers, batch 8, 64 tokens",
)
PAIRS = {
  "mlp": Pair(
    ("mlp", {"features": (4096, 4096)}),
    ("mlp", {"features": (1024, 1024)}),
    64,
    (768,),
    "MLP, width 4096 to 1024, batch 64",
  ),
  "resnet56": Pair(
    ("resnet92", {}),
    ("resnet56", {}),
    64,
    (32, 32, 3),
    "ResNet-92 to 56, batch 64",
  ),
  "albert": _ALBERT,
  "albert_full": _ALBERT._replace(
    teacher=("albert_large", {}),
    student=("albert_base", {}),
    shape=(128,),
    size="ALBERT-large to base, batch 8, 128 tokens",
  ),
}
_TARGETS = {"mlp": 1.10, "resnet56": 1.02, "albert": 1.02, "albert_full": 1.02}


def _lelp(inputs: LossInputs) -> Any:
  assert inputs.teacher is not None
  log_probs = lelp_jax.log_subsplit(
    inputs.teacher.embeddings,
    inputs.teacher.logits,
    inputs.targets,
    temperature=inputs.hyperparameters["temperature"],
    subclass_temperature=inputs.hyperparameters["subclass_temperature"],
  )
  losses = lelp_jax.lelp_loss(
    inputs.student.logits,
    log_probs,
    temperature=inputs.hyperparameters["temperature"],
  )
  return losses.mean(), ({}, ())


def _vanilla(inputs: LossInputs) -> Any:
  assert inputs.teacher is not None
  losses = baselines.kd_loss(
    inputs.student.logits,
    inputs.teacher.logits,
    temperature=inputs.hyperparameters["temperature"],
  )
  return losses.mean(), ({}, ())


_LOSSES = {"lelp": _lelp, "vanilla": _vanilla}


class Training:
  """A student in training, one step after another."""

  def __init__(self, pair: Pair, method: str, classes: int, subclasses: int):
    """Initializes both models and compiles nothing yet."""
    outputs = classes * (subclasses if method == "lelp" else 1)
    name, options = pair.teacher
    self._teacher_model = MODELS[name](classes, **options)
    name, options = pair.student
    model, tx = MODELS[name](outputs, **options), optax.adam(1e-3)
    self.inputs = _inputs(pair)
    key = jax.random.key(0)
    self._weights = jax.jit(self._teacher_model.init)(key, self.inputs)
    params, model_state = jax.jit(model.init)(key, self.inputs)
    self._state = TrainState.create(params, model_state, tx, key)
    width = self._teacher_model.head(self._weights[0]).kernel.shape[0]
    self._targets = None
    if method == "lelp":
      rng = np.random.default_rng(0)
      directions = rng.normal(size=(classes, subclasses, width)) / width**0.5
      self._targets = lelp_jax.Subspaces(
        jnp.asarray(directions, jnp.float32), jnp.zeros((classes, width))
      )
    self._scalars = {
      "temperature": jnp.float32(2.0),
      "subclass_temperature": jnp.float32(4.0),
    }
    loss = _LOSSES[method]
    self.step = jax.jit(
      make_distill_step(model.apply, self._teacher_model.apply, loss, tx),
      donate_argnums=0,
    )
    self._cached = jax.jit(
      make_train_step(model.apply, loss, tx), donate_argnums=0
    )

  def inline(self) -> jax.Array:
    """Takes a step that includes the teacher's forward pass."""
    self._state, metrics = self.step(*self.arguments())
    return metrics["loss"]

  def arguments(self) -> tuple[Any, ...]:
    """Returns the arguments of `step`, which donates the first."""
    teacher = (*self._weights, self._targets)
    return self._state, teacher, {"inputs": self.inputs}, self._scalars

  def cached(self, outputs: Outputs) -> jax.Array:
    """Takes a step on given outputs of the teacher."""
    batch = {"inputs": self.inputs, "teacher": outputs}
    self._state, metrics = self._cached(
      self._state, batch, self._scalars, self._targets
    )
    return metrics["loss"]

  def outputs(self) -> Outputs:
    """Returns the outputs of the teacher on the batch."""
    return self._teacher_model.apply(*self._weights, self.inputs)[0]


def _inputs(pair: Pair) -> Any:
  rng, shape = np.random.default_rng(0), (pair.batch, *pair.shape)
  if MODELS[pair.student[0]].reads == "tokens":
    ids = jnp.asarray(rng.integers(5, 30_000, shape), jnp.int32)
    return {"input_ids": ids, "attention_mask": jnp.ones_like(ids)}
  return jnp.asarray(rng.normal(size=shape), jnp.float32)


def planned_mib(name: str, method: str, classes: int, size: int) -> float:
  """Returns the memory of the compiled step: arguments and intermediates."""
  training = Training(PAIRS[name], method, classes, size)
  found = training.step.lower(*training.arguments()).compile().memory_analysis()
  assert found is not None
  total = found.argument_size_in_bytes + found.temp_size_in_bytes
  # The new state takes the place of the old one.
  total += found.output_size_in_bytes - found.alias_size_in_bytes
  return total / 2**20


def peak_mib(name: str, method: str, classes: int, size: int) -> float:
  """Returns the peak memory of two steps; call it in a new process."""
  before = apart.peak_mib()
  training = Training(PAIRS[name], method, classes, size)
  for _ in range(2):
    training.inline().block_until_ready()
  return apart.peak_mib() - before


def _epochs(training: Training, folder: pathlib.Path) -> dict[str, Any]:
  """Returns an epoch on cached outputs, and one with the teacher inline."""
  found = training.outputs()
  stored = {}
  for name, array in found._asdict().items():
    np.save(folder / f"{name}.npy", np.tile(array, (_STEPS, 1)))
    stored[name] = np.load(folder / f"{name}.npy", mmap_mode="r")
  batch = len(found.logits)
  order = np.random.default_rng(0).permutation(_STEPS * batch)

  def cached() -> Any:
    return [
      training.cached(
        Outputs(**{name: array[rows] for name, array in stored.items()})
      )
      for rows in order.reshape(_STEPS, batch)
    ]

  return {
    "cached": cached,
    "inline": lambda: [training.inline() for _ in range(_STEPS)],
  }


def rows(full: bool) -> Iterator[Row]:
  """Yields times of steps and epochs, and peak memory."""
  names = ["mlp", "resnet56", "albert_full" if full else "albert"]
  reference = "vanilla KD"
  for name in names:
    pair = PAIRS[name]
    repeats = 100 if name == "mlp" else 7
    trainings = {x: Training(pair, x, 2, 20) for x in _LOSSES}
    times = timing.milliseconds(
      {x: training.inline for x, training in trainings.items()}, repeats=repeats
    )
    yield timing.row(
      "step of LELP, teacher inline",
      f"{pair.size}, C = 2, S = 20",
      {"ours": times["lelp"], reference: times["vanilla"]},
      reference,
      target=_TARGETS[name],
    )
  with tempfile.TemporaryDirectory() as folder:
    times = timing.milliseconds(
      _epochs(trainings["lelp"], pathlib.Path(folder)), repeats=2
    )
  yield Row(
    "epoch on cached outputs of the teacher",
    pair.size,
    times["cached"] / 1e3,
    "s",
    "teacher inline",
    times["inline"] / 1e3,
    target=0.30,
    note="the student alone takes 0.46 of an inline step: by operations, "
    "three passes of ALBERT-base are 0.84 of one pass of ALBERT-large.",
  )
  del trainings
  for name in names:
    size = f"{PAIRS[name].size}, C = 10, S = 100"
    for kind, measure in (("planned", planned_mib), ("measured", peak_mib)):
      peaks = {
        x: apart.call(measure, name, x, 10, 100) for x in ("lelp", "vanilla")
      }
      yield Row(
        f"{kind} peak memory of a step of LELP",
        size,
        peaks["lelp"],
        "MiB",
        reference,
        peaks["vanilla"],
        target=1.02,
        note="the directions and the head hold C * S rows, of which Adam keeps "
        "two more copies; this student is not much larger.",
      )
