"""The Large Movie Review Dataset: reviews that are held out together."""

import numpy as np

from experiments.data import load
from experiments.data.datasets import imdb


def test_parts_hold_fifty_consecutive_reviews_of_one_class():
  parts = np.array(imdb.parts([""] * 25_000))
  np.testing.assert_array_equal(parts, np.arange(25_000) // 50)
  labels = np.arange(25_000) // 12_500
  _, heldout = load.heldout_split(labels, groups=parts)
  assert np.bincount(labels[heldout]).tolist() == [1250, 1250]


def test_few_reviews_are_parts_of_their_own():
  assert len(set(imdb.parts([""] * 20))) == 20
