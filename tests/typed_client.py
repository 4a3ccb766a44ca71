"""A typed program that uses the library, for type checkers.

`tests.release_check` has mypy and pyrefly check it against the installed wheel,
and runs it.
"""

import jax
import jax.numpy as jnp

import lelp_jax
from lelp_jax import baselines
from lelp_jax import metrics
from lelp_jax import models


def fit(
  embeddings: jax.Array, labels: jax.Array, head: models.Head
) -> lelp_jax.Subspaces:
  """Fits subspaces to two halves of the embeddings."""
  moments: lelp_jax.ClassMoments = lelp_jax.merge_moments(
    lelp_jax.class_moments(embeddings[::2], labels[::2], num_classes=2),
    lelp_jax.class_moments(embeddings[1::2], labels[1::2], num_classes=2),
  )
  return lelp_jax.fit_subspaces_from_moments(
    moments, head.kernel, num_subclasses=3, key=jax.random.key(0)
  )


def loss(
  student: models.Outputs,
  teacher: models.Outputs,
  subspaces: lelp_jax.Subspaces,
) -> jax.Array:
  """Returns the sum of LELP's loss and that of vanilla distillation."""
  targets: jax.Array = lelp_jax.log_subsplit(
    teacher.embeddings,
    teacher.logits,
    subspaces,
    temperature=2.0,
    subclass_temperature=4.0,
  )
  lelp = lelp_jax.lelp_loss(student.logits, targets, temperature=2.0)
  classes = lelp_jax.class_log_probs(
    student.logits, num_classes=2, temperature=2.0
  )
  return lelp + baselines.kd_loss(classes, teacher.logits, temperature=2.0)


def main() -> None:
  """Takes one step of gradient descent."""
  x: jax.Array = jax.random.normal(jax.random.key(1), (40, 4))
  labels: jax.Array = jnp.arange(40) % 2
  model: models.ModelFns = models.MODELS["mlp"](2, features=(8,))
  params, model_state = model.init(jax.random.key(2), x)
  teacher, _ = model.apply(params, model_state, x)
  subspaces = fit(teacher.embeddings, labels, model.head(params))
  student = models.MODELS["mlp"](6, features=(8,))
  weights, _ = student.init(jax.random.key(3), x)

  def mean_loss(weights: object) -> jax.Array:
    outputs: models.Outputs = student.apply(weights, {}, x)[0]
    return loss(outputs, teacher, subspaces).mean()

  gradient = jax.grad(mean_loss)(weights)
  weights = jax.tree.map(lambda w, g: w - 0.1 * g, weights, gradient)
  accuracy: jax.Array = metrics.accuracy(teacher.logits, labels).mean()
  print(f"accuracy {float(accuracy):.2f}")


if __name__ == "__main__":
  main()
