"""How the paper trains: appendix H, as read from its text."""

import pytest

from experiments.paper import recipes
from experiments.paper import tables
from experiments.specs import ModelSpec

COLUMNS = [
  column
  for number in range(1, 6)
  for column in tables.paper_table(number).columns
]
IMAGES = ("cifar10_bin", "cifar100_bin", "cifar10", "cifar100")
BESIDES = {"epochs", "schedule_epochs", "schedule_factors"}


def expect(fields, **expected):
  assert {name: fields[name] for name in expected} == expected


def test_fields_are_those_of_a_config():
  for column in COLUMNS:
    for role in ("teacher", "student"):
      fields = recipes.recipe(getattr(column, role), column.dataset, role)
      assert set(fields) - BESIDES <= set(vars(ModelSpec()))
      assert BESIDES <= set(fields)
      assert fields.keys() == recipes.recipe("resnet56", "cifar10", role).keys()


@pytest.mark.parametrize("dataset", IMAGES)
def test_images(dataset):
  for model in ("resnet92", "resnet56", "mobilenet", "mobilenet_wd2"):
    fields = recipes.recipe(model, dataset, "student")
    expect(fields, epochs=200, max_shift=0.1, flip=True, weight_decay=1e-4)
    assert fields == recipes.recipe(model, dataset, "teacher")


def test_residual_networks():
  common_fields = {"optimizer": "sgd", "momentum": 0.9, "schedule": "cosine"}
  for model, nesterov, rate in (
    ("resnet92", False, 1e-3),
    ("resnet56", True, 5e-2),
  ):
    fields = recipes.recipe(model, "cifar100", "teacher")
    expect(fields, nesterov=nesterov, learning_rate=rate, batch_size=256)
    expect(fields, schedule_epochs=(), schedule_factors=(), **common_fields)


def keras_rate(epoch):
  """`lr_schedule` of Keras' cifar10_resnet example; the first epoch is 0."""
  for after, factor in ((180, 0.5e-3), (160, 1e-3), (120, 1e-2), (80, 1e-1)):
    if epoch > after:
      return 1e-3 * factor
  return 1e-3


@pytest.mark.parametrize("model", ["mobilenet", "mobilenet_wd2"])
def test_mobilenets(model):
  fields = recipes.recipe(model, "cifar10_bin", "teacher")
  expect(fields, optimizer="adam", learning_rate=1e-3, batch_size=128)
  expect(fields, schedule="piecewise_constant", nesterov=False)
  expect(fields, momentum=ModelSpec().momentum)
  starts = (0, *fields["schedule_epochs"])
  factors = (1.0, *fields["schedule_factors"])
  for epoch in range(200):
    last = max(i for i, start in enumerate(starts) if epoch >= start)
    rate = fields["learning_rate"] * factors[last]
    assert rate == pytest.approx(keras_rate(epoch), rel=1e-12), epoch


@pytest.mark.parametrize(
  ("dataset", "teacher", "student"),
  [
    ("glue_cola", (2, 1e-5), (40, 1e-6)),
    ("glue_sst2", (3, 1e-5), (40, 1e-6)),
    ("lmrd", (3, 1e-5), (40, 1e-6)),
    ("amazon", (2, 1e-6), (2, 1e-6)),
    ("amazon_bin", (2, 1e-6), (2, 1e-6)),
    ("sentiment140_bin", (1, 1e-6), (1, 1e-6)),
  ],
)
def test_texts(dataset, teacher, student):
  for model, role, (epochs, rate) in (
    ("albert_xxlarge", "teacher", teacher),
    ("albert_base", "student", student),
    ("mlp", "student", student),
  ):
    fields = recipes.recipe(model, dataset, role)
    expect(fields, epochs=epochs, learning_rate=rate, batch_size=64)
    expect(fields, optimizer="adam", schedule="constant", weight_decay=0.0)
    expect(fields, max_shift=0.0, flip=False)
    expect(fields, momentum=ModelSpec().momentum, nesterov=False)


def test_rate_of_resnet92_is_a_switch():
  for name, rate in (("printed", 1e-3), ("as_resnet56", 5e-2), ("usual", 0.1)):
    fields = recipes.recipe(
      "resnet92", "cifar10", "teacher", resnet92_rate=name
    )
    assert fields["learning_rate"] == rate
    other = recipes.recipe("resnet56", "cifar10", "student", resnet92_rate=name)
    assert other["learning_rate"] == 5e-2


def test_pretraining():
  for column in COLUMNS:
    images = column.dataset in IMAGES
    assert recipes.pretraining(column.dataset) == {
      "optimizer": "adam",
      "learning_rate": 1e-3 if images else 1e-6,
      "schedule": "constant",
      "epochs": 200 if images else 40,
    }


def test_a_caller_may_change_what_is_returned():
  recipes.recipe("resnet92", "cifar10", "teacher")["epochs"] = 1
  recipes.pretraining("cifar10")["epochs"] = 1
  assert recipes.recipe("resnet92", "cifar10", "teacher")["epochs"] == 200
  assert recipes.pretraining("cifar10")["epochs"] == 200


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    (("resnet92", "digits", "teacher"), "'digits'"),
    (("cnn", "cifar10", "student"), "cifar10 .*'cnn'"),
    (("mlp", "lmrd", "pupil"), "role 'pupil'"),
  ],
)
def test_no_such_recipe(arguments, message):
  with pytest.raises(ValueError, match=message):
    recipes.recipe(*arguments)
