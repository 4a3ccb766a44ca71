"""Real tensors of PyTorch, where it is installed."""

import jax
import numpy as np
import pytest

from tests.lelp_jax.function_cases import CASES

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.slow


def as_tensors(tree, **options):
  """The arrays of a tree as tensors; floats record gradients."""
  return jax.tree.map(
    lambda x: torch.tensor(
      np.array(x), requires_grad=x.dtype.kind == "f", **options
    ),
    tree,
  )


@pytest.mark.parametrize("name", CASES)
def test_every_public_function_takes_tensors(name):
  case = CASES[name]
  tensors = as_tensors(case.arrays)
  scalars = {key: torch.tensor(value) for key, value in case.scalars.items()}
  jax.tree.map(
    np.testing.assert_array_equal,
    case.call(**tensors, **scalars),
    case.call(**case.arrays, **case.scalars),
  )


@pytest.mark.parametrize("convert", ["bfloat16", "half", "double", "t", "flip"])
def test_tensors_of_other_dtypes_and_strides(convert):
  case = CASES["subspace_coordinates"]
  embeddings = torch.tensor(case.arrays["embeddings"])
  if convert == "t":
    changed = embeddings.T.contiguous().T
  elif convert == "flip":
    changed = embeddings.flip(0)[::1]
  else:
    changed = getattr(embeddings, convert)()
  found = case.function(changed, case.arrays["subspaces"])
  expected = case.function(
    np.float32(changed.float().numpy()), case.arrays["subspaces"]
  )
  np.testing.assert_array_equal(found, expected)
