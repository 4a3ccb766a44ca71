"""Subclasses around centroids against float64 distances to them."""

import dataclasses

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

import lelp_jax
from tests import reference

B, C, K, D = 7, 3, 4, 10
project_off_head = jax.jit(
  lelp_jax.project_off_head, static_argnames="null_space"
)


@jax.jit
def _log_split(embeddings, class_logits, centroids, moments, head, scalars):
  variance, beta = scalars
  return lelp_jax.log_subsplit(
    embeddings,
    class_logits,
    lelp_jax.centroid_subspaces(centroids, moments, head, variance=variance),
    temperature=2.0,
    subclass_temperature=beta,
  )


@pytest.fixture(name="case")
def fixture_case(rng):
  """Arguments of `_log_split`; the head's span holds most of the distances."""
  head = rng.normal(size=(D, C)).astype("f")
  span = 5 * rng.normal(size=(C, K, C)) @ head.T
  embeddings = rng.normal(size=(B, D)) + 5 * rng.normal(size=(B, C)) @ head.T
  return {
    "embeddings": (3 + embeddings).astype("f"),
    "class_logits": rng.normal(size=(B, C)).astype("f"),
    "centroids": (3 + rng.normal(size=(C, K, D)) + span).astype("f"),
    "moments": lelp_jax.ClassMoments(
      np.full(C, 9, "f"),
      (3 + rng.normal(size=(C, D))).astype("f"),
      np.zeros((C, D, D), "f"),
    ),
    "head": head,
    "scalars": (1.5, 0.75),
  }


@pytest.mark.parametrize("size", [1, K])  # One is vanilla distillation.
def test_the_split_is_that_of_the_reference(case, size):
  case["centroids"] = case["centroids"][:, :size]
  log_probs = _log_split(**case)
  _, kept = reference.head_bases(case["head"], D)
  for i in range(B):
    logits = np.asarray(case["class_logits"][i], np.float64) / 2
    classes = reference.log_softmax(logits)
    for c in range(C):
      expected = classes[c] + reference.centroid_log_softmax(
        case["embeddings"][i], case["centroids"][c], kept, *case["scalars"]
      )
      np.testing.assert_allclose(log_probs[i, c], expected, atol=2e-4)


@pytest.mark.parametrize(
  ("options", "null_space"),
  [
    ({}, "weights"),
    ({"head_kernel": None}, "none"),
    ({"null_space": "none"}, "none"),
    ({"null_space": "weight_differences"}, "weight_differences"),
  ],
)
def test_fields_are_those_of_the_formula(case, options, null_space):
  """Means are not projected, and the own mean has coordinate b."""
  moments, arguments = case["moments"], {"head_kernel": case["head"], **options}
  found = lelp_jax.centroid_subspaces(
    case["centroids"], moments, variance=1.5, **arguments
  )
  np.testing.assert_array_equal(found.means, moments.mean)
  _, kept = reference.head_bases(case["head"], D, null_space)
  shifts = case["centroids"].astype(float) - np.float64(moments.mean)[:, None]
  shifts = shifts @ kept @ kept.T
  np.testing.assert_allclose(found.directions, shifts / 1.5, atol=3e-5)
  squares = (shifts**2).sum(axis=-1)
  np.testing.assert_allclose(found.offsets, -squares / 3, rtol=2e-5)


def test_offsets_of_zero_change_no_bit(case):
  directions = case["centroids"] / 10
  plain = lelp_jax.Subspaces(directions, case["moments"].mean)
  zero = dataclasses.replace(plain, offsets=np.zeros((C, K), "f"))
  embeddings = case["embeddings"]
  np.testing.assert_array_equal(
    lelp_jax.subspace_coordinates(embeddings, plain),
    lelp_jax.subspace_coordinates(embeddings, zero),
  )


@pytest.mark.parametrize(
  "null_space", ["weights", "weight_differences", "none"]
)
def test_projected_embeddings_are_those_of_the_reference(case, null_space):
  embeddings, head = case["embeddings"], case["head"]
  found = project_off_head(embeddings, head, null_space=null_space)
  _, kept = reference.head_bases(head, D, null_space)
  expected = embeddings.astype(float) @ kept @ kept.T
  np.testing.assert_allclose(found, expected, atol=1e-5)
  one = project_off_head(embeddings[0], head, null_space=null_space)
  np.testing.assert_allclose(one, expected[0], atol=1e-5)


def test_a_large_part_in_the_span_of_the_head_leaves_no_rounding(case):
  """It is projected off twice: once would leave some of it."""
  large = case["embeddings"] + 1e4 * case["head"].sum(axis=1)
  found = np.asarray(project_off_head(large, case["head"]), float)
  assert np.abs(found @ case["head"]).max() < 3e-5


def test_a_head_that_spans_everything_leaves_embeddings_as_they_are(case, rng):
  head = rng.normal(size=(D, D)).astype("f")
  found = project_off_head(case["embeddings"], head)
  np.testing.assert_array_equal(found, case["embeddings"])


def _mean_perplexity(distances, variance, where):
  """In float64, by the formula."""
  found = []
  for row, exists in zip(np.float64(distances), where, strict=True):
    log_probs = reference.log_softmax(-row[exists] / (2 * variance))
    found.append(np.exp(-(np.exp(log_probs) * log_probs).sum()))
  return np.mean(found)


@pytest.mark.parametrize("perplexity", [1.1, 1.5, 2.5])
@pytest.mark.parametrize("masked", [False, True])
def test_the_variance_has_the_perplexity(rng, perplexity, masked):
  distances = 40 + 5 * rng.chisquare(D, (200, K)).astype("f")
  where = np.ones((200, K), bool)
  where[: 50 * masked, 2:] = False
  variance = lelp_jax.variance_of_perplexity(
    distances, where if masked else None, perplexity=perplexity
  )
  found = _mean_perplexity(distances, float(variance), where)
  np.testing.assert_allclose(found, perplexity, rtol=1e-5)
  # A common distance drops out, and the unit does not matter.
  for other, expected in ((distances - 30, 1), (1e-4 * distances, 1e-4)):
    again = lelp_jax.variance_of_perplexity(other, where, perplexity=perplexity)
    np.testing.assert_allclose(again, expected * variance, rtol=1e-4)


@settings(max_examples=20, deadline=None)
@given(
  row=st.integers(0, 29),
  column=st.integers(0, K - 1),
  exponent=st.floats(5, 30),
)
def test_a_far_distance_counts_as_no_cluster(row, column, exponent):
  rng = np.random.default_rng(0)
  distances = 40 + 5 * rng.chisquare(D, (30, K)).astype("f")
  where = np.ones((30, K), bool)
  where[row, column] = False
  expected = lelp_jax.variance_of_perplexity(distances, where)
  distances[row, column] = 10**exponent
  found = lelp_jax.variance_of_perplexity(distances)
  np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_perplexity_that_is_out_of_reach_gives_a_large_variance(rng):
  distances = rng.chisquare(D, (9, 2)).astype("f")
  found = lelp_jax.variance_of_perplexity(distances, perplexity=3.0)
  np.testing.assert_allclose(
    _mean_perplexity(distances, float(found), distances > -1), 2, rtol=1e-6
  )
  without = distances > -1
  without[0] = False  # This example is left out.
  np.testing.assert_array_equal(
    lelp_jax.variance_of_perplexity(distances, without),
    lelp_jax.variance_of_perplexity(distances[1:]),
  )
  for one in (distances[:, :1], np.ones_like(distances)):
    assert np.isfinite(lelp_jax.variance_of_perplexity(one, perplexity=3.0))
