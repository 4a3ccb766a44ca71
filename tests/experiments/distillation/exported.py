"""Students with random weights, exported for tests without any training."""

import pathlib

import jax
import numpy as np
from flax import traverse_util

from experiments import specs
from experiments.configs import own
from experiments.configs import validate
from experiments.data.dataset import Ragged
from experiments.data.dataset import Splits
from experiments.data.dataset import Task
from experiments.data.tokenizer import load_tokenizer
from experiments.distillation import artifacts
from experiments.distillation.artifacts import Card
from experiments.results import Evaluation
from experiments.training.models import model_fns
from experiments.training.models import Weights
from lelp_jax.models import MODELS
from tests.experiments import huggingface_files

LABELS = ("bad", "good", "so, so")
WORDS = "dull grim poor fine warm wise film the a".split()
NUM_SUBCLASSES = 2
IMAGE_SHAPE = (32, 32, 3)
WIDTH = 5  # Of embeddings.
_SIZE = 24
NO_CARD = Card({}, {}, {}, ())
_ENCODER = {
  "hidden_size": 8,
  "num_layers": 1,
  "num_heads": 2,
  "intermediate_size": 8,
  "vocab_size": 16,
  "max_positions": 16,
}
# Options of the smallest model of each kind.
OPTIONS = {
  "static": {"vocab_size": 16, "width": 4, "features": (6,)},
  "bert": _ENCODER,
  "distilbert": _ENCODER,
  "roberta": _ENCODER,
  "albert_base": {**_ENCODER, "num_layers": 2, "embedding_size": 4},
  "cnn": {"features": (4, 4), "width": 8, "batch_norm": True},
  "resnet20": {},
  "mobilenet": {},
  "mlp": {"features": (6,)},
}


def make_cell(model: str, method: str = "lelp", **fields) -> specs.CellSpec:
  """A cell with a small student, which computes at temperature 3."""
  kind = "text" if MODELS[model].reads == "tokens" else "images"
  config = own.get_config(f"kind={kind},method={method}")
  config.data.train = "reviews.csv"
  config.data.max_length = 12
  if kind == "text":
    config.data.text_column = "review"
    config.data.label_column = "stars"
    config.data.tokenizer = "tokenizer.json"
  config.student.model, config.student.init = model, "random"
  config.student.eval_batch_size = 8
  config.loss.temperature = 3.0
  cell = validate.cell_spec(config)
  options = {
    f"student.options.{k}": v for k, v in OPTIONS.get(model, {}).items()
  }
  if MODELS[model].reads == "array":
    options["student.input_field"] = "embeddings"
  named = {name.replace("__", "."): value for name, value in fields.items()}
  return specs.replace(cell, {**options, **named})


def make_splits(cell: specs.CellSpec) -> Splits:
  """Random examples of what the student of a cell reads."""
  rng = np.random.default_rng(0)
  reads = MODELS[cell.student.model].reads
  task = Task("own", len(LABELS), class_names=LABELS)
  if reads == "tokens":
    texts = [" ".join(rng.choice(WORDS, n % 14)) for n in range(_SIZE)]
    tokenizer = load_tokenizer(cell.data.tokenizer)
    rows = tokenizer.encode(texts, max_length=12)
    arrays = {"inputs": Ragged.concatenate(rows, np.uint16)}
  elif reads == "image":
    task = Task("own", len(LABELS), None, LABELS, (), IMAGE_SHAPE, 255.0)
    pixels = rng.integers(0, 256, (_SIZE, *IMAGE_SHAPE)).astype(np.uint8)
    arrays = {"inputs": pixels}
  else:
    vectors = rng.standard_normal((_SIZE, WIDTH)).astype(np.float32)
    arrays = {"embeddings": vectors}
  arrays["labels"] = rng.integers(0, len(LABELS), _SIZE).astype(np.int32)
  arrays["ids"] = np.arange(_SIZE, dtype=np.int32)
  return Splits(task, arrays, arrays, arrays, arrays)


def make_weights(cell: specs.CellSpec) -> Weights:
  """Random weights, such that no parameter and no statistic is without use."""
  rng = np.random.default_rng(1)
  model = model_fns(cell.student, len(LABELS) * NUM_SUBCLASSES)
  architecture = MODELS[cell.student.model]
  shape = {"tokens": (5,), "image": IMAGE_SHAPE, "array": (WIDTH,)}
  inputs = architecture.input_shapes(1, shape[architecture.reads])
  shapes = jax.eval_shape(model.init, jax.random.key(0), inputs)

  def filled(path, leaf):
    # Kernels keep the size of what they multiply.
    values = rng.standard_normal(leaf.shape)
    values /= max(1, np.prod(leaf.shape[:-1])) ** 0.5
    if path[-1] in ("var", "scale"):  # Of a normalization.
      values = 1 + np.abs(values)
    return values.astype(leaf.dtype)

  trees = [traverse_util.flatten_dict(dict(tree)) for tree in shapes]
  filled_trees = [
    {path: filled(path, leaf) for path, leaf in tree.items()} for tree in trees
  ]
  return Weights(*map(traverse_util.unflatten_dict, filled_trees))


def export(
  folder: pathlib.Path, model: str, card: Card = NO_CARD, **fields
) -> Evaluation:
  """Exports a student, the folder's name being of a folder that exists."""
  tokenizer = folder.parent / "tokenizer.json"
  if MODELS[model].reads == "tokens":
    pieces = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS)
    huggingface_files.write_tokenizer(tokenizer, pieces)
  cell = make_cell(model, data__tokenizer=str(tokenizer), **fields)
  return artifacts.export_student(
    folder,
    cell=cell,
    weights=make_weights(cell),
    splits=make_splits(cell),
    card=card,
  )
