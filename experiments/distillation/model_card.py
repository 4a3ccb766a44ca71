"""The model card of an exported student: `README.md` in its folder."""

import dataclasses
from collections.abc import Mapping
from collections.abc import Sequence

from experiments.distillation import description
from experiments.distillation.description import Student
from experiments.results import Evaluation

_TEXT_SNIPPET = """\
import json
import numpy as np
import onnxruntime
import tokenizers
labels = json.load(open("labels.json", encoding="utf-8"))
tokenizer = tokenizers.Tokenizer.from_file("tokenizer.json")
session = onnxruntime.InferenceSession("model.onnx")
rows = tokenizer.encode_batch(["The first text.", "Another one"])
inputs = {"input_ids": np.array([row.ids for row in rows])}
inputs["attention_mask"] = np.array([row.attention_mask for row in rows])
for probabilities in session.run(None, inputs)[0]:
  print(labels[probabilities.argmax()], probabilities)"""

_IMAGE_SNIPPET = """\
import json
import numpy as np
import onnxruntime
from PIL import Image
labels = json.load(open("labels.json", encoding="utf-8"))
session = onnxruntime.InferenceSession("model.onnx")
image = Image.open("image.png").convert("{mode}")
pixels = np.array(image.resize(({width}, {height}), Image.BILINEAR))
inputs = {{"pixels": pixels.reshape(1, {height}, {width}, {channels})}}
for probabilities in session.run(None, inputs)[0]:
  print(labels[probabilities.argmax()], probabilities)"""

_EMBEDDINGS_SNIPPET = """\
import json
import numpy as np
import onnxruntime
labels = json.load(open("labels.json", encoding="utf-8"))
session = onnxruntime.InferenceSession("model.onnx")
embeddings = np.load("embeddings.npy").astype(np.float32)
for probabilities in session.run(None, {"embeddings": embeddings})[0]:
  print(labels[probabilities.argmax()], probabilities)"""

_JAX_SNIPPET = """\
import pathlib
import jax
data = pathlib.Path("model.jaxexport").read_bytes()
exported = jax.export.deserialize(bytearray(data))
with jax.enable_x64(True):
  probabilities = exported.call({names})"""

_INPUTS = {
  "text": "`input_ids` and `attention_mask`, int64 `[B, L]`, L at most "
  "{max_length}",
  "image": "`pixels`, uint8 `[B, {shape}]`: height, width, channels",
  "embeddings": "`embeddings`, float32 `[B, {shape}]`",
}


@dataclasses.dataclass(frozen=True)
class Card:
  """The parts of a model card that the exported folder does not show.

  Attributes:
    title: Its title.
    data: Facts on the data by name, such as "Training rows": "20,000".
    teacher: Facts on the teacher, likewise.
    numbers: Measured numbers by name, such as "Accuracy on 5,000 test rows":
      "91.2 % (90.4 to 92.0)".
    notes: Sentences that a user has to know.
  """

  title: str = "A distilled classifier"
  data: Mapping[str, str] = dataclasses.field(default_factory=dict)
  teacher: Mapping[str, str] = dataclasses.field(default_factory=dict)
  numbers: Mapping[str, str] = dataclasses.field(default_factory=dict)
  notes: Sequence[str] = ()


def snippet(student: Student) -> str:
  """Returns Python code that predicts with ONNX Runtime in the folder."""
  if student.reads == "text":
    return _TEXT_SNIPPET
  if student.reads == "embeddings":
    return _EMBEDDINGS_SNIPPET
  height, width, channels = student.shape
  return _IMAGE_SNIPPET.format(
    height=height,
    width=width,
    channels=channels,
    mode="L" if channels == 1 else "RGB",
  )


def text(
  card: Card,
  student: Student,
  labels: Sequence[str],
  files: Mapping[str, int],
  failures: Mapping[str, str],
  scores: Evaluation,
) -> str:
  """Returns a model card in Markdown.

  Args:
    card: The parts that the folder does not show.
    student: The student.
    labels: The names of its classes.
    files: The size in bytes of each file of the folder.
    failures: Why a file could not be written, by its name.
    scores: Its scores on the test examples, with calibrated probabilities.
  """
  inputs = _INPUTS[student.reads].format(
    max_length=student.max_length, shape=", ".join(map(str, student.shape))
  )
  model = {
    "Classes": ", ".join(labels),
    "Model": student.model,
    "Input": inputs,
    "Output": f"`{description.OUTPUT_NAME}`, float32 `[B, {len(labels)}]`, in "
    f"the order of `{description.LABELS}`",
    "Training temperature": f"{student.temperature:g}, built in",
    "Calibration temperature": f"{student.calibration_temperature:.4g}, fitted "
    "on held-out rows, built in",
  }
  parts = [f"# {card.title}", _table(model)]
  parts += card.notes
  numbers = {
    **card.numbers,
    "Log loss": f"{scores.loss:.3f}",
    "Calibration error": f"{scores.calibration_error:.3f}",
  }
  for heading, facts in (
    ("Numbers", numbers),
    ("Data", card.data),
    ("Teacher", card.teacher),
  ):
    if facts:
      parts += [f"## {heading}", _table(facts)]
  parts.append("## Use")
  if description.ONNX in failures:
    parts.append(
      f"There is no `{description.ONNX}`: {failures[description.ONNX]}."
    )
  else:
    parts.append(
      "In this folder, with ONNX Runtime and without JAX or the code that "
      f"trained it:\n\n```python\n{snippet(student)}\n```"
    )
  parts.append("From the repository that trained it, for whole tables:")
  parts.append(
    "```\npython -m experiments.predict --student=FOLDER --data=FILES "
    "--output=predictions.csv\n```"
  )
  if description.JAX_EXPORT in failures:
    parts.append(
      f"There is no `{description.JAX_EXPORT}`: "
      f"{failures[description.JAX_EXPORT]}."
    )
  else:
    code = _JAX_SNIPPET.format(
      names=", ".join(description.INPUT_NAMES[student.reads])
    )
    parts.append(
      f"`{description.JAX_EXPORT}` is the same function for JAX, of the same "
      f"inputs:\n\n```python\n{code}\n```"
    )
  parts += ["## Files", _table({k: f"{v:,} bytes" for k, v in files.items()})]
  parts += ["## Versions", _table(student.versions)]
  return "\n\n".join(parts) + "\n"


def _table(facts: Mapping[str, str]) -> str:
  """Returns facts as a Markdown table without a heading."""
  rows = [
    f"| {name} | {value} |".replace("\n", " ") for name, value in facts.items()
  ]
  return "\n".join(["| | |", "|---|---|", *rows])
