"""Errors about arguments: one short line that names the argument."""

import dataclasses
import fractions
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import lelp_jax
from lelp_jax import baselines
from lelp_jax import calibration
from lelp_jax import metrics
from tests import reference
from tests.lelp_jax.function_cases import B
from tests.lelp_jax.function_cases import C
from tests.lelp_jax.function_cases import CASES
from tests.lelp_jax.function_cases import D
from tests.lelp_jax.function_cases import M
from tests.lelp_jax.function_cases import S

CALLS = {case.function: case.arguments for case in CASES.values()}
every_function = pytest.mark.parametrize(
  "function", CALLS, ids=lambda function: function.__qualname__
)
_MOMENTS = CALLS[lelp_jax.merge_moments]["a"]
_SUBSPACES = CALLS[lelp_jax.log_subsplit]["subspaces"]
_BANK = CALLS[baselines.crd_bank_loss]["bank"]
_KEY = CALLS[lelp_jax.fit_subspaces]["key"]
_HEAD = CALLS[lelp_jax.fit_subspaces]["head_kernel"]
_EMPTY = np.ones((0, S), "f")
_SLOPE = np.linspace(-1, 1, B, dtype=np.float32)
_NAN = np.full((C, S, D), np.nan, "f")


def refused(function, error, **changes):
  """The message of a call with some arguments replaced."""
  with pytest.raises(error) as raised:
    function(**{**CALLS[function], **changes})
  message = str(raised.value)
  assert "\n" not in message
  assert len(message) < 280, message
  return message


def accepted(function, **arguments):
  """Traces a call, which looks at the values of its arguments.

  It does not look at those that it computes, such as moments of embeddings.
  """
  arrays = jax.tree.map(
    lambda x: jnp.asarray(x) if isinstance(x, np.ndarray) else x, arguments
  )
  jax.eval_shape(lambda: function(**arrays))


@every_function
def test_the_calls_are_valid(function):
  accepted(function, **CALLS[function])


# --- Arguments of a wrong type -----------------------------------------------


class Frame:
  """Stands for a DataFrame, whose text is its data."""

  shape = (1000, 6)

  def to_numpy(self):
    raise AssertionError("not converted for the user")

  def __repr__(self):
    return "0.123 " * 6000


WRONG = {
  "a list": np.ones((1000, 6)).tolist(),
  "a DataFrame": Frame(),
  "a str": "2" * 5000,
  "a dict": {"kernel": np.ones((6, 3)), "bias": np.ones(3)},
  "a tuple": (np.ones((6, 3)), np.ones(3)),
  "a big-endian array": np.ones((6, 3), ">f4"),
  "an object array": np.array([None, "a"] * 3, dtype=object),
  "an int": 0,
  "None": None,
}
_POSITIVE = {
  "calibration_temperature",
  "temperature",
  "subclass_temperature",
  "dataset_size",
  "floor",
  "rtol",
  "variance",
}
# None is a value that these arguments have.
_OPTIONAL = "head_kernel", "bias", "key", "where"


@every_function
def test_arguments_of_a_wrong_type(function):
  for argument in CALLS[function]:
    for kind, value in WRONG.items():
      if kind == "None" and argument in _OPTIONAL:
        continue
      if kind == "an int" and (
        argument in ("values", "num_classes", "bias")
        or isinstance(CALLS[function][argument], int | float)
      ):
        continue
      message = refused(function, (TypeError, ValueError), **{argument: value})
      assert message.startswith(f"{argument} must"), message
      assert "0.123" not in message


_CONTAINERS = [
  (function, argument)
  for function, arguments in CALLS.items()
  for argument, value in arguments.items()
  if dataclasses.is_dataclass(value)
]


@pytest.mark.parametrize(
  ("function", "argument"),
  _CONTAINERS,
  ids=lambda value: getattr(value, "__qualname__", value),
)
def test_fields_of_a_wrong_type_or_shape(function, argument):
  container = CALLS[function][argument]
  for field in dataclasses.fields(container):
    value = getattr(container, field.name)
    name = f"{argument}.{field.name}"
    wrong = {
      **WRONG,
      "nested lists": np.ones((50, 20)).tolist(),
      "bools": np.ones(np.shape(value), bool),
    }
    for kind, array in wrong.items():
      if kind == "None" and field.default is None:
        continue
      changed = {
        argument: dataclasses.replace(container, **{field.name: array})
      }
      message = refused(function, (TypeError, ValueError), **changed)
      assert message.startswith(f"{name} must"), message
    if value is not None:
      changed = {
        argument: dataclasses.replace(
          container, **{field.name: value[..., None]}
        )
      }
      message = refused(function, ValueError, **changed)
      assert message.startswith(f"{name} must have shape"), message


def test_a_key_for_each_of_several_calls_needs_vmap():
  for key in (_KEY, jax.random.key(0)):
    keys = jax.random.split(key, 2)
    assert "vmap" in refused(lelp_jax.fit_subspaces, ValueError, key=keys)


# --- Shapes and dtypes -------------------------------------------------------


_ANY_KIND = "bias", "confusion", "key", "values", "where"
# Some arguments may have any number of rows, or any leading axes.
_ANY_SHAPE = "bins", "embeddings", "vectors", "logits", "subclass_logits"


@every_function
def test_arrays_of_a_wrong_shape_or_dtype(function):
  for argument, value in CALLS[function].items():
    if not isinstance(value, np.ndarray) or argument in _ANY_KIND:
      continue
    wrong_kind = np.zeros(value.shape, bool if value.dtype.kind == "i" else int)
    message = refused(function, TypeError, **{argument: wrong_kind})
    assert message.startswith(f"{argument} must"), message
    if argument == "kernel":
      continue
    if value.ndim > 1 or argument in ("labels", "example_ids"):
      for changed in (value[:-1], value[..., None, None, None]):
        if argument in _ANY_SHAPE and changed.ndim >= value.ndim:
          continue
        message = refused(function, ValueError, **{argument: changed})
        assert argument in message, message
        assert "shape" in message, message


# Function, argument, value, and what the message has to contain.
WRONG_SHAPES = [
  # Shapes that would broadcast silently are the ones to worry about.
  (lelp_jax.log_subsplit, "class_logits", np.ones((1, C), "f"), "(1, 3)"),
  (lelp_jax.log_subsplit, "class_logits", np.ones(C, "f"), "(3,)"),
  (lelp_jax.lelp_loss, "teacher_log_probs", np.zeros((1, C, S), "f"), "C * S"),
  (lelp_jax.lelp_loss, "teacher_log_probs", np.zeros((C, S), "f"), "C * S"),
  # A head of C outputs is the likeliest mistake of all.
  (lelp_jax.lelp_loss, "student_logits", np.ones((B, C), "f"), "subclass"),
  (lelp_jax.class_log_probs, "logits", np.ones((B, 7), "f"), "(16, 7)"),
  (lelp_jax.fit_subspaces, "head_kernel", np.ones((C, D), "f"), "transpose"),
  (lelp_jax.fit_subspaces, "head_kernel", np.ones((D, 1), "f"), "binary_head"),
  (lelp_jax.fit_subspaces, "head_kernel", np.ones(D, "f"), "binary_head"),
  (lelp_jax.fit_subspaces, "head_kernel", None, "number of classes"),
  (
    lelp_jax.merge_moments,
    "b",
    dataclasses.replace(
      _MOMENTS,
      count=np.ones(1, "f"),
      mean=np.ones((1, D), "f"),
      scatter=np.ones((1, D, D), "f"),
    ),
    "scatter shapes (3, 6, 6) and (1, 6, 6)",
  ),
  (
    lelp_jax.log_subsplit,
    "subspaces",
    dataclasses.replace(_SUBSPACES, means=np.ones((1, D), "f")),
    "subspaces.means",
  ),
  (
    lelp_jax.centroid_subspaces,
    "centroids",
    np.ones((C, 0, D), "f"),
    "K at least 1",
  ),
  (
    lelp_jax.variance_share,
    "subspaces",
    lelp_jax.Subspaces(np.ones((2, S, D), "f"), np.ones((2, D), "f")),
    "do not fit",
  ),
  (lelp_jax.binary_head, "kernel", np.ones((D, 2), "f"), "[D, 1]"),
  (lelp_jax.binary_head, "bias", np.ones(2, "f"), "[1]"),
  (baselines.vid_loss, "variance_logits", np.ones((B, D), "f"), "[D] = (6,)"),
  (baselines.hint_loss, "student_embeddings", np.ones((B, 5), "f"), "project"),
  (baselines.crd_bank_loss, "negative_ids", np.arange(B), "[B, K]"),
  (
    baselines.crd_bank_loss,
    "negative_ids",
    np.ones((B, 0), int),
    "K at least 1",
  ),
  (
    baselines.crd_bank_loss,
    "bank",
    dataclasses.replace(_BANK, student=np.ones((M, 3), "f")),
    "bank.student",
  ),
  (metrics.Mean.of, "where", np.ones(3, bool), "(16,)"),
]


WRONG_VALUES = [
  (lelp_jax.class_moments, "where", _SLOPE, "where must not be negative"),
  (lelp_jax.class_moments, "where", np.nan * _SLOPE, "where must be finite"),
  (lelp_jax.fit_subspaces, "head_kernel", np.nan * _HEAD, "must be finite"),
  *(
    (function, argument, value, f"{argument} must be finite")
    for function in (lelp_jax.principal_directions, lelp_jax.null_space_share)
    for argument, value in (
      ("moments", dataclasses.replace(_MOMENTS, mean=np.nan * _MOMENTS.mean)),
      (
        "moments",
        dataclasses.replace(_MOMENTS, scatter=np.nan * _MOMENTS.scatter),
      ),
      ("head_kernel", np.nan * _HEAD),
    )
  ),
]
# Wrong types, and what the message advises.
REMEDIES = [
  (lelp_jax.class_moments, "embeddings", [[1.0]], "jnp.asarray(embeddings)"),
  (lelp_jax.class_moments, "labels", Frame(), "labels.to_numpy()"),
  (lelp_jax.fit_subspaces, "key", 0, "jax.random.key(0)"),
  (lelp_jax.fit_subspaces, "head_kernel", (1,), "kernel of the last layer"),
  (lelp_jax.fit_subspaces, "head_kernel", {}, "kernel of the last layer"),
  (lelp_jax.log_subsplit, "subspaces", (1,), "Subspaces(directions, means)"),
  (lelp_jax.merge_moments, "b", {}, "lelp_jax.class_moments"),
  (baselines.crd_bank_loss, "bank", 0, "CRDBank.init"),
]


@pytest.mark.parametrize(
  ("error", "function", "argument", "value", "text"),
  [
    *((ValueError, *row) for row in WRONG_SHAPES + WRONG_VALUES),
    *((TypeError, *row) for row in REMEDIES),
  ],
)
def test_messages_say_what_is_wrong(error, function, argument, value, text):
  assert text in refused(function, error, **{argument: value})


@pytest.mark.parametrize(
  "name",
  [
    "dist_loss",
    "rkd_distance_loss",
    "rkd_angle_loss",
    "crd_loss",
    "info_nce_loss",
    "subclass_auxiliary_loss",
    "crd_bank_loss",
  ],
)
def test_batches_without_examples(name):
  case = CASES[name]
  empty = {key: case.arrays[key][:0] for key in case.batch}
  message = refused(case.function, ValueError, **empty)
  assert f"{case.batch[0]} must have at least one example" in message


_ONE = np.ones((B, 1), "f")


@pytest.mark.parametrize(
  "function",
  [
    baselines.kd_loss,
    baselines.standardized_kd_loss,
    baselines.dist_loss,
    baselines.dkd_loss,
    lelp_jax.lelp_loss,
    lelp_jax.log_subsplit,
  ],
)
def test_single_outputs_are_refused(function):
  """Their softmax is one whatever the logit: no loss and no gradient."""
  one = {
    "student_logits": _ONE,
    "teacher_logits": _ONE,
    "teacher_log_probs": np.zeros((B, 1, 1), "f"),
    "class_logits": _ONE,
    "subspaces": lelp_jax.Subspaces(
      np.ones((1, S, D), "f"), np.ones((1, D), "f")
    ),
    "where": None,
  }
  changes = {name: one[name] for name in CALLS[function] if name in one}
  assert "binary_head" in refused(function, ValueError, **changes)


# --- Numbers and options -----------------------------------------------------


@every_function
def test_numbers_out_of_range(function):
  for argument in _POSITIVE & set(CALLS[function]):
    for value in (0.0, -1.0, np.inf, np.nan, np.float32(-2)):
      message = refused(function, ValueError, **{argument: value})
      assert f"{argument} must be positive" in message
    for value in ("2", None, True, 1j):
      message = refused(function, TypeError, **{argument: value})
      assert f"{argument} must be a number" in message
    several = refused(function, ValueError, **{argument: np.ones(2, "f")})
    assert "vmap" in several
    for value in (1e-50, 1e39, 10**400):
      message = refused(function, ValueError, **{argument: value})
      assert message.startswith(f"{argument} must lie between"), message


def test_temperatures_whose_squares_leave_float32():
  for value in (1e-30, 1e30, np.float64(1e30)):
    message = refused(baselines.kd_loss, ValueError, temperature=value)
    assert message.startswith("temperature must lie between 1.1e-19 and 1.8e")
  with jax.enable_x64(True):
    logits = np.float64([[1, 2], [3, 5]])
    loss = jax.jit(lambda x: baselines.kd_loss(x, -x, temperature=1e30))(logits)
  assert np.isfinite(loss).all()


def test_weights_out_of_float32():
  for weight in (-1e39, 10**400):
    message = refused(baselines.dkd_loss, ValueError, target_weight=weight)
    assert message.startswith("target_weight must be at most")


@pytest.mark.parametrize(
  "convert",
  [
    lambda x: nnx.Param(jnp.float32(x)),
    lambda x: nnx.Variable(jnp.asarray(int(x))),
    lambda x: Tensor(np.float32(x)[...]),
    int,
    fractions.Fraction,
    np.float64,
    jnp.bfloat16,
  ],
)
def test_numbers_of_many_kinds(convert):
  for function, name in (
    (baselines.kd_loss, "temperature"),
    (baselines.dkd_loss, "nontarget_weight"),
  ):
    arguments = CALLS[function]
    np.testing.assert_array_equal(
      function(**{**arguments, name: convert(2)}),
      function(**{**arguments, name: 2.0}),
    )


def test_arrays_may_be_variables_of_nnx():
  arguments = CALLS[lelp_jax.lelp_loss]
  logits = nnx.Param(jnp.asarray(arguments["student_logits"]))
  loss = jax.jit(lelp_jax.lelp_loss)
  np.testing.assert_array_equal(
    loss(**{**arguments, "student_logits": logits}), loss(**arguments)
  )


@pytest.mark.parametrize(
  ("function", "argument", "value", "error"),
  [
    (lelp_jax.class_moments, "num_classes", 0, ValueError),
    (lelp_jax.class_moments, "num_classes", 3.0, TypeError),
    (lelp_jax.principal_directions, "num_directions", 0, ValueError),
    (lelp_jax.principal_directions, "num_directions", 2.0, TypeError),
    (lelp_jax.principal_directions, "null_space", "all", ValueError),
    (lelp_jax.principal_directions, "rtol", 0.0, ValueError),
    (lelp_jax.fit_subspaces, "null_space", "all", ValueError),
    (lelp_jax.fit_subspaces, "num_subclasses", -1, ValueError),
    (lelp_jax.fit_subspaces, "num_subclasses", True, TypeError),
    (lelp_jax.subspaces_from_principal, "num_subclasses", D + 1, ValueError),
    (lelp_jax.subspaces_from_principal, "rotation", "random", ValueError),
    (lelp_jax.subspaces_from_principal, "normalization", 2, ValueError),
    (lelp_jax.subspaces_from_principal, "rank_deficient", "cap", ValueError),
    (lelp_jax.subspaces_from_principal, "key", None, ValueError),
    (lelp_jax.random_subspaces, "num_subclasses", D + 1, ValueError),
    (lelp_jax.random_subspaces, "normalization", "l2", ValueError),
    (lelp_jax.identity_subspaces, "normalization", "l2", ValueError),
    (lelp_jax.centroid_subspaces, "null_space", "all", ValueError),
    (lelp_jax.centroid_subspaces, "centroids", _NAN, ValueError),
    (lelp_jax.project_off_head, "null_space", "all", ValueError),
    (lelp_jax.project_off_head, "rtol", 0.0, ValueError),
    (lelp_jax.variance_of_perplexity, "perplexity", 1.0, ValueError),
    (lelp_jax.variance_of_perplexity, "where", np.ones(S, bool), ValueError),
    (lelp_jax.variance_of_perplexity, "squared_distances", _EMPTY, ValueError),
    (lelp_jax.project_off_head, "head_kernel", _HEAD.T, ValueError),
    (lelp_jax.class_log_probs, "num_classes", 0, ValueError),
    (lelp_jax.log_subsplit, "where", np.ones((S, C), bool), ValueError),
    (lelp_jax.log_subsplit, "where", np.ones((C, S), "f"), TypeError),
    (lelp_jax.log_subsplit, "where", np.zeros((C, S), bool), ValueError),
    (lelp_jax.lelp_loss, "where", np.ones((S, C), bool), ValueError),
    (lelp_jax.class_log_probs, "where", np.ones((C, S), "f"), TypeError),
    (baselines.vid_loss, "reduction", "max", ValueError),
    (baselines.vid_loss, "floor", 0.0, ValueError),
    (baselines.crd_bank_loss, "momentum", 1.5, ValueError),
    (baselines.crd_bank_loss, "momentum", np.ones(2), ValueError),
    (baselines.crd_bank_loss, "momentum", "half", TypeError),
    (metrics.Mean.of, "where", np.ones(B, np.float32), TypeError),
    (metrics.Mean.of, "values", np.ones(B, complex), TypeError),
    (metrics.Mean.of, "values", np.ones(B, np.longdouble), TypeError),
    (metrics.accuracy, "class_log_probs", np.ones((B, 0), "f"), ValueError),
    (lelp_jax.binary_head, "bias", True, TypeError),
  ],
)
def test_options_out_of_range(function, argument, value, error):
  message = refused(function, error, **{argument: value})
  assert message.startswith((argument, f"{argument} must")), message


def test_sizes_may_be_integers_of_any_kind():
  for size in (np.int64(C), np.uint8(C), jnp.asarray(C)):
    lelp_jax.class_moments(
      **{**CALLS[lelp_jax.class_moments], "num_classes": size}
    )


# --- Values, where they are concrete -----------------------------------------


@pytest.mark.parametrize("as_array", [np.asarray, jnp.asarray])
@pytest.mark.parametrize(
  ("function", "argument", "most"),
  [
    (lelp_jax.class_moments, "labels", C),
    (lelp_jax.fit_subspaces, "labels", C),
    (baselines.dkd_loss, "labels", C),
    (calibration.calibration_temperature, "labels", C),
    (baselines.crd_bank_loss, "example_ids", M),
    (baselines.crd_bank_loss, "negative_ids", M),
  ],
)
def test_labels_out_of_range(function, argument, most, as_array):
  for dtype in (np.int32, np.uint8, np.int8):
    labels = CALLS[function][argument].astype(dtype)
    labels.flat[-1] = most
    message = refused(function, ValueError, **{argument: as_array(labels)})
    assert f"[0, {most})" in message
    assert str(most) in message.split("got")[1]
  labels = CALLS[function][argument].astype(np.int32)
  labels.flat[0] = -1
  message = refused(function, ValueError, **{argument: as_array(labels)})
  assert "from -1" in message


def test_labels_that_only_64_bits_hold():
  """JAX would narrow 2**32 to zero."""
  labels = CALLS[lelp_jax.class_moments]["labels"].astype(np.int64)
  labels[2] = 2**32
  for labels_of in (lambda x: x, Tensor):
    for function in (lelp_jax.class_moments, baselines.dkd_loss):
      message = refused(function, ValueError, labels=labels_of(labels))
      assert str(2**32) in message
    predictions = np.eye(B, C, dtype=np.float32)
    correct = metrics.accuracy(predictions, labels_of(labels))
    assert correct[2] == 0


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_embeddings_that_are_not_finite(value):
  for function in (lelp_jax.class_moments, lelp_jax.fit_subspaces):
    embeddings = CALLS[function]["embeddings"].copy()
    embeddings[[2, 3], 2] = value
    message = refused(function, ValueError, embeddings=embeddings)
    assert "rows 2, 3;" in message
    assert "where" in message
  embeddings = np.full((1000, D), value, np.float32)
  message = refused(
    lelp_jax.class_moments,
    ValueError,
    embeddings=embeddings,
    labels=np.zeros(1000, int),
    where=None,
  )
  assert "and 995 more" in message


def test_sums_out_of_float32_are_blamed_on_their_cause():
  arguments = CALLS[lelp_jax.class_moments]
  h, y = arguments["embeddings"], arguments["labels"]
  in_class = (y == 1)[:, None]
  for embeddings, weight, text in (
    (h, 1e38, "where is too large for sums in float32"),
    (1e-2 * h, 1e-36, "where is too small for sums in float32"),
    (1e20 * h, 1.0, "embeddings are too large"),
    (1e-25 * h, 1.0, "embeddings of class 0 are too small"),
    (np.where(in_class, 1e-25 * h, h), 1.0, "embeddings of class 1 are too"),
  ):
    message = refused(
      lelp_jax.class_moments,
      ValueError,
      embeddings=np.float32(embeddings),
      where=np.full(B, weight, np.float32),
    )
    assert message.startswith(text), message
    assert "multiply all" in message


def test_probabilities_are_not_logits():
  for function in (
    lelp_jax.log_subsplit,
    baselines.kd_loss,
    baselines.dkd_loss,
    baselines.dist_loss,
    baselines.standardized_kd_loss,
  ):
    for argument, value in CALLS[function].items():
      if argument.endswith("_logits"):
        probabilities = jax.nn.softmax(value)
        message = refused(function, ValueError, **{argument: probabilities})
        assert f"{argument} must be logits, got probabilities" in message


def test_probabilities_of_16_bits_are_not_logits():
  logits = np.tile(CALLS[baselines.kd_loss]["student_logits"], (4, 14))
  rows = [
    logits[:, :width].astype(dtype)
    for dtype in (jnp.bfloat16, jnp.float16)
    for width in (2, 3, 40)
  ]
  for probabilities in jax.jit(lambda rows: [*map(jax.nn.softmax, rows)])(rows):
    many = logits[:, : probabilities.shape[1]]
    with pytest.raises(ValueError, match="student_logits must be logits"):
      baselines.kd_loss(probabilities, many, temperature=1.0)


def test_constant_logits_are_not_probabilities():
  logits = CALLS[baselines.kd_loss]["student_logits"]
  for constant in (1 / C, 0.0, 1.0):
    loss = baselines.kd_loss(
      np.full_like(logits, constant), logits, temperature=1.0
    )
    assert np.isfinite(loss).all()


def test_probabilities_are_not_log_probabilities():
  probabilities = np.exp(CALLS[lelp_jax.lelp_loss]["teacher_log_probs"])
  for function in (lelp_jax.lelp_loss, lelp_jax.lelp_loss_terms):
    message = refused(function, ValueError, teacher_log_probs=probabilities)
    assert "teacher_log_probs must be log probabilities" in message
  small = jnp.full((2, 100, 4), 1 / 400)
  with pytest.raises(ValueError, match="teacher_log_probs"):
    lelp_jax.lelp_loss(jnp.zeros((2, 400)), small, temperature=1.0)


def test_a_square_head_that_was_not_transposed():
  rng = np.random.default_rng(3)
  size, count = 8, 40
  labels = np.arange(size * count) % size
  head = rng.normal(size=(size, size)).astype(np.float32)
  # Embeddings whose class means the head classifies, as after training.
  means = 20 * np.linalg.inv(head)
  embeddings = (means[labels] + rng.normal(size=(size * count, size))).astype(
    "f"
  )
  moments = lelp_jax.ClassMoments(
    *map(np.float32, reference.class_moments(embeddings, labels, size))
  )
  accepted(lelp_jax.null_space_share, moments=moments, head_kernel=head)
  for function, arguments in (
    (lelp_jax.null_space_share, {"moments": moments}),
    (
      lelp_jax.fit_subspaces,
      {"embeddings": embeddings, "labels": labels, "where": None},
    ),
  ):
    message = refused(function, ValueError, head_kernel=head.T, **arguments)
    assert "head_kernel.T" in message


def test_heads_that_are_not_transposed_are_not_refused(rng):
  # By chance the transpose of every 40th random head of three classes
  # classifies their means, and of every eighth a single mean of eight.
  for size, labels in ((3, np.arange(60) % 3), (8, np.zeros(60, int))):
    classes, count = np.unique(labels), 0
    while count < 5:
      embeddings = rng.normal(size=(60, size)).astype(np.float32)
      head = rng.normal(size=(size, size)).astype(np.float32)
      means = np.stack([embeddings[labels == c].mean(axis=0) for c in classes])
      if np.array_equal(np.argmax(means @ head.T, axis=1), classes):
        count += 1
        moments = lelp_jax.ClassMoments(
          *map(np.float32, reference.class_moments(embeddings, labels, size))
        )
        accepted(lelp_jax.null_space_share, moments=moments, head_kernel=head)


def test_values_are_not_looked_at_under_a_trace():
  """The same mistakes pass through `jit`, where nothing can be known."""
  moments = jax.jit(lambda h, y: lelp_jax.class_moments(h, y, num_classes=C))(
    np.full((B, D), np.nan, np.float32), np.full(B, -1)
  )
  np.testing.assert_array_equal(moments.count, np.zeros(C))


@jax.jit
@functools.partial(jax.grad, has_aux=True)
def _gradient_of_first_and_third(logits, labels):
  losses = baselines.dkd_loss(
    logits, -logits, labels, temperature=1.0, nontarget_weight=1.0
  )
  hits = metrics.accuracy(jnp.eye(4, C), labels)
  return losses[0] + losses[2], (losses, hits)


@pytest.mark.parametrize(
  "labels", [np.int32([0, -1, 2, C]), np.uint8([0, 255, 2, C])]
)
def test_traced_labels_do_not_wrap(labels):
  """Minus one is not the last class; padding spoils no other example."""
  logits = CALLS[baselines.kd_loss]["student_logits"][:4]
  gradient, (losses, hits) = _gradient_of_first_and_third(logits, labels)
  np.testing.assert_array_equal(np.isnan(losses), [False, True, False, True])
  assert np.isfinite(gradient).all()
  np.testing.assert_array_equal(hits, [1, 0, 1, 0])


def test_traced_labels_of_64_bits_do_not_wrap():
  with jax.enable_x64(True):
    labels = np.int64([0, 2**32, 2, -(2**32)])
    moments = jax.jit(lelp_jax.class_moments, static_argnames="num_classes")(
      np.ones((4, D), np.float32), labels, num_classes=C
    )
  np.testing.assert_array_equal(moments.count, [1, 0, 1])


def test_traced_ids_do_not_wrap():
  ids = np.arange(B, dtype=np.int32)
  ids[[1, 2]] = -1, M
  arguments = {**CALLS[baselines.crd_bank_loss], "example_ids": ids}
  losses, bank = jax.jit(baselines.crd_bank_loss)(**arguments)
  wrong = np.flatnonzero(np.isnan(losses))
  np.testing.assert_array_equal(wrong, [1, 2])
  moved = np.any(np.asarray(bank.student) != _BANK.student, axis=1)
  np.testing.assert_array_equal(
    np.flatnonzero(moved), np.delete(np.arange(B), wrong)
  )


# --- Tensors of other libraries ----------------------------------------------


class Tensor:
  """Stands for a PyTorch tensor that records gradients."""

  def __init__(self, array, *, exported=True):
    self._array, self._exported = array, exported
    self.shape, self.dtype = array.shape, array.dtype

  def detach(self):
    detached = Tensor(self._array, exported=self._exported)
    detached._is_detached = True
    return detached

  def contiguous(self):
    return self

  def cpu(self):
    on_cpu = self.detach()
    on_cpu._is_on_cpu = True
    return on_cpu

  def __dlpack__(self, **options):
    if not self._exported:
      raise BufferError("on another device")
    assert self._is_detached
    return self._array.__dlpack__(**options)

  def __dlpack_device__(self):
    return self._array.__dlpack_device__()

  def __array__(self, dtype=None, copy=None):
    assert self._is_on_cpu
    return np.asarray(self._array, dtype)


@pytest.mark.parametrize("exported", [True, False])
@pytest.mark.parametrize(
  "function",
  [lelp_jax.fit_subspaces, lelp_jax.log_subsplit, baselines.dkd_loss],
  ids=lambda function: function.__qualname__,
)
def test_tensors_are_converted(function, exported):
  arguments = CALLS[function]
  tensors = {
    name: value
    if name == "key"
    else jax.tree.map(
      lambda x: (
        Tensor(x, exported=exported) if isinstance(x, np.ndarray) else x
      ),
      value,
    )
    for name, value in arguments.items()
  }
  jax.tree.map(
    np.testing.assert_array_equal, function(**tensors), function(**arguments)
  )
