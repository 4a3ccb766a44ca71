"""A valid call of every public function, and what is true of its arguments."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

import lelp_jax
from lelp_jax import baselines
from lelp_jax import calibration
from lelp_jax import metrics

B, D, C, S, M = 16, 6, 3, 2, 24


@dataclasses.dataclass(frozen=True)
class Case:
  """A valid call of a public function.

  Leaves are named by path, such as ``"subspaces.means"``.

  Attributes:
    function: The function.
    arrays: Arguments that are arrays or dataclasses of them; floats in float32.
    scalars: Arguments that are numbers and may be traced.
    options: Arguments that may not.
    unread: Leaves of floats that do not reach the result.
    gradients: Arguments that gradients flow into.
    masked: For some leaves, which entries do not count: bool, of their shape.
    per_row: Whether each row of the result depends on its own row only.
    products: Whether there are matrix products.
    composed: Whether it only calls other functions of the table, and is
      traced but not run.
  """

  function: Callable[..., Any]
  arrays: dict[str, Any]
  scalars: dict[str, float] = dataclasses.field(default_factory=dict)
  options: dict[str, Any] = dataclasses.field(default_factory=dict)
  unread: tuple[str, ...] = ()
  gradients: tuple[str, ...] = ()
  masked: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
  per_row: bool = False
  products: bool = False
  composed: bool = False

  @property
  def arguments(self) -> dict[str, Any]:
    """All keyword arguments."""
    return {**self.arrays, **self.scalars, **self.options}

  @property
  def batch(self) -> tuple[str, ...]:
    """Names of the arrays with a leading batch axis: of B rows or of 2 B."""
    return tuple(
      name
      for name, x in self.arrays.items()
      if np.shape(x)[:1] in ((B,), (2 * B,))
    )

  def call(self, **arguments: Any) -> Any:
    """Calls the function with its options."""
    return self.function(**arguments, **self.options)


def leaves_of(arrays: dict[str, Any]) -> dict[str, np.ndarray]:
  """The arrays by name."""
  return {
    jax.tree_util.keystr(path, simple=True, separator="."): leaf
    for path, leaf in jax.tree.leaves_with_path(arrays)
  }


def with_leaves(arrays: dict[str, Any], **changes: Any) -> dict[str, Any]:
  """The arguments with some leaves replaced."""
  leaves = {**leaves_of(arrays), **changes}
  return jax.tree.unflatten(jax.tree.structure(arrays), leaves.values())


def in_dtype(arrays: dict[str, Any], dtype: Any) -> dict[str, Any]:
  """The arguments with their floats in another dtype."""
  return jax.tree.map(
    lambda x: x.astype(dtype) if x.dtype.kind == "f" else x, arrays
  )


def _normal(*shape: int, seed: int = 0) -> np.ndarray:
  """Numbers without symmetry."""
  rng = np.random.default_rng([seed, *shape])
  return rng.normal(size=shape).astype(np.float32)


_EXIST = np.array([[True, False], [True, True], [False, True]])
_HIDDEN = np.arange(B) % 4 == 1  # Rows that a mask leaves out.
_WEIGHTS = np.where(_HIDDEN, 0, 1 + np.arange(B)).astype(np.float32)
_LABELS = np.arange(B, dtype=np.int32) % C
_ROWS = _normal(C, 20, D)
_MOMENTS = lelp_jax.ClassMoments(
  count=np.float32([20, 20, 20]),
  mean=_normal(C, D),
  scatter=np.einsum("cnd,cne->cde", _ROWS, _ROWS),
)
_PROBE = _normal(D, 4)
_SKETCH = lelp_jax.ClassSketch(
  count=_MOMENTS.count,
  mean=_MOMENTS.mean,
  products=_MOMENTS.scatter @ _PROBE,
  squares=np.trace(_MOMENTS.scatter, axis1=1, axis2=2),
  probe=_PROBE,
)
_PRINCIPAL = lelp_jax.PrincipalDirections(
  directions=np.linalg.qr(_normal(C, D, D))[0],
  variances=np.float32([[6, 5, 4, 3, 2, 1]] * C),
  means=_normal(C, D),
  total_variance=np.float32([21] * C),
  rank=np.int32([D] * C),
)
_SUBSPACES = lelp_jax.Subspaces(_normal(C, S, D), _normal(C, D), _normal(C, S))
_BANK = baselines.CRDBank(
  _normal(M, D), _normal(M, D, seed=1), np.full(2, -np.inf, np.float32)
)
# Raw: the uses of typed keys would be checked.
_FIT = {"num_subclasses": S, "key": np.asarray(jax.random.PRNGKey(0))}
_HEAD = _normal(D, C)
_PREDICTIONS = {"class_log_probs": -(_normal(B, C) ** 2), "labels": _LABELS}
_CONFUSION = np.float32([[3, 0, 1], [1, 2, 0], [0, 1, 4]])


def _log_probs() -> np.ndarray:
  """Normalised log probabilities of existing subclasses, `[B, C, S]`."""
  logits = np.where(_EXIST.ravel(), _normal(B, C * S), -np.inf)
  logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True))
  return logits.reshape(B, C, S).astype(np.float32)


def _of_classes(
  function: Callable[..., Any],
  where: np.ndarray,
  arrays: dict[str, Any] | None = None,
  options: dict[str, Any] | None = None,
) -> Case:
  """A statistic of the embeddings of each class."""
  rows = {"embeddings": _normal(B, D), "labels": _LABELS, "where": where}
  return Case(
    function,
    {**rows, **(arrays or {})},
    options={"num_classes": C, **(options or {})},
    masked={
      "embeddings": np.broadcast_to(_HIDDEN[:, None], (B, D)),
      "labels": _HIDDEN,
    },
    products=True,
  )


def _split(function: Callable[..., Any]) -> Case:
  return Case(
    function,
    {
      "embeddings": _normal(B, D),
      "class_logits": 2 * _normal(B, C),
      "subspaces": _SUBSPACES,
      "where": _EXIST,
    },
    {"temperature": 2.0, "subclass_temperature": 0.5},
    gradients=("embeddings", "class_logits"),
    masked={
      "subspaces.directions": np.broadcast_to(~_EXIST[..., None], (C, S, D)),
      "subspaces.offsets": ~_EXIST,
    },
    per_row=True,
    products=True,
  )


def _lelp(function: Callable[..., Any]) -> Case:
  return Case(
    function,
    {
      "student_logits": _normal(B, C * S),
      "teacher_log_probs": _log_probs(),
      "where": _EXIST,
    },
    {"temperature": 2.0},
    gradients=("student_logits",),
    masked={
      "student_logits": np.broadcast_to(~_EXIST.ravel(), (B, C * S)),
      "teacher_log_probs": np.broadcast_to(~_EXIST, (B, C, S)),
    },
    per_row=True,
  )


def _pair(
  function: Callable[..., Any],
  kind: str,
  scalars: dict[str, float] | None = None,
  *,
  per_row: bool = True,
  products: bool = False,
) -> Case:
  """A loss that compares logits, embeddings or projections of two networks."""
  names = f"student_{kind}", f"teacher_{kind}"
  width = C if kind == "logits" else D
  rows = 2 * _normal(B, width)
  if kind == "projections":
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
  return Case(
    function,
    dict(zip(names, (rows, rows[::-1].copy()), strict=True)),
    scalars or {},
    gradients=names if kind == "projections" else names[:1],
    per_row=per_row,
    products=products,
  )


def _with(case: Case, **arrays: Any) -> Case:
  """A case with further arrays."""
  return dataclasses.replace(case, arrays={**case.arrays, **arrays})


_CASES = [
  # --- Fitting ---------------------------------------------------------------
  _of_classes(lelp_jax.class_moments, _WEIGHTS),
  Case(
    lelp_jax.merge_moments,
    {
      "a": _MOMENTS,
      "b": dataclasses.replace(_MOMENTS, mean=_normal(C, D, seed=1)),
    },
    gradients=("a", "b"),
    products=True,
  ),
  _of_classes(lelp_jax.class_sketch, _WEIGHTS, {"probe": _PROBE}),
  _of_classes(
    lelp_jax.sketch_probe, ~_HIDDEN, options={"size": 4, "key": _FIT["key"]}
  ),
  Case(
    lelp_jax.merge_sketches,
    {
      "a": _SKETCH,
      "b": dataclasses.replace(_SKETCH, mean=_normal(C, D, seed=1)),
    },
    unread=("b.probe",),  # The same as that of a.
    gradients=("a", "b"),
    products=True,
  ),
  Case(
    lelp_jax.principal_directions,
    {"moments": _MOMENTS, "head_kernel": _HEAD},
    options={"num_directions": S},
    products=True,
  ),
  Case(
    lelp_jax.null_space_share,
    {"moments": _MOMENTS, "head_kernel": _HEAD},
    unread=("moments.count", "moments.mean"),
    products=True,
  ),
  Case(
    lelp_jax.subspaces_from_principal,
    {"principal": _PRINCIPAL},
    options=_FIT,
    unread=("principal.total_variance",),
    products=True,
  ),
  Case(
    lelp_jax.fit_subspaces_from_moments,
    {"moments": _MOMENTS, "head_kernel": _HEAD},
    options=_FIT,
    products=True,
    composed=True,
  ),
  Case(
    lelp_jax.fit_subspaces,
    {
      "embeddings": _normal(2 * B, D),
      "labels": np.arange(2 * B) % C,
      "head_kernel": _HEAD,
      "where": np.arange(2 * B) != 5,
    },
    options=_FIT,
    products=True,
    composed=True,
  ),
  Case(
    lelp_jax.random_subspaces,
    {"moments": _MOMENTS},
    options=_FIT,
    products=True,
  ),
  Case(lelp_jax.identity_subspaces, {"moments": _MOMENTS}, products=True),
  Case(
    lelp_jax.centroid_subspaces,
    {"centroids": _normal(C, S, D), "moments": _MOMENTS, "head_kernel": _HEAD},
    {"variance": 0.5},
    unread=("moments.count", "moments.scatter"),
    products=True,
  ),
  Case(
    lelp_jax.project_off_head,
    {"embeddings": _normal(B, D), "head_kernel": _HEAD},
    per_row=True,
    products=True,
  ),
  Case(
    lelp_jax.variance_of_perplexity,
    {
      "squared_distances": np.square(_normal(B, S)),
      "where": np.arange(S) < np.arange(B)[:, None] + 1,
    },
  ),
  Case(
    lelp_jax.variance_share,
    {"subspaces": _SUBSPACES, "moments": _MOMENTS},
    unread=(
      "subspaces.means",
      "subspaces.offsets",
      "moments.count",
      "moments.mean",
    ),
    products=True,
  ),
  Case(
    lelp_jax.binary_head,
    {"kernel": _HEAD[:, :1], "bias": _HEAD[0, :1]},
    gradients=("kernel", "bias"),
  ),
  # --- Splitting and distilling ----------------------------------------------
  Case(
    lelp_jax.subspace_coordinates,
    {"embeddings": _normal(B, D), "subspaces": _SUBSPACES},
    gradients=("embeddings",),
    per_row=True,
    products=True,
  ),
  Case(
    lelp_jax.principal_coordinates,
    {"embeddings": _normal(B, D), "principal": _PRINCIPAL},
    unread=("principal.variances", "principal.total_variance"),
    gradients=("embeddings",),
    per_row=True,
    products=True,
  ),
  Case(
    lelp_jax.coordinate_directions,
    {"principal": _PRINCIPAL},
    unread=("principal.means",),
  ),
  _split(lelp_jax.log_subsplit),
  _split(lelp_jax.subsplit),
  _lelp(lelp_jax.lelp_loss),
  _lelp(lelp_jax.lelp_loss_terms),
  Case(
    lelp_jax.class_log_probs,
    {"logits": _normal(B, C * S), "where": _EXIST},
    {"temperature": 2.0},
    {"num_classes": C},
    gradients=("logits",),
    masked={"logits": np.broadcast_to(~_EXIST.ravel(), (B, C * S))},
    per_row=True,
  ),
  # --- Baselines -------------------------------------------------------------
  _pair(baselines.kd_loss, "logits", {"temperature": 2.0}),
  _pair(baselines.standardized_kd_loss, "logits", {"temperature": 2.0}),
  _pair(
    baselines.dist_loss,
    "logits",
    {"temperature": 2.0, "inter_weight": 1.5, "intra_weight": 0.5},
    per_row=False,
  ),
  _with(
    _pair(
      baselines.dkd_loss,
      "logits",
      {"temperature": 2.0, "target_weight": 1.5, "nontarget_weight": 3.0},
    ),
    labels=_LABELS,
  ),
  _pair(baselines.embedding_loss, "embeddings"),
  _pair(baselines.hint_loss, "embeddings"),
  _pair(
    baselines.rkd_distance_loss, "embeddings", per_row=False, products=True
  ),
  _pair(baselines.rkd_angle_loss, "embeddings", per_row=False, products=True),
  Case(
    baselines.vid_loss,
    {
      "predicted_mean": _normal(B, D),
      "teacher_embeddings": _normal(B, D, seed=1),
      "variance_logits": _normal(D),
    },
    {"floor": 1e-3},
    gradients=("predicted_mean", "variance_logits"),
    per_row=True,
  ),
  _pair(
    baselines.crd_loss,
    "projections",
    {"temperature": 0.5, "dataset_size": 50.0},
    per_row=False,
    products=True,
  ),
  _pair(
    baselines.info_nce_loss,
    "projections",
    {"temperature": 0.5},
    per_row=False,
    products=True,
  ),
  _with(
    _pair(
      baselines.crd_bank_loss,
      "projections",
      {"temperature": 0.5, "momentum": 0.25},
      per_row=False,
      products=True,
    ),
    bank=_BANK,
    example_ids=np.arange(B, dtype=np.int32),
    negative_ids=B + np.arange(3 * B, dtype=np.int32).reshape(B, 3) % (M - B),
  ),
  Case(
    baselines.unit_rows,
    {"vectors": _normal(B, D)},
    gradients=("vectors",),
    per_row=True,
  ),
  Case(
    baselines.subclass_auxiliary_loss,
    {"subclass_logits": _normal(B, C * S)},
    {"temperature": 0.5},
    gradients=("subclass_logits",),
    products=True,
  ),
  # --- Metrics ---------------------------------------------------------------
  Case(
    metrics.Mean.of,
    {"values": _normal(B), "where": ~_HIDDEN},
    masked={"values": _HIDDEN},
  ),
  Case(
    metrics.accuracy,
    {"class_log_probs": _normal(B, C), "labels": _LABELS},
    per_row=True,
  ),
  Case(
    metrics.agreement,
    {
      "student_class_log_probs": _normal(B, C),
      "teacher_logits": _normal(B, C, seed=1),
    },
    per_row=True,
  ),
  Case(metrics.log_loss, _PREDICTIONS, per_row=True),
  # Examples with NaN are not counted.
  Case(
    metrics.confusion_matrix,
    _PREDICTIONS,
    unread=("class_log_probs",),
  ),
  Case(
    metrics.calibration_bins,
    _PREDICTIONS,
    options={"num_bins": 5},
    unread=("class_log_probs",),
  ),
  Case(metrics.macro_f1, {"confusion": _CONFUSION}),
  Case(metrics.matthews_correlation, {"confusion": _CONFUSION}),
  Case(metrics.expected_calibration_error, {"bins": 1 + _CONFUSION}),
  # --- Calibration -----------------------------------------------------------
  Case(
    calibration.calibration_temperature,
    {"log_probs": 2 * _normal(B, C), "labels": _LABELS},
  ),
  Case(
    calibration.calibrated_class_probs,
    {"logits": _normal(B, C * S)},
    {"temperature": 2.0, "calibration_temperature": 0.5},
    {"num_classes": C},
    gradients=("logits",),
    per_row=True,
  ),
]
CASES = {case.function.__qualname__: case for case in _CASES}
