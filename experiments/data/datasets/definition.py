"""What a dataset says of itself: its originals, its counts, how it is read."""

import dataclasses
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any
from typing import Protocol

from experiments.data import dataset
from experiments.data.datasets import originals
from experiments.data.sources import ColumnSource
from experiments.data.sources import Malformed

Example = Mapping[str, Any]  # As `dataset.Source` has it, its label an int.
OpenTfds = Callable[
  [str, str], dataset.Source
]  # A dataset and a split of TFDS.


class Watch(Protocol):
  """Passes items on, shows how far they are, and stops where it is asked to."""

  def __call__(
    self, items: Iterable[Any], *, total: int, label: str, unit: str
  ) -> Iterator[Any]:
    """Yields the items."""


def unwatched(items: Iterable[Any], **_: Any) -> Iterator[Any]:
  """Yields the items and shows nothing."""
  return iter(items)


@dataclasses.dataclass(frozen=True)
class Split:
  """The examples of a split, in the order in which they are written.

  Attributes:
    num_examples: How many there are.
    examples: Yields them from the first on, each time it is called.
  """

  num_examples: int
  examples: Callable[[], Iterable[Example]]


@dataclasses.dataclass(frozen=True)
class Raw:
  """A dataset's originals, counted and ready to be read.

  Attributes:
    splits: By name, in the order in which they are written.
    num_bytes: About how much the examples take, without tokens.
    malformed: What was left out, by split or file.
    notes: What a reader of results has to know, a clause each.
    details: What else goes into the manifest, as JSON has it.
  """

  splits: Mapping[str, Split]
  num_bytes: int
  malformed: Mapping[str, Malformed] = dataclasses.field(default_factory=dict)
  notes: tuple[str, ...] = ()
  details: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def from_source(
  source: dataset.Source, convert: Callable[[Example], Example] = dict
) -> Split:
  """Returns the split that all examples of a source make up.

  Args:
    source: The examples.
    convert: Makes of each the one that is written.
  """
  return Split(
    len(source), lambda: (convert(source[i]) for i in range(len(source)))
  )


def from_sources(
  sources: Mapping[str, dataset.Source], *, example_bytes: int, **fields: Any
) -> Raw:
  """Returns what sources hold, one a split.

  Args:
    sources: By split.
    example_bytes: About how much an example takes.
    **fields: Others of `Raw`.
  """
  return Raw(
    splits={name: from_source(source) for name, source in sources.items()},
    num_bytes=example_bytes * sum(map(len, sources.values())),
    malformed={
      name: source.malformed
      for name, source in sources.items()
      if isinstance(source, ColumnSource)
    },
    **fields,
  )


@dataclasses.dataclass(frozen=True)
class Form:
  """One form of the originals.

  Attributes:
    layout: The files.
    read: Reads them, given where each is: `read(paths, watch=, **options)`.
  """

  layout: originals.Layout
  read: Callable[..., Raw]


@dataclasses.dataclass(frozen=True)
class Dataset:
  """A dataset, wherever its originals come from.

  Attributes:
    task: What there is to learn.
    forms: Those of its original files, the best first.
    tfds: Its name in TFDS.
    read_tfds: Reads that: `read_tfds(open, watch=, **options)` with an
      `OpenTfds`.
    published: How many examples of each class there are, by split.
    where: Where the originals are, in a clause.
    max_length: Of a text in tokens, [CLS] and [SEP] too.
    options: What can be chosen, with the paper's or the usual choice.
  """

  task: dataset.Task
  forms: tuple[Form, ...]
  tfds: str
  read_tfds: Callable[..., Raw]
  published: Mapping[str, tuple[int, ...]]
  where: str
  max_length: int | None = None
  options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

  @property
  def layouts(self) -> tuple[originals.Layout, ...]:
    """What the files of each form are."""
    return tuple(form.layout for form in self.forms)
