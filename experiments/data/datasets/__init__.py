"""The published data sets, by their name in configs."""

from experiments.data.datasets import amazon
from experiments.data.datasets import banking
from experiments.data.datasets import cifar
from experiments.data.datasets import clinc
from experiments.data.datasets import glue
from experiments.data.datasets import imdb
from experiments.data.datasets import sentiment140
from experiments.data.originals import Dataset

DATASETS: dict[str, Dataset] = {
  dataset.task.name: dataset
  for dataset in (
    cifar.CIFAR10_BIN,
    cifar.CIFAR100_BIN,
    cifar.CIFAR10,
    cifar.CIFAR100,
    imdb.LMRD,
    glue.COLA,
    glue.SST2,
    amazon.AMAZON,
    amazon.AMAZON_BIN,
    sentiment140.SENTIMENT140_BIN,
    clinc.PARITY,
    clinc.DOMAIN2,
    clinc.DOMAIN5,
    banking.PARITY,
  )
}
