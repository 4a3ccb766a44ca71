"""Export of a trained student: weights, ONNX, `jax.export` and a model card.

The written models and the tokenizer are loaded again and compared with the
trained student before the folder gets its final name.
"""

import contextlib
import dataclasses
import importlib.metadata
import pathlib
import platform
import sys
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from flax.core import FrozenDict
from jax import export as jax_export
from jax.extend import core as jax_core

import lelp_jax
from experiments import specs
from experiments.data.dataset import Arrays
from experiments.data.dataset import Ragged
from experiments.data.dataset import Splits
from experiments.data.tokenizer import load_tokenizer
from experiments.data.tokenizer import Tokenizer
from experiments.distillation import description
from experiments.distillation import onnx_conversion
from experiments.distillation import predictor
from experiments.distillation.description import Student
from experiments.io import json_files
from experiments.io import safetensors_files
from experiments.io.folders import new_folder
from experiments.methods import method_named
from experiments.reporting import render
from experiments.results import Evaluation
from experiments.training.inference import FrozenModel
from experiments.training.loop import with_predictions
from experiments.training.models import model_fns
from experiments.training.models import Weights
from experiments.training.types import model_fields
from lelp_jax.calibration import calibrated_class_probs
from lelp_jax.calibration import calibration_temperature
from lelp_jax.models import MODELS

_TOLERANCE = 1e-5
_PLATFORMS = ("cpu", "cuda", "tpu")
# Options that change how a model computes, but not its function.
_TRAINING_OPTIONS = ("compute_dtype", "attention_implementation", "remat")
# Texts that the written tokenizer must encode as the student's does.
_SAMPLES = (
  "",
  "A plain sentence.",
  "Émile's \t“quoted” — 漢字 🙂\n12.5%",
  "a " * 600,
)
_PACKAGES = ("lelp-jax", "jax", "flax", "jax2onnx", "onnx", "onnxruntime")


class Card(NamedTuple):
  """Facts for the model card that are not in the exported files.

  Attributes:
    data: Facts about the data by name, such as "Training rows": "20,000".
    teacher: Facts about the teacher by name.
    numbers: Measured numbers by name, such as "Accuracy on 5,000 test rows":
      "91.2 % (90.4 to 92.0)".
    notes: Sentences that a user should read.
  """

  data: Mapping[str, str]
  teacher: Mapping[str, str]
  numbers: Mapping[str, str]
  notes: Sequence[str]


def export_student(
  destination: pathlib.Path,
  *,
  cell: specs.CellSpec,
  weights: Weights,
  splits: Splits,
  card: Card,
) -> Evaluation:
  """Writes a trained student to a self-contained folder.

  The folder of an earlier export is replaced.

  Args:
    destination: The folder.
    cell: The cell that the student was trained in.
    weights: The weights of the student.
    splits: The data of the cell; the calibration is fitted on `validation`.
    card: Facts for the model card.

  Returns:
    The scores of the calibrated probabilities on the test examples. The reasons
    for missing files are printed, and are in the model card.

  Raises:
    OSError: If a file cannot be written.
    ValueError: If the written weights do not give the probabilities of the
      student, or the written tokenizer does not give its tokens.
  """
  spec = _in_float32(cell.student)
  model = FrozenModel(spec, weights, splits.task.scale)
  is_text = isinstance(splits.train[spec.input_field], Ragged)
  tokenizer = load_tokenizer(cell.data.tokenizer) if is_text else None
  student = _description(cell, model, splits, tokenizer)
  labels = splits.task.class_names
  scores = _scores(student, _logits(model, splits.test), splits.test)
  failures = {}
  with new_folder(destination, replace=True) as folder:
    _write_weights(folder, weights)
    description.write(folder, student)
    json_files.write_json(folder / description.LABELS, labels)
    if tokenizer is not None:
      _write_tokenizer(folder, tokenizer, student.max_length)
    check = _checker(folder, model, splits)
    try:
      check(description.WEIGHTS)
    except Exception as error:
      reason = f"{description.WEIGHTS}: {error}; nothing is exported."
      raise ValueError(reason) from error
    for name, converted in _CONVERTERS.items():
      try:
        data = converted(student, *_traced(student, weights))
        json_files.replace(folder / name, data)
        check(name)
      except OSError:  # The disk is full.
        raise
      except Exception as error:  # Models and ONNX Runtime raise any type.
        failures[name] = _first_line(error)
        (folder / name).unlink(missing_ok=True)
        print(f"{name} is not written: {failures[name]}.", file=sys.stderr)
    paths = sorted(folder.iterdir())
    text = render.render(
      "model_card.md.j2",
      card=card,
      student=student,
      labels=labels,
      files={path.name: f"{path.stat().st_size:,} bytes" for path in paths},
      failures=failures,
      scores=scores,
      input_names=description.INPUT_NAMES[student.reads],
    )
    json_files.replace(folder / description.CARD, text)
  return scores


def _first_line(error: Exception) -> str:
  lines = str(error).strip().splitlines() or [type(error).__name__]
  return lines[0].rstrip(".")


def _in_float32(spec: specs.ModelSpec) -> specs.ModelSpec:
  """Returns the spec of a model that computes in float32, as exports do."""
  kept = {k: v for k, v in spec.options.items() if k not in _TRAINING_OPTIONS}
  return dataclasses.replace(spec, options=FrozenDict(kept))


def _description(
  cell: specs.CellSpec,
  model: FrozenModel,
  splits: Splits,
  tokenizer: Tokenizer | None,
) -> Student:
  """Returns the description of a student, and calibrates it for that."""
  spec, data, task = model.spec, cell.data, splits.task
  scalars = method_named(cell.method).scalars(cell)
  temperature = float(scalars["prediction_temperature"])
  head = model_fns(spec, 1).head(model.weights.params)
  field, max_length = splits.train[spec.input_field], 0
  if tokenizer is not None:
    longest = MODELS[spec.model].max_length(**spec.options)
    max_length = min(data.max_length, longest or data.max_length)
  reads = "text" if tokenizer is not None else "image"
  return Student(
    reads="embeddings" if spec.input_field == "embeddings" else reads,
    model=spec.model,
    options=spec.options,
    num_classes=task.num_classes,
    num_outputs=head.kernel.shape[-1],
    temperature=temperature,
    calibration_temperature=_calibrated(model, splits, temperature),
    text_column=data.text_column,
    image_column=data.image_column,
    header=data.header,
    max_length=max_length,
    pad_id=0 if tokenizer is None else tokenizer.pad_id,
    shape=() if tokenizer is not None else field.shape[1:],
    scale=task.scale,
    versions=_versions(),
  )


def _versions() -> dict[str, str]:
  """Returns the versions of the packages that write a student."""
  versions = {"python": platform.python_version()}
  for name in _PACKAGES:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
      versions[name] = importlib.metadata.version(name)
  return versions


def _calibrated(
  model: FrozenModel, splits: Splits, temperature: float
) -> float:
  """Fits the temperature that calibrates a student on held-out rows."""
  logits = _logits(model, splits.validation)
  log_probs = lelp_jax.class_log_probs(
    logits, num_classes=splits.task.num_classes, temperature=temperature
  )
  return float(calibration_temperature(log_probs, splits.validation["labels"]))


def _scores(student: Student, logits: jax.Array, arrays: Arrays) -> Evaluation:
  """Scores the calibrated probabilities of a student on examples."""
  log_probs = lelp_jax.class_log_probs(
    logits, num_classes=student.num_classes, temperature=student.temperature
  )
  log_probs = np.asarray(
    jax.nn.log_softmax(log_probs / student.calibration_temperature)
  )
  labels = np.asarray(arrays["labels"])
  scores = Evaluation(
    accuracy=float(np.mean(log_probs.argmax(axis=1) == labels)),
    loss=float(-log_probs[np.arange(len(labels)), labels].mean()),
    num_examples=len(labels),
  )
  return with_predictions(scores, log_probs, arrays)


def _logits(model: FrozenModel, arrays: Arrays) -> jax.Array:
  """Returns the logits of a student on examples."""
  # GPUs and TPUs multiply matrices with lower precision by default.
  with jax.default_matmul_precision("highest"):
    return jnp.asarray(model.outputs(arrays).logits)


# --- Files --------------------------------------------------------------------


def _write_weights(folder: pathlib.Path, weights: Weights) -> None:
  """Writes the weights under names such as "params/head/kernel"."""
  arrays = traverse_util.flatten_dict(weights._asdict(), sep="/")
  arrays = {name: np.asarray(x, order="C") for name, x in arrays.items()}
  safetensors_files.write(folder, arrays)


def _write_tokenizer(
  folder: pathlib.Path, tokenizer: Tokenizer, max_length: int
) -> None:
  """Writes a tokenizer that adds special tokens, truncates and pads.

  Raises ValueError if the written tokenizer gives other tokens.
  """
  import tokenizers
  from tokenizers import processors

  pieces = tokenizers.Tokenizer.from_str(tokenizer.pieces.to_str())
  ends = [tokenizer.cls_id, tokenizer.sep_id]
  names = [pieces.id_to_token(number) for number in ends]
  pieces.post_processor = processors.TemplateProcessing(
    single=[names[0], "$A", names[1]],
    special_tokens=list(zip(names, ends, strict=True)),
  )
  pieces.enable_truncation(max_length)
  pad_id = tokenizer.pad_id
  pieces.enable_padding(pad_id=pad_id, pad_token=pieces.id_to_token(pad_id))
  path = folder / description.TOKENIZER
  json_files.replace(path, pieces.to_str(pretty=True))
  read = tokenizers.Tokenizer.from_file(str(path))
  rows = tokenizer.encode(_SAMPLES, max_length=max_length)
  for sample, row, encoding in zip(
    _SAMPLES, rows, read.encode_batch(_SAMPLES), strict=True
  ):
    ids = np.array(encoding.ids)[np.array(encoding.attention_mask) > 0]
    if not np.array_equal(ids, row):
      raise ValueError(
        f"{description.TOKENIZER} gives other tokens than the student was "
        f"trained on, as for the text {sample[:40]!r}: use another tokenizer."
      )


def _traced(
  student: Student, weights: Weights
) -> tuple[Any, list[jax.ShapeDtypeStruct]]:
  """Returns the jaxpr of an exported student, and its inputs.

  The numbers of rows and of tokens are symbolic.
  """
  try:
    if student.reads == "text":
      limits = ["L >= 1", f"L <= {student.max_length}"]
      shape = jax_export.symbolic_shape("B, L", constraints=limits)
      inputs = [jax.ShapeDtypeStruct(shape, jnp.int32)] * 2
    else:
      shape = (*jax_export.symbolic_shape("B"), *student.shape)
      dtype = jnp.uint8 if student.reads == "image" else jnp.float32
      inputs = [jax.ShapeDtypeStruct(shape, dtype)]
    function = predictor.probabilities(student, weights)
    with jax.default_matmul_precision("highest"):
      return jax.make_jaxpr(function)(*inputs), inputs
  except Exception as error:  # A user's model may raise any exception.
    raise ValueError(
      "the model cannot be traced for batches of any size "
      f"({_first_line(error)})"
    ) from error


def _onnx(
  student: Student, traced: Any, inputs: Sequence[jax.ShapeDtypeStruct]
) -> bytes:
  """Returns a serialized ONNX model."""
  names = description.INPUT_NAMES[student.reads]
  return onnx_conversion.converted(
    traced, inputs, names, description.OUTPUT_NAME
  )


def _jax_export(
  student: Student, traced: Any, inputs: Sequence[jax.ShapeDtypeStruct]
) -> bytes:
  """Returns a serialized `jax.export` artifact that takes tokens as int64."""
  is_text = student.reads == "text"

  def function(*arrays: jax.Array) -> jax.Array:
    narrow = [x.astype(jnp.int32) if is_text else x for x in arrays]
    (result,) = jax_core.jaxpr_as_fun(traced)(*narrow)
    return result

  with jax.enable_x64(True):
    wide = [
      jax.ShapeDtypeStruct(each.shape, jnp.int64 if is_text else each.dtype)
      for each in inputs
    ]
    exported = jax_export.export(jax.jit(function), platforms=_PLATFORMS)
    return bytes(exported(*wide).serialize())


_CONVERTERS = {description.ONNX: _onnx, description.JAX_EXPORT: _jax_export}


# --- Checks -------------------------------------------------------------------


def _checker(
  folder: pathlib.Path, model: FrozenModel, splits: Splits
) -> Callable[[str], None]:
  """Returns a function that checks a written model by its file name.

  The function compares the model with the trained student on held-out rows, and
  raises ValueError if the probabilities differ.
  """
  student, _ = description.read(folder)
  rows = _some_rows(splits.validation[model.spec.input_field])
  arrays = {k: v[rows] for k, v in model_fields(splits.validation).items()}
  expected = np.asarray(
    calibrated_class_probs(
      _logits(model, arrays),
      num_classes=student.num_classes,
      temperature=student.temperature,
      calibration_temperature=student.calibration_temperature,
    )
  )
  batches = list(_batches(student, arrays[model.spec.input_field]))

  def check(name: str) -> None:
    predict = predictor.RUNTIMES[name](folder, student)
    # JAX compiles once per shape, so it gets only the last batches.
    for part, inputs in batches if name == description.ONNX else batches[-2:]:
      found, right = predict(*inputs), expected[part]
      if found.shape != right.shape:
        raise ValueError(f"it gives {found.shape}, expected {right.shape}")
      difference = np.abs(found - right).max()
      if not difference <= _TOLERANCE:
        raise ValueError(
          f"its probabilities differ by {difference:.2g} from the student's"
        )

  return check


def _some_rows(field: Any) -> np.ndarray:
  """Returns the positions of up to 7 rows; of texts, by increasing length."""
  if isinstance(field, Ragged):
    order = np.argsort(field.lengths, kind="stable")
  else:
    order = np.arange(len(field))
  places = np.linspace(0, len(order) - 1, min(7, len(order)))
  return order[np.unique(np.round(places).astype(int))]


def _batches(
  student: Student, field: Any
) -> Iterator[tuple[slice, tuple[np.ndarray, ...]]]:
  """Yields batches of several sizes; texts also with more padding."""
  for part in (slice(0, 1), slice(0, 2), slice(None)):
    if student.reads != "text":
      yield part, (np.asarray(field[part]),)
      continue
    rows = [field[row] for row in range(len(field))[part]]
    longest = max(map(len, rows))
    # A set, since texts of the maximal length cannot be padded further.
    for length in sorted({longest, min(longest + 3, student.max_length)}):
      yield part, predictor.padded(rows, student.pad_id, length)
