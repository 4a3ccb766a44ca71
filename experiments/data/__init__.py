"""Where examples come from: datasets by name, batches, augmentation."""

from collections.abc import Callable

from experiments.data import digits
from experiments.data.types import Splits
from experiments.data.types import Task

# Loaders by the name that a configuration uses.
DATASETS: dict[str, Callable[..., Splits]] = {"digits": digits.load}

__all__ = ["DATASETS", "Splits", "Task"]
