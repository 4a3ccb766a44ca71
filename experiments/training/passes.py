"""One pass of a frozen model over examples as they are, in inference mode."""

import operator
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from experiments.data import batches
from experiments.training import loop
from experiments.training.recipe import model_fns
from experiments.training.recipe import model_inputs
from lelp_jax.models import Outputs


def outputs(
  fields: Mapping[str, Any],
  params: Any,
  model_state: Any,
  arrays: loop.Arrays,
  scale: float,
) -> Iterator[tuple[np.ndarray, Outputs]]:
  """Yields the outputs of a model, batch by batch.

  Args:
    fields: The model's fields of a config, plain data.
    params: Its parameters; its head tells the number of outputs.
    model_state: Its state.
    arrays: The examples.
    scale: What images are divided by.

  Yields:
    Positions of the examples of a batch in `arrays`, int ``[B]``, and the
    outputs on them, NumPy arrays: texts come sorted by length.
  """
  num_outputs = model_fns(fields, 1).head(params).kernel.shape[-1]
  apply = jax.jit(model_fns(fields, num_outputs).apply)
  kept = {k: arrays[k] for k in loop.READ if k in arrays}
  size = min(fields["eval_batch_size"], len(kept["labels"]))
  for batch in batches.eval_batches(kept, size):
    mask = batch["mask"]
    inputs = model_inputs(fields, batch, scale)
    found, _ = apply(params, model_state, inputs)
    real = jax.tree.map(operator.itemgetter(mask), jax.device_get(found))
    yield batch["rows"][mask], real
