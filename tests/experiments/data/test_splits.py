"""Stratified parts: exact sizes, every class in proportion, seeded."""

import doctest
import fractions

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.data import splits

LABELS = st.lists(st.integers(0, 4), min_size=2, max_size=60)
SEEDS = st.integers(0, 2**32)


def test_examples_in_docstrings():
  assert doctest.testmod(splits).failed == 0


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
  assert splits.proportional_sizes(counts, size).tolist() == expected


@given(LABELS, SEEDS, st.data())
def test_a_subset_has_its_size_and_every_class_in_proportion(
  labels, seed, data
):
  size = data.draw(st.integers(1, len(labels)))
  positions = splits.labelled_subset(labels, size=size, seed=seed)
  assert positions.dtype == np.int64
  assert len(positions) == size
  assert (np.diff(positions) > 0).all()
  assert set(positions) <= set(range(len(labels)))
  for c in set(labels):
    share = size * labels.count(c) / len(labels)
    assert abs(np.sum(np.array(labels)[positions] == c) - share) < 1
  again = splits.labelled_subset(np.array(labels), size=size, seed=seed)
  np.testing.assert_array_equal(positions, again)


@given(LABELS, SEEDS, st.floats(0.05, 0.95), st.integers(1, 20))
def test_a_split_uses_every_example_once(labels, seed, fraction, most):
  size = min(round(fraction * len(labels)), most)
  if not 0 < size < len(labels):
    return
  train, heldout = splits.heldout_split(
    labels, fraction=fraction, most=most, seed=seed
  )
  assert len(heldout) == size
  assert (np.diff(train) > 0).all()
  np.testing.assert_array_equal(
    np.sort(np.concatenate([train, heldout])), np.arange(len(labels))
  )
  drawn = splits.labelled_subset(labels, size=size, seed=seed)
  np.testing.assert_array_equal(heldout, drawn)


@pytest.mark.parametrize(
  ("num_examples", "size"), [(50_000, 5000), (8551, 855), (1_590_000, 5000)]
)
def test_heldout_sizes_of_the_paper_s_datasets(num_examples, size):
  labels = np.arange(num_examples) % 2
  train, heldout = splits.heldout_split(labels)
  assert (len(train), len(heldout)) == (num_examples - size, size)
  assert abs(np.bincount(labels[heldout])[0] - size / 2) <= 0.5


def test_every_example_can_be_drawn_and_the_seed_decides():
  labels = np.arange(100) % 2
  drawn = [splits.heldout_split(labels, seed=s)[1] for s in range(200)]
  counts = np.bincount(np.concatenate(drawn), minlength=100)
  # Each is held out 20 times of 200 on average, by a binomial of sd 4.2.
  assert counts.min() > 0
  assert counts.max() < 20 + 6 * 4.2
  assert len({tuple(d) for d in drawn}) == 200


def test_labelled_subsets_of_one_seed_are_nested():
  labels = np.arange(50_000) % 100
  small, middle, large = (
    set(splits.labelled_subset(labels, size=size, seed=3))
    for size in (10_000, 15_000, 20_000)
  )
  assert small < middle < large


def test_labels_may_be_narrow_or_unsigned():
  labels = np.array([0, 1] * 100, np.uint64)
  for dtype in (np.uint8, np.int8, np.int32):
    np.testing.assert_array_equal(
      splits.labelled_subset(labels.astype(dtype), size=50, seed=0),
      splits.labelled_subset(labels, size=50, seed=0),
    )


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"fraction": 0.0}, r"fraction must lie in \(0, 1\), got 0.0"),
    ({"fraction": 1.0}, r"fraction must lie in \(0, 1\), got 1.0"),
    ({"most": 0}, "most must be at least 1, got 0"),
    ({"fraction": 0.01}, "0.01 of 10 examples is 0, and both parts need some"),
    ({"fraction": 0.99}, "0.99 of 10 examples is 10, and both parts need"),
  ],
)
def test_splits_that_cannot_be(options, message):
  with pytest.raises(ValueError, match=message):
    splits.heldout_split([0, 1] * 5, **options)


@pytest.mark.parametrize(
  ("labels", "size", "message"),
  [
    ([0, 1], 0, r"size must lie in \[1, 2\], the number of examples, got 0"),
    ([0, 1], 3, r"size must lie in \[1, 2\], .* got 3"),
    ([0.0, 1.0], 1, r"labels must be ints of shape \[N\], got float64 \[2\]"),
    ([[0, 1]], 1, r"labels must be ints of shape \[N\], got int64 \[1, 2\]"),
    ([0, -1], 1, "labels must be at least 0, got -1"),
  ],
)
def test_subsets_that_cannot_be(labels, size, message):
  with pytest.raises(ValueError, match=message):
    splits.labelled_subset(labels, size=size, seed=0)
