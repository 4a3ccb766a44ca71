"""Predictions of an exported student."""

import pathlib
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jax import export as jax_export

from experiments.data.images import DecodedImages
from experiments.data.tokenizer import load_tokenizer
from experiments.distillation import description
from experiments.distillation import student_models
from experiments.distillation.description import Student
from experiments.io import safetensors_files
from experiments.training.models import Weights
from lelp_jax.calibration import calibrated_class_probs
from lelp_jax.models import MODELS

# Maps the arrays that `description.INPUT_NAMES` names to probabilities [B, C].
Predict = Callable[..., np.ndarray]

_BATCH = 64  # Rows that are predicted together.
_LENGTHS = 32  # JAX pads texts to multiples of this length.


class Predictor:
  """An exported student, ready to predict.

  Attributes:
    student: Its description.
    labels: The names of its classes.
  """

  def __init__(self, folder: pathlib.Path):
    """Loads a student, with ONNX Runtime if it has a `model.onnx`.

    Raises FileNotFoundError or ValueError if the folder holds no student.
    """
    self.student, self.labels = description.read(folder)
    files = [name for name in RUNTIMES if (folder / name).is_file()]
    if not files:
      raise ValueError(
        f"{folder} has neither {description.ONNX} nor {description.WEIGHTS}: "
        "export the student again."
      )
    self._predict = RUNTIMES[files[0]](folder, self.student)
    self._tokenizer = None
    if self.student.reads == "text":
      self._tokenizer = load_tokenizer(folder / description.TOKENIZER)

  def predict(self, values: Sequence[Any], first: int = 0) -> np.ndarray:
    """Returns probabilities, float32 ``[N, C]``, in the order of the values.

    Args:
      values: Texts; paths or bytes of images; or embeddings, each ``[D]``.
      first: The number of the first row, from 0, for error messages.
    """
    if self.student.reads == "text":
      return self._texts(values)
    parts = []
    for start in range(0, len(values), _BATCH):
      batch = values[start : start + _BATCH]
      if self.student.reads == "embeddings":
        parts.append(self._predict(np.stack(batch)))
      else:
        rows = range(first + start + 1, first + start + len(batch) + 1)
        height, width, channels = self.student.shape
        decoded = DecodedImages(
          batch, rows, "the input", channels, (height, width)
        )
        parts.append(self._predict(decoded.stacked()))
    return np.concatenate(parts)

  def _texts(self, texts: Sequence[str]) -> np.ndarray:
    """Predicts texts in the order of their lengths, to need little padding."""
    assert self._tokenizer is not None
    student = self.student
    rows = self._tokenizer.encode(texts, max_length=student.max_length)
    order = np.argsort([len(row) for row in rows], kind="stable")
    found = np.empty((len(rows), len(self.labels)), np.float32)
    for start in range(0, len(rows), _BATCH):
      part = order[start : start + _BATCH]
      batch = [rows[place] for place in part]
      length = len(batch[-1])
      found[part] = self._predict(*padded(batch, student.pad_id, length))
    return found


def padded(
  rows: Sequence[np.ndarray], pad_id: int, length: int
) -> tuple[np.ndarray, np.ndarray]:
  """Returns `input_ids` and `attention_mask`, int64 ``[B, length]``."""
  ids = np.full((len(rows), length), pad_id, np.int64)
  mask = np.zeros((len(rows), length), np.int64)
  for place, row in enumerate(rows):
    ids[place, : len(row)] = row
    mask[place, : len(row)] = 1
  return ids, mask


def _onnx(folder: pathlib.Path, student: Student) -> Predict:
  """Loads `model.onnx`."""
  try:
    import onnxruntime
  except ImportError:
    raise ValueError(
      "predictions need the package onnxruntime: pip install -e '.[deploy]'."
    ) from None
  options = onnxruntime.SessionOptions()
  options.log_severity_level = 3  # Errors only.
  try:
    session: Any = onnxruntime.InferenceSession(
      folder / description.ONNX, options, providers=["CPUExecutionProvider"]
    )
  except Exception as error:  # ONNX Runtime has errors of its own.
    raise ValueError(
      f"{folder / description.ONNX} cannot be loaded "
      f"({str(error).splitlines()[0]}): export the student again."
    ) from error
  names = description.INPUT_NAMES[student.reads]

  def predict(*arrays: np.ndarray) -> np.ndarray:
    inputs = dict(zip(names, arrays, strict=True))
    return session.run([description.OUTPUT_NAME], inputs)[0]

  return predict


def _exported(folder: pathlib.Path, _: Student) -> Predict:
  """Loads `model.jaxexport`."""
  data = bytearray((folder / description.JAX_EXPORT).read_bytes())
  exported = jax_export.deserialize(data)

  def predict(*arrays: np.ndarray) -> np.ndarray:
    with jax.enable_x64(True):  # Tokens are int64.
      return np.asarray(exported.call(*arrays))

  return predict


def _weights(folder: pathlib.Path, student: Student) -> Predict:
  """Rebuilds the model from `config.json` and `model.safetensors`."""
  tree = traverse_util.unflatten_dict(safetensors_files.read(folder), sep="/")
  weights = Weights(tree["params"], tree.get("model_state", {}))
  function = jax.jit(probabilities(student, weights))
  fills = (student.pad_id, 0)  # Of texts; a single array is filled with 0.

  def predict(*arrays: np.ndarray) -> np.ndarray:
    # Inputs are padded to few shapes, since JAX compiles once per shape.
    rows, shape = len(arrays[0]), list(arrays[0].shape)
    shape[0] = 1 << (rows - 1).bit_length()
    if student.reads == "text":
      longer = -(-shape[1] // _LENGTHS) * _LENGTHS
      shape[1] = max(shape[1], min(longer, student.max_length))
    more = [(0, size) for size in np.subtract(shape, arrays[0].shape)]
    wide = [
      np.pad(array, more, constant_values=fill)
      for array, fill in zip(arrays, fills, strict=False)
    ]
    with jax.default_matmul_precision("highest"):
      return np.asarray(function(*wide))[:rows]

  return predict


# How each file of a student is loaded, in the order of preference: ONNX Runtime
# takes batches of any shape without compiling anything.
RUNTIMES: dict[str, Callable[[pathlib.Path, Student], Predict]] = {
  description.ONNX: _onnx,
  description.WEIGHTS: _weights,
  description.JAX_EXPORT: _exported,
}


def probabilities(
  student: Student, weights: Weights
) -> Callable[..., jax.Array]:
  """Returns the function that an exported student computes.

  It takes the arrays that `description.INPUT_NAMES` names, tokens as int32, and
  returns probabilities ``[B, C]``.
  """
  if ":" in student.model:
    student_models.register_own(student.model)
  model = MODELS[student.model](student.num_outputs, **student.options)

  def predict(*arrays: jax.Array) -> jax.Array:
    inputs: Any
    if student.reads == "text":
      names = description.INPUT_NAMES["text"]
      inputs = dict(zip(names, arrays, strict=True))
    else:
      inputs = arrays[0].astype(jnp.float32) / student.scale
    outputs, _ = model.apply(*weights, inputs, train=False)
    return calibrated_class_probs(
      outputs.logits,
      num_classes=student.num_classes,
      temperature=student.temperature,
      calibration_temperature=student.calibration_temperature,
    )

  return predict
