"""The datasets of the paper, by the id that a configuration uses."""

from experiments.data.datasets import amazon
from experiments.data.datasets import cifar
from experiments.data.datasets import glue
from experiments.data.datasets import imdb
from experiments.data.datasets import sentiment140
from experiments.data.datasets.definition import Dataset

DATASETS: dict[str, Dataset] = {
  dataset.task.name: dataset
  for dataset in (
    cifar.cifar10("cifar10_bin", binary=True),
    cifar.cifar100("cifar100_bin", binary=True),
    cifar.cifar10("cifar10", binary=False),
    cifar.cifar100("cifar100", binary=False),
    imdb.LMRD,
    glue.COLA,
    glue.SST2,
    amazon.AMAZON,
    amazon.AMAZON_BIN,
    sentiment140.SENTIMENT140_BIN,
  )
}

__all__ = ["DATASETS", "Dataset"]
