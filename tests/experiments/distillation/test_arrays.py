"""Arrays of another framework: what is wrong with them is named."""

import re

import numpy as np
import pytest

from experiments.distillation.arrays import read_arrays
from tests.experiments.distillation import recorded

_NUM_ROWS = 400


@pytest.fixture(name="arrays")
def fixture_arrays():
  labels = [("bad", "good", "fair")[i % 3] for i in range(_NUM_ROWS)]
  return recorded.outputs(labels)


def refused(tmp_path, arrays, *words):
  """Asserts that the arrays are refused with a line that has these words."""
  folder = recorded.write_arrays(tmp_path / "arrays", arrays)
  with pytest.raises((ValueError, FileNotFoundError)) as error:
    read_arrays(folder)
  message = str(error.value)
  assert "\n" not in message
  for word in words:
    assert re.search(word, message), (word, message)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_arrays_of_any_precision_are_read(tmp_path, arrays, dtype):
  arrays = {name: array.astype(dtype) for name, array in arrays.items()}
  found = read_arrays(recorded.write_arrays(tmp_path / "arrays", arrays))
  np.testing.assert_array_equal(found.embeddings, arrays["embeddings"])
  assert found.kernel.dtype == found.bias.dtype == np.float32
  np.testing.assert_allclose(
    found.embeddings @ found.kernel + found.bias, arrays["logits"], atol=0.05
  )


def test_bfloat16_precision_is_enough(tmp_path, arrays):
  bits = arrays["embeddings"].view(np.uint32) & np.uint32(0xFFFF0000)
  arrays["embeddings"] = bits.view(np.float32)
  read_arrays(recorded.write_arrays(tmp_path / "arrays", arrays))


def test_a_head_without_bias_has_zeros(tmp_path, arrays):
  arrays["logits"] = arrays["logits"] - arrays.pop("head_bias")
  found = read_arrays(recorded.write_arrays(tmp_path / "arrays", arrays))
  np.testing.assert_array_equal(found.bias, np.zeros(3))


@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize(
  ("kernel_shape", "logits_shape"),
  [((-1, 1), (-1, 1)), ((-1, 1), (-1,)), ((-1,), (-1,))],
)
def test_one_logit_becomes_two_classes(
  tmp_path, arrays, kernel_shape, logits_shape, has_bias
):
  kernel, bias = arrays["head_kernel"][:, 1], arrays["head_bias"][1]
  logits = arrays["embeddings"] @ kernel + bias * has_bias
  given = {
    "embeddings": arrays["embeddings"],
    "head_kernel": kernel.reshape(kernel_shape),
    "logits": logits.reshape(logits_shape),
  }
  if has_bias:
    given["head_bias"] = bias
  found = read_arrays(recorded.write_arrays(tmp_path / "arrays", given))
  two = found.embeddings @ found.kernel + found.bias
  np.testing.assert_array_equal(two[:, 0], 0)
  np.testing.assert_allclose(two[:, 1], logits, rtol=1e-5, atol=1e-5)


def log_softmax(x):
  return x - np.log(np.exp(x).sum(axis=1, keepdims=True))


def shuffled(x):
  return np.random.default_rng(0).permutation(x)


def noise(x):
  return np.random.default_rng(0).standard_normal(x.shape).astype(np.float32)


@pytest.mark.parametrize(
  ("name", "change", "words"),
  [
    # Arrays that contradict each other.
    ("head_kernel", np.transpose, r"head_kernel.*transposed"),
    ("head_kernel", noise, "another checkpoint"),
    ("head_bias", lambda x: x[[1, 2, 0]], "not the bias of these logits"),
    ("logits", lambda x: x / 4, "0.25 times as large"),
    ("logits", shuffled, "same rows in another order"),
    ("logits", lambda x: np.exp(log_softmax(x)), "holds probabilities"),
    ("logits", log_softmax, "logarithms of probabilities"),
    ("logits", lambda x: x[:, [1, 2, 0]], r"another order.*\[1, 2, 0\]"),
    ("embeddings", noise, r"embeddings\.npy must hold the inputs"),
    # Arrays that do not fit together.
    ("logits", lambda x: x[:-1], "a row for each example"),
    ("logits", lambda x: x[:, :2], r"logits\.npy is \[400, 2"),
    (
      "logits",
      lambda x: x.argmax(axis=1),
      r"logits\.npy must hold floats .* int64",
    ),
    ("embeddings", lambda x: x[:0], r"\[0, 6\]"),
    ("embeddings", lambda x: x[:, :4], r"embeddings\.npy is \[400, 4"),
    ("embeddings", lambda x: x[:, None], "hidden states of all tokens"),
    ("embeddings", lambda x: x.astype("V2"), "bfloat16"),
    ("embeddings", lambda x: x.astype(object), "Python objects"),
    ("head_bias", lambda x: x[:2], r"head_bias.* \[2\]"),
    ("ids", lambda _: np.zeros(_NUM_ROWS, int), "id 0 more than once"),
    ("ids", lambda _: np.arange(3), r"ids\.npy .* \[3\]"),
  ],
)
def test_wrong_arrays_are_named(tmp_path, arrays, name, change, words):
  arrays[name] = change(arrays.get(name))
  refused(tmp_path, arrays, words)


def test_a_square_transposed_kernel_is_named(tmp_path):
  labels = [str(i % recorded.WIDTH) for i in range(_NUM_ROWS)]
  arrays = recorded.outputs(labels)
  arrays["head_kernel"] = np.ascontiguousarray(arrays["head_kernel"].T)
  refused(tmp_path, arrays, "head_kernel.*transposed")


def test_even_a_small_bias_of_the_wrong_sign_is_named(tmp_path, arrays):
  bias = arrays["head_bias"]
  arrays["logits"] = arrays["logits"] - 0.99 * bias
  arrays["head_bias"] = -0.01 * bias
  refused(tmp_path, arrays, "not the bias of these logits")


def test_a_missing_bias_is_named_with_its_values(tmp_path, arrays):
  bias = arrays.pop("head_bias")
  refused(tmp_path, arrays, "bias is missing", re.escape(f"{bias[0]:.4g}"))


@pytest.mark.parametrize(
  ("name", "activation"),
  [
    ("tanh", np.tanh),
    ("relu", lambda x: np.maximum(x, 0)),
    ("L2 normalization", lambda x: x / np.linalg.norm(x, axis=1)[:, None]),
  ],
)
def test_embeddings_before_an_activation_are_named(
  tmp_path, arrays, name, activation
):
  after = activation(arrays["embeddings"])
  arrays["logits"] = after @ arrays["head_kernel"] + arrays["head_bias"]
  refused(tmp_path, arrays, f"before the {name}")


def test_a_few_wrong_rows_are_named(tmp_path, arrays):
  arrays["logits"][[7, 200]] += 5
  refused(tmp_path, arrays, "2 of 400 rows differ", "row 7 from 0")


def test_rows_that_are_not_finite_are_named(tmp_path, arrays):
  arrays["embeddings"][[3, 50], 2] = np.nan
  refused(tmp_path, arrays, r"embeddings\.npy .* 2 of 400 rows", "3, 50")


def test_missing_logits_are_named(tmp_path, arrays):
  del arrays["logits"]
  refused(tmp_path, arrays, r"there is no .*logits\.npy")


@pytest.mark.parametrize("text", ['{"0": "a"}', "[[1]]", "["])
def test_labels_have_to_be_a_list(tmp_path, arrays, text):
  folder = recorded.write_arrays(tmp_path / "arrays", arrays)
  (folder / "labels.json").write_text(text)
  with pytest.raises(ValueError, match=r"labels\.json"):
    read_arrays(folder)
