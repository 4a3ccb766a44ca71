"""Initializes the train states of a stack, and extracts its students.

Each cell is initialized with its own S. Then its head is padded to the largest
S of the stack. The padding is removed when a student is extracted.
"""

import functools
import operator
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.distributed import mesh as mesh_lib
from experiments.methods import method_named
from experiments.methods.base import LossSetup
from experiments.training.models import model_fns
from experiments.training.models import Weights
from experiments.training.types import ProgramSpec
from experiments.training.types import Run
from lelp_jax.models import graft_pretrained
from lelp_jax.models import Head
from lelp_jax.models import ModelFns
from lelp_jax.train_step import TrainState

# Each use of a trial's seed folds a different number into the key; 2 is
# `experiments.methods.base.ROTATION`. Programs take seeds and make their keys
# inside, so no key is ever used twice.
STUDENT, TEACHER, DATA, LOSS = 0, 1, 3, 4

# Logit of an output that does not exist. It is finite, so that arithmetic on it
# gives no NaN.
_NO_LOGIT = -1e9


def root_key(spec: ProgramSpec, seed: jax.typing.ArrayLike) -> jax.Array:
  """Makes the root key of a seed, which differs for teachers and students."""
  use = TEACHER if spec.teacher is None else STUDENT
  return jax.random.fold_in(jax.random.key(seed), use)


def data_keys(spec: ProgramSpec, seed: jax.typing.ArrayLike) -> jax.Array:
  """Makes the two keys of batch order and of augmentation, ``[2]``."""
  return jax.random.split(jax.random.fold_in(root_key(spec, seed), DATA))


def initial_states(
  spec: ProgramSpec,
  tx: optax.GradientTransformation,
  trials: jax.Array,
  sizes: tuple[int, ...],
  pretrained: Weights | None = None,
  loss_params: Any = None,
) -> TrainState:
  """Initializes the cells of a stack.

  Args:
    spec: Spec of the stack's program.
    tx: The optimizer.
    trials: Seed of each cell, ``[cells]``.
    sizes: S of each cell.
    pretrained: Weights that every student starts from, with or without a head.
    loss_params: Parameters of the loss that every cell starts from.

  Returns:
    The states, with a leading cell axis on each array.
  """
  # Cells of the same S are initialized together.
  parts, order = [], []
  for size in sorted(set(sizes)):
    cells = [i for i, own in enumerate(sizes) if own == size]
    init = jax.vmap(
      functools.partial(_init_cell, spec, size, pretrained, loss_params)
    )
    parts.append(init(trials[np.array(cells)]))
    order += cells
  back = np.argsort(order)
  start = jax.tree.map(lambda *x: jnp.concatenate(x)[back], *parts)
  # Initialize the optimizer after reordering the cells: otherwise XLA reorders
  # its zeros at compile time, which takes seconds for a large embedding table.
  return jax.vmap(lambda fields: TrainState.create(tx=tx, **fields))(start)


def _init_cell(
  spec: ProgramSpec,
  num_subclasses: int,
  pretrained: Weights | None,
  loss_params: Any,
  trial: jax.Array,
) -> dict[str, Any]:
  """Returns the arguments of `TrainState.create` for one cell, without `tx`.

  The head is padded to the largest S of the stack.
  """
  init_key, train_key = jax.random.split(root_key(spec, trial))
  model = model_fns(spec.student, spec.num_classes * num_subclasses)
  params, model_state = model.init(init_key, spec.example())
  if pretrained is not None:
    # Layers that are empty in the pretrained weights keep their random values.
    start = {
      name: part if jax.tree.leaves(part) else params.get(name, part)
      for name, part in pretrained.params.items()
    }
    params = graft_pretrained(params, start)
    model_state = {**model_state, **pretrained.model_state}
  setup = LossSetup(
    statics=spec.loss,
    student_width=model.head(params).kernel.shape[0],
    teacher_width=spec.teacher_width,
    num_examples=spec.num_examples,
    key=jax.random.fold_in(root_key(spec, trial), LOSS),
  )
  learned, loss_state = method_named(spec.method).learned(setup)
  if loss_params is not None:
    learned = loss_params
  padding = spec.num_subclasses - num_subclasses
  if padding:
    shape = (spec.num_classes, num_subclasses)
    params = _with_padded_head(model, params, shape, padding)
  return {
    "params": params,
    "model_state": model_state,
    "key": train_key,
    "loss_params": learned,
    "loss_state": loss_state,
  }


def _with_padded_head(
  model: ModelFns, params: Any, shape: tuple[int, int], padding: int
) -> Any:
  """Adds outputs with zero weights to each class of a head.

  `shape` is ``(C, S)``, and `padding` the number of new outputs per class.
  """
  kernel, bias = model.head(params)
  kernel = kernel.reshape(-1, *shape)
  kernel = jnp.pad(kernel, ((0, 0), (0, 0), (0, padding)))
  if bias is not None:
    bias = jnp.pad(bias.reshape(shape), ((0, 0), (0, padding))).ravel()
  return model.with_head(params, Head(kernel.reshape(len(kernel), -1), bias))


def students(run: Run, states: TrainState) -> Iterator[Weights]:
  """Extracts the students of a stack, each with its own S.

  Subclasses that do not exist, such as empty clusters, get a large negative
  logit, so that users can sum the probabilities of a class over all of its
  outputs. In a head without a bias these outputs stay as they are.
  """
  spec = run.spec
  # Fetch all cells at once: each slice of a device array would be compiled.
  stacked = mesh_lib.fetch(
    (states.params, states.model_state), run.program.mesh
  )
  shape = spec.num_classes, spec.num_subclasses
  model = model_fns(spec.student, spec.num_classes * spec.num_subclasses)
  where = (run.shared_targets | run.targets).get("where", True)
  where = np.broadcast_to(where, (spec.num_cells, *shape))
  for cell, size in enumerate(run.sizes):
    params, model_state = jax.tree.map(operator.itemgetter(cell), stacked)
    own = where[cell, :, :size]
    if size < spec.num_subclasses or not own.all():
      params = model.with_head(params, _own_head(model.head(params), own))
    yield Weights(params, model_state)


def _own_head(head: Head, where: np.ndarray) -> Head:
  """Cuts a head to its own S, with `_NO_LOGIT` where `where` is False.

  `where` tells which subclasses exist, bool ``[C, S]``.
  """
  classes, size = where.shape
  kernel, bias = np.asarray(head.kernel), head.bias
  kernel = kernel.reshape(len(kernel), classes, -1)[..., :size]
  if bias is not None:
    kernel = np.where(where, kernel, 0)
    bias = np.reshape(bias, (classes, -1))[:, :size]
    bias = np.where(where, bias, _NO_LOGIT).ravel()
  own: Any = kernel.reshape(len(kernel), -1), bias
  return Head(*own)


def num_parameters(spec: ProgramSpec, num_subclasses: int) -> int:
  """Returns the number of parameters of a student without padding."""
  model = model_fns(spec.student, spec.num_classes * num_subclasses)
  params, _ = jax.eval_shape(model.init, jax.random.key(0), spec.example())
  return sum(leaf.size for leaf in jax.tree.leaves(params))
