r"""The README's training loop, run as it stands on a small data set.

It needs the library and NumPy alone, so that `tests.release_check` can run it
in an empty environment: ``python readme_loop.py README.md``.
"""

import pathlib
import re
import sys

import jax
import jax.numpy as jnp
import numpy as np

from lelp_jax.models import MODELS


def accuracy(readme: pathlib.Path) -> float:
  """Runs the only Python block of a README; returns the test accuracy."""
  (code,) = re.findall(r"```python\n(.*?)```", readme.read_text(), re.DOTALL)
  rng = np.random.default_rng(0)
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
  return float(np.mean(np.argmax(names["log_probs"], -1) == test_y))


def _blobs(
  rng: np.random.Generator, size: int
) -> tuple[np.ndarray, np.ndarray]:
  """Two classes of two clusters each, far apart."""
  cluster = rng.integers(0, 4, size)
  centres = 4 * np.array([[1, 1], [-1, -1], [1, -1], [-1, 1]])
  x = centres[cluster] + rng.normal(size=(size, 2))
  return x.astype(np.float32), (cluster // 2).astype(np.int32)


if __name__ == "__main__":
  found = accuracy(pathlib.Path(sys.argv[1]))
  print(f"jax {jax.__version__}: accuracy {found:.2f}")
  sys.exit(found < 0.95)
