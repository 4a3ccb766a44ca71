"""What a stack of cells is, and the states it starts from."""

import dataclasses
import functools
import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.methods import method_named
from experiments.methods.base import Sizes
from experiments.training.recipe import model_fns
from lelp_jax.models import graft_pretrained
from lelp_jax.models import Head
from lelp_jax.models import MODELS
from lelp_jax.train_step import TrainState

# A trial is a seed, and each use of it folds in a number of its own. Programs
# take seeds and make their keys inside, so no key is ever used twice.
STUDENT, TEACHER, ROTATION, DATA, LOSS = range(5)


@dataclasses.dataclass(frozen=True)
class Spec:
  """What a program is compiled for; equal specs share one compilation.

  Attributes:
    method: What `methods.method` knows.
    loss: The part of `config.loss` that is no hyperparameter, as JSON.
    student: Fields of the student's model and training, as JSON.
    teacher: Those of the teacher's model, or None without a teacher.
    teacher_width: Width of its embeddings.
    num_classes: C.
    num_subclasses: The largest S of the stack.
    num_cells: Cells in the stack.
    num_examples: Examples to train on.
    shapes: Shape of one example's "inputs", and of its "embeddings" where it
      has them; None for text.
    input_scale: What stored inputs are divided by.
    cells: "auto", "vmap" or "map".
    on_device: Whether the examples are on the devices, or come from a `Feed`.
  """

  method: str
  loss: str
  student: str
  teacher: str | None
  teacher_width: int
  num_classes: int
  num_subclasses: int
  num_cells: int
  num_examples: int
  shapes: tuple[tuple[str, tuple[int, ...] | None], ...]
  input_scale: float
  cells: str
  on_device: bool = True

  @property
  def recipe(self) -> dict[str, Any]:
    """The student's fields."""
    return json.loads(self.student)

  def example(self) -> Any:
    """What the student reads, of the smallest size, to initialise it with."""
    shape = dict(self.shapes)[self.recipe["reads"]]
    shapes = MODELS[self.recipe["model"]].input_shapes(1, shape or (1,))
    return jax.tree.map(lambda x: jnp.ones(x.shape, x.dtype), shapes)


def root_key(spec: Spec, seed: jax.typing.ArrayLike) -> jax.Array:
  """Makes the key of a seed; a teacher's is not that of a student.

  Args:
    spec: Tells which of the two it is.
    seed: The seed, int32.

  Returns:
    The key, from which each use takes its own.
  """
  use = TEACHER if spec.teacher is None else STUDENT
  return jax.random.fold_in(jax.random.key(seed), use)


def data_keys(spec: Spec, seed: jax.typing.ArrayLike) -> jax.Array:
  """Makes the keys of batch order and of augmentation, ``[2]``.

  Args:
    spec: As for `root_key`.
    seed: Likewise.
  """
  return jax.random.split(jax.random.fold_in(root_key(spec, seed), DATA))


def initial_states(
  spec: Spec,
  tx: optax.GradientTransformation,
  trials: jax.Array,
  sizes: tuple[int, ...],
  pretrained: tuple[Any, ...] = (),
  loss_params: Any = None,
) -> TrainState:
  """Initialises each cell at its own S, then pads it to the largest.

  Args:
    spec: What the stack is.
    tx: The optimizer.
    trials: Seed of each cell, int32, ``[cells]``.
    sizes: S of each cell.
    pretrained: Parameters, with or without a head, and model state that every
      cell starts from; () for none.
    loss_params: What the method learns beside the student, where that was
      trained before.

  Returns:
    The states, a leading cell axis on each array.
  """
  parts, order = [], []
  for size in sorted(set(sizes)):
    cells = [i for i, own in enumerate(sizes) if own == size]
    init = jax.vmap(
      functools.partial(_init_one, spec, tx, size, pretrained, loss_params)
    )
    parts.append(init(trials[np.array(cells)]))
    order += cells
  back = np.argsort(order)
  return jax.tree.map(lambda *x: jnp.concatenate(x)[back], *parts)


def _init_one(
  spec: Spec,
  tx: optax.GradientTransformation,
  num_subclasses: int,
  pretrained: tuple[Any, ...],
  loss_params: Any,
  trial: jax.Array,
) -> TrainState:
  """The state of one cell whose head is padded to the largest S."""
  init_key, train_key = jax.random.split(root_key(spec, trial))
  model = model_fns(spec.recipe, spec.num_classes * num_subclasses)
  params, model_state = model.init(init_key, spec.example())
  if pretrained:
    params = graft_pretrained(params, pretrained[0])
    model_state = {**model_state, **pretrained[1]}
  sizes = Sizes(
    student_width=model.head(params).kernel.shape[0],
    teacher_width=spec.teacher_width,
    num_examples=spec.num_examples,
  )
  loss_key = jax.random.fold_in(root_key(spec, trial), LOSS)
  learned, loss_state = method_named(spec.method).learned(
    json.loads(spec.loss), sizes, loss_key
  )
  if loss_params is not None:
    learned = loss_params
  padding = spec.num_subclasses - num_subclasses
  if padding:
    shape = (spec.num_classes, num_subclasses)
    kernel, bias = model.head(params)
    kernel = kernel.reshape(-1, *shape)
    kernel = jnp.pad(kernel, ((0, 0), (0, 0), (0, padding)))
    if bias is not None:
      bias = jnp.pad(bias.reshape(shape), ((0, 0), (0, padding))).ravel()
    head = Head(kernel.reshape(len(kernel), -1), bias)
    params = model.with_head(params, head)
  return TrainState.create(
    params,
    model_state,
    tx,
    train_key,
    loss_params=learned,
    loss_state=loss_state,
  )
