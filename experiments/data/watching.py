"""Long loops over examples: progress shown, interrupts minded."""

import dataclasses
import itertools
from collections.abc import Iterable
from collections.abc import Iterator
from typing import Any
from typing import TextIO

from experiments.distributed.signals import Interrupted
from experiments.distributed.signals import Interrupts
from experiments.io.progress import Progress

_BATCH = 1000


@dataclasses.dataclass(frozen=True)
class Watch:
  """Passes items on, shows how far they are, and stops where it is asked to.

  Attributes:
    state: What has been asked of the process.
    stream: Where progress is shown; standard error if None.
  """

  state: Interrupts
  stream: TextIO | None = None

  def __call__(
    self, items: Iterable[Any], *, total: int, label: str, unit: str
  ) -> Iterator[Any]:
    """Yields the items.

    Args:
      items: What to pass on.
      total: How many they are, at most.
      label: What is being done, in a word or two.
      unit: What one of them is called.

    Raises:
      Interrupted: If the process was asked to stop.
    """
    with Progress(total, label=label, unit=unit, stream=self.stream) as bar:
      for batch in batches(items):
        if self.state.requested is not None:
          raise Interrupted(
            self.state.requested, "the splits that are finished are kept"
          )
        yield from batch
        bar.update(len(batch))


def batches(items: Iterable[Any], size: int = _BATCH) -> Iterator[list[Any]]:
  """Yields the items in lists, the last of which may be shorter."""
  iterator = iter(items)
  while batch := list(itertools.islice(iterator, size)):
    yield batch
