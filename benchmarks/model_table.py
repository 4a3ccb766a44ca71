"""Prints the table of models in docs/models.md.

python -m benchmarks.model_table
"""

from typing import Any

import jax

from experiments.training.flops import matmul_flops
from lelp_jax.models import MODELS

HEADER = (
  "| model | input | D | parameters | batch statistics | GFLOP per example |\n"
  "|---|---|---|---|---|---|"
)
# A description and a shape of the input, by the kind of input.
_INPUTS = {
  "image": ("32x32x3 image", (32, 32, 3)),
  "tokens": ("128 tokens", (128,)),
  "array": ("768 numbers", (768,)),
}
_OPTIONS = {"mlp": {"features": (4096, 4096)}}


def row(name: str) -> str:
  """Returns the row of a model with two classes, from shapes alone."""
  reads, shape = _INPUTS[MODELS[name].reads]
  inputs = MODELS[name].input_shapes(1, shape)
  model = MODELS[name](2, **_OPTIONS.get(name, {}))
  params, state = jax.eval_shape(model.init, jax.random.key(0), inputs)

  def logits(params: Any, state: Any, inputs: Any) -> jax.Array:
    return model.apply(params, state, inputs)[0].logits

  counts = [
    model.head(params).kernel.shape[0],
    *(
      sum(leaf.size for leaf in jax.tree.leaves(tree))
      for tree in (params, state)
    ),
  ]
  columns = " | ".join(f"{count:,}" for count in counts)
  flops = matmul_flops(logits, params, state, inputs) / 1e9
  return f"| `{name}` | {reads} | {columns} | {flops:.3g} |"


def main() -> None:
  print(HEADER)
  for name in MODELS:
    print(row(name))


if __name__ == "__main__":
  main()
