"""What a config makes of a dataset: merged classes, parts, stand-ins."""

import os

import numpy as np
import pytest

from experiments.configs import base
from experiments.data import load as load_lib
from experiments.data import merging
from experiments.data import stand_in
from experiments.data.dataset import Ragged
from experiments.data.datasets import DATASETS

DATA = os.environ.get("LELP_DATA")


def load(like, **fields):
  data = base.base_config().data
  data.dataset, data.options.like = "stand_in", like
  data.update(fields)
  return load_lib.load(data.to_dict(), "heldout", None)


@pytest.mark.parametrize("like", DATASETS)
def test_a_stand_in_is_of_its_dataset_s_kind(like):
  task, splits = DATASETS[like].task, load(like)
  assert splits.task.name == f"stand-in for {like}"
  assert splits.task.num_classes == task.num_classes
  assert splits.task.fine_to_class == task.fine_to_class
  assert set(splits.train["labels"]) == set(range(task.num_classes))
  for arrays, size in ((splits.train, 360), (splits.validation, 40)):
    assert {len(array) for array in arrays.values()} == {size}
    if task.fine_to_class:
      fine_to_class = np.array(task.fine_to_class)
      fine = arrays["fine_labels"]
      np.testing.assert_array_equal(arrays["labels"], fine_to_class[fine])
  if task.image_shape:
    assert splits.train["inputs"].shape[1:] == (8, 8, 3)
    assert splits.train["inputs"].dtype == np.uint8
  else:
    assert isinstance(splits.train["inputs"], Ragged)
    assert splits.train["embeddings"].dtype == np.float32
  ids = np.concatenate([splits.train["ids"], splits.test["ids"]])
  assert len(set(ids)) == len(ids)


def test_a_stand_in_can_be_learned():
  # The nearest class mean of the pixels is right more often than not.
  splits = load("cifar10")
  pixels = splits.train["inputs"].reshape(360, -1).astype(np.float64)
  means = np.stack(
    [pixels[splits.train["labels"] == c].mean(0) for c in range(10)]
  )
  test = splits.test["inputs"].reshape(40, 1, -1)
  nearest = np.argmin(((test - means[None]) ** 2).sum(-1), axis=1)
  assert np.mean(nearest == splits.test["labels"]) > 0.9


def test_no_stand_in_for_what_is_no_dataset():
  with pytest.raises(ValueError, match="no data set 'mnist' to stand in for"):
    stand_in.make("mnist")
  with pytest.raises(ValueError, match="do not fit data set 'stand_in'"):
    load_lib.load(
      {**base.base_config().data.to_dict(), "dataset": "stand_in"},
      "heldout",
      None,
    )


@pytest.mark.parametrize("fraction", [0.25, 0.5])
def test_students_see_a_share_with_every_class_in_proportion(fraction):
  whole, part = load("cifar10"), load("cifar10", transfer_fraction=fraction)
  np.testing.assert_array_equal(part.train["ids"], whole.train["ids"])
  assert len(part.transfer["labels"]) == fraction * 360
  assert set(np.bincount(part.transfer["labels"])) == {int(fraction * 36)}
  assert set(part.transfer["ids"]) < set(whole.train["ids"])
  other = load("cifar10", transfer_fraction=fraction, split_seed=1)
  assert set(other.transfer["ids"]) != set(part.transfer["ids"])


def test_students_see_all_examples_or_the_labelled():
  everything = load("cifar10", num_labelled=100)
  assert len(everything.train["labels"]) == 100
  assert len(everything.transfer["labels"]) == 360
  labelled = load("cifar10", num_labelled=100, transfer="labelled")
  for name, array in labelled.transfer.items():
    np.testing.assert_array_equal(array, everything.train[name])


@pytest.mark.parametrize("number", [2, 4, 5, 10, 20, 100])
def test_merged_classes_are_as_many_and_as_large(number):
  splits = load("cifar100", merge_classes=number)
  assert splits.task.num_classes == number
  assert splits.task.fine_names == DATASETS["cifar100"].task.class_names
  sizes = np.bincount(np.array(splits.task.fine_to_class))
  assert set(sizes) == {100 // number}
  for arrays in (splits.train, splits.test):
    fine = np.array(splits.task.fine_to_class)[arrays["fine_labels"]]
    np.testing.assert_array_equal(arrays["labels"], fine)


def test_few_classes_are_unions_of_many():
  for many, few in ((100, 20), (20, 10), (20, 5), (10, 2), (20, 4)):
    pairs = zip(
      merging.class_of_fine_label(many),
      merging.class_of_fine_label(few),
      strict=True,
    )
    assert len(set(pairs)) == many


# https://www.cs.toronto.edu/~kriz/cifar.html
GROUPS = """
beaver dolphin otter seal whale
aquarium_fish flatfish ray shark trout
orchid poppy rose sunflower tulip
bottle bowl can cup plate
apple mushroom orange pear sweet_pepper
clock keyboard lamp telephone television
bed chair couch table wardrobe
bee beetle butterfly caterpillar cockroach
bear leopard lion tiger wolf
bridge castle house road skyscraper
cloud forest mountain plain sea
camel cattle chimpanzee elephant kangaroo
fox porcupine possum raccoon skunk
crab lobster snail spider worm
baby boy girl man woman
crocodile dinosaur lizard snake turtle
hamster mouse rabbit shrew squirrel
maple_tree oak_tree palm_tree pine_tree willow_tree
bicycle bus motorcycle pickup_truck train
lawn_mower rocket streetcar tank tractor
"""


def test_superclasses_are_the_published_ones():
  names = DATASETS["cifar100"].task.class_names
  classes = merging.class_of_fine_label(20)
  for number, line in enumerate(GROUPS.split("\n")[1:-1]):
    found = {names[i] for i in np.flatnonzero(classes == number)}
    assert found == set(line.split())
  assert number == 19


@pytest.mark.skipif(DATA is None, reason="needs LELP_DATA")
def test_superclasses_are_those_of_the_data():
  labels = np.load(f"{DATA}/cifar100/cifar100_labels_all.npz")
  classes = merging.class_of_fine_label(20)
  for split in ("train", "test"):
    np.testing.assert_array_equal(
      classes[labels[f"fine_{split}"]], labels[f"coarse_{split}"]
    )


@pytest.mark.parametrize(
  ("like", "fields", "message"),
  [
    ("cifar100", {"merge_classes": 3}, "must be 100 or a divisor"),
    ("cifar100", {"merge_classes": 1}, "must be 100 or a divisor"),
    ("cifar10", {"merge_classes": 2}, "merges CIFAR-100's 100 classes"),
    ("cifar10", {"transfer": "some"}, r"data\.transfer must be"),
    ("cifar10", {"transfer_fraction": 0.0}, r"transfer_fraction must lie"),
    ("cifar10", {"transfer_fraction": 1.5}, r"transfer_fraction must lie"),
  ],
)
def test_divisions_that_cannot_be_are_named(like, fields, message):
  with pytest.raises(ValueError, match=message):
    load(like, **fields)


def test_what_has_vectors_is_the_same_without_them():
  splits = load("lmrd").without_embeddings()
  for arrays in (splits.train, splits.transfer, splits.validation, splits.test):
    assert "embeddings" not in arrays
    assert "inputs" in arrays
