"""Dividing a data set: merged classes, stratified parts, made-up data."""

import fractions

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.data import load as load_lib
from experiments.data.dataset import Ragged
from experiments.data.datasets import cifar
from experiments.data.datasets import DATASETS
from experiments.data.datasets import made_up
from experiments.specs import DataSpec

LABELS = st.lists(st.integers(0, 4), min_size=2, max_size=60)
SEEDS = st.integers(0, 2**32)


def load(like, **fields):
  fields = {"dataset": "stand_in", "options": {"like": like}} | fields
  return load_lib.load(DataSpec(**fields), "heldout", None)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=8), st.data())
def test_sizes_are_those_of_the_largest_remainders(counts, data):
  total = sum(counts)
  if not total:
    counts, total = [1], 1
  size = data.draw(st.integers(0, total))
  exact = [fractions.Fraction(size * count, total) for count in counts]
  # The textbook's: round down, then one more to the largest remainders.
  expected = [int(share) for share in exact]
  order = sorted(range(len(counts)), key=lambda c: expected[c] - exact[c])
  for c in order[: size - sum(expected)]:
    expected[c] += 1
  assert load_lib.proportional_sizes(counts, size).tolist() == expected


@given(LABELS, SEEDS, st.data())
def test_a_subset_has_its_size_and_every_class_in_proportion(
  labels, seed, data
):
  size = data.draw(st.integers(1, len(labels)))
  positions = load_lib.stratified_subset(labels, size=size, seed=seed)
  assert positions.dtype == np.int64
  assert len(positions) == size
  assert (np.diff(positions) > 0).all()
  assert set(positions) <= set(range(len(labels)))
  for c in set(labels):
    share = size * labels.count(c) / len(labels)
    assert abs(np.sum(np.array(labels)[positions] == c) - share) < 1
  narrow = np.array(labels, np.uint8)
  again = load_lib.stratified_subset(narrow, size=size, seed=seed)
  np.testing.assert_array_equal(positions, again)


@given(LABELS, st.floats(0.05, 0.95), st.integers(1, 20))
def test_a_split_uses_every_example_once(labels, fraction, most):
  size = min(round(fraction * len(labels)), most)
  if not 0 < size < len(labels):
    with pytest.raises(ValueError, match=f" is {size}, "):
      load_lib.heldout_split(labels, fraction=fraction, most=most)
    return
  train, heldout = load_lib.heldout_split(labels, fraction=fraction, most=most)
  assert len(heldout) == size
  assert (np.diff(train) > 0).all()
  np.testing.assert_array_equal(
    np.sort(np.concatenate([train, heldout])), np.arange(len(labels))
  )
  drawn = load_lib.stratified_subset(labels, size=size, seed=0)
  np.testing.assert_array_equal(heldout, drawn)


@given(LABELS, st.data())
def test_groups_are_held_out_whole_and_within_the_share_of_each_class(
  labels, data
):
  groups = data.draw(
    st.lists(st.integers(0, 5), min_size=len(labels), max_size=len(labels))
  )
  size = round(0.5 * len(labels))
  if not 0 < size < len(labels):
    return
  shares = load_lib.proportional_sizes(np.bincount(labels), size)
  sizes = [
    np.bincount(np.array(labels)[np.array(groups) == g], minlength=len(shares))
    for g in sorted(set(groups))
  ]
  if not any((counts <= shares).all() for counts in sizes):
    with pytest.raises(ValueError, match=f"the {size} of {len(labels)} "):
      load_lib.heldout_split(labels, fraction=0.5, groups=groups)
    return
  train, heldout = load_lib.heldout_split(labels, fraction=0.5, groups=groups)
  assert sorted([*train, *heldout]) == list(range(len(labels)))
  assert not {groups[i] for i in train} & {groups[i] for i in heldout}
  counts = np.bincount(np.array(labels)[heldout], minlength=len(shares))
  assert (counts <= shares).all()
  # No further group would fit.
  for group in {groups[i] for i in train}:
    more = np.array(labels)[np.array(groups) == group]
    more = np.bincount(more, minlength=len(shares))
    assert not (counts + more <= shares).all()


def test_groups_leave_the_size_and_the_shares_as_they_are():
  rng = np.random.default_rng(0)
  groups = np.sort(rng.integers(0, 800, size=8000))
  labels = (rng.random(800) < 0.7)[groups] ^ (rng.random(8000) < 0.1)
  _, heldout = load_lib.heldout_split(labels.astype(int), groups=groups)
  assert abs(len(heldout) - 800) <= 4
  assert abs(labels[heldout].mean() - labels.mean()) < 0.01
  sizes = np.bincount(groups)
  # Small groups are not preferred: that would be other phrases.
  assert abs(sizes[groups[heldout]].mean() / sizes[groups].mean() - 1) < 0.1


@pytest.mark.parametrize(
  ("num_examples", "size"), [(50_000, 5000), (8551, 855), (1_590_000, 5000)]
)
def test_heldout_sizes_of_the_paper_s_datasets(num_examples, size):
  labels = np.arange(num_examples) % 2
  train, heldout = load_lib.heldout_split(labels)
  assert (len(train), len(heldout)) == (num_examples - size, size)
  assert abs(np.bincount(labels[heldout])[0] - size / 2) <= 0.5


def test_every_example_can_be_drawn_and_the_seed_decides():
  labels = np.arange(100) % 2
  drawn = [
    load_lib.stratified_subset(labels, size=10, seed=seed)
    for seed in range(200)
  ]
  counts = np.bincount(np.concatenate(drawn), minlength=100)
  # Each is drawn 20 times of 200 on average, by a binomial of sd 4.2.
  assert counts.min() > 0
  assert counts.max() < 20 + 6 * 4.2
  assert len({tuple(d) for d in drawn}) == 200


def test_labelled_subsets_of_one_seed_are_nested():
  labels = np.arange(50_000) % 100
  small, middle, large = (
    set(load_lib.stratified_subset(labels, size=size, seed=3))
    for size in (10_000, 15_000, 20_000)
  )
  assert small < middle < large


@pytest.mark.parametrize("like", DATASETS)
def test_a_stand_in_is_of_its_dataset_s_kind(like):
  task, splits = DATASETS[like].task, load(like)
  assert like in splits.task.name
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
    assert "embeddings" not in splits.without_embeddings().test
    assert "inputs" in splits.without_embeddings().test
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
      cifar.class_of_fine_label(many),
      cifar.class_of_fine_label(few),
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
  classes = cifar.class_of_fine_label(20)
  for number, line in enumerate(GROUPS.split("\n")[1:-1]):
    found = {names[i] for i in np.flatnonzero(classes == number)}
    assert found == set(line.split())
  assert number == 19


@pytest.mark.parametrize(
  ("call", "message"),
  [
    (
      lambda: load_lib.stratified_subset([0, 1], size=0, seed=0),
      "size .* got 0",
    ),
    (
      lambda: load_lib.stratified_subset([0, 1], size=3, seed=0),
      "size .* got 3",
    ),
    (lambda: made_up.make("mnist"), "like='mnist'"),
    (lambda: load("lmrd", options={}), r"data\.options .* 'stand_in'"),
    (lambda: load("cifar100", merge_classes=3), "merge_classes .* got 3"),
    (lambda: load("cifar10", merge_classes=2), "merge_classes .* has 10"),
  ],
)
def test_divisions_that_cannot_be_are_named(call, message):
  with pytest.raises(ValueError, match=message):
    call()
