import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lelp_jax.metrics import accuracy
from lelp_jax.metrics import agreement
from lelp_jax.metrics import calibration_bins
from lelp_jax.metrics import compute
from lelp_jax.metrics import confusion_matrix
from lelp_jax.metrics import expected_calibration_error
from lelp_jax.metrics import log_loss
from lelp_jax.metrics import macro_f1
from lelp_jax.metrics import matthews_correlation
from lelp_jax.metrics import Mean
from lelp_jax.metrics import merge
from tests.lelp_jax import baseline_reference


def test_mean_over_uneven_batches_is_the_mean_over_examples(rng):
  values = rng.normal(size=11).astype(np.float32)
  totals = {}
  for part in np.split(values, [4, 9]):
    totals = merge(totals, {"value": Mean.of(jnp.asarray(part))})
  np.testing.assert_allclose(compute(totals)["value"], values.mean(), rtol=1e-5)
  assert int(totals["value"].count) == 11


def test_mean_sums_in_float32():
  values = jnp.ones(1000, jnp.bfloat16)  # Whose own sums stop at 256.
  mean = Mean.of(values)
  assert mean.total.dtype == jnp.float32
  assert mean.count.dtype == jnp.int32
  assert float(mean.total) == 1000
  assert float(Mean.of(jnp.array([True, False])).total) == 1


def test_mean_counts_single_examples_past_the_digits_of_float32():
  one = {"x": Mean.of(jnp.ones(1))}
  many = {"x": Mean(jnp.float32(2**24), jnp.int32(2**24), jnp.float32(0))}
  for _ in range(5):
    many = merge(many, one)
  assert int(many["x"].count) == 2**24 + 5
  total = np.float64(many["x"].total) + np.float64(many["x"].remainder)
  assert total == 2**24 + 5
  assert float(compute(many)["x"]) == 1


def test_mean_keeps_infinity():
  mean = merge(
    {"x": Mean.of(jnp.array([jnp.inf]))}, {"x": Mean.of(jnp.ones(1))}
  )
  assert float(compute(mean)["x"]) == np.inf


def test_mean_of_nothing_is_nan():
  mean = Mean.of(jnp.ones(3), jnp.zeros(3, bool))
  assert (float(mean.total), int(mean.count)) == (0.0, 0)
  assert np.isnan(compute({"x": mean})["x"])


def test_merge_is_associative_with_a_neutral_element():
  a, b, c = ({"x": Mean.of(jnp.arange(n, dtype=float))} for n in (1, 2, 3))
  left, right = merge(merge(a, b), c), merge(a, merge(b, c))
  assert left == right
  np.testing.assert_allclose(compute(left)["x"], 4 / 6, rtol=1e-6)
  assert merge({}, a) == merge(a, {}) == a
  both = merge({"y": a["x"]}, b)
  assert both == {"x": b["x"], "y": a["x"]}


def test_accuracy_counts_the_first_of_equals():
  logits = jnp.array([[0.0, 2.0, 1.0], [1.0, 1.0, 0.0], [0.0, 0.0, 3.0]])
  values = jax.jit(accuracy)(logits, jnp.array([1, 1, 2]))
  assert values.dtype == jnp.float32
  np.testing.assert_array_equal(values, [1, 0, 1])


@pytest.mark.parametrize("num_classes", [3, 300])
def test_accuracy_of_labels_of_a_narrow_type(num_classes):
  # Prediction 299 is not label 43, as it would be in 8 bits.
  predictions = np.array([1, num_classes - 1])
  logits = np.eye(num_classes, dtype=np.float32)[predictions]
  labels = jnp.asarray([1, (num_classes - 1) % 256], jnp.uint8)
  expected = [1, float(num_classes < 256)]
  np.testing.assert_array_equal(accuracy(logits, labels), expected)


def test_agreement_compares_predictions():
  student = jnp.array([[0.0, 2.0], [1.0, 0.0]], jnp.bfloat16)
  values = agreement(student, jnp.array([[-5.0, 1.0], [0.0, 9.0]]))
  assert values.dtype == jnp.float32
  np.testing.assert_array_equal(values, [1, 0])


def test_log_loss_of_nan_in_another_class_is_nan():
  log_probs = jnp.array([[jnp.nan, -1.0], [-2.0, -1.0]])
  found = log_loss(log_probs, jnp.array([1, 1]))
  np.testing.assert_array_equal(found, [np.nan, 1])


def made_predictions(size, num_classes):
  """Log probabilities in float64 that prefer the class, and labels."""
  # The last class is the most frequent.
  labels = np.minimum(np.arange(size) % (num_classes + 2), num_classes - 1)
  logits = 3 * baseline_reference.golden(size, num_classes, 0.9, 1.3)
  logits += 2 * np.eye(num_classes)[labels]
  return logits - np.logaddexp.reduce(logits, axis=1, keepdims=True), labels


# Confusion matrix, macro F1, Matthews correlation and log loss of
# scikit-learn 1.9.1, by the number of classes.
SCIKIT_LEARN = {
  2: ([[99, 26], [82, 293]], 0.7457196135, 0.5165866797, 0.3211311356),
  7: (
    [
      [23, 0, 6, 6, 9, 12, 0],
      [0, 18, 0, 6, 9, 12, 11],
      [6, 1, 17, 0, 10, 12, 10],
      [5, 6, 1, 21, 0, 12, 11],
      [6, 6, 5, 1, 27, 0, 11],
      [6, 6, 6, 6, 0, 31, 0],
      [0, 18, 18, 18, 27, 0, 84],
    ],
    0.4121408222,
    0.3323589071,
    1.9380954514,
  ),
}


@pytest.mark.parametrize("num_classes", SCIKIT_LEARN)
def test_scores_are_those_of_scikit_learn(num_classes):
  expected, f1, correlation, loss = SCIKIT_LEARN[num_classes]
  log_probs, labels = made_predictions(500, num_classes)
  # As float32, in two batches of which one is padded.
  padded = np.append(log_probs, np.zeros((4, num_classes)), 0).astype("f")
  targets = np.append(labels, [-1, 9, -1, 9])
  batches = [slice(0, 300), slice(300, None)]
  confusion = sum(
    np.asarray(jax.jit(confusion_matrix)(padded[b], targets[b]))
    for b in batches
  )
  np.testing.assert_array_equal(confusion, expected)
  np.testing.assert_allclose(jax.jit(macro_f1)(confusion), f1, rtol=1e-6)
  found = jax.jit(matthews_correlation)(confusion)
  np.testing.assert_allclose(found, correlation, rtol=1e-5)
  losses = np.asarray(jax.jit(log_loss)(padded, targets))
  np.testing.assert_allclose(losses[:-4].mean(), loss, rtol=1e-6)
  assert np.isnan(losses[-4:]).all()


def test_calibration_error_is_that_of_plain_loops():
  log_probs, labels = made_predictions(400, 3)
  # Guo et al. (2017), eq. (3), with 10 bins.
  expected = 0.0
  confidences = np.exp(log_probs.max(axis=1))
  hits = log_probs.argmax(axis=1) == labels
  for low in np.arange(10) / 10:
    inside = (confidences > low) & (confidences <= low + 0.1)
    if inside.any():
      distance = abs(hits[inside].mean() - confidences[inside].mean())
      expected += inside.sum() / 400 * distance
  batches = [slice(0, 300), slice(300, None)]
  bins_of = jax.jit(calibration_bins, static_argnames="num_bins")
  bins = sum(
    np.asarray(bins_of(np.float32(log_probs[b]), labels[b], num_bins=10))
    for b in batches
  )
  found = jax.jit(expected_calibration_error)(bins)
  np.testing.assert_allclose(found, expected, rtol=1e-5)
  np.testing.assert_allclose(bins.sum(0)[::2], [400, hits.sum()])
  # Confidences of zero and one are in the first and the last bin.
  sure = np.float32([[0.0, -np.inf], [-np.inf, -np.inf], [np.nan, 0.0]])
  ends = bins_of(sure, np.array([0, 1, 1]), num_bins=2)
  np.testing.assert_array_equal(ends, [[1, 0, 0], [1, 1, 1]])


@pytest.mark.parametrize(
  ("confusion", "f1", "correlation"),
  [
    ([[3, 0], [0, 2]], 1.0, 1.0),
    ([[0, 3], [2, 0]], 0.0, -1.0),
    ([[3, 0], [2, 0]], 0.375, 0.0),  # Only one class is predicted.
    ([[3, 0], [0, 0]], 1.0, 0.0),  # The other class does not occur.
    ([[0, 0], [0, 0]], np.nan, np.nan),
  ],
)
def test_scores_of_extreme_confusion_matrices(confusion, f1, correlation):
  confusion = np.array(confusion)
  np.testing.assert_allclose(jax.jit(macro_f1)(confusion), f1)
  found = jax.jit(matthews_correlation)(confusion)
  np.testing.assert_allclose(found, correlation, atol=1e-6)


def test_scores_refuse_other_shapes():
  with pytest.raises(ValueError, match="confusion"):
    macro_f1(jnp.ones((2, 3)))
  with pytest.raises(ValueError, match="bins"):
    expected_calibration_error(jnp.ones(3))
  with pytest.raises(ValueError, match="labels"):
    confusion_matrix(jnp.ones((3, 2)), jnp.array([1]))
