"""The information of subclasses about fine labels."""

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import adjusted_mutual_info_score

from experiments.training.information import adjusted_mutual_information
from tests.experiments.methods import batches

_CLASSES = np.repeat([0, 1], 30)
_FINE = np.tile([0, 1, 2], 20) + 3 * _CLASSES


@pytest.fixture
def embeddings(rng):
  """Fine labels are corners of a simplex, in both classes."""
  corners = np.eye(4, dtype=np.float32)[_FINE % 3]
  return corners + 0.01 * rng.normal(size=(60, 4)).astype(np.float32)


def _information(embeddings, targets):
  statistics = batches.statistics(embeddings, _CLASSES, np.ones([4, 2]))
  return adjusted_mutual_information(statistics, targets, _FINE)


def test_subclasses_that_are_the_fine_labels_have_information_one(embeddings):
  found = _information(embeddings, {"assignments": _FINE % 3})
  assert found == pytest.approx(1)
  memberships = np.stack([_FINE % 3, _FINE % 3], axis=1)
  found = _information(embeddings, {"memberships": memberships})
  assert found == pytest.approx(1)


def test_the_largest_coordinate_is_the_subclass(embeddings):
  directions = np.broadcast_to(np.eye(4, dtype=np.float32)[:3], (2, 3, 4))
  targets = {
    "directions": jnp.asarray(directions),
    "means": jnp.zeros([2, 4]),
    "where": np.ones((2, 3), bool),
  }
  assert _information(embeddings, targets) == pytest.approx(1)
  # Without the third subclass its examples have the larger of two noises.
  where = np.array([[True, True, False]] * 2)
  found = _information(embeddings, {**targets, "where": where})
  assigned = embeddings[:, :2].argmax(axis=1)
  expected = np.mean(
    [
      adjusted_mutual_info_score(_FINE[_CLASSES == c], assigned[_CLASSES == c])
      for c in range(2)
    ]
  )
  assert found == pytest.approx(expected)
  # An offset that outweighs all coordinates leaves one subclass.
  offsets = jnp.array([[9.0, 0, 0]] * 2)
  found = _information(embeddings, {**targets, "offsets": offsets})
  assert found == pytest.approx(0)


def test_classes_themselves_have_no_information(embeddings):
  found = _information(embeddings, {"assignments": np.zeros(60, int)})
  assert found == pytest.approx(0)


def test_methods_without_subclasses_have_none(embeddings):
  assert _information(embeddings, {}) is None
