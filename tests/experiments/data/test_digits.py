"""The digits: real data, disjoint and balanced splits, decided by the seed."""

import numpy as np
import pytest
from sklearn import datasets

from experiments.data.datasets import digits

SIZES = {"train": 1000, "transfer": 100, "validation": 297, "test": 500}


@pytest.fixture(scope="module")
def splits():
  return digits.load(0)


def parts(splits):
  return {name: getattr(splits, name) for name in SIZES}


def test_examples_are_scikit_learns(splits):
  task, original = splits.task, datasets.load_digits()
  assert task.fine_to_class == (0, 1, 0, 1, 0, 1, 0, 1, 0, 1)
  assert (task.image_shape, task.scale) == ((8, 8, 1), 16.0)
  for name, part in parts(splits).items():
    assert {k: v.dtype for k, v in part.items()} == {
      "inputs": np.uint8,
      **dict.fromkeys(("labels", "fine_labels", "ids"), np.int32),
    }
    ids = part["ids"]
    assert ids.shape == (SIZES[name],)
    np.testing.assert_array_equal(part["inputs"][..., 0], original.images[ids])
    np.testing.assert_array_equal(part["fine_labels"], original.target[ids])
    np.testing.assert_array_equal(part["labels"], original.target[ids] % 2)
  assert splits.train["inputs"].max() == splits.task.scale


def test_splits_are_disjoint_and_use_everything(splits):
  ids = [getattr(splits, name)["ids"] for name in ("train", "validation")]
  ids = np.concatenate([*ids, splits.test["ids"]])
  np.testing.assert_array_equal(np.sort(ids), np.arange(1797))
  transfer = splits.transfer["ids"]
  assert len(set(transfer)) == 100
  assert set(transfer) <= set(splits.train["ids"])


@pytest.mark.parametrize("seed", range(5))
def test_digits_are_balanced_in_every_split(seed):
  counts = np.bincount(datasets.load_digits().target)
  sizes = {"num_train": 803, "num_transfer": 77}
  splits = digits.load(seed, **sizes, num_validation=97, num_test=897)
  for part in parts(splits).values():
    share = counts * (len(part["ids"]) / 1797)
    seen = np.bincount(part["fine_labels"], minlength=10)
    assert np.abs(seen - share).max() <= 2


def test_the_seed_decides(splits):
  again, other = digits.load(0), digits.load(1)
  for name, part in parts(splits).items():
    np.testing.assert_array_equal(part["ids"], getattr(again, name)["ids"])
    # Two random sets of n out of 1797 have n * n / 1797 in common.
    size = SIZES[name]
    common = len(set(part["ids"]) & set(getattr(other, name)["ids"]))
    assert abs(common - size * size / 1797) < 6 * np.sqrt(size) * 0.5


@pytest.mark.parametrize(
  ("name", "size"),
  [
    ("num_test", 400),
    ("num_transfer", 1001),
    ("num_transfer", 0),
    ("num_validation", 0),
  ],
)
def test_sizes_that_do_not_add_up(name, size):
  with pytest.raises(ValueError, match=f"= 1797 .*{name}={size}"):
    digits.load(0, **{name: size})
