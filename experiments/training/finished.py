"""What a trained stack leaves: the result and the student of each cell."""

import functools
import importlib.metadata
import operator
import platform
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from experiments.data.dataset import Splits
from experiments.distributed import mesh as mesh_lib
from experiments.training import loop
from experiments.training.initial import Spec
from experiments.training.recipe import model_fns
from lelp_jax.train_step import TrainState

# Of outputs that do not exist; finite, for arithmetic that dislikes infinity.
_NO_LOGIT = -1e9


def results(
  job: loop.Job, trained: loop.Trained, splits: Splits
) -> list[dict[str, Any]]:
  """Evaluates the trained cells and returns one result a cell, plain data.

  Args:
    job: The stack.
    trained: Its last states.
    splits: The data, of which validation and test are evaluated.

  Returns:
    Accuracy, loss and agreement on both, the last train metrics, sizes.
  """
  evaluations = {
    name: loop.evaluate(job, trained.states, arrays)
    for name, arrays in (
      ("validation", splits.validation),
      ("test", splits.test),
    )
  }
  counts = {
    "validation": len(splits.validation["labels"]),
    "test": len(splits.test["labels"]),
  }
  num_parameters = {s: _num_parameters(job.spec, s) for s in set(job.sizes)}
  shares = job.targets.get("variance_share")
  return [
    {
      **{
        name: {k: float(v[cell]) for k, v in values.items()}
        | {"num_examples": counts[name]}
        for name, values in evaluations.items()
      },
      "train": {k: float(v[cell]) for k, v in trained.train_metrics.items()},
      "variance_share": None
      if shares is None
      else [float(share) for share in shares[cell]],
      "num_parameters": num_parameters[job.sizes[cell]],
      # Of one cell: projections and the like.
      "num_extra_parameters": sum(
        leaf.size // job.spec.num_cells
        for leaf in jax.tree.leaves(trained.states.loss_params)
      ),
      "num_steps": job.spec.recipe["num_steps"],
      "num_train_examples": job.spec.num_examples,
      "versions": _versions(),
    }
    | job.details[cell]
    for cell in range(job.spec.num_cells)
  ]


def students(job: loop.Job, states: TrainState) -> Iterator[tuple[Any, Any]]:
  """Takes the students out of a stack, each at its own S.

  Outputs that do not exist, as clusters that a class has no examples of, get a
  constant logit without weight in a softmax: whoever sums a class's outputs
  need not know of them. (A head without a bias keeps them.)

  Args:
    job: The stack.
    states: Its states.

  Yields:
    The parameters and the model state of each cell, NumPy arrays.
  """
  # Once for all: a slice of a device array is a program of its own.
  stacked = mesh_lib.fetch(
    (states.params, states.model_state), job.program.mesh
  )
  classes, most = job.spec.num_classes, job.spec.num_subclasses
  model = model_fns(job.spec.recipe, classes * most)
  where = (job.shared_targets | job.targets).get("where", True)
  where = np.broadcast_to(where, (job.spec.num_cells, classes, most))
  for cell, size in enumerate(job.sizes):
    params, model_state = jax.tree.map(operator.itemgetter(cell), stacked)
    own = where[cell, :, :size]
    if size < most or not own.all():
      params = model.with_head(params, _own_head(model.head(params), own))
    yield params, model_state


def _own_head(head: Any, where: np.ndarray) -> Any:
  """A head cut to its own S, with `_NO_LOGIT` where nothing exists, [C, S]."""
  (kernel, bias), (classes, size) = head, where.shape
  kernel = kernel.reshape(len(kernel), classes, -1)[..., :size]
  if bias is not None:
    kernel = np.where(where, kernel, 0)
    bias = bias.reshape(classes, -1)[:, :size]
    bias = np.where(where, bias, _NO_LOGIT).ravel()
  return head._replace(kernel=kernel.reshape(len(kernel), -1), bias=bias)


def _num_parameters(spec: Spec, num_subclasses: int) -> int:
  """Parameters of a student at its own S, without the padding of its stack."""
  model = model_fns(spec.recipe, spec.num_classes * num_subclasses)
  params, _ = jax.eval_shape(model.init, jax.random.key(0), spec.example())
  return sum(leaf.size for leaf in jax.tree.leaves(params))


@functools.cache
def _versions() -> dict[str, str]:
  """What computed the numbers."""
  names = ("lelp-jax", "jax", "jaxlib", "flax", "optax")
  versions = {name: importlib.metadata.version(name) for name in names}
  versions["python"] = platform.python_version()
  versions["device"] = jax.devices()[0].device_kind
  return versions
