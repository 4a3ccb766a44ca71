r"""Quickstart: is a digit odd or even? scikit-learn's 8x8 images, two classes.

This is a small version of the paper's CIFAR-10-bin (sections 4.2 and 4.3.1):
ten digits are hidden in two classes. A teacher trained on 1,000 images is
distilled into small students that see 100 of them.

Expected on 20 random splits: LELP exceeds standard training by nearly two
points and vanilla distillation by almost half a point, and is about as good as
k-means clustering. It takes less than three minutes on two CPU cores.

Table:  python -m experiments.sweep --workdir=runs/quickstart \
          --config=experiments/configs/quickstart.py
Cell:   python -m experiments.main --workdir=runs/one \
          --config=experiments/configs/quickstart.py:method=lelp
Report: python -m experiments.report --workdir=runs/quickstart

With `:methods=all` it has the rows of Tables 1 and 3 and every other method.
"""

from ml_collections import ConfigDict

from experiments.configs import base

_NUM_SPLITS = 20
_CLUSTERED = {"clustering": {"num_clusters": (2, 5, 10)}}


def get_config(arg: str | None = None) -> ConfigDict:
  """Returns the config of one cell, with the sweep in `config.sweep`.

  Args:
    arg: ``method=``, ``split=``, ``trial=``; ``methods=all`` for a sweep of
      every method, or their names joined by ``+``; ``smoke=True`` for a sweep
      that takes seconds.
  """
  given = base.parse_arg(
    arg, method="lelp", split=0, trial=0, methods="main", smoke=False
  )
  config = base.base_config()
  config.name = "quickstart"
  config.title = "scikit-learn's digits, odd or even"
  config.column = f"split{given.split}"
  config.method = given.method
  config.trial = given.trial

  config.data.dataset = "digits"
  config.data.options.split_seed = given.split
  config.data.options.num_train = 1000  # Seen by the teacher.
  config.data.options.num_transfer = 100  # Seen by the students.
  config.data.options.num_validation = 297
  config.data.options.num_test = 500
  config.data.shared_batch_order = True

  config.teacher.options.features = (256,)
  config.teacher.num_steps = 1500
  config.teacher.batch_size = 100
  config.teacher.max_shift = 0.1

  config.student.options.features = (32, 32)
  config.student.num_steps = 1000
  config.student.batch_size = 25
  config.student.learning_rate = 2e-3

  # One batch size for 297 and 500 examples, so that evaluation compiles once.
  config.teacher.eval_batch_size = config.student.eval_batch_size = 250

  config.loss.temperature = 2.0
  config.loss.subclass_temperature = 4.0

  config.sweep.num_trials = 3
  config.sweep.columns_are = "splits"
  for split in range(_NUM_SPLITS):
    config.sweep.columns[f"split{split}"] = ConfigDict(
      {"data": {"options": {"split_seed": split}}}
    )
  config.sweep.methods.standard = ConfigDict()
  config.sweep.methods.vanilla = ConfigDict(
    {"loss": {"temperature": (1.0, 2.0)}}
  )
  config.sweep.methods.lelp = ConfigDict(
    {
      "loss": {
        "temperature": (1.0, 2.0),
        "subclass_temperature": (1.0, 2.0, 4.0, 8.0),
      },
      "subspace": {"num_subclasses": (5, 10)},
    }
  )
  config.sweep.methods.oracle = ConfigDict()
  if not given.smoke:
    config.sweep.methods.kmeans = ConfigDict(_CLUSTERED)
  if given.methods != "main":
    config.loss.num_negatives = 64  # The bank has 50 of the other class.
    config.sweep.methods.update(_others())
  config.sweep.notes = (
    "The trials of one split share the teacher and the order of the batches.",
    "LELP's directions come from the teacher's embeddings of all its training "
    "images, of which students see a tenth.",
    "Teacher and batch size were chosen on other random splits of the same "
    "images.",
  )
  if given.smoke:
    _smoke(config)
  if given.methods not in ("main", "all"):
    rows = config.sweep.methods.to_dict()
    names = given.methods.split("+")
    config.sweep.methods = ConfigDict(
      {name: rows[base.one_of("methods", name, rows)] for name in names}
    )
  return config


def _others() -> ConfigDict:
  """Returns the grids of the methods that are not in the main table."""
  tempered = {"loss": {"temperature": (1.0, 2.0)}}
  compared = {"loss": {"feature_weight": (0.1, 1.0, 10.0)}}
  contrasted = {"loss": {"feature_weight": (0.1, 1.0)}}
  grids = {
    ("embedding", "fitnet", "vid", "rkd", "rkd_distance"): compared,
    ("crd", "crd_bank", "info_nce"): contrasted,
    ("dkd", "dist", "standardized_kd"): tempered,
    ("agglomerative", "kmeans", "tsne_kmeans"): _CLUSTERED,
    tuple(f"{n}_soft" for n in ("agglomerative", "kmeans", "tsne_kmeans")): {
      **_CLUSTERED,
      **tempered,
    },
    ("lelp_centroids",): {
      "loss": {"temperature": (1.0, 2.0), "subclass_temperature": (1.0, 4.0)},
      "clustering": {"num_clusters": (5, 10)},
    },
    ("subclass",): {
      **tempered,
      "teacher": {"subclass": {"num_subclasses": 5}},
    },
  }
  return ConfigDict(
    {name: grid for group, grid in grids.items() for name in group}
  )


def _smoke(config: ConfigDict) -> None:
  """Shrinks the sweep to an end-to-end check that takes seconds."""
  for fields in (config.teacher, config.student):
    fields.num_steps = 40
    fields.steps_per_chunk = 20
  config.teacher.options.features = (32, 32)
  config.sweep.num_trials, config.sweep.is_smoke = 2, True
  for split in range(2, _NUM_SPLITS):
    del config.sweep.columns[f"split{split}"]
  config.sweep.methods.lelp.loss.temperature = (1.0,)
  config.sweep.methods.lelp.loss.subclass_temperature = (1.0, 4.0)
