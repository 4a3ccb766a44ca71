"""The README's code runs as it stands."""

import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np

from lelp_jax.models import MODELS

_README = pathlib.Path(__file__).parents[1] / "README.md"


def _blobs(
  rng: np.random.Generator, size: int
) -> tuple[np.ndarray, np.ndarray]:
  """Two classes of two clusters each, far apart."""
  cluster = rng.integers(0, 4, size)
  centres = 4 * np.array([[1, 1], [-1, -1], [1, -1], [-1, 1]])
  x = centres[cluster] + rng.normal(size=(size, 2))
  return x.astype(np.float32), (cluster // 2).astype(np.int32)


def test_the_loop_of_the_readme_distils(rng):
  (code,) = re.findall(r"```python\n(.*?)```", _README.read_text(), re.DOTALL)
  train_x, train_y = _blobs(rng, 200)
  test_x, test_y = _blobs(rng, 200)
  # A teacher that knows the classes, and more than them.
  features = jnp.asarray(rng.normal(size=(2, 12)), jnp.float32)
  kernel = jnp.concatenate([jnp.array([[1.0, -1.0]]), jnp.zeros((12, 2))])

  def teacher(x):
    product = x[:, :1] * x[:, 1:] / 4  # Positive for class 0.
    h = jnp.concatenate([product, jnp.tanh(x @ features)], axis=-1)
    return h, h @ kernel

  student = MODELS["mlp"](2 * 5, features=(32,))
  params, _ = student.init(jax.random.key(1), train_x[:1])
  names = {
    "teacher": teacher,
    "head_kernel": kernel,
    "student": lambda params, x: student.apply(params, {}, x)[0].logits,
    "params": params,
    "train_x": train_x,
    "train_y": train_y,
    "test_x": test_x,
    "batches": [train_x[i % 4 :: 4] for i in range(200)],
  }
  exec(code, names)
  accuracy = np.mean(np.argmax(names["log_probs"], -1) == test_y)
  assert accuracy > 0.95
  # The commands that the README names exist.
  makefile = (_README.parent / "Makefile").read_text()
  for target in re.findall(r"`?make ([a-z]+)", _README.read_text()):
    assert f"\n{target}:" in makefile, target
