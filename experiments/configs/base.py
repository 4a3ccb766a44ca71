"""Base of every config: each field once, with its meaning and default.

A config describes one cell: a column of a table (data, teacher, student), a
method, its hyperparameters and a trial. `config.sweep` describes the table:
its columns, its rows and the grid of each row. It is plain data, nested like
the config itself; a tuple in a row or in a grid is an axis.
`experiments.configs.validate` checks a config.
"""

import functools
from collections.abc import Iterable
from typing import Any

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from lelp_jax.models import MODELS

# Types that flags parse. All other values are literals of Python.
_PARSED = (bool, int, float, str, tuple)


def parse_arg(arg: str | None, **defaults: Any) -> ConfigDict:
  """Parses the text after the colon of --config=file.py:key=value,...

  A value has the type of its default; a key without a value means ``True``.
  """
  values = ConfigDict(defaults)
  for item in filter(None, (arg or "").split(",")):
    name, _, text = item.partition("=")
    if name not in defaults:
      raise ValueError(
        f"config argument {name!r} is unknown; the arguments are "
        f"{sorted(defaults)}."
      )
    values[name] = _parse(name, text or "True", type(defaults[name]))
  return values


def _parse(name: str, text: str, kind: type) -> Any:
  switches = {"True": True, "1": True, "False": False, "0": False}
  try:
    return switches[text] if kind is bool else kind(text)
  except (KeyError, ValueError) as error:
    expected = "True or False" if kind is bool else f"of type {kind.__name__}"
    raise ValueError(
      f"config argument {name} must be {expected}, got {text!r}."
    ) from error


def one_of(argument: str, value: str, known: Iterable[str]) -> str:
  """Returns the value of an argument after checking it."""
  if value not in known:
    raise ValueError(
      f"config argument {argument} must be one of {sorted(known)}, got "
      f"{value!r}."
    )
  return value


def base_config() -> ConfigDict:
  """Returns a config that has every field, with its default."""
  config = ConfigDict()
  config.name = ""  # Short name of the table or figure.
  config.title = ""  # Title of the table or figure, for readers.
  config.column = ""  # Column of the table; names a folder.
  config.row = ""  # Row of the table; names a folder. By default the method.
  config.method = "lelp"  # A key of experiments.methods.METHODS.
  config.trial = 0  # Seed of initialisation, dropout, rotation and data order.
  # Examples that choose hyperparameters: "heldout", taken from the training
  # set, or "test", as in the paper.
  config.selection = "heldout"

  config.data = ConfigDict()
  # "digits", "stand_in" (made-up data for smoke tests), or the name of a data
  # set that experiments.prepare wrote.
  config.data.dataset = ""
  config.data.options = ConfigDict()  # Arguments of "digits" and "stand_in".
  config.data.data_dir = "data"  # Folder that experiments.prepare wrote.
  # Merges the classes of CIFAR-100 into this number of classes; 0 keeps them.
  config.data.merge_classes = 0
  # Semi-supervised: number of labels that the teacher sees, 0 for all.
  config.data.num_labelled = 0
  # Students train on "all" training examples, or on the "labelled" ones that
  # the teacher saw; and on this fraction of them, stratified (Figure 6).
  config.data.transfer = "all"
  config.data.transfer_fraction = 1.0
  # Seed of the choice of labelled examples and of the fraction.
  config.data.split_seed = 0

  # "files" reads your own files instead of a data set: tables (.tsv, .csv,
  # .jsonl, .parquet), folders of images, or .npz. The first run converts them
  # and keeps the result in the workdir. Several tables are separated by commas,
  # or named by a pattern such as "part-*.csv" or by their folder.
  config.data.source = ""
  config.data.train = ""
  config.data.validation = ""  # By default a part of the training examples.
  config.data.test = ""  # By default a part of the training examples.
  config.data.validation_fraction = 0.1  # That part, at most 5,000 examples.
  config.data.test_fraction = 0.2
  config.data.text_column = ""
  # Column of encoded images, or of their paths, relative to the table's folder.
  config.data.image_column = ""
  config.data.label_column = ""
  # Text files: the encoding (by default UTF-8, or by the byte order mark), the
  # character between fields (by default the usual one with which the columns
  # exist), whether the first line has the names of the columns (if not, a
  # column is a position from 0), and whether fields may stand in double quotes:
  # "double", "none", or "auto", which is "double" for .csv and "none" for .tsv.
  config.data.encoding = ""
  config.data.delimiter = ""
  config.data.header = True
  config.data.quoting = "auto"
  # Images are resized to this height and width; 0 keeps their size.
  config.data.image_size = 0
  # 1 makes images grey, 3 coloured; 0 makes them grey if all of them are.
  config.data.channels = 0
  # Malformed rows and files are left out, counted and named. More than this
  # share of those of a file stop the command before it trains.
  config.data.max_bad_rows = 0.01
  # Rows without a label: "refuse" stops the command, "drop" leaves them out,
  # and "transfer" lets students train on those of `train`, with the teacher's
  # outputs as targets. A method that needs a class takes the one that the
  # teacher predicts.
  config.data.unlabelled = "refuse"
  # More files of such examples. Their labels, if any, are ignored, and a folder
  # of images needs no folders of classes.
  config.data.unlabelled_files = ""
  # A tokenizer.json, spiece.model, folder or id of the Hugging Face hub.
  config.data.tokenizer = ""
  config.data.max_length = 128  # Longer texts are cut after this many tokens.

  # Where the training data are kept: "device", "host" (as text has to be), or
  # "auto", which is on the devices up to 1 GiB.
  config.data.placement = "auto"
  # Text: batches are cut from a window of this many batches, sorted by length.
  # 1 makes random batches, each padded to its longest text.
  config.data.length_window = 32
  # Folder of precomputed vectors, for `input_field="embeddings"`.
  config.data.embeddings = ""
  # Trials that see the batches in the same order share a stack and the
  # teacher's forward pass. The paper's trials differ in the order.
  config.data.shared_batch_order = False

  config.teacher = model()
  config.teacher.seed = 0
  config.teacher.init_head = "pretrained"
  # Whether to go on with a teacher that is not better than naming the most
  # frequent class. It only matters for a user's own files, and for a
  # pretrained teacher that is taken as it is.
  config.teacher.allow_chance = False
  # Where students get the teacher's outputs from: "inline" runs the teacher on
  # each batch; "cached" runs it once on the clean examples and keeps its
  # outputs with the teacher; "coordinates" keeps only coordinates on principal
  # directions. "auto" is "inline" for students whose images are augmented, and
  # "cached" for all others.
  config.teacher.outputs = "auto"
  # Directions per class of "coordinates"; 0 for the largest S of the sweep.
  config.teacher.num_coordinates = 0
  # Subclass Distillation trains its own teacher, whose head has this number of
  # outputs per class; 1 for a plain teacher.
  config.teacher.subclass = ConfigDict()
  config.teacher.subclass.num_subclasses = 1
  config.teacher.subclass.auxiliary_weight = 1.0
  config.teacher.subclass.auxiliary_temperature = 1.0
  config.student = model()

  config.loss = ConfigDict()
  config.loss.temperature = 1.0  # tau.
  config.loss.subclass_temperature = 1.0  # beta.
  config.loss.hard_label_weight = 0.0  # alpha of eq. (1).
  # lambda: weight of the loss that compares embeddings.
  config.loss.feature_weight = 1.0
  config.loss.nontarget_weight = 1.0  # beta of DKD.
  # Weight of LELP's second term, within the classes; 1 in the paper.
  config.loss.subclass_weight = 1.0
  config.loss.contrast_temperature = 0.07  # rho of CRD and InfoNCE.
  # Width of the projections that CRD and InfoNCE compare.
  config.loss.contrast_width = 128
  config.loss.num_negatives = 4096  # Negatives of CRD with a memory bank.
  # Whether a learned linear map takes the student's embeddings to the
  # teacher's width: "always", "never", or "auto", where the widths differ.
  # With "auto" FitNet and the contrasts also have it at equal widths.
  config.loss.projection = "auto"
  # Temperature of the student's class probabilities when it predicts: "train"
  # for the loss's temperature, or "one".
  config.loss.prediction_temperature = "train"

  config.subspace = ConfigDict()
  # Class of an example in the statistics and clusters of each class: its
  # "labels" (of the teacher's training examples; the teacher's class for
  # examples without a label), or the class that the "teacher" predicts, of all
  # examples that students train on.
  config.subspace.membership = "labels"
  # "lelp", or an ablation of appendix C: "pca", "random" or "identity".
  config.subspace.kind = "lelp"
  config.subspace.num_subclasses = 10  # S, per class.
  # Method "random_ensemble": the S directions are this number of independent
  # sets, each with a softmax of its own and the same weight.
  config.subspace.num_projections = 1
  # The directions are orthogonal to the head's "weights", to their
  # "weight_differences", or to "none".
  config.subspace.null_space = "weights"
  config.subspace.rtol = 5e-3  # Tolerance of the head's rank.
  config.subspace.rotation = "haar"  # Or "none".
  # Seed of the rotation or of random directions; -1 for the trial.
  config.subspace.seed = -1
  config.subspace.normalization = "max"  # Or "per_direction", "none".
  config.subspace.rank_deficient = "complete"  # Or "error".
  # Method "lelp_centroids": the variance s^2 of a subclass is this multiple of
  # the variance per dimension around the centroids. A multiple of it has the
  # same effect as the same multiple of loss.subclass_temperature. With 0 the
  # data choose s^2: examples then belong to 1.5 clusters on average
  # (`lelp_jax.variance_of_perplexity`).
  config.subspace.widening = 10.0

  config.clustering = ConfigDict()
  config.clustering.num_clusters = 10  # Per class, or of all classes.
  config.clustering.scope = "per_class"  # Or "global".
  # The embeddings are clustered as they are, "none", or projected off the span
  # of the head's "weights" or of their "weight_differences", at the tolerance
  # subspace.rtol. Method "lelp_centroids" has subspace.null_space instead.
  config.clustering.null_space = "none"

  # The projections of FitNet and CRD are trained first, with a student that is
  # then discarded; once for all trials and grid points.
  config.pretraining = ConfigDict()
  config.pretraining.num_steps = 1000
  # If positive it replaces num_steps. No pre-training if both are 0.
  config.pretraining.num_epochs = 0.0
  config.pretraining.steps_per_chunk = 250
  config.pretraining.learning_rate = 1e-3  # Learning rate of Adam.

  # "fsdp" divides the arrays of a teacher that does not fit on one device
  # among the devices that share a batch. Results are the same up to rounding.
  config.mesh = ConfigDict()
  config.mesh.teacher = "replicated"

  config.stack = ConfigDict()
  config.stack.cells = "auto"  # How stacked cells run: or "vmap", "map".
  config.stack.max_cells = 256  # Larger stacks are divided.

  # Where metrics go in addition to metrics.jsonl: "tensorboard", "wandb"
  # (extras of these names), or both, separated by a comma.
  config.loggers = ""
  # "FIRST_STEP:LAST_STEP" traces the chunks with these steps by JAX's profiler,
  # into `profile/` next to the metrics. Each of several processes has its own
  # folder there.
  config.profile = ""

  config.sweep = ConfigDict()
  config.sweep.num_trials = 3
  # Trials of each grid point; only the point that held-out data choose then
  # gets all `num_trials`. 0 trains all trials of every grid point.
  config.sweep.grid_trials = 0
  # "settings" to compare; or repetitions of one setting, whose mean is shown:
  # "splits" of one data set, or "teachers" that differ in their seed.
  config.sweep.columns_are = "settings"
  # Column -> fields that it sets. A tuple is a value.
  config.sweep.columns = ConfigDict()
  # Row -> fields that it sets. A tuple is an axis. A row whose name is not a
  # method names its method, as {"method": "lelp", "subspace": {"kind": "pca"}}.
  # Start its own name with the method's, such as "lelp_pca": reports tell LELP,
  # its ablations, clusterings and baselines apart by names.
  config.sweep.methods = ConfigDict()
  # Column -> row -> fields and axes of that row in that column, in addition to
  # the row's own or in place of them.
  config.sweep.grids = ConfigDict()
  # The `clustering.scope` that the numbers of clusters in the grids are meant
  # for, which flags must not change; empty if they fit either.
  config.sweep.cluster_scope = ""
  config.sweep.notes = ()  # Sentences for the readers of the report.
  # Whether numbers mean nothing: the report then marks no best method.
  config.sweep.is_smoke = False
  # Whether the report draws maps of the students' embeddings.
  config.sweep.maps = True
  return config


@functools.cache
def _option_types() -> dict[str, type]:
  """Returns every option that a model has, with the type of its default."""
  defaults: dict[str, list[Any]] = {}
  for architecture in MODELS.values():
    for name, value in architecture.attributes().items():
      if name not in architecture.fixed:
        defaults.setdefault(name, []).append(value)
  types = {}
  for name, values in sorted(defaults.items()):
    kinds = {type(value) for value in values}
    kind = kinds.pop() if len(kinds) == 1 else object
    types[name] = kind if kind in _PARSED else object
  return types


def model() -> ConfigDict:
  """Returns the fields of a model and its training."""
  fields = ConfigDict()
  fields.model = "mlp"  # A key of lelp_jax.models.MODELS.
  # Arguments of its constructor; None for the model's default.
  fields.options = ConfigDict(
    {name: placeholder(kind) for name, kind in _option_types().items()}
  )
  # Field of an example that the model reads: "inputs", or "embeddings", the
  # precomputed vectors.
  fields.input_field = "inputs"
  # Initial weights of the body: "random", a folder (of Hugging Face's format,
  # or of a finished run) or an id of the Hugging Face hub.
  fields.init = "random"
  # Initial last layer: "fresh", or "pretrained" if `init` has one that fits.
  fields.init_head = "fresh"
  # The label of each output of that layer, if its config.json has other names.
  fields.init_labels = ()
  fields.num_steps = 1000  # 0 takes a pretrained teacher as it is.
  fields.num_epochs = 0.0  # If positive it replaces num_steps.
  fields.batch_size = 64
  fields.optimizer = "adam"  # Or "sgd".
  fields.momentum = 0.9  # For "sgd".
  fields.nesterov = False  # For "sgd".
  fields.learning_rate = 1e-3
  # "constant"; "cosine", which ends at 1e-6 as in the paper; or
  # "piecewise_constant", which multiplies the learning rate by a factor from
  # each boundary on. Boundaries are in steps, or in epochs with num_epochs.
  fields.schedule = "constant"
  fields.schedule_boundaries = ()
  fields.schedule_factors = ()
  fields.weight_decay = 0.0  # Decoupled, for kernels only.
  # Augmentation: random shift of images, as a fraction of their size.
  fields.max_shift = 0.0
  fields.flip = False  # Augmentation: random horizontal flip.
  # Steps per compiled program, 0 for an epoch. After each the model is
  # evaluated and saved.
  fields.steps_per_chunk = 250
  fields.eval_batch_size = 512
  return fields
