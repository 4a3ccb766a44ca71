r"""Your own data: distils a classifier of texts or images with few classes.

Texts come from tables (.tsv, .csv, .jsonl, .parquet, also .gz):

  python -m experiments.main --workdir=runs/reviews \
    --config=experiments/configs/own.py:kind=text \
    --config.data.train=reviews.csv \
    --config.data.text_column=review --config.data.label_column=stars \
    --config.data.tokenizer=albert/albert-base-v2

Images come from a folder with one folder per class:

  python -m experiments.main --workdir=runs/cats \
    --config=experiments/configs/own.py:kind=images \
    --config.data.train=photos/train --config.data.test=photos/test \
    --config.data.image_size=32

Several tables are separated by commas, or named by a pattern or their folder.
The section "Data" of experiments/README.md has the fields of `config.data` for
other encodings, delimiters and images in a table, and explains labels. If there
are no test examples, `test_fraction` of the training examples is set aside for
testing, and likewise `validation_fraction` for validation. The first run
converts the data, prints the class of each label, and keeps both in the
workdir. `--config.teacher.init=FOLDER --config.teacher.num_epochs=0` uses a
teacher that you have already fine-tuned, without training it.
"""

from ml_collections import ConfigDict

from experiments.configs import base
from lelp_jax.models import MODELS


def get_config(arg: str | None = None) -> ConfigDict:
  """Returns the config of ``kind=text`` or ``kind=images``.

  ``method=`` and ``trial=`` choose the cell that `experiments.main` trains.
  """
  given = base.parse_arg(arg, kind="text", method="lelp", trial=0)
  base.one_of("kind", given.kind, ("text", "images"))
  config = files_config()
  config.method = given.method
  config.trial = given.trial
  if given.kind == "text":
    _texts(config)
  else:
    _images(config)
  config.loss.temperature = 2.0
  config.subspace.num_subclasses = 10
  config.sweep.columns.own = ConfigDict()
  config.sweep.methods.standard = ConfigDict()
  config.sweep.methods.vanilla = ConfigDict()
  config.sweep.methods.lelp = ConfigDict(
    {"loss": {"subclass_temperature": (0.25, 1.0)}}
  )
  return config


def files_config() -> ConfigDict:
  """Returns a config of a user's own files that names no models."""
  config = base.base_config()
  config.name = config.column = config.data.dataset = "own"
  config.title = "Your own data"
  config.data.source = "files"
  return config


def _texts(config: ConfigDict) -> None:
  """Sets a pretrained ALBERT-Large as the teacher of an ALBERT-Base."""
  for fields, size, epochs, rate in (
    (config.teacher, "large", 3.0, 1e-5),
    (config.student, "base", 10.0, 1e-5),
  ):
    fields.model = f"albert_{size}"
    fields.init = MODELS[fields.model].hub_id
    fields.num_steps, fields.num_epochs = 0, epochs
    fields.learning_rate = rate
    fields.batch_size, fields.eval_batch_size = 32, 64


def _images(config: ConfigDict) -> None:
  """Sets a ResNet-56 as the teacher of a ResNet-20."""
  for fields, model in (
    (config.teacher, "resnet56"),
    (config.student, "resnet20"),
  ):
    fields.model = model
    fields.num_steps, fields.num_epochs, fields.steps_per_chunk = 0, 100.0, 0
    fields.batch_size = 128
    fields.optimizer, fields.nesterov = "sgd", True
    fields.learning_rate, fields.schedule = 5e-2, "cosine"
    fields.weight_decay = 1e-4
    fields.max_shift, fields.flip = 0.1, True
