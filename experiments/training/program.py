"""The compiled programs of a stack of cells: initialise, train, evaluate.

Everything that varies between stacks of one shape (states, teacher, targets,
hyperparameters, data, keys) is an argument, so that five splits of a data set
or the rest of a sweep compile once. A single run is a stack of one.
"""

import dataclasses
import functools
import json
from collections.abc import Callable
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

import lelp_jax
from experiments.data import augment
from experiments.data import batches
from experiments.runtime import mesh as mesh_lib
from experiments.training.initial import DATA
from experiments.training.initial import initial_states
from experiments.training.initial import root_key
from experiments.training.initial import Spec
from experiments.training.methods import METHODS
from experiments.training.recipe import model_fns
from experiments.training.recipe import optimizer
from lelp_jax import metrics as metrics_lib
from lelp_jax.models import Outputs
from lelp_jax.train_step import make_eval_step
from lelp_jax.train_step import make_train_step
from lelp_jax.train_step import teacher_outputs
from lelp_jax.train_step import TrainState

# Vmapped matrix products become one batched product; vmapped convolutions
# become grouped ones, and XLA's convolutions on CPU are many times slower
# inside a loop than outside one.
_WITHOUT_CONVOLUTIONS = ("mlp",)


@dataclasses.dataclass(frozen=True)
class Program:
  """The functions of one spec.

  Attributes:
    mesh: Devices, axes ("cell", "data").
    init: ``(trials [cells], sizes=) -> states``, each cell at its own S.
    train_chunk: ``(states, teacher, shared targets, targets, hyperparameters,
      arrays, data_seed, first_step) -> (states, metrics)``, of a fixed number
      of steps; metrics are means over them, ``[cells]``.
    eval_batch: ``(states, teacher, shared targets, targets, hyperparameters,
      batch) -> dict of Mean`` with a leading cell axis.
    embed: ``(params, model_state, inputs) -> Outputs`` of one cell.
  """

  mesh: jax.sharding.Mesh
  init: Callable[..., TrainState]
  train_chunk: Callable[..., tuple[TrainState, dict[str, jax.Array]]]
  eval_batch: Callable[..., dict[str, metrics_lib.Mean]]
  embed: Callable[..., Outputs]


@functools.lru_cache(maxsize=64)
def build(spec: Spec) -> Program:
  """Builds the program of a spec, once.

  Raises:
    ValueError: If a field of the recipe is out of range.
  """
  recipe = spec.recipe
  if not 1 <= recipe["batch_size"] <= spec.num_examples:
    raise ValueError(
      f"batch_size={recipe['batch_size']} must lie in [1, "
      f"{spec.num_examples}], the number of examples to train on."
    )
  mapped = _mapped(spec)
  mesh = mesh_lib.make_mesh(
    1 if mapped else spec.num_cells, recipe["batch_size"]
  )
  student = model_fns(recipe, spec.num_classes * spec.num_subclasses)
  tx = optimizer(recipe)
  teacher_apply = _teacher_apply(spec)
  train_step = make_train_step(student.apply, METHODS[spec.method].loss, tx)
  eval_step = make_eval_step(student.apply, _eval_metrics(spec.num_classes))

  def on_cells(function):
    return _over_cells(function, spec.num_cells, mapped)

  def step(states, teacher, shared, targets, scalars, arrays, seed, place):
    batch = _train_batch(spec, mesh, arrays, seed, *place)
    batch |= _teacher_part(teacher_apply, teacher, batch["inputs"])

    def one_cell(state, scalars, targets):
      return train_step(state, batch, scalars, shared | targets)

    return on_cells(one_cell)(states, scalars, targets)

  def eval_batch(states, teacher, shared, targets, scalars, batch):
    batch = batch | {"inputs": _floats(spec, batch["inputs"])}
    batch |= _teacher_part(teacher_apply, teacher, batch["inputs"])

    def one_cell(state, scalars, targets):
      params, model_state = state.params, state.model_state
      return eval_step(params, model_state, batch, scalars, shared | targets)

    return on_cells(one_cell)(states, scalars, targets)

  def embed(params, model_state, inputs):
    inputs = _floats(spec, inputs)
    return student.apply(params, model_state, inputs, train=False)[0]

  return Program(
    mesh=mesh,
    init=jax.jit(
      functools.partial(initial_states, spec, tx), static_argnames="sizes"
    ),
    train_chunk=_chunk(spec, step),
    eval_batch=jax.jit(eval_batch),
    embed=jax.jit(embed),
  )


def _models(spec: Spec) -> list[str]:
  teacher = [json.loads(spec.teacher)["model"]] if spec.teacher else []
  return [spec.recipe["model"], *teacher]


def _mapped(spec: Spec) -> bool:
  """Whether cells run one by one inside the program, not as one batch."""
  if spec.cells not in ("auto", "vmap", "map"):
    raise ValueError(
      f'config.stack.cells must be "auto", "vmap" or "map", got {spec.cells!r}.'
    )
  if spec.cells == "auto":
    return spec.recipe["model"] not in _WITHOUT_CONVOLUTIONS
  return spec.cells == "map"


def _scanned(spec: Spec) -> bool:
  """Whether the steps of a chunk are one program, not one each."""
  if jax.default_backend() != "cpu":
    return True
  return all(model in _WITHOUT_CONVOLUTIONS for model in _models(spec))


def _over_cells(function: Callable, num_cells: int, mapped: bool) -> Callable:
  """Applies a function of one cell to a stack."""
  if num_cells == 1:

    def single(*cells):
      first = jax.tree.map(lambda x: x[0], cells)
      return jax.tree.map(lambda x: x[None], function(*first))

    return single
  if mapped:
    return lambda *cells: jax.lax.map(lambda cell: function(*cell), cells)
  return jax.vmap(function)


def _chunk(spec: Spec, step: Callable) -> Callable:
  """Takes a chunk of steps; returns the states and each metric's mean."""
  length = spec.recipe["steps_per_chunk"]

  def places(seed, first):
    """The number and the examples of each step of the chunk."""
    rows = batches.chunk_indices(
      _data_keys(spec, seed)[0],
      first,
      num_steps=length,
      num_examples=spec.num_examples,
      batch_size=spec.recipe["batch_size"],
    )
    return first + jnp.arange(length, dtype=jnp.int32), rows

  if _scanned(spec):

    @functools.partial(jax.jit, donate_argnums=0)
    def chunk(states, *arguments):
      *fixed, seed, first = arguments
      states, metrics = jax.lax.scan(
        lambda states, place: step(states, *fixed, seed, place),
        states,
        places(seed, first),
      )
      return states, {name: x.mean(axis=0) for name, x in metrics.items()}

    return chunk
  jitted = jax.jit(step, donate_argnums=0)
  jitted_places = jax.jit(places)

  def chunk_of_steps(states, *arguments):
    *_, seed, first = arguments
    taken = []
    for place in zip(*jitted_places(seed, first), strict=True):
      states, metrics = jitted(states, *arguments[:-1], place)
      taken.append(metrics)
    stacked = jax.tree.map(lambda *values: jnp.stack(values), *taken)
    return states, {name: x.mean(axis=0) for name, x in stacked.items()}

  return chunk_of_steps


def _floats(spec: Spec, inputs: jax.Array) -> jax.Array:
  return inputs.astype(jnp.float32) / spec.input_scale


def _data_keys(spec: Spec, seed: jax.Array) -> jax.Array:
  """The keys of batch order and of augmentation."""
  return jax.random.split(jax.random.fold_in(root_key(spec, seed), DATA))


def _train_batch(
  spec: Spec,
  mesh: jax.sharding.Mesh,
  arrays: Mapping[str, jax.Array],
  seed: jax.Array,
  step: jax.Array,
  rows: jax.Array,
) -> dict[str, Any]:
  """The batch of a step, a function of seed and step alone, augmented."""
  recipe = spec.recipe
  batch = batches.gather(arrays, rows)
  batch = jax.lax.with_sharding_constraint(batch, mesh_lib.batch_sharding(mesh))
  shift = augment.shift_pixels(recipe["max_shift"], spec.input_shape[0])
  if shift or recipe["flip"]:
    batch["inputs"] = augment.random_flip_and_shift(
      jax.random.fold_in(_data_keys(spec, seed)[1], step),
      batch["inputs"],
      max_shift=shift,
      flip=recipe["flip"],
    )
  batch["inputs"] = _floats(spec, batch["inputs"])
  return batch


def _teacher_apply(spec: Spec) -> Callable[..., Any] | None:
  if spec.teacher is None:
    return None
  return model_fns(json.loads(spec.teacher), spec.num_classes).apply


def _teacher_part(
  teacher_apply: Callable[..., Any] | None, teacher: Any, inputs: jax.Array
) -> dict[str, Outputs]:
  """The teacher's outputs on a batch, computed once for all cells."""
  if teacher_apply is None:
    return {}
  params, model_state = teacher
  outputs = teacher_outputs(teacher_apply, params, model_state, inputs)
  return {"teacher": outputs}


def _eval_metrics(num_classes: int) -> Callable[..., dict[str, jax.Array]]:
  def metrics_fn(outputs, batch, hyperparameters, targets):
    log_probs = lelp_jax.class_log_probs(
      outputs.logits,
      num_classes=num_classes,
      temperature=hyperparameters["prediction_temperature"],
      where=targets.get("where"),
    )
    labels = batch["labels"]
    picked = jnp.take_along_axis(log_probs, labels[:, None], axis=-1)
    metrics = {
      "accuracy": metrics_lib.accuracy(log_probs, labels),
      "loss": -picked[:, 0],
    }
    if "teacher" in batch:
      metrics["agreement"] = metrics_lib.agreement(
        log_probs, batch["teacher"].logits
      )
    return metrics

  return metrics_fn
