"""What every config has: each field once, with what it means.

A config describes one cell: a column of a table (data, teacher, student), a
method, its hyperparameters and a trial. `config.sweep` describes the table:
the columns, the rows and the grid of each. It is plain data, nested like the
config itself; a tuple in a row or a grid is an axis.
"""

from collections.abc import Iterable
from typing import Any

from ml_collections import ConfigDict


def parse_arg(arg: str | None, **defaults: Any) -> ConfigDict:
  """Parses the text after the colon of --config=file.py:key=value,...

  Args:
    arg: ``"key=value,flag"`` or None; a bare key means ``True``.
    **defaults: Every argument there is, with its default; the value is
      parsed to the type of the default.

  Returns:
    The arguments, typed.

  Raises:
    ValueError: If an argument is unknown or its value cannot be parsed.
  """
  values = ConfigDict(defaults)
  for item in filter(None, (arg or "").split(",")):
    name, _, text = item.partition("=")
    if name not in defaults:
      raise ValueError(
        f"unknown config argument {name!r}; there are {sorted(defaults)}."
      )
    values[name] = _parse(name, text or "True", type(defaults[name]))
  return values


def _parse(name: str, text: str, kind: type) -> Any:
  if kind is bool:
    if text not in ("True", "False", "1", "0"):
      raise ValueError(f"config argument {name} must be True or False: {text}")
    return text in ("True", "1")
  try:
    return kind(text)
  except ValueError as error:
    raise ValueError(
      f"config argument {name} must be {kind.__name__}, got {text!r}."
    ) from error


def one_of(argument: str, value: str, known: Iterable[str]) -> str:
  """Returns the value of an argument, if it can be.

  Args:
    argument: Its name.
    value: Its value.
    known: What it can be.

  Raises:
    ValueError: If it is none of these.
  """
  if value not in known:
    raise ValueError(
      f"config argument {argument} must be one of {sorted(known)}, got "
      f"{value!r}."
    )
  return value


def base_config() -> ConfigDict:
  """Returns the fields of every config, with their defaults."""
  config = ConfigDict()
  config.name = ""  # Of the table or figure.
  config.title = ""  # What stands above it.
  config.column = ""  # Which column of the table; names a folder.
  config.row = ""  # Which row; names a folder. By default the method.
  config.method = "lelp"  # A key of experiments.methods.METHODS.
  config.trial = 0  # Seeds initialisation, dropout, rotation, data order.
  # Which examples choose hyperparameters: "heldout" from the training set, or
  # "test", as the paper did.
  config.selection = "heldout"

  config.data = ConfigDict()
  # "digits", "stand_in" (made up, for smoke tests), or what
  # experiments.prepare made.
  config.data.dataset = ""
  config.data.options = ConfigDict()  # Arguments of the first two.
  config.data.data_dir = "data"  # Where experiments.prepare wrote.
  # The classes of CIFAR-100, merged into so many; 0 for as they are.
  config.data.merge_classes = 0
  # Semi-supervised: the teacher sees so many labels, 0 for all.
  config.data.num_labelled = 0
  # Students train on "all" training examples, or on the "labelled" ones that
  # the teacher saw; and on this share of them, stratified (Figure 6).
  config.data.transfer = "all"
  config.data.transfer_fraction = 1.0
  config.data.split_seed = 0  # Which are labelled, and which in the share.

  # Your own files, instead of a data set: "files". Tables (.tsv, .csv,
  # .jsonl, .parquet), folders of images, .npz; brought into their training
  # form in the workdir at first use.
  config.data.source = ""
  config.data.train = ""
  config.data.validation = ""  # By default a part of the training examples.
  config.data.test = ""
  config.data.text_column = ""
  config.data.image_column = ""
  config.data.label_column = ""
  config.data.image_size = 0  # Images are resized to this, 0 for as they are.
  config.data.tokenizer = (
    ""  # A tokenizer.json, spiece.model, folder or hub id.
  )
  config.data.max_length = 128  # Longer texts lose their end, in tokens.

  # Training data live on the devices, or on the host as text has to: "auto"
  # (on the devices up to 1 GiB), "device" or "host".
  config.data.placement = "auto"
  # Text: batches are cut from this many batches sorted by length; 1 for
  # batches at random, each padded to its longest text.
  config.data.length_window = 32
  config.data.embeddings = (
    ""  # Folder of vectors, for `input_field = "embeddings"`.
  )
  # Trials that see the batches in one order share a stack, and its teacher's
  # forward pass. The paper's trials differ in it.
  config.data.shared_batch_order = False

  config.teacher = model()
  config.teacher.seed = 0
  config.teacher.init_head = "pretrained"
  # What students learn from: the teacher run on each batch ("inline"), or its
  # outputs on the clean examples, computed once and kept beside the teacher:
  # all of them ("cached"), or as coordinates on principal directions.
  config.teacher.outputs = "auto"
  # Directions a class of "coordinates", 0 for the largest S of the cells.
  config.teacher.num_coordinates = 0
  # Subclass Distillation's teacher, trained anew for it: its head has so many
  # outputs a class, 1 for a plain teacher.
  config.teacher.subclass = ConfigDict()
  config.teacher.subclass.num_subclasses = 1
  config.teacher.subclass.auxiliary_weight = 1.0
  config.teacher.subclass.auxiliary_temperature = 1.0
  config.student = model()

  config.loss = ConfigDict()
  config.loss.temperature = 1.0  # tau.
  config.loss.subclass_temperature = 1.0  # beta.
  config.loss.hard_label_weight = 0.0  # alpha of eq. (1).
  config.loss.feature_weight = 1.0  # lambda of methods that compare embeddings.
  config.loss.nontarget_weight = 1.0  # beta of DKD.
  # Times LELP's second term, that within the classes; 1 is the paper's.
  config.loss.subclass_weight = 1.0
  config.loss.contrast_temperature = 0.07  # rho of CRD and InfoNCE.
  config.loss.contrast_width = 128  # Of the rows they compare.
  config.loss.num_negatives = 4096  # Of CRD with a memory bank.
  # Whether a learned linear map takes the student's embeddings to the
  # teacher's width: "always", "never", or "auto", where the widths differ;
  # FitNet and the contrasts then have theirs at equal widths, too.
  config.loss.projection = "auto"
  # Temperature of the student's class probabilities when it predicts: "train"
  # for the loss's own, or "one".
  config.loss.prediction_temperature = "train"

  config.subspace = ConfigDict()
  config.subspace.kind = "lelp"  # Or "pca", "random", "identity" (App. C).
  config.subspace.num_subclasses = 10  # S, of each class.
  # Of "random": the S directions are so many independent sets, each softened
  # on its own and of equal weight.
  config.subspace.num_projections = 1
  config.subspace.null_space = "weights"
  config.subspace.rtol = 5e-3  # Of the head's rank.
  config.subspace.rotation = "haar"
  config.subspace.seed = -1  # Of rotation or directions; -1: the trial.
  config.subspace.normalization = "max"
  config.subspace.rank_deficient = "complete"

  config.clustering = ConfigDict()
  config.clustering.num_clusters = 10  # Of each class, or of all.
  config.clustering.scope = "per_class"  # Or "global".

  # FitNet's and CRD's projections are trained first, with a student that is
  # thrown away; once for all trials and grid points.
  config.pretraining = ConfigDict()
  config.pretraining.num_steps = 1000
  # Instead of steps, if positive; both 0 for none.
  config.pretraining.num_epochs = 0.0
  config.pretraining.steps_per_chunk = 250
  config.pretraining.learning_rate = 1e-3  # Of Adam.

  # Where a teacher does not fit on one device, "fsdp" cuts its arrays over the
  # devices that share a batch. Numbers are the same up to rounding.
  config.mesh = ConfigDict()
  config.mesh.teacher = "replicated"

  config.stack = ConfigDict()
  config.stack.cells = "auto"  # Or "vmap", "map": how stacked cells run.
  config.stack.max_cells = 256  # Larger stacks are cut.

  # Where metrics go beside metrics.jsonl: "tensorboard", "wandb" (extras of
  # these names), or both, with a comma.
  config.loggers = ""
  # "FIRST_STEP:LAST_STEP": the chunks that hold these steps are traced by JAX's
  # profiler, into `profile/` beside the metrics; each of several processes
  # into a folder of its own there.
  config.profile = ""

  config.sweep = ConfigDict()
  config.sweep.num_trials = 3
  config.sweep.columns_are = "settings"  # Or "replicates" of one setting.
  config.sweep.columns = ConfigDict()  # column -> overrides, as they are.
  # row -> overrides; tuples are axes. A row that is no method says which it
  # is of, for example {"method": "lelp", "subspace": {"kind": "pca"}}.
  config.sweep.methods = ConfigDict()
  # column -> row -> overrides and axes of that row in that column, beside or
  # instead of its own.
  config.sweep.grids = ConfigDict()
  # What the grids' numbers of clusters are of, as `clustering.scope`, which
  # flags must not change then; empty for whatever that is.
  config.sweep.cluster_scope = ""
  config.sweep.notes = ()
  return config


def model() -> ConfigDict:
  """Returns the fields of a model and how it is trained."""
  fields = ConfigDict()
  fields.model = "mlp"  # A key of lelp_jax.models.MODELS.
  fields.options = ConfigDict()  # Arguments of its constructor.
  # What the model reads of an example: its "inputs", or "embeddings" that were
  # computed before.
  fields.input_field = "inputs"
  # Where the body's weights are from: "random", a folder (Hugging Face's or a
  # finished run's) or a hub id.
  fields.init = "random"
  # The last layer: "fresh", or "pretrained" where `init` has one that fits.
  fields.init_head = "fresh"
  fields.num_steps = 1000  # 0 takes a pretrained teacher as it is.
  fields.num_epochs = 0.0  # Instead of steps, if positive.
  fields.batch_size = 64
  fields.optimizer = "adam"  # Or "sgd".
  fields.momentum = 0.9  # Of "sgd".
  fields.nesterov = False  # Of "sgd".
  fields.learning_rate = 1e-3
  # Or "cosine", to 1e-6 as in the paper, or "piecewise_constant": from each
  # boundary on (steps, or epochs if num_epochs says how long) the rate is the
  # first one times a factor.
  fields.schedule = "constant"
  fields.schedule_boundaries = ()
  fields.schedule_factors = ()
  fields.weight_decay = 0.0  # Decoupled, on kernels only.
  fields.max_shift = 0.0  # Augmentation: random shift, share of the size.
  fields.flip = False  # Augmentation: random horizontal flip.
  # Steps compiled as one program, 0 for an epoch; evaluated and saved after.
  fields.steps_per_chunk = 250
  fields.eval_batch_size = 512
  return fields
