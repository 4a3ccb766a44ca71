"""Teachers of every kind, as embeddings and a linear head.

`prepare_teacher` runs a teacher once on a user's data, or reads the arrays that
another framework wrote, and writes the folder

  <workdir>/teacher/embeddings.npy, ids.npy, manifest.json
  <workdir>/teacher/student.msgpack, config.json             the head

`config.data.embeddings` and `config.teacher.init` name this folder: in training
the teacher is a linear model on precomputed embeddings. Teacher and student may
therefore have different tokenizers.
"""

import contextlib
import dataclasses
import hashlib
import pathlib
import shutil
import sys
import types
from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from experiments.data import embeddings as embeddings_lib
from experiments.data import load
from experiments.data.prepared import Prepared
from experiments.data.source_rows import source_rows
from experiments.distillation import arrays as arrays_lib
from experiments.distillation import description
from experiments.distillation import label_check
from experiments.distillation import networks
from experiments.distributed import signals
from experiments.io import array_files
from experiments.io import digests
from experiments.io import json_files
from experiments.io import students
from experiments.specs import DataSpec
from experiments.training import pretrained

_ROWS_PER_PART = 65_536
_MANY_CUT = 0.05  # Share of cut texts that is worth a warning.
_LINEAR = {"model": "mlp", "options": {"features": ()}}
# Fields of `config.teacher` that concern the students, or the fine-tuning; the
# others have no effect.
_OF_STUDENTS = ("outputs", "num_coordinates", "allow_chance")
_OF_FINETUNING = (
  *("learning_rate", "batch_size", "optimizer", "momentum", "nesterov"),
  *("schedule", "weight_decay", "steps_per_chunk", "seed"),
)
# Packages whose code determines the outputs on examples.
_CODE = ("lelp_jax", "experiments.data", "experiments.training")


@dataclasses.dataclass(frozen=True)
class TeacherArrays:
  """A teacher of any kind, as embeddings and a linear head.

  Attributes:
    folder: Folder of the embeddings of all examples, and of the head.
    class_names: Name of each class, in the order of the head's outputs.
    kernel: The head's weights, float32, ``[D, C]``.
    bias: The head's bias, float32, ``[C]``.
    tokenizer: Folder or hub id of the teacher's tokenizer, "" for arrays.
    source: Facts about the teacher as plain data: "kind", "name", and "model",
      "parameters", "bytes" and "examples_per_second" if they are known.
    token_embeddings: The teacher's table of token embeddings, ``[V, D]``; None
      if it has none.
    weights: Folder or hub id of weights that transformers saved, from which
      students can take layers; None if there are none.
  """

  folder: pathlib.Path
  class_names: tuple[str, ...]
  kernel: np.ndarray
  bias: np.ndarray
  tokenizer: str
  source: Mapping[str, Any]
  token_embeddings: np.ndarray | None = None
  weights: str | None = None

  def overrides(self) -> dict[str, Any]:
    """Returns the fields of a config that make it use this teacher."""
    return {
      "data.embeddings": str(self.folder),
      "teacher.model": _LINEAR["model"],
      "teacher.options.features": (),
      "teacher.input_field": "embeddings",
      "teacher.init": str(self.folder),
      "teacher.init_head": "pretrained",
      "teacher.num_epochs": 0.0,
      "teacher.num_steps": 0,
      # A batch must not be larger than the training set.
      "teacher.batch_size": 8,
    }


def prepare_teacher(
  teacher: str,
  data: DataSpec,
  workdir: pathlib.Path,
  *,
  finetune_epochs: float | None = None,
  id_column: str = "",
  labels: Sequence[str] = (),
  given: Mapping[str, Any] = types.MappingProxyType({}),
) -> TeacherArrays:
  """Computes or reads a teacher's embeddings of all examples, and its head.

  Args:
    teacher: A folder of arrays, see `arrays`; a folder or a hub id of a model
      of transformers; or the folder of a finished run or of its teacher.
    data: `config.data`; its tokenizer is ignored.
    workdir: Folder of the run; the result is kept in its folder `teacher`.
    finetune_epochs: Length of the fine-tuning of an encoder without a
      classifier.
    id_column: Column of the data that holds the ids of ids.npy.
    labels: The label of each output; by default the names that the teacher has.
    given: Fields of the config that the user has set. Those of `config.teacher`
      change the fine-tuning.

  Raises:
    FileNotFoundError: If there is no such teacher.
    Interrupted: On SIGINT or SIGTERM; what is computed is kept.
    ValueError: If the teacher does not fit the data.
  """
  data = dataclasses.replace(data, tokenizer="", embeddings="")
  folder = pathlib.Path(teacher).expanduser()
  training = _training(given, finetune_epochs)
  with signals.deferred(), undone_on_error(workdir, ("data",)):
    if folder.is_dir() and arrays_lib.is_arrays(folder):
      if finetune_epochs:
        raise ValueError(
          "--finetune_epochs is for an encoder without a classifier, and "
          f"{folder} holds arrays: leave the flag out."
        )
      read = arrays_lib.read_arrays(folder)
      found = load.open_data(data, workdir)
      return _from_arrays(read, data, found, workdir, id_column, labels)
    if id_column:
      raise ValueError(
        "--id_column belongs to ids.npy of a folder of arrays, and "
        f"{teacher} is not such a folder: leave the flag out."
      )
    network = _network(teacher, data, workdir, finetune_epochs, training)
    found = load.open_data(data, workdir)
    return _from_network(network, found, workdir, labels)


def _training(
  given: Mapping[str, Any], finetune_epochs: float | None
) -> dict[str, Any]:
  """Returns the fields of the fine-tuning that the user has set.

  Raises ValueError for a field of the teacher that would have no effect.
  """
  fields = {
    name.removeprefix("teacher."): value
    for name, value in given.items()
    if name.startswith("teacher.")
  }
  known = _OF_STUDENTS + _OF_FINETUNING * bool(finetune_epochs)
  for name in fields.keys() - {*known}:
    reason = "the teacher is taken as it is"
    if finetune_epochs:
      reason = "the fine-tuning can set " + ", ".join(_OF_FINETUNING)
    raise ValueError(f"--config.teacher.{name} has no effect here: {reason}.")
  return {k: x for k, x in fields.items() if k in _OF_FINETUNING}


@contextlib.contextmanager
def undone_on_error(
  workdir: pathlib.Path, written: Collection[str]
) -> Iterator[None]:
  """Deletes new folders of a workdir if a flag or a file turns out to be wrong.

  The data are prepared before the teacher is compared with them. If they were
  kept, the next command would refuse corrected files.

  Args:
    workdir: The workdir.
    written: Names of the folders to delete, if they did not exist before.
      Everything else in the workdir is kept.
  """
  new_folders = [x for x in (workdir, *workdir.parents) if not x.exists()]
  new = [workdir / x for x in written if not (workdir / x).exists()]
  try:
    yield
  except (FileNotFoundError, ValueError):
    for path in new:
      shutil.rmtree(path, ignore_errors=True)
    # Folders that hold something are kept.
    with contextlib.suppress(OSError):
      for path in new_folders:
        path.rmdir()
    raise


def _network(
  teacher: str,
  data: DataSpec,
  workdir: pathlib.Path,
  finetune_epochs: float | None,
  training: Mapping[str, Any],
) -> networks.Network:
  """Opens a teacher that has to be run on the examples."""
  folder = pathlib.Path(teacher).expanduser()
  if folder.is_dir() and (folder / "teachers").is_dir():
    folder = _only_teacher(folder)
  if (folder / "parameters" / "seal.json").is_file():
    return networks.finished_run(teacher, folder, data)
  if folder.is_file():
    raise ValueError(
      f"--teacher must name a folder or a model of the hub, got {folder}, "
      "which is a file."
    )
  if folder.is_dir() and not (folder / "config.json").is_file():
    raise ValueError(
      f"{folder} is not a teacher: expected config.json and model.safetensors "
      "of transformers, or embeddings.npy, logits.npy and head_kernel.npy of "
      "any framework, or a finished run."
    )
  if description.is_student(folder):
    raise ValueError(
      f"{folder} is an exported student, which --teacher does not take: name "
      "the teacher that it learned from, or give its outputs as a folder of "
      "arrays."
    )
  return networks.huggingface(teacher, data, workdir, finetune_epochs, training)


def _only_teacher(run: pathlib.Path) -> pathlib.Path:
  """Returns the folder of the one teacher of a run that can be run again."""
  found = []
  for seal in sorted((run / "teachers").glob("*/parameters/seal.json")):
    folder = seal.parents[1]
    if networks.teacher_of_run(folder).input_field == "inputs":
      found.append(folder)
  if len(found) == 1:
    return found[0]
  if not found:
    raise ValueError(
      f"{run} has no finished teacher that can be run on other data: name the "
      "teacher that it was made with, such as its folder of arrays."
    )
  names = ", ".join(folder.name for folder in found)
  raise ValueError(
    f"{run} has {len(found)} teachers ({names}): name one of them, such as "
    f"--teacher={found[0]}."
  )


def _from_arrays(
  given: arrays_lib.Arrays,
  data: DataSpec,
  found: Prepared,
  workdir: pathlib.Path,
  id_column: str,
  labels: Sequence[str],
) -> TeacherArrays:
  """Writes the teacher's arrays in the order of the examples."""
  name, width = str(given.folder), given.embeddings.shape[1]
  source = source_rows(data, found, id_column)
  rows = arrays_lib.rows_of_examples(given, source, id_column)
  order = _order_of_outputs(
    name, given.kernel.shape[1], given.labels, found, labels
  )
  advice = (
    "are its rows in another order than those of the data (write them without "
    "shuffling, or with ids.npy), or is --label_column another column than the "
    "labels that it was trained on?"
  )
  kernel, bias = given.kernel, given.bias
  logits = label_check.head_logits(given.embeddings, kernel, bias)
  label_check.check_predictions(name, logits, order, rows, found, advice)
  kernel, bias = kernel[:, order], bias[order]
  paths = sorted(given.folder.glob("*.npy"))
  origin = {
    "arrays": {path.name: digests.of_file(path) for path in paths},
    "rows": hashlib.sha256(rows.tobytes()).hexdigest(),
  }

  def embeddings(start: int, stop: int) -> np.ndarray:
    return np.asarray(given.embeddings[rows[start:stop]], np.float32)

  folder = workdir / "teacher"
  bounds = (*range(0, len(rows), _ROWS_PER_PART), len(rows))
  _write(folder, origin, found, width, bounds, embeddings)
  _write_head(folder, kernel, bias)
  return TeacherArrays(
    folder=folder,
    class_names=found.task.class_names,
    kernel=kernel,
    bias=bias,
    tokenizer="",
    source={"kind": "arrays", "name": given.folder.name},
  )


def _from_network(
  network: networks.Network,
  found: Prepared,
  workdir: pathlib.Path,
  labels: Sequence[str],
) -> TeacherArrays:
  """Runs a model on all examples, and writes its embeddings and its head."""
  name, (kernel, bias) = network.name, network.head
  width, num_outputs = kernel.shape
  order = _order_of_outputs(name, num_outputs, network.labels, found, labels)
  runner = networks.Runner(network, found)
  origin = {
    "weights": network.digest,
    "model": network.spec.model,
    "max_length": network.max_length,
    "code": {name: digests.of_sources(name) for name in _CODE},
  }
  if (share := runner.share_cut) > _MANY_CUT:
    print(
      f"The teacher reads the first {network.max_length} tokens of a text, and "
      f"{100 * share:.0f} % of the texts are longer: set "
      "--config.data.max_length to what it was trained with.",
      file=sys.stderr,
      flush=True,
    )
  folder = workdir / "teacher"
  _write(folder, origin, found, width, runner.bounds, runner.embeddings)
  embeddings = embeddings_lib.open_embeddings(folder).values
  advice = (
    "is --label_column the column of the labels that it was trained on, and "
    "--text_column that of the texts? A teacher that is fine-tuned here may "
    "need more --finetune_epochs."
  )
  logits = label_check.head_logits(embeddings, kernel, bias)
  rows = np.arange(len(embeddings))
  label_check.check_predictions(name, logits, order, rows, found, advice)
  kernel, bias = kernel[:, order], bias[order]
  _write_head(folder, kernel, bias)
  speed_file = folder / "speed.json"
  if rate := runner.examples_per_second:
    json_files.write_json(speed_file, {"examples_per_second": rate})
  speed = json_files.read_json(speed_file) if speed_file.is_file() else {}
  path = pathlib.Path(name).expanduser()
  return TeacherArrays(
    folder=folder,
    class_names=found.task.class_names,
    kernel=kernel,
    bias=bias,
    tokenizer=network.tokenizer,
    source={
      "kind": "model",
      "name": path.name if path.exists() else name,
      "model": network.spec.model,
      "parameters": network.num_parameters,
      "bytes": 4 * network.num_parameters,
      **speed,
    },
    token_embeddings=network.token_embeddings,
    weights=network.weights_from,
  )


def _order_of_outputs(
  teacher: str,
  num_outputs: int,
  own: Sequence[str],
  found: Prepared,
  given: Sequence[str],
) -> np.ndarray:
  """Returns the output that belongs to each class of the data.

  Args:
    teacher: The teacher, for messages.
    num_outputs: Number of its outputs.
    own: Names of its outputs, if it has names.
    found: The data.
    given: The names that the user gave.
  """
  classes = found.task.class_names
  some = ", ".join(classes[:10]) + ", ..." * (len(classes) > 10)
  if num_outputs != len(classes):
    raise ValueError(
      f"the teacher {teacher} has {num_outputs} classes, and the data have "
      f"{len(classes)} ({some}): give the labels that it was trained on."
    )
  names = given or own
  saved, needed = map(pretrained.spelled, (names, classes))
  if sorted(saved) == sorted(needed):
    return np.array([saved.index(name) for name in needed])
  # The labels are the numbers of the outputs.
  is_numbered = needed == [str(number) for number in range(num_outputs)]
  if not names or (is_numbered and not given):
    return np.arange(num_outputs)
  raise ValueError(
    f"the outputs of the teacher {teacher} are named {', '.join(names)}, and "
    f"the labels of the data are {some}: set --teacher_labels to the label of "
    f"each output, in the order of the outputs, such as "
    f"--teacher_labels={','.join(classes[:5])}."
  )


def _write(
  folder: pathlib.Path,
  origin: Mapping[str, Any],
  found: Prepared,
  width: int,
  bounds: tuple[int, ...],
  embeddings: Callable[[int, int], np.ndarray],
) -> None:
  """Writes the embeddings of all examples in parts, unless they exist."""
  num_rows = bounds[-1]
  shape = jax.ShapeDtypeStruct((num_rows, width), np.float32)
  content = array_files.Content(
    {
      "encoder": origin,
      "texts": {"splits": embeddings_lib.dataset_contents(found)},
    },
    {"embeddings": shape},
    bounds,
    ("encoder.code",),
  )
  array_files.load_or_compute(
    folder,
    content,
    lambda start, stop, fixed: {"embeddings": embeddings(start, stop)},
    # Ids of prepared examples are their positions.
    fixed={"ids": np.arange(num_rows, dtype=np.int32)},
    label="outputs of the teacher",
  )


def _write_head(
  folder: pathlib.Path, kernel: np.ndarray, bias: np.ndarray
) -> None:
  """Writes a head as the weights of a linear model."""
  head = {"kernel": np.asarray(kernel), "bias": np.asarray(bias)}
  students.save_student(folder / "student.msgpack", {"head": head}, {})
  json_files.write_json(folder / "config.json", {"student": _LINEAR})
