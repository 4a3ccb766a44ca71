"""What a report is made of: one record for each finished run."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from experiments.paper import rows

# The order and the titles of a table where no sweep.json gives them.
METHOD_TITLES = {
  "oracle": "Oracle clustering",
  "standard": "Standard training",
  "vanilla": "Vanilla distillation",
  "embedding": "Embedding distillation",
  "fitnet": "FitNet",
  "vid": "VID",
  "rkd": "Relational KD, angles",
  "rkd_distance": "Relational KD, distances",
  "crd": "CRD",
  "crd_bank": "CRD, memory bank",
  "info_nce": "InfoNCE",
  "dkd": "Decoupled KD",
  "dist": "DIST",
  "standardized_kd": "Logit standardization",
  "subclass": "Subclass distillation",
  "agglomerative": "Agglomerative clustering",
  "kmeans": "K-means clustering",
  "tsne_kmeans": "t-SNE & K-means clustering",
  "agglomerative_soft": "Agglomerative clustering, soft",
  "kmeans_soft": "K-means clustering, soft",
  "tsne_kmeans_soft": "t-SNE & K-means clustering, soft",
  "lelp": "LELP",
  **rows.TITLES,
}


@dataclasses.dataclass(frozen=True)
class Named:
  """A column or a method: its folder and what a reader should see."""

  id: str
  title: str


@dataclasses.dataclass(frozen=True)
class Scores:
  """What a model reaches on one set of examples; fractions, not percent."""

  accuracy: float
  loss: float | None = None
  agreement: float | None = None
  num_examples: int | None = None


@dataclasses.dataclass(frozen=True)
class Teacher:
  """The teacher of a run.

  Attributes:
    digest: Names it.
    test: Its scores on the test examples.
    num_parameters: Number of its parameters.
    folder: Where it is, relative to the workdir; empty where it is elsewhere.
  """

  digest: str
  test: Scores
  num_parameters: int | None = None
  folder: str = ""

  @property
  def config(self) -> str:
    """Path of its config, relative to the workdir; empty where unknown."""
    return f"{self.folder}/config.json" if self.folder else ""


@dataclasses.dataclass(frozen=True)
class Cell:
  """One finished run: a method with its hyperparameters, one trial.

  Attributes:
    column: Id of the column, a split or a setting.
    method: Id of the method.
    digest: Names the hyperparameters: equal for all trials of one setting.
    trial: Number of the trial, from 0.
    hyperparameters: What the digest stands for.
    test: Scores on the test examples after the last step.
    validation: Scores on the held-out examples, None where none were held out.
    train: Losses of the last training steps by name.
    variance_share: For each class the share of the teacher's variance that the
      chosen directions carry; empty where the method has no directions.
    teacher: The teacher, None for a method without one.
    num_parameters: Number of parameters of the student.
    null_space_share: For each class the share of the teacher's variance that
      lies in the null space of its head; empty where it was not recorded.
    folder: Where it is, relative to the workdir; see `within`.
    numbers: The single numbers of its result.json, by dotted name; not
      compared.
  """

  column: str
  method: str
  digest: str
  trial: int
  hyperparameters: Mapping[str, Any]
  test: Scores
  validation: Scores | None = None
  train: Mapping[str, float] = dataclasses.field(default_factory=dict)
  variance_share: tuple[float, ...] = ()
  teacher: Teacher | None = None
  num_parameters: int | None = None
  null_space_share: tuple[float, ...] = ()
  folder: str = ""
  numbers: Mapping[str, float] = dataclasses.field(
    default_factory=dict, compare=False
  )

  @property
  def config(self) -> str:
    """Path of its config, relative to the workdir; empty where unknown."""
    return f"{self.folder}/config.json" if self.folder else ""


@dataclasses.dataclass(frozen=True)
class Results:
  """All finished runs of a workdir and what they were meant to be.

  Attributes:
    name: Short name of the sweep.
    title: What a reader should see above a table.
    columns: Columns in the order of the table.
    methods: Methods in the order of the table.
    num_trials: Trials asked for in each cell.
    selection: "heldout" or "test": where hyperparameters are chosen (A-37).
    columns_are: "replicates" (random splits of one data set, so that a mean
      over the columns means something) or "settings".
    num_expected: Number of runs asked for, None where nothing says.
    cells: The runs that are there.
    notes: What a reader has to know, one sentence each.
    same_as: Text in place of a number, such as "= vanilla KD", by column and
      method: cells that were not trained since they would repeat another's.
    datasets: What each column was run on, where a config says it.
    folder: The workdir, relative to what all paths here are relative to; empty
      where it is that itself.
  """

  name: str
  title: str
  columns: tuple[Named, ...]
  methods: tuple[Named, ...]
  num_trials: int
  selection: str
  columns_are: str
  num_expected: int | None
  cells: tuple[Cell, ...]
  notes: tuple[str, ...] = ()
  same_as: Mapping[tuple[str, str], str] = dataclasses.field(
    default_factory=dict
  )
  datasets: Mapping[str, str] = dataclasses.field(
    default_factory=dict, compare=False
  )
  folder: str = ""

  @property
  def num_missing(self) -> int:
    """Number of runs that were asked for and are not there."""
    return max(0, (self.num_expected or 0) - len(self.cells))

  def method_title(self, method: str) -> str:
    """The title of a method by its id."""
    return next(m.title for m in self.methods if m.id == method)


def within(results: Results, folder: str) -> Results:
  """Returns results with their paths relative to another folder.

  Args:
    results: What `results.load` returns, its paths relative to the workdir.
    folder: Where the workdir is, seen from there.

  Examples:
    >>> cell = Cell("a", "lelp", "d", 0, {}, Scores(0.5), folder="cells/a")
    >>> fields = {"columns": (), "methods": (), "num_trials": 1}
    >>> fields |= {"selection": "test", "columns_are": "settings"}
    >>> one = Results("n", "t", num_expected=1, cells=(cell,), **fields)
    >>> within(one, "table1").cells[0].config
    'table1/cells/a/config.json'
  """

  def moved(path: str) -> str:
    return f"{folder}/{path}" if path else ""

  def with_teacher(teacher: Teacher | None) -> Teacher | None:
    if teacher is None:
      return None
    return dataclasses.replace(teacher, folder=moved(teacher.folder))

  cells = tuple(
    dataclasses.replace(
      cell, folder=moved(cell.folder), teacher=with_teacher(cell.teacher)
    )
    for cell in results.cells
  )
  return dataclasses.replace(results, cells=cells, folder=folder)
