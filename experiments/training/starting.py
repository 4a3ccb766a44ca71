"""The weights that a model starts from, with a head that fits the data."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from experiments.data.dataset import Task
from experiments.training.initial import Spec
from experiments.training.pretrained import load_pretrained
from experiments.training.pretrained import Pretrained


def starting_weights(
  recipe: Mapping[str, Any], task: Task
) -> Pretrained | None:
  """Returns pretrained weights, without a head if that is to be fresh.

  Args:
    recipe: A model's fields of a config, plain data.
    task: What there is to learn. Where the weights come with names of their
      outputs, and these are its classes in another order, the head's outputs
      are put into the order of the data.

  Returns:
    The weights, None for a model that starts at random.
  """
  if recipe["init"] == "random":
    return None
  start = load_pretrained(recipe["init"], recipe)
  body = {name: part for name, part in start.params.items() if name != "head"}
  if recipe["init_head"] != "pretrained":
    return dataclasses.replace(start, params=body)
  there = [name.lower() for name in start.class_names]
  here = [name.lower() for name in task.class_names]
  if "head" not in start.params or sorted(there) != sorted(here):
    return start
  order = np.array([there.index(name) for name in here], int)
  head = jax.tree.map(lambda x: x[..., order], start.params["head"])
  return dataclasses.replace(start, params={**body, "head": head})


def check_head(start: Pretrained | None, spec: Spec) -> None:
  """Raises ValueError if a model that is not trained would have a new head.

  Args:
    start: What it starts from.
    spec: What it is.
  """
  outputs = spec.num_classes * spec.num_subclasses
  head = start.params.get("head", {}) if start else {}
  found = head["kernel"].shape[-1] if head else 0
  if found != outputs:
    raise ValueError(
      f"{spec.recipe['init']} has {f'a head of {found}' if found else 'no'} "
      f"outputs to take as they are, {outputs} are needed: train the model "
      '(num_epochs or num_steps above 0), and set init_head="pretrained" to '
      "keep a head."
    )
