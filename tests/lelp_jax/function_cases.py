"""Every public function as one call of named arrays, for test_properties.py."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import lelp_jax
from lelp_jax import baselines
from lelp_jax import metrics

BATCH, WIDTH, CLASSES, SIZE = 16, 6, 3, 2
_ALL = np.ones((CLASSES, SIZE), bool)
_SOME = np.array([[True, False], [True, True], [False, True]])


@dataclasses.dataclass(frozen=True)
class Case:
  """A public function and what is true of its arguments.

  Attributes:
    call: Takes the arrays and scalars by name and returns a pytree.
    arrays: Arguments that hold numbers; floats in float32.
    scalars: Arguments that are numbers.
    batch: Names of the arrays with a leading batch axis.
    nan: Names of the arrays whose NaN has to reach the result.
    gradients: Names of the arrays that gradients flow into.
    masked: For some arrays, which entries do not count: bool, of their shape.
    per_row: Whether each row of the result depends on its own row only.
    products: Whether there are matrix products.
    composed: Whether it only calls other functions of the table, and is
      traced but not run.
  """

  call: Callable[..., Any]
  arrays: dict[str, np.ndarray]
  scalars: dict[str, float] = dataclasses.field(default_factory=dict)
  batch: tuple[str, ...] = ()
  nan: tuple[str, ...] = ()
  gradients: tuple[str, ...] = ()
  masked: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
  per_row: bool = False
  products: bool = False
  composed: bool = False


def _normal(*shape: int, seed: int = 0) -> np.ndarray:
  """Numbers without symmetry."""
  rng = np.random.default_rng([seed, *shape])
  return rng.normal(size=shape).astype(np.float32)


def _log_probs() -> np.ndarray:
  """Normalised log probabilities of existing subclasses, `[B, C, S]`."""
  logits = np.where(_SOME.ravel(), _normal(BATCH, CLASSES * SIZE), -np.inf)
  logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True))
  return logits.reshape(BATCH, CLASSES, SIZE).astype(np.float32)


def _scatter() -> np.ndarray:
  """Scatter matrices of full rank, `[C, D, D]`."""
  rows = _normal(CLASSES, 20, WIDTH)
  return np.einsum("cnd,cne->cde", rows, rows)


_LABELS = np.arange(BATCH, dtype=np.int32) % CLASSES
_COUNT = np.float32([20, 20, 20])
_MOMENTS = {
  "count": _COUNT,
  "mean": _normal(CLASSES, WIDTH),
  "scatter": _scatter(),
}
_PRINCIPAL = {
  "directions": np.linalg.qr(_normal(CLASSES, WIDTH, WIDTH))[0],
  "variances": np.float32([[6, 5, 4, 3, 2, 1]] * CLASSES),
  "means": _normal(CLASSES, WIDTH),
}
_SUBSPACES = {
  "directions": _normal(CLASSES, SIZE, WIDTH),
  "means": _normal(CLASSES, WIDTH),
}
_HEAD = _normal(WIDTH, CLASSES)
_EMBEDDINGS = _normal(BATCH, WIDTH)
_LOGITS = 2 * _normal(BATCH, CLASSES)
_TEMPERATURES = {"temperature": 2.0, "subclass_temperature": 0.5}


def _moments(count, mean, scatter):
  return lelp_jax.ClassMoments(count, mean, scatter)


def _principal(directions, variances, means):
  classes, number, _ = directions.shape
  return lelp_jax.PrincipalDirections(
    directions,
    variances,
    means,
    total_variance=variances.sum(-1),
    rank=jnp.full(classes, number, jnp.int32),
  )


def _key():
  return jax.random.key(0)


def _masked_rows(array: np.ndarray, rows: np.ndarray) -> np.ndarray:
  """Marks whole rows of an array."""
  return np.broadcast_to(rows.reshape(-1, *[1] * (array.ndim - 1)), array.shape)


def _split(function):
  """`subsplit` or `log_subsplit`, whose masked entries are left out."""

  def call(embeddings, class_logits, directions, means, **options):
    return function(
      embeddings,
      class_logits,
      lelp_jax.Subspaces(directions, means),
      where=jnp.asarray(_SOME),
      **options,
    )

  return Case(
    call=call,
    arrays={
      "embeddings": _EMBEDDINGS,
      "class_logits": _LOGITS,
      **_SUBSPACES,
    },
    scalars=_TEMPERATURES,
    batch=("embeddings", "class_logits"),
    nan=("embeddings", "class_logits", "directions", "means"),
    gradients=("embeddings", "class_logits"),
    masked={
      "directions": np.broadcast_to(
        ~_SOME[..., None], _SUBSPACES["directions"].shape
      )
    },
    per_row=True,
    products=True,
  )


def _kd(function, **scalars):
  """A loss that compares logits."""
  return Case(
    call=lambda student, teacher, **given: function(student, teacher, **given),
    arrays={"student": _LOGITS, "teacher": _LOGITS[::-1].copy()},
    scalars={"temperature": 2.0, **scalars},
    batch=("student", "teacher"),
    nan=("student", "teacher"),
    gradients=("student",),
    per_row=function is not baselines.dist_loss,
  )


def _distance(function, *, per_row):
  """A loss that compares embeddings."""
  return Case(
    call=lambda student, teacher: function(student, teacher),
    arrays={"student": _EMBEDDINGS, "teacher": _EMBEDDINGS[::-1].copy()},
    batch=("student", "teacher"),
    nan=("student", "teacher"),
    gradients=("student",),
    per_row=per_row,
    products=function is baselines.rkd_angle_loss,
  )


def _contrast(function, **scalars):
  """A loss that compares projections within the batch."""
  return Case(
    call=lambda student, teacher, **given: function(
      baselines.unit_rows(student), baselines.unit_rows(teacher), **given
    ),
    arrays={"student": _EMBEDDINGS, "teacher": _EMBEDDINGS[::-1].copy()},
    scalars={"temperature": 0.5, **scalars},
    batch=("student", "teacher"),
    nan=("student", "teacher"),
    gradients=("student", "teacher"),
    products=True,
  )


def _bank_loss(
  student, teacher, student_rows, teacher_rows, ids, negatives, **given
):
  log_normalizers = jnp.full(2, -jnp.inf, student_rows.dtype)
  bank = baselines.CRDBank(student_rows, teacher_rows, log_normalizers)
  return baselines.crd_bank_loss(
    student, teacher, bank, ids, negatives, **given
  )


_LELP = {
  "arrays": {
    "student": _normal(BATCH, CLASSES * SIZE),
    "teacher": _log_probs(),
  },
  "scalars": {"temperature": 2.0},
  "batch": ("student", "teacher"),
  "nan": ("student", "teacher"),
  "gradients": ("student",),
  "masked": {
    "student": np.broadcast_to(~_SOME.ravel(), (BATCH, CLASSES * SIZE)),
    "teacher": np.broadcast_to(~_SOME, (BATCH, CLASSES, SIZE)),
  },
  "per_row": True,
}
_HIDDEN = np.arange(BATCH) % 4 == 1  # Rows that a mask leaves out.
_WEIGHTS = np.where(_HIDDEN, 0, 1 + np.arange(BATCH)).astype(np.float32)

CASES = {
  # --- Fitting ---------------------------------------------------------------
  "class_moments": Case(
    call=lambda embeddings, labels, weights: lelp_jax.class_moments(
      embeddings, labels, num_classes=CLASSES, where=weights
    ),
    arrays={"embeddings": _EMBEDDINGS, "labels": _LABELS, "weights": _WEIGHTS},
    batch=("embeddings", "labels", "weights"),
    nan=("embeddings", "weights"),
    masked={
      "embeddings": _masked_rows(_EMBEDDINGS, _HIDDEN),
      "labels": _HIDDEN,
    },
    products=True,
  ),
  "merge_moments": Case(
    call=lambda count, mean, scatter: lelp_jax.merge_moments(
      _moments(count, mean, scatter), _moments(count, 2 * mean, scatter)
    ),
    arrays=_MOMENTS,
    nan=("count", "mean", "scatter"),
    gradients=("mean", "scatter"),
    products=True,
  ),
  "principal_directions": Case(
    call=lambda head, **moments: lelp_jax.principal_directions(
      _moments(**moments), head, num_directions=SIZE
    ),
    arrays={"head": _HEAD, **_MOMENTS},
    nan=("head", "mean", "scatter"),
    products=True,
  ),
  "null_space_share": Case(
    call=lambda head, **moments: lelp_jax.null_space_share(
      _moments(**moments), head
    ),
    arrays={"head": _HEAD, **_MOMENTS},
    nan=("head", "scatter"),
    products=True,
  ),
  "subspaces_from_principal": Case(
    call=lambda **principal: lelp_jax.subspaces_from_principal(
      _principal(**principal), num_subclasses=SIZE, key=_key()
    ),
    arrays=_PRINCIPAL,
    nan=("directions", "variances", "means"),
    products=True,
  ),
  "fit_subspaces_from_moments": Case(
    call=lambda head, **moments: lelp_jax.fit_subspaces_from_moments(
      _moments(**moments), head, num_subclasses=SIZE, key=_key()
    ),
    arrays={"head": _HEAD, **_MOMENTS},
    nan=("head", "mean", "scatter"),
    products=True,
    composed=True,
  ),
  "fit_subspaces": Case(
    call=lambda embeddings, labels, head: lelp_jax.fit_subspaces(
      embeddings, labels, head, num_subclasses=SIZE, key=_key()
    ),
    arrays={"embeddings": _EMBEDDINGS, "labels": _LABELS, "head": _HEAD},
    batch=("embeddings", "labels"),
    nan=("embeddings", "head"),
    products=True,
    composed=True,
  ),
  "random_subspaces": Case(
    call=lambda **moments: lelp_jax.random_subspaces(
      _moments(**moments), num_subclasses=SIZE, key=_key()
    ),
    arrays=_MOMENTS,
    nan=("mean", "scatter"),
    products=True,
  ),
  "identity_subspaces": Case(
    call=lambda **moments: lelp_jax.identity_subspaces(_moments(**moments)),
    arrays=_MOMENTS,
    nan=("mean", "scatter"),
    products=True,
  ),
  "variance_share": Case(
    call=lambda directions, means, count, mean, scatter: (
      lelp_jax.variance_share(
        lelp_jax.Subspaces(directions, means), _moments(count, mean, scatter)
      )
    ),
    arrays={**_SUBSPACES, **_MOMENTS},
    nan=("directions", "scatter"),
    products=True,
  ),
  "binary_head": Case(
    call=lambda kernel, bias: lelp_jax.binary_head(kernel, bias),
    arrays={"kernel": _HEAD[:, :1], "bias": _HEAD[0, :1]},
    nan=("kernel", "bias"),
    gradients=("kernel", "bias"),
  ),
  # --- Splitting -------------------------------------------------------------
  "subspace_coordinates": Case(
    call=lambda embeddings, directions, means: lelp_jax.subspace_coordinates(
      embeddings, lelp_jax.Subspaces(directions, means)
    ),
    arrays={"embeddings": _EMBEDDINGS, **_SUBSPACES},
    batch=("embeddings",),
    nan=("embeddings", "directions", "means"),
    gradients=("embeddings",),
    per_row=True,
    products=True,
  ),
  "principal_coordinates": Case(
    call=lambda embeddings, **principal: lelp_jax.principal_coordinates(
      embeddings, _principal(**principal)
    ),
    arrays={"embeddings": _EMBEDDINGS, **_PRINCIPAL},
    batch=("embeddings",),
    nan=("embeddings", "directions", "means"),
    gradients=("embeddings",),
    per_row=True,
    products=True,
  ),
  "coordinate_directions": Case(
    call=lambda **principal: lelp_jax.coordinate_directions(
      _principal(**principal)
    ),
    arrays=_PRINCIPAL,
    nan=("directions", "variances"),
  ),
  "log_subsplit": _split(lelp_jax.log_subsplit),
  "subsplit": _split(lelp_jax.subsplit),
  # --- Distilling ------------------------------------------------------------
  "lelp_loss": Case(
    call=lambda student, teacher, **given: lelp_jax.lelp_loss(
      student, teacher, where=jnp.asarray(_SOME), **given
    ),
    **_LELP,
  ),
  "lelp_loss_terms": Case(
    call=lambda student, teacher, **given: lelp_jax.lelp_loss_terms(
      student, teacher, where=jnp.asarray(_SOME), **given
    ),
    **_LELP,
  ),
  "class_log_probs": Case(
    call=lambda student, **given: lelp_jax.class_log_probs(
      student, num_classes=CLASSES, where=jnp.asarray(_SOME), **given
    ),
    arrays={"student": _LELP["arrays"]["student"]},
    scalars={"temperature": 2.0},
    batch=("student",),
    nan=("student",),
    gradients=("student",),
    masked={"student": _LELP["masked"]["student"]},
    per_row=True,
  ),
  # --- Baselines -------------------------------------------------------------
  "kd_loss": _kd(baselines.kd_loss),
  "standardized_kd_loss": _kd(baselines.standardized_kd_loss),
  "dist_loss": _kd(baselines.dist_loss, inter_weight=1.5, intra_weight=0.5),
  "dkd_loss": Case(
    call=lambda student, teacher, labels, **given: baselines.dkd_loss(
      student, teacher, labels, **given
    ),
    arrays={
      "student": _LOGITS,
      "teacher": _LOGITS[::-1].copy(),
      "labels": _LABELS,
    },
    scalars={
      "temperature": 2.0,
      "target_weight": 1.5,
      "nontarget_weight": 3.0,
    },
    batch=("student", "teacher", "labels"),
    nan=("student", "teacher"),
    gradients=("student",),
    per_row=True,
  ),
  "embedding_loss": _distance(baselines.embedding_loss, per_row=True),
  "hint_loss": _distance(baselines.hint_loss, per_row=True),
  "rkd_distance_loss": _distance(baselines.rkd_distance_loss, per_row=False),
  "rkd_angle_loss": _distance(baselines.rkd_angle_loss, per_row=False),
  "vid_loss": Case(
    call=lambda mean, teacher, logits, **given: baselines.vid_loss(
      mean, teacher, logits, **given
    ),
    arrays={
      "mean": _EMBEDDINGS,
      "teacher": _EMBEDDINGS[::-1].copy(),
      "logits": _normal(WIDTH),
    },
    scalars={"floor": 1e-3},
    batch=("mean", "teacher"),
    nan=("mean", "teacher", "logits"),
    gradients=("mean", "logits"),
    per_row=True,
  ),
  "crd_loss": _contrast(baselines.crd_loss, dataset_size=50.0),
  "info_nce_loss": _contrast(baselines.info_nce_loss),
  "crd_bank_loss": Case(
    call=_bank_loss,
    arrays={
      "student": _EMBEDDINGS,
      "teacher": _EMBEDDINGS[::-1].copy(),
      "student_rows": _normal(24, WIDTH),
      "teacher_rows": _normal(24, WIDTH, seed=1),
      "ids": np.arange(BATCH, dtype=np.int32),
      "negatives": BATCH
      + np.arange(3 * BATCH, dtype=np.int32).reshape(BATCH, 3) % 8,
    },
    scalars={"temperature": 0.5, "momentum": 0.25},
    batch=("student", "teacher", "ids", "negatives"),
    nan=("student", "teacher", "student_rows", "teacher_rows"),
    gradients=("student", "teacher"),
    products=True,
  ),
  "unit_rows": Case(
    call=lambda vectors: baselines.unit_rows(vectors),
    arrays={"vectors": _EMBEDDINGS},
    batch=("vectors",),
    nan=("vectors",),
    gradients=("vectors",),
    per_row=True,
  ),
  "subclass_auxiliary_loss": Case(
    call=lambda logits, **given: baselines.subclass_auxiliary_loss(
      logits, **given
    ),
    arrays={"logits": _normal(BATCH, CLASSES * SIZE)},
    scalars={"temperature": 0.5},
    batch=("logits",),
    nan=("logits",),
    gradients=("logits",),
    products=True,
  ),
  # --- Metrics ---------------------------------------------------------------
  "metrics.Mean": Case(
    call=lambda values, where: metrics.compute(
      metrics.merge(
        {"x": metrics.Mean.of(values, where)}, {"x": metrics.Mean.of(values)}
      )
    ),
    arrays={"values": _normal(BATCH), "where": ~_HIDDEN},
    batch=("values", "where"),
    nan=("values",),
    gradients=("values",),
  ),
  "metrics.Mean.of": Case(
    call=lambda values, where: metrics.Mean.of(values, where),
    arrays={"values": _normal(BATCH), "where": ~_HIDDEN},
    batch=("values", "where"),
    nan=("values",),
    masked={"values": _HIDDEN},
  ),
  "metrics.accuracy": Case(
    call=lambda log_probs, labels: metrics.accuracy(log_probs, labels),
    arrays={"log_probs": _LOGITS, "labels": _LABELS},
    batch=("log_probs", "labels"),
    nan=("log_probs",),
    per_row=True,
  ),
  "metrics.agreement": Case(
    call=lambda student, teacher: metrics.agreement(student, teacher),
    arrays={"student": _LOGITS, "teacher": _LOGITS[::-1].copy()},
    batch=("student", "teacher"),
    nan=("student", "teacher"),
    per_row=True,
  ),
}


def in_dtype(arrays: dict[str, np.ndarray], dtype: Any) -> dict[str, Any]:
  """Arrays with their floats in another dtype."""
  return {
    name: array.astype(dtype) if array.dtype.kind == "f" else array
    for name, array in arrays.items()
  }
