"""What labels tell of each other, against float64 and counting by hand."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from lelp_jax import information

R, K = 3, 4
table = functools.partial(
  information.contingency_table, num_rows=R, num_columns=K
)
mutual_information = information.mutual_information
normalized = information.normalized_mutual_information


def reference(counts):
  """Mutual information in nats, term by term."""
  p = np.asarray(counts, np.float64) / max(1, np.sum(counts))
  total = 0.0
  for row in p:
    for j, joint in enumerate(row):
      if joint > 0:
        total += joint * math.log(joint / (row.sum() * p[:, j].sum()))
  return total


def labels(counts):
  """Pairs of labels that have these counts."""
  rows, columns = np.indices(counts.shape).reshape(2, -1)
  return np.repeat(rows, counts.ravel()), np.repeat(columns, counts.ravel())


COUNTS = st.lists(st.integers(0, 50), min_size=R * K, max_size=R * K).map(
  lambda values: np.array(values).reshape(R, K)
)


@settings(deadline=None, max_examples=50)
@given(counts=COUNTS)
def test_information_of_any_table(counts):
  nats = float(mutual_information(counts))
  assert nats == pytest.approx(reference(counts), abs=2e-6)
  rows, columns = labels(counts)
  # Scikit-learn calls two labels that do not vary the same, we call that 0.
  if len(set(rows)) < 2 and len(set(columns)) < 2:
    assert float(normalized(counts)) == 0
    return
  assert nats == pytest.approx(
    sklearn_metrics.mutual_info_score(rows, columns), abs=2e-6
  )
  assert float(normalized(counts)) == pytest.approx(
    sklearn_metrics.normalized_mutual_info_score(rows, columns), abs=1e-5
  )


def test_counts_are_those_that_the_labels_were_made_from(rng):
  counts = rng.multinomial(100, np.full(R * K, 1 / (R * K))).reshape(R, K)
  order = rng.permutation(100)
  rows, columns = (x[order] for x in labels(counts))
  found = table(rows, columns)
  assert found.dtype == jnp.int32
  np.testing.assert_array_equal(found, counts)


@settings(deadline=None, max_examples=20)
@given(counts=COUNTS, seed=st.integers(0, 2**16))
def test_names_and_sides_do_not_matter(counts, seed):
  rng = np.random.default_rng(seed)
  shuffled = counts[rng.permutation(R)][:, rng.permutation(K)]
  for function in (mutual_information, normalized):
    value = float(function(counts))
    assert float(function(shuffled)) == pytest.approx(value, abs=1e-6)
    assert float(function(counts.T)) == pytest.approx(value, abs=1e-6)


def test_the_ends_of_the_scale_and_a_stack():
  same = np.diag([1, 10**6, 10**6])
  apart = np.outer([1, 20, 3], [4, 5, 60])
  stacked = np.stack([same, apart, 0 * same])
  nats = mutual_information(stacked)
  assert nats.dtype == jnp.float32
  expected = [reference(same), 0, 0]
  np.testing.assert_allclose(nats, expected, rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(normalized(stacked), [1, 0, 0], atol=1e-6)


def test_permutations_keep_every_total_and_shuffle_inside_groups(rng):
  groups = rng.integers(2, size=300)
  rows = groups + 2 * rng.integers(2, size=300)
  columns = groups * 2 + rng.integers(2, size=300)
  shuffled = functools.partial(
    information.permuted_contingency_tables,
    num_rows=4,
    num_columns=4,
    num_permutations=50,
  )
  true = information.contingency_table(rows, columns, num_rows=4, num_columns=4)
  freely = shuffled(jax.random.key(3), rows, columns)
  inside = shuffled(jax.random.key(4), rows, columns, groups=groups)
  for tables in (freely, inside):
    assert tables.shape == (50, 4, 4)
    assert (tables.sum(axis=2) == true.sum(axis=1)[None]).all()
    assert (tables.sum(axis=1) == true.sum(axis=0)[None]).all()
    assert len(np.unique(np.asarray(tables), axis=0)) > 40
  # What never occurs together in one group still does not.
  assert (inside[:, true == 0] == 0).all()
  assert (freely[:, true == 0] > 0).any()


def test_shuffled_labels_tell_what_chance_does(rng):
  rows, columns = rng.integers(R, size=400), rng.integers(K, size=400)
  tables = information.permuted_contingency_tables(
    jax.random.key(0),
    rows,
    columns,
    num_rows=R,
    num_columns=K,
    num_permutations=400,
  )
  mean = float(mutual_information(tables).mean())
  # The first term of its expansion; the next is of order 1 / N^2.
  assert mean == pytest.approx((R - 1) * (K - 1) / (2 * 400), rel=0.1)


def test_arguments_that_do_not_fit():
  ones = jnp.ones(3, int)
  with pytest.raises(TypeError, match="rows must hold integers"):
    table(jnp.ones(3), ones)
  with pytest.raises(ValueError, match=r"columns must lie in \[0, 4\)"):
    table(ones, 4 * ones)
  with pytest.raises(ValueError, match=r"shape of rows, \(3,\), got \(2,\)"):
    table(ones, ones[:2])
  with pytest.raises(ValueError, match=r"rows must have shape \[N\]"):
    table(ones[None], ones[None])
  with pytest.raises(ValueError, match="num_rows must be at least 1"):
    information.contingency_table(ones, ones, num_rows=0, num_columns=2)
  with pytest.raises(ValueError, match=r"\[..., R, K\], got shape \(3,\)"):
    mutual_information(ones)
  with pytest.raises(ValueError, match="groups must have the shape of rows"):
    information.permuted_contingency_tables(
      jax.random.key(0),
      ones,
      ones,
      num_rows=2,
      num_columns=2,
      num_permutations=2,
      groups=ones[:2],
    )
