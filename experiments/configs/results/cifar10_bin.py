r"""CIFAR-10-bin in its JPEG form: a ResNet-20 into a small CNN.

The classes are the parity of ten labels, which no method but the oracle sees.
The images are JPEG copies (cifar10_jpegq75_train.parquet and _test.parquet in
the folder CIFAR10), so accuracies must not be compared with published ones. The
teacher's images are shifted and mirrored; the students' images are not, so that
the teacher's outputs are computed once.

  python -m experiments.prepare --dataset=cifar10_bin --source=CIFAR10
  python -m experiments.sweep --workdir=runs/cifar10_bin-10 \
    --teacher_dir=runs/teachers \
    --config=experiments/configs/results/cifar10_bin.py:share=10,teachers=1

On two CPU cores that do nothing else, a teacher should take an hour and the
students of one share two: ResNet-20 learns from 170 images per second
(benchmarks/results), and a student from about 1,500.
"""

from ml_collections import ConfigDict

from experiments.configs.results import common


def get_config(arg: str | None = None) -> ConfigDict:
  """Returns the config of a sweep; the arguments are those of `parse`."""
  given = common.parse(arg, share=10)
  config = common.sweep_config(
    given,
    "cifar10_bin",
    f"CIFAR-10-bin (JPEG), {given.share} % of the data, small CNN",
    "cnn",
    common.main_rows(),
  )
  _teacher(config.teacher)
  _student(config.student)
  return config


def _teacher(fields: ConfigDict) -> None:
  """Sets the paper's recipe of ResNet-56, in smaller batches for few epochs."""
  fields.model = "resnet20"
  fields.num_steps, fields.num_epochs, fields.steps_per_chunk = 0, 12.0, 351
  fields.batch_size, fields.eval_batch_size = 128, 500
  fields.optimizer, fields.nesterov, fields.weight_decay = "sgd", True, 1e-4
  fields.learning_rate, fields.schedule = 0.05, "cosine"
  fields.max_shift, fields.flip = 0.1, True


def _student(fields: ConfigDict) -> None:
  """Sets a CNN of three blocks with 0.1 million parameters."""
  fields.model = "cnn"
  fields.options.features, fields.options.width = (16, 32, 64), 64
  fields.num_steps, fields.steps_per_chunk = 1500, 500  # For any share.
  fields.batch_size, fields.eval_batch_size = 128, 500
  fields.learning_rate, fields.schedule = 1e-3, "cosine"
