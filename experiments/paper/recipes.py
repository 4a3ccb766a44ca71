"""Training recipes of the paper, by model and data set (appendix H)."""

from collections.abc import Iterable
from collections.abc import Mapping
from typing import Any

from experiments.paper.names import read


def recipe(
  model: str, dataset: str, role: str, *, resnet92_rate: str = "printed"
) -> dict[str, Any]:
  """Returns the paper's recipe for training a model.

  Args:
    model: A key of `lelp_jax.models.MODELS` that the paper trains.
    dataset: A data set of the paper.
    role: "teacher" or "student".
    resnet92_rate: Learning rate of ResNet-92: "printed" (1e-3, which looks
      like a misprint), "as_resnet56" (5e-2) or "usual" (1e-1) (A-21).

  Returns:
    Fields of `experiments.specs.ModelSpec`, and in addition:

    * ``epochs``: Passes over the training examples.
    * ``schedule_epochs``, ``schedule_factors``: Parameters of the schedule
      "piecewise_constant": after ``schedule_epochs[i]`` epochs the rate is the
      initial one times ``schedule_factors[i]`` (A-21b). Otherwise empty.

    "cosine" ends at 1e-6. The paper does not state a weight decay (A-22).

  Examples:
    >>> fields = recipe("resnet56", "cifar10_bin", "student")
    >>> fields["optimizer"], fields["learning_rate"], fields["epochs"]
    ('sgd', 0.05, 200)
  """
  kind, rates = _kind(dataset), read("recipes")["resnet92_rates"]
  _check(f"{dataset} model", model, kind["models"])
  _check("role", role, ("teacher", "student"))
  _check("resnet92_rate", resnet92_rate, rates)
  if kind is read("recipes")["images"]:
    own = kind["models"][model]
  else:
    own = kind["datasets"][dataset][role]
  fields = {**read("recipes")["unused"], **kind["all"], **own}
  if model == "resnet92":
    fields["learning_rate"] = rates[resnet92_rate]
  return {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}


def datasets() -> tuple[str, ...]:
  """Returns the data sets that the paper trains models on.

  Examples:
    >>> datasets()[:2]
    ('cifar10_bin', 'cifar100_bin')
  """
  kinds = read("recipes")["images"], read("recipes")["texts"]
  return tuple(name for kind in kinds for name in kind["datasets"])


def models(dataset: str) -> tuple[str, ...]:
  """Returns the models that the paper trains on images or on texts.

  Examples:
    >>> models("cifar10")
    ('resnet92', 'resnet56', 'mobilenet', 'mobilenet_wd2')
  """
  return tuple(_kind(dataset)["models"])


def pretraining(dataset: str) -> dict[str, Any]:
  """Returns the recipe for pre-training FitNet's and CRD's projection (A-24).

  The paper does not state the batch size and the other fields, which are
  therefore those of the student.

  Examples:
    >>> pretraining("lmrd")["learning_rate"]
    1e-06
  """
  return dict(_kind(dataset)["pretraining"])


def _kind(dataset: str) -> Mapping[str, Any]:
  kinds = read("recipes")["images"], read("recipes")["texts"]
  _check("dataset", dataset, datasets())
  return next(kind for kind in kinds if dataset in kind["datasets"])


def _check(what: str, given: str, known: Iterable[str]) -> None:
  if given not in known:
    raise ValueError(
      f"the paper has no {what} {given!r}; it has {sorted(known)}."
    )
