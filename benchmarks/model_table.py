"""The table of models in docs/models.md: widths, parameters, operations.

python -m benchmarks.model_table
"""

from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.flops import matmul_flops
from lelp_jax.models import MODELS

HEADER = (
  "| model | reads | D | parameters | batch statistics | GFLOP an example |\n"
  "|---|---|---|---|---|---|"
)
_IMAGE = ("32x32x3 image", jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32))
_TOKENS = {"input_ids": jax.ShapeDtypeStruct((1, 128), jnp.int32)}
_VECTOR = ("768 numbers", jax.ShapeDtypeStruct((1, 768), jnp.float32))
_OPTIONS = {"mlp": {"features": (4096, 4096)}}
NAMES = (
  "resnet20",
  "resnet56",
  "resnet92",
  "mobilenet",
  "mobilenet_wd2",
  "albert_base",
  "albert_large",
  "albert_xlarge",
  "albert_xxlarge",
  "mlp",
)


def row(name: str) -> str:
  """Returns a model's row, counted on shapes alone, with two classes."""
  reads, inputs = _IMAGE
  if name.startswith("albert"):
    reads, inputs = "128 tokens", _TOKENS
  elif name == "mlp":
    reads, inputs = _VECTOR
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
  for name in NAMES:
    print(row(name))


if __name__ == "__main__":
  main()
