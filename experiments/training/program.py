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
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import lelp_jax
from experiments.data import batches
from experiments.data.batches import Feed
from experiments.distributed import mesh as mesh_lib
from experiments.methods import method_named
from experiments.training.initial import data_keys
from experiments.training.initial import initial_states
from experiments.training.initial import Spec
from experiments.training.recipe import model_fns
from experiments.training.recipe import model_inputs
from experiments.training.recipe import optimizer
from experiments.training.views import augmented
from experiments.training.views import teacher_apply
from experiments.training.views import with_outputs
from lelp_jax import metrics as metrics_lib
from lelp_jax.models import Outputs
from lelp_jax.train_step import make_eval_step
from lelp_jax.train_step import make_train_step
from lelp_jax.train_step import TrainState

# Vmapped matrix products become one batched product; vmapped convolutions
# become grouped ones, and XLA's convolutions on CPU are many times slower
# inside a loop than outside one.
_WITHOUT_CONVOLUTIONS = ("mlp",)

# Among the metrics of a chunk: see `_summary`.
FIRST_NONFINITE = "first_nonfinite"


@dataclasses.dataclass(frozen=True)
class Program:
  """The functions of one spec.

  Attributes:
    mesh: Devices, axes ("cell", "data").
    init: ``(trials [cells], sizes=, pretrained=(), loss_params=None) ->
      states``, each cell at its own S.
    train_chunk: ``(states, teacher, shared targets, targets, hyperparameters,
      examples, data_seed, first_step, length=) -> (states, metrics)``, of
      `length` steps; metrics are means over them, ``[cells]``, but for
      `FIRST_NONFINITE`. The examples are arrays on the devices or a `Feed`, as
      the spec says.
    eval_batch: ``(states, teacher, shared targets, targets, hyperparameters,
      batch) -> dict of Mean`` with a leading cell axis.
    embed: ``(params, model_state, batch) -> Outputs`` of one cell.
    metric_shapes: ``train_chunk``'s arguments to the shapes of its metrics.
    lower: ``train_chunk``'s arguments, which may be shapes with shardings, to
      what an accelerator compiles: the chunk, or a step if a `Feed` feeds it.
  """

  mesh: jax.sharding.Mesh
  init: Callable[..., TrainState]
  train_chunk: Callable[..., tuple[TrainState, dict[str, jax.Array]]]
  eval_batch: Callable[..., dict[str, metrics_lib.Mean]]
  embed: Callable[..., Outputs]
  metric_shapes: Callable[..., dict[str, jax.ShapeDtypeStruct]]
  lower: Callable[..., jax.stages.Lowered]


@functools.lru_cache(maxsize=64)
def build(spec: Spec, devices: tuple[jax.Device, ...] | None = None) -> Program:
  """Builds the program of a spec, once.

  Args:
    spec: What it is compiled for.
    devices: The devices it runs on, or would; all that JAX sees if None.

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
  mesh = mesh_lib.make_mesh(spec.num_cells, recipe["batch_size"], devices)
  student = model_fns(recipe, spec.num_classes * spec.num_subclasses)
  tx = optimizer(recipe)
  seen = functools.partial(with_outputs, spec, teacher_apply(spec))
  train_step = make_train_step(
    student.apply, method_named(spec.method).loss, tx
  )
  eval_step = make_eval_step(student.apply, _eval_metrics(spec.num_classes))

  on_cells = functools.partial(mesh_lib.over_cells, mesh, mapped)

  def step(states, teacher, shared, targets, scalars, seed, number, batch):
    batch = augmented(spec, batch, seed, number)
    batch = seen(teacher, batch)

    def one_cell(common, state, scalars, targets):
      batch, shared = common
      return train_step(state, batch, scalars, shared | targets)

    return on_cells(one_cell, (batch, shared), states, scalars, targets)

  def eval_batch(states, teacher, shared, targets, scalars, batch):
    batch = seen(teacher, batch)

    def one_cell(common, state, scalars, targets):
      batch, shared = common
      params, model_state = state.params, state.model_state
      return eval_step(params, model_state, batch, scalars, shared | targets)

    return on_cells(one_cell, (batch, shared), states, scalars, targets)

  def embed(params, model_state, batch):
    inputs = model_inputs(recipe, batch, spec.input_scale)
    return student.apply(params, model_state, inputs, train=False)[0]

  train_chunk, lower = _chunk(spec, mesh, step)
  return Program(
    mesh=mesh,
    init=jax.jit(
      functools.partial(initial_states, spec, tx), static_argnames="sizes"
    ),
    train_chunk=train_chunk,
    eval_batch=jax.jit(eval_batch),
    embed=jax.jit(embed),
    metric_shapes=functools.partial(_metric_shapes, spec, step),
    lower=lower,
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


def _scanned(spec: Spec, mesh: jax.sharding.Mesh) -> bool:
  """Whether the steps of a chunk are one program, not one each."""
  if mesh.devices.flat[0].platform != "cpu":
    return True
  return all(model in _WITHOUT_CONVOLUTIONS for model in _models(spec))


def _chunk(
  spec: Spec, mesh: jax.sharding.Mesh, step: Callable
) -> tuple[Callable, Callable]:
  """Makes `train_chunk` and `lower` of a `Program`."""
  make = _gathered_chunk if spec.on_device else _fed_chunk
  return make(spec, mesh, step)


def _gathered_chunk(
  spec: Spec, mesh: jax.sharding.Mesh, step: Callable
) -> tuple[Callable, Callable]:
  """Of examples on the devices, from which the step takes its batch."""
  sharding = mesh_lib.batch_sharding(mesh)

  def places(seed, first, length):
    """The number and the examples of each step of the chunk."""
    rows = batches.chunk_indices(
      data_keys(spec, seed)[0],
      first,
      num_steps=length,
      num_examples=spec.num_examples,
      batch_size=spec.recipe["batch_size"],
    )
    return first + jnp.arange(length, dtype=jnp.int32), rows

  def gathered_step(states, *arguments):
    *fixed, arrays, seed, (number, rows) = arguments
    batch = batches.gather(arrays, rows)
    batch = jax.lax.with_sharding_constraint(batch, sharding)
    return step(states, *fixed, seed, number, batch)

  @functools.partial(jax.jit, donate_argnums=0, static_argnames="length")
  def scanned(states, *arguments, length):
    *fixed, seed, first = arguments
    states, metrics = jax.lax.scan(
      lambda states, place: gathered_step(states, *fixed, seed, place),
      states,
      places(seed, first, length),
    )
    return states, _summary(states, metrics, first)

  jitted = jax.jit(gathered_step, donate_argnums=0)
  jitted_places = jax.jit(places, static_argnames="length")

  def stepped(states, *arguments, length):
    *fixed, seed, first = arguments
    taken = []
    for place in zip(*jitted_places(seed, first, length=length), strict=True):
      states, metrics = jitted(states, *fixed, seed, place)
      taken.append(mesh_lib.settled(metrics, mesh))
    return states, _summary_of_steps(states, taken, first)

  return scanned if _scanned(spec, mesh) else stepped, scanned.lower


def _fed_chunk(
  spec: Spec, mesh: jax.sharding.Mesh, step: Callable
) -> tuple[Callable, Callable]:
  """Of examples on the host, whose batches a `Feed` brings."""
  sharding = mesh_lib.batch_sharding(mesh)
  jitted = jax.jit(step, donate_argnums=0)

  def fed(states, *arguments, length):
    *fixed, feed, seed, first = arguments
    # The order is made by threads: a program of each process's own.
    key = data_keys(spec, np.asarray(seed))[0]
    taken = []
    batches_ahead = feed.batches(key, int(first), length, sharding)
    for number, batch in enumerate(batches_ahead, start=int(first)):
      number = np.int32(number)
      states, metrics = jitted(states, *fixed, seed, number, batch)
      taken.append(mesh_lib.settled(metrics, mesh))
    return states, _summary_of_steps(states, taken, first)

  def lower(states, *arguments, length):
    del length
    *fixed, feed, seed, first = arguments
    batch = mesh_lib.place(jax.eval_shape(feed.example), sharding)
    return jitted.lower(states, *fixed, seed, first, batch)

  return fed, lower


@jax.jit
def _summary_of_steps(
  states: TrainState, taken: Sequence[Mapping[str, jax.Array]], first: jax.Array
) -> dict[str, jax.Array]:
  """`_summary` of steps that were taken one by one."""
  stacked = jax.tree.map(lambda *values: jnp.stack(values), *taken)
  return _summary(states, stacked, first)


def _summary(
  states: TrainState, taken: Mapping[str, jax.Array], first: jax.Array
) -> dict[str, jax.Array]:
  """The mean of each metric over the steps, ``[steps, cells]``, of a chunk.

  And the first of them, by its number counted from 1, with a loss, gradient or
  state that is not finite; 0 if there is none.
  """
  bad = ~(jnp.isfinite(taken["loss"]) & jnp.isfinite(taken["gradient_norm"]))
  # A state that only the last update spoiled.
  bad = bad.at[-1].set(bad[-1] | ~_finite(states))
  number = first + 1 + jnp.argmax(bad, axis=0).astype(jnp.int32)
  means = {name: values.mean(axis=0) for name, values in taken.items()}
  return means | {FIRST_NONFINITE: jnp.where(bad.any(axis=0), number, 0)}


def _finite(states: TrainState) -> jax.Array:
  """Whether the state of each cell is finite, bool ``[cells]``."""
  trained = (states.params, states.model_state, states.loss_params)
  leaves = jax.tree.leaves((trained, states.opt_state))
  checks = [jnp.isfinite(x) for x in leaves]
  # What a loss carries along may start at infinity (CRD's normalisers).
  carried = jax.tree.leaves(states.loss_state)
  checks += [~jnp.isnan(x) for x in carried]
  axes = [tuple(range(1, check.ndim)) for check in checks]
  results = [c.all(axis=a) for c, a in zip(checks, axes, strict=True)]
  return functools.reduce(jnp.logical_and, results)


def _metric_shapes(
  spec: Spec, step: Callable, states: TrainState, *arguments: Any
) -> dict[str, jax.ShapeDtypeStruct]:
  """What `train_chunk` returns beside the states."""
  *fixed, examples, seed, first = arguments
  if isinstance(examples, Feed):
    batch = examples.example()
  else:
    rows = np.arange(spec.recipe["batch_size"])
    batch = jax.eval_shape(batches.gather, examples, rows)
  return jax.eval_shape(step, states, *fixed, seed, first, batch)[1]


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
      teacher_logits = batch["teacher"].logits
      if teacher_logits.shape[-1] != num_classes:
        teacher_logits = lelp_jax.class_log_probs(
          teacher_logits, num_classes=num_classes, temperature=1.0
        )
      metrics["agreement"] = metrics_lib.agreement(log_probs, teacher_logits)
    return metrics

  return metrics_fn
