"""The compiled programs of a stack of cells: initialize, train, evaluate.

Everything that varies between stacks of the same shapes (states, teacher,
targets, hyperparameters, data, seeds) is an argument of the program, so that
such stacks share one compilation. A single run is a stack of one cell.
"""

import dataclasses
import functools
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np

import lelp_jax
from experiments.data import augment
from experiments.data import batches
from experiments.data.batches import Feed
from experiments.data.dataset import gather
from experiments.distributed import mesh as mesh_lib
from experiments.methods import method_named
from experiments.training.models import model_fns
from experiments.training.models import model_inputs
from experiments.training.models import optimizer
from experiments.training.models import Weights
from experiments.training.states import data_keys
from experiments.training.states import initial_states
from experiments.training.types import Program
from experiments.training.types import ProgramSpec
from lelp_jax import metrics as metrics_lib
from lelp_jax.models import MODELS
from lelp_jax.models import Outputs
from lelp_jax.train_step import make_train_step
from lelp_jax.train_step import teacher_outputs
from lelp_jax.train_step import TrainState

# Name of the metric that holds the first step, counted from 1, at which the
# loss, the gradient or the state is not finite; 0 if there is none.
FIRST_NONFINITE = "first_nonfinite"


@functools.lru_cache(maxsize=64)
def build_program(
  spec: ProgramSpec, devices: tuple[jax.Device, ...] | None = None
) -> Program:
  """Builds the program of a spec, once for all stacks with this spec.

  It runs on `devices`, by default on all devices that JAX sees.
  """
  batch_size = spec.student.batch_size
  mesh = mesh_lib.make_mesh(spec.num_cells, batch_size, devices)
  student = model_fns(spec.student, spec.num_classes * spec.num_subclasses)
  tx = optimizer(spec.student)
  train_step = make_train_step(
    student.apply, method_named(spec.method).loss, tx
  )
  statics = dataclasses.asdict(spec.loss)
  is_mapped = _is_mapped(spec)

  def on_cells(function, states, inputs, batch):
    """Calls ``function(state, batch, hyperparameters, targets)`` per cell."""

    def one_cell(common, state, scalars, targets):
      batch, shared = common
      return function(state, batch, scalars, shared | targets)

    return mesh_lib.over_cells(
      mesh,
      is_mapped,
      one_cell,
      (batch, inputs.shared_targets),
      states,
      inputs.hyperparameters,
      inputs.targets,
    )

  def view(inputs, seed, number, batch):
    """Augments a training batch and adds the teacher's outputs."""
    batch = _augmented(spec, batch, seed, number)
    return _with_teacher(spec, inputs.teacher, batch)

  def update(states, inputs, batch):
    """Trains all cells for one step."""

    def one_cell(state, batch, scalars, targets):
      return train_step(state, batch, statics | scalars, targets)

    return on_cells(one_cell, states, inputs, batch)

  def eval_view(inputs, batch):
    return _with_teacher(spec, inputs.teacher, batch)

  def score(states, inputs, batch):
    def one_cell(state, batch, scalars, targets):
      outputs, _ = student.apply(
        state.params, state.model_state, batch["inputs"], train=False
      )
      log_probs = lelp_jax.class_log_probs(
        outputs.logits,
        num_classes=spec.num_classes,
        temperature=scalars["prediction_temperature"],
        where=targets.get("where"),
      )
      return _scores(log_probs, batch), log_probs

    return on_cells(one_cell, states, inputs, batch)

  def metric_shapes(states, inputs, data, first):
    if isinstance(data.examples, Feed):
      batch = data.examples.example()
    else:
      batch = jax.eval_shape(gather, data.examples, np.arange(batch_size))
    step = _composed(view, update)
    return jax.eval_shape(step, states, inputs, data.seed, first, batch)[1]

  make_chunk = _gathered_chunk if spec.on_device else _fed_chunk
  train_chunk, lower = make_chunk(spec, mesh, view, update)
  return Program(
    mesh=mesh,
    init=jax.jit(
      functools.partial(initial_states, spec, tx), static_argnames="sizes"
    ),
    train_chunk=train_chunk,
    eval_batch=_compiled(spec, mesh, eval_view, score),
    metric_shapes=metric_shapes,
    lower=lower,
  )


# --- Inputs of the student and outputs of the teacher -------------------------


def _augmented(
  spec: ProgramSpec, batch: Mapping[str, Any], seed: jax.Array, step: jax.Array
) -> dict[str, Any]:
  """Shifts and flips the images of a batch at random, if the spec says so."""
  student, shape = spec.student, dict(spec.shapes).get("inputs")
  shift = augment.shift_pixels(student.max_shift, shape[0] if shape else 1)
  if not shift and not student.flip:
    return dict(batch)
  images = augment.random_flip_and_shift(
    jax.random.fold_in(data_keys(spec, seed)[1], step),
    batch["inputs"],
    max_shift=shift,
    flip=student.flip,
  )
  return {**batch, "inputs": images}


def _with_teacher(
  spec: ProgramSpec, teacher: Weights | None, batch: Mapping[str, Any]
) -> dict[str, Any]:
  """Adds the teacher's outputs to a batch, and prepares the student's inputs.

  The outputs are computed once for all cells, on the same views of the examples
  that students get, or taken from the cached outputs in the batch.
  """
  scale, outputs = spec.input_scale, {}
  if spec.teacher is not None and teacher is not None:
    subclasses = spec.teacher.subclass.num_subclasses
    model = model_fns(spec.teacher, spec.num_classes * subclasses)
    inputs = model_inputs(spec.teacher, batch, scale)
    outputs["teacher"] = teacher_outputs(
      model.apply, teacher.params, teacher.model_state, inputs
    )
  elif spec.teacher is not None:
    # Embeddings are absent if the loss does not read them.
    embeddings = cast(Any, batch.get("teacher_embeddings"))
    outputs["teacher"] = Outputs(embeddings, batch["teacher_logits"])
  return {**batch, "inputs": model_inputs(spec.student, batch, scale)} | outputs


# --- Loops over cells and steps -----------------------------------------------


def _is_mapped(spec: ProgramSpec) -> bool:
  """Returns whether cells run one after another rather than vmapped."""
  if spec.cells == "auto":
    # Vmapped convolutions become grouped ones, which are slow.
    return not MODELS[spec.student.model].is_dense
  return spec.cells == "map"


def _is_scanned(spec: ProgramSpec, mesh: jax.sharding.Mesh) -> bool:
  """Returns whether one program runs all steps of a chunk by `lax.scan`."""
  if mesh.devices.flat[0].platform != "cpu":
    return True
  # XLA's convolutions on CPUs are many times slower inside a loop.
  models = [m.model for m in (spec.student, spec.teacher) if m is not None]
  return all(MODELS[model].is_dense for model in models)


def _composed(
  view: Callable[..., Any], function: Callable[..., Any]
) -> Callable[..., Any]:
  """Returns the function that applies `function` to the `view` of a batch."""
  return lambda states, inputs, *batch: function(
    states, inputs, view(inputs, *batch)
  )


def _compiled(
  spec: ProgramSpec,
  mesh: jax.sharding.Mesh,
  view: Callable[..., Any],
  function: Callable[..., Any],
  **options: Any,
) -> Callable[..., Any]:
  """Compiles `_composed`, as one program or as two.

  On CPUs, XLA's convolutions are also slow inside the loop that maps over
  cells. In that case one program makes the view of a batch, once for all cells,
  and a second one runs for each cell in turn.
  """
  is_apart = _is_mapped(spec) and not _is_scanned(spec, mesh) and mesh.size == 1
  if not is_apart or spec.num_cells == 1:
    return jax.jit(_composed(view, function), **options)
  see, run = jax.jit(view), jax.jit(function, **options)

  def one_by_one(states, inputs, *batch):
    seen = see(inputs, *batch)
    cells = _split(
      (states, inputs.targets, inputs.hyperparameters), spec.num_cells
    )
    return _joined(
      [
        run(
          state,
          inputs._replace(targets=targets, hyperparameters=scalars),
          seen,
        )
        for state, targets, scalars in cells
      ]
    )

  return one_by_one


@functools.partial(jax.jit, static_argnums=1)
def _split(cells: Any, num_cells: int) -> list[Any]:
  """Returns the arrays of each cell, with a leading axis of length one."""

  def part(number: int, leaf: jax.Array) -> jax.Array:
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
      leaf = jax.random.clone(leaf)  # Slicing must not consume the key.
    return leaf[number : number + 1]

  return [
    jax.tree.map(functools.partial(part, number), cells)
    for number in range(num_cells)
  ]


@jax.jit
def _joined(cells: Sequence[Any]) -> Any:
  """The inverse of `_split`."""
  return jax.tree.map(lambda *parts: jnp.concatenate(parts), *cells)


def _gathered_chunk(
  spec: ProgramSpec,
  mesh: jax.sharding.Mesh,
  view: Callable[..., Any],
  update: Callable[..., Any],
) -> tuple[Callable[..., Any], Callable[..., Any]]:
  """Makes `train_chunk` and `lower` for examples on the devices."""
  sharding = mesh_lib.batch_sharding(mesh)

  def places(seed, first, length):
    """Returns the number and the rows of each step of the chunk."""
    rows = batches.chunk_indices(
      data_keys(spec, seed)[0],
      first,
      num_steps=length,
      num_examples=spec.num_examples,
      batch_size=spec.student.batch_size,
    )
    return first + jnp.arange(length, dtype=jnp.int32), rows

  def gathered_view(inputs, data, place):
    number, rows = place
    batch = gather(data.examples, rows)
    batch = jax.lax.with_sharding_constraint(batch, sharding)
    return view(inputs, data.seed, number, batch)

  step = _composed(gathered_view, update)

  @functools.partial(jax.jit, donate_argnums=0, static_argnames="length")
  def scanned(states, inputs, data, first, *, length):
    states, metrics = jax.lax.scan(
      lambda states, place: step(states, inputs, data, place),
      states,
      places(data.seed, first, length),
    )
    return states, _summary(states, metrics, first)

  take = _compiled(spec, mesh, gathered_view, update, donate_argnums=0)
  jitted_places = jax.jit(places, static_argnames="length")

  def stepped(states, inputs, data, first, *, length, after_step=None):
    taken = []
    numbers_and_rows = jitted_places(data.seed, first, length=length)
    for place in zip(*numbers_and_rows, strict=True):
      states, metrics = take(states, inputs, data, place)
      taken.append(mesh_lib.settled(metrics, mesh))
      if after_step is not None:
        after_step(metrics)
    return states, _summary_of_steps(states, taken, first)

  def whole(states, inputs, data, first, *, length, after_step=None):
    # `after_step` is not called, since one program runs all steps.
    return scanned(states, inputs, data, first, length=length)

  lower = functools.partial(scanned.lower, length=spec.student.steps_per_chunk)
  return whole if _is_scanned(spec, mesh) else stepped, lower


def _fed_chunk(
  spec: ProgramSpec,
  mesh: jax.sharding.Mesh,
  view: Callable[..., Any],
  update: Callable[..., Any],
) -> tuple[Callable[..., Any], Callable[..., Any]]:
  """Makes `train_chunk` and `lower` for batches that come from a `Feed`."""
  sharding = mesh_lib.batch_sharding(mesh)
  take = _compiled(spec, mesh, view, update, donate_argnums=0)

  def fed(states, inputs, data, first, *, length, after_step=None):
    # Each process computes the order by itself, in background threads.
    key = data_keys(spec, np.asarray(data.seed))[0]
    feed, taken = data.examples, []
    batches_ahead = feed.batches(key, int(first), length, sharding)
    for number, batch in enumerate(batches_ahead, start=int(first)):
      number = np.int32(number)
      states, metrics = take(states, inputs, data.seed, number, batch)
      taken.append(mesh_lib.settled(metrics, mesh))
      if after_step is not None:
        after_step(metrics)
    return states, _summary_of_steps(states, taken, first)

  def lower(states, inputs, data, first):
    example = jax.eval_shape(data.examples.example)
    batch = mesh_lib.place(example, sharding)
    step = jax.jit(_composed(view, update), donate_argnums=0)
    return step.lower(states, inputs, data.seed, first, batch)

  return fed, lower


# --- Metrics ------------------------------------------------------------------


@jax.jit
def _summary_of_steps(
  states: TrainState, taken: Sequence[Mapping[str, jax.Array]], first: jax.Array
) -> dict[str, jax.Array]:
  """Returns `_summary` of steps that were run one by one."""
  stacked = jax.tree.map(lambda *values: jnp.stack(values), *taken)
  return _summary(states, stacked, first)


def _summary(
  states: TrainState, taken: Mapping[str, jax.Array], first: jax.Array
) -> dict[str, jax.Array]:
  """Returns the means of a chunk's metrics, and FIRST_NONFINITE.

  The metrics in `taken` are ``[steps, cells]``.
  """
  bad = ~(jnp.isfinite(taken["loss"]) & jnp.isfinite(taken["gradient_norm"]))
  # A bad state shows in the loss of the next step. After the last step there is
  # none, so its state is checked.
  bad = bad.at[-1].set(bad[-1] | ~_finite(states))
  number = first + 1 + jnp.argmax(bad, axis=0).astype(jnp.int32)
  means = {name: values.mean(axis=0) for name, values in taken.items()}
  return means | {FIRST_NONFINITE: jnp.where(bad.any(axis=0), number, 0)}


def _finite(states: TrainState) -> jax.Array:
  """Returns whether the state of each cell is finite, bool ``[cells]``."""
  trained = (states.params, states.model_state, states.loss_params)
  leaves = jax.tree.leaves((trained, states.opt_state))
  checks = [jnp.isfinite(x) for x in leaves]
  # A loss state may be infinite at the start, as CRD's normalizers are.
  carried = jax.tree.leaves(states.loss_state)
  checks += [~jnp.isnan(x) for x in carried]
  axes = [tuple(range(1, check.ndim)) for check in checks]
  results = [c.all(axis=a) for c, a in zip(checks, axes, strict=True)]
  return functools.reduce(jnp.logical_and, results)


def _scores(
  log_probs: jax.Array, batch: Mapping[str, Any]
) -> dict[str, metrics_lib.Mean]:
  """Returns accuracy, loss and agreement of class log probabilities [B, C]."""
  labels, num_classes = batch["labels"], log_probs.shape[-1]
  scores = {
    "accuracy": metrics_lib.accuracy(log_probs, labels),
    "loss": metrics_lib.log_loss(log_probs, labels),
  }
  if "teacher" in batch:
    teacher_logits = batch["teacher"].logits
    if teacher_logits.shape[-1] != num_classes:  # The teacher has subclasses.
      teacher_logits = lelp_jax.class_log_probs(
        teacher_logits, num_classes=num_classes, temperature=1.0
      )
    scores["agreement"] = metrics_lib.agreement(log_probs, teacher_logits)
  return {
    name: metrics_lib.Mean.of(values, batch["mask"])
    for name, values in scores.items()
  }
