"""Training and evaluation steps as pure functions.

The caller compiles them with `jax.jit` and places their arguments on devices.
Everything that a step needs besides the student (teacher, subspaces,
temperatures) is an argument, so one compilation serves all runs, and `jax.vmap`
stacks runs that share a batch and a teacher.
"""

import dataclasses
from collections.abc import Callable
from collections.abc import Mapping
from typing import Any
from typing import NamedTuple
from typing import Protocol

import jax
import jax.numpy as jnp
import optax

from lelp_jax import _checks
from lelp_jax import _serialization
from lelp_jax.metrics import Mean
from lelp_jax.models.interface import Outputs

Batch = Mapping[str, Any]
Metrics = dict[str, jax.Array]
Apply = Callable[..., tuple[Outputs, Any]]  # As in `ModelFns`.


class LossInputs(NamedTuple):
  """Everything that a distillation loss may read.

  Attributes:
    student: The student's embeddings ``[B, D]`` and logits ``[B, n]``, in
      training mode.
    teacher: The frozen teacher's embeddings ``[B, D_t]`` and logits
      ``[B, C]``, or None without a teacher.
    targets: Arrays that the method holds fixed, such as subspaces: a pytree.
    batch: Inputs, labels and everything else that the caller put into the
      batch.
    hyperparameters: A pytree of scalars, which may be traced.
    loss_params: Parameters that the method learns besides the student's, such
      as a projection: a pytree of floats. The optimizer trains them.
    loss_state: Arrays that the method carries from step to step, such as a
      memory bank: a pytree.
    key: A random key for this step.
  """

  student: Outputs
  teacher: Outputs | None
  targets: Any
  batch: Batch
  hyperparameters: Any
  loss_params: Any
  loss_state: Any
  key: jax.Array


class LossFn(Protocol):
  """Interface of a distillation loss that the training step minimizes.

  Args:
    inputs: The outputs of both models on a batch, and everything else that
      the loss may read.

  Returns:
    ``(loss, (metrics, loss_state))``: a float scalar to minimize, scalars by
    name, and the new loss state, which has the structure of the old one.
  """

  def __call__(
    self, inputs: LossInputs, /
  ) -> tuple[jax.Array, tuple[Metrics, Any]]:
    """Computes the loss."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
  """Everything that changes during training: arrays only.

  Attributes:
    step: Number of steps taken, int32, shape ``[]``.
    params: The student's parameters, a pytree of floats.
    model_state: The student's state, such as BatchNorm's statistics.
    loss_params: Parameters that the loss learns besides the student's.
    loss_state: Arrays that the loss carries from step to step.
    opt_state: The optimizer's state. The optimizer sees ``params`` or, if the
      loss has parameters, ``{"params": params, "loss_params": loss_params}``.
    key: Random key of the run; each step folds its number into it.
  """

  step: jax.Array
  params: Any
  model_state: Any
  loss_params: Any
  loss_state: Any
  opt_state: Any
  key: jax.Array

  @classmethod
  def create(
    cls,
    params: Any,
    model_state: Any,
    tx: optax.GradientTransformation,
    key: jax.Array,
    *,
    loss_params: Any = (),
    loss_state: Any = (),
  ) -> "TrainState":
    """Makes the state before the first step.

    Args:
      params: The student's parameters, a pytree of floats.
      model_state: The student's state, a pytree.
      tx: The optimizer that the step will use.
      key: A random key.
      loss_params: Parameters of the loss, a pytree of floats.
      loss_state: State of the loss, a pytree.

    Returns:
      The state, with ``tx`` initialised on the parameters.

    Raises:
      TypeError: If ``tx`` is not an optimizer.
    """
    _check_optimizer(tx)
    return cls(
      step=jnp.zeros((), jnp.int32),
      params=params,
      model_state=model_state,
      loss_params=loss_params,
      loss_state=loss_state,
      opt_state=tx.init(_Trained(params, loss_params).tree()),
      key=key,
    )


_serialization.register(TrainState)


class _Trained(NamedTuple):
  """Parameters that the optimizer trains, or their gradients.

  Attributes:
    params: The student's parameters.
    loss_params: The parameters of the loss.
  """

  params: Any
  loss_params: Any

  def tree(self) -> Any:
    """Returns the tree that the optimizer sees.

    Optimizers may select parameters by name, so that the two parts have names.
    If the loss has no parameters, the tree is that of the student's alone.
    """
    return self._asdict() if jax.tree.leaves(self.loss_params) else self.params

  def with_tree(self, tree: Any) -> "_Trained":
    """Returns the parameters in a tree that `tree` could have returned."""
    if jax.tree.leaves(self.loss_params):
      return _Trained(**tree)
    return self._replace(params=tree)


def make_train_step(
  student_apply: Apply, loss_fn: LossFn, tx: optax.GradientTransformation
) -> Callable[..., tuple[TrainState, Metrics]]:
  """Makes the step that trains a student, with or without a teacher's outputs.

  Args:
    student_apply: The student's `ModelFns.apply`.
    loss_fn: The loss.
    tx: The optimizer; see `TrainState`. Each update also gets ``value``,
      ``grad`` and ``value_fn``, which `optax.lbfgs`, `optax.polyak_sgd` and
      `optax.contrib.reduce_on_plateau` need. `optax.MultiSteps` does not pass
      them on to the optimizer inside.

  Returns:
    ``step(state, batch, hyperparameters, targets=None) -> (state, metrics)``.
    ``batch["inputs"]`` goes to the student, in training mode;
    ``batch["teacher"]``, if given, holds a teacher's `Outputs` (computed once
    for several students, or cached) for the loss. Metrics are those of the
    loss, plus ``"loss"`` and ``"gradient_norm"`` (the l2 norm over all trained
    parameters); a ValueError is raised if the loss has a metric of either name.

  Raises:
    TypeError: If ``tx`` is not an optimizer.

  Examples:
    >>> from lelp_jax.models import MODELS
    >>> def distance(inputs):
    ...   loss = jnp.mean((inputs.student.logits - 1) ** 2)
    ...   return loss, ({}, inputs.loss_state)
    >>> model, tx = MODELS["mlp"](2, features=(4,)), optax.sgd(0.1)
    >>> student = jax.jit(model.init)(jax.random.key(0), jnp.eye(4, 5))
    >>> state = TrainState.create(*student, tx, jax.random.key(1))
    >>> step = jax.jit(make_train_step(model.apply, distance, tx))
    >>> state, metrics = step(state, {"inputs": jnp.eye(4, 5)}, {})
    >>> int(state.step), sorted(metrics)
    (1, ['gradient_norm', 'loss'])
  """
  _check_optimizer(tx)
  tx = optax.with_extra_args_support(tx)

  def train_step(state, batch, hyperparameters, targets=None):
    step_key = jax.random.fold_in(state.key, state.step)
    keys = tuple(jax.random.split(step_key))
    teacher = jax.lax.stop_gradient(batch.get("teacher"))

    def objective(trained, student_key, loss_key):
      student, model_state = student_apply(
        trained.params,
        state.model_state,
        batch["inputs"],
        train=True,
        key=student_key,
      )
      loss, aux = loss_fn(
        LossInputs(
          student=student,
          teacher=teacher,
          targets=targets,
          batch=batch,
          hyperparameters=hyperparameters,
          loss_params=trained.loss_params,
          loss_state=state.loss_state,
          key=loss_key,
        )
      )
      return loss, (model_state, *aux)

    def value_fn(tree):
      # A line search needs the same random numbers at every point.
      return objective(trained.with_tree(tree), *map(jax.random.clone, keys))[0]

    trained = _Trained(state.params, state.loss_params)
    gradient_fn = jax.value_and_grad(objective, has_aux=True)
    (loss, aux), gradient = gradient_fn(trained, *keys)
    model_state, metrics, loss_state = aux
    updates, opt_state = tx.update(
      gradient.tree(),
      state.opt_state,
      trained.tree(),
      value=loss,
      grad=gradient.tree(),
      value_fn=value_fn,
    )
    trained = trained.with_tree(optax.apply_updates(trained.tree(), updates))
    state = dataclasses.replace(
      state,
      step=state.step + 1,
      params=trained.params,
      model_state=model_state,
      loss_params=trained.loss_params,
      loss_state=loss_state,
      opt_state=opt_state,
    )
    own = {"loss": loss, "gradient_norm": optax.tree.norm(gradient)}
    if taken := sorted(own.keys() & metrics.keys()):
      raise ValueError(
        f"The loss must not return metrics named {taken}: the step adds its "
        "own of these names."
      )
    return state, {**metrics, **own}

  return train_step


def _check_optimizer(tx: Any) -> None:
  """Raises TypeError unless an argument is an optax optimizer."""
  if not all(callable(getattr(tx, name, None)) for name in ("init", "update")):
    raise TypeError(
      f"tx must be an optimizer, got {_checks.describe(tx)}; pass one of "
      "optax, such as optax.adam(1e-3)."
    )


def teacher_outputs(
  teacher_apply: Apply, params: Any, model_state: Any, inputs: Any
) -> Outputs:
  """Runs a frozen teacher in inference mode, without gradient.

  Args:
    teacher_apply: The teacher's `ModelFns.apply`.
    params: The teacher's parameters.
    model_state: The teacher's state.
    inputs: An array ``[B, ...]`` or a dict of them.

  Returns:
    Embeddings ``[B, D]`` and logits ``[B, C]``.

  Examples:
    >>> from lelp_jax.models import MODELS
    >>> model, inputs = MODELS["mlp"](2, features=(4,)), jnp.eye(3, 5)
    >>> teacher = jax.jit(model.init)(jax.random.key(0), inputs)
    >>> teacher_outputs(model.apply, *teacher, inputs).embeddings.shape
    (3, 4)
  """
  outputs, _ = teacher_apply(params, model_state, inputs, train=False)
  return jax.lax.stop_gradient(outputs)


def make_distill_step(
  student_apply: Apply,
  teacher_apply: Apply,
  loss_fn: LossFn,
  tx: optax.GradientTransformation,
) -> Callable[..., tuple[TrainState, Metrics]]:
  """Makes the step that runs the teacher on the student's own inputs.

  Use it with augmentation, where cached outputs of the teacher would not belong
  to the student's inputs. Without augmentation, cache the outputs and use
  `make_train_step`.

  Args:
    student_apply: The student's `ModelFns.apply`.
    teacher_apply: The teacher's `ModelFns.apply`.
    loss_fn: The loss.
    tx: The optimizer; see `make_train_step`.

  Returns:
    ``step(state, teacher, batch, hyperparameters) -> (state, metrics)`` with
    ``teacher = (params, model_state, targets)``. Under ``jax.vmap`` over states
    and targets, with ``in_axes=(0, (None, None, 0), None, 0)``, the teacher
    runs once.

  Examples:
    >>> from lelp_jax.models import MODELS
    >>> def distance(inputs):
    ...   difference = inputs.student.logits - inputs.teacher.logits
    ...   return jnp.mean(difference**2), ({}, inputs.loss_state)
    >>> model, tx = MODELS["mlp"](2, features=(4,)), optax.sgd(0.1)
    >>> inputs = jnp.eye(4, 5)
    >>> teacher = jax.jit(model.init)(jax.random.key(0), inputs)
    >>> state = TrainState.create(*teacher, tx, jax.random.key(1))
    >>> step = make_distill_step(model.apply, model.apply, distance, tx)
    >>> state, metrics = jax.jit(step)(
    ...   state, (*teacher, None), {"inputs": inputs}, {}
    ... )
    >>> float(metrics["loss"])
    0.0
  """
  train_step = make_train_step(student_apply, loss_fn, tx)

  def distill_step(state, teacher, batch, hyperparameters):
    params, model_state, targets = teacher
    inputs = batch["inputs"]
    outputs = teacher_outputs(teacher_apply, params, model_state, inputs)
    batch = {**batch, "teacher": outputs}
    return train_step(state, batch, hyperparameters, targets)

  return distill_step


def make_eval_step(
  apply: Apply,
  metrics_fn: Callable[[Outputs, Batch, Any, Any], Mapping[str, jax.Array]],
) -> Callable[..., dict[str, Mean]]:
  """Makes the step that evaluates a batch, padded or not.

  Args:
    apply: The model's `ModelFns.apply`, called in inference mode.
    metrics_fn: ``(outputs, batch, hyperparameters, targets) -> metrics``: one
      value per example, ``[B]``, by name.

  Returns:
    ``step(params, model_state, batch, hyperparameters, targets=None) ->
    means``, to be merged over batches with `lelp_jax.metrics.merge`. Examples
    count where ``batch["mask"]`` (bool, ``[B]``) is true; without a mask, all
    count. Metrics of examples that do not count may be NaN. The step raises
    ValueError for a metric of another shape.

  Examples:
    >>> from lelp_jax import metrics
    >>> from lelp_jax.models import MODELS
    >>> def metrics_fn(outputs, batch, hyperparameters, targets):
    ...   return {"accuracy": metrics.accuracy(outputs.logits, batch["labels"])}
    >>> model = MODELS["mlp"](2, features=(4,))
    >>> batch = {"inputs": jnp.eye(3, 5), "labels": jnp.array([0, 1, -1])}
    >>> batch["mask"] = batch["labels"] >= 0
    >>> student = jax.jit(model.init)(jax.random.key(0), batch["inputs"])
    >>> step = jax.jit(make_eval_step(model.apply, metrics_fn))
    >>> int(step(*student, batch, {})["accuracy"].count)
    2
  """

  def eval_step(params, model_state, batch, hyperparameters, targets=None):
    outputs, _ = apply(params, model_state, batch["inputs"], train=False)
    metrics = metrics_fn(outputs, batch, hyperparameters, targets)
    for name, values in metrics.items():
      _checks.check_rank(f"metric {name!r}", values, 1, "[B]")
    where = batch.get("mask")
    return {name: Mean.of(values, where) for name, values in metrics.items()}

  return eval_step
