"""The paper's Tables 6 to 15: complete, in order, and chosen from."""

import collections

import pytest

from experiments.paper import grids
from experiments.paper import tables

TABLES = grids.grid_tables()
NUMBERED = [table for table in TABLES if table.number]
TAU, BETA = "loss.temperature", "loss.subclass_temperature"
LAMBDA, NONTARGET = "loss.feature_weight", "loss.nontarget_weight"
NUM_SUBCLASSES, NUM_CLUSTERS = (
  "subspace.num_subclasses",
  "clustering.num_clusters",
)
SUBCLASS = "teacher.subclass."
AXES = {
  **dict.fromkeys(("embedding", "fitnet", "vid", "rkd", "crd"), (TAU, LAMBDA)),
  **dict.fromkeys(("agglomerative", "kmeans", "tsne_kmeans"), (NUM_CLUSTERS,)),
  "vanilla": (TAU,),
  "dkd": (TAU, NONTARGET),
  "subclass": (
    SUBCLASS + "num_subclasses",
    SUBCLASS + "auxiliary_temperature",
    SUBCLASS + "auxiliary_weight",
    TAU,
  ),
  "lelp": (NUM_SUBCLASSES, BETA, TAU),
}
# Of each table: how many values its grids have, their sum, and that of the
# visible choices, added up from a transcription that was checked on its own;
# in Table 9, with A-39's 2.0 in place of 3.0.
SUMS = {
  6: (60, 250.0, 37.0),
  7: (120, 11411.0, 346.9),
  8: (120, 11411.0, 376.3),
  9: (129, 2417.3, 198.7),
  10: (129, 2417.3, 400.5),
  11: (215, 4467.0, 245.4),
  12: (179, 3184.6875, 989.8125),
  13: (20, 2098.0, 24.0),
  14: (20, 2098.0, 76.0),
  15: (20, 1049.0, 57.0),
}


def axes(*tables):
  """Every axis with its method, dataset and config field."""
  for table in tables or TABLES:
    for dataset, row in table.rows.items():
      for name, axis in row.items():
        yield table.method, dataset, name, axis


def statuses(status):
  """Methods, datasets and axes of the choices that are so."""
  return [
    (method, dataset, name)
    for method, dataset, name, axis in axes(*NUMBERED)
    for choice in axis.choices.values()
    if choice.status == status
  ]


def values(method, dataset, name):
  row = next(t for t in TABLES if t.method == method).rows
  return (row.get(dataset) or row["*"])[name].values


def chosen(method, column):
  return {k: c.value for k, c in grids.choices(method, column).items()}


def test_tables_and_axes():
  assert [table.number for table in NUMBERED] == list(range(6, 16))
  assert {t.method: tuple(t.axes) for t in TABLES} == AXES
  for table in NUMBERED:
    images_only = table.number > 12
    assert len(table.rows) == (2 if images_only else 10)


def test_grids_ascend():
  for method, dataset, name, axis in axes():
    where = method, dataset, name
    assert list(axis.values) == sorted(set(axis.values)), where
    assert len(axis.printed) == len(axis.values)
    kind = int if name.endswith(("num_subclasses", "num_clusters")) else float
    assert {type(value) for value in axis.values} == {kind}, where


@pytest.mark.parametrize("table", NUMBERED, ids=lambda t: str(t.number))
def test_sums(table):
  grid = [value for *_, axis in axes(table) for value in axis.values]
  visible = [
    choice.value
    for *_, axis in axes(table)
    for choice in axis.choices.values()
    if choice.value is not None
  ]
  count, total, total_chosen = SUMS[table.number]
  assert len(grid) == count
  assert sum(grid) == pytest.approx(total, abs=1e-9)
  assert sum(visible) == pytest.approx(total_chosen, abs=1e-9)


def test_counts():
  # Tables 13 and 14 count over both classes, the others in each.
  assert {t.method: t.counted for t in TABLES if t.counted} == {
    "subclass": "per_class",
    "lelp": "per_class",
    "agglomerative": "in_total",
    "kmeans": "in_total",
    "tsne_kmeans": "per_class",
  }
  for dataset in ("cifar10_bin", "cifar100_bin"):
    in_each = values("tsne_kmeans", dataset, NUM_CLUSTERS)
    for method in ("agglomerative", "kmeans"):
      in_total = values(method, dataset, NUM_CLUSTERS)
      assert in_total == tuple(2 * count for count in in_each)
  for dataset, num_classes in (("amazon", 5), ("amazon_bin", 2)):
    for method in ("lelp", "subclass"):
      axis = NUM_SUBCLASSES if method == "lelp" else SUBCLASS + "num_subclasses"
      assert values(method, dataset, axis)[-1] * num_classes == 1000


def test_choices_are_as_legible_as_a_38_says():
  counts = collections.Counter(
    choice.status
    for *_, axis in axes(*NUMBERED)
    for choice in axis.choices.values()
  )
  assert counts == {
    "visible": 231,
    "ambiguous": 95,
    "unmarked": 10,
    "multiple": 2,
  }
  unmarked = {(method, dataset) for method, dataset, _ in statuses("unmarked")}
  assert unmarked == {
    *(("subclass", d) for d in ("cifar100", "amazon", "sentiment140_bin")),
    *(("lelp", d) for d in ("cifar100", "glue_sst2")),
  }
  assert statuses("multiple") == [
    ("fitnet", "amazon", TAU),
    ("lelp", "amazon_bin", NUM_SUBCLASSES),
  ]


def test_choices_are_in_their_grids():
  for method, dataset, name, axis in axes():
    for choice in axis.choices.values():
      where = method, dataset, name
      assert set(choice.candidates) <= set(axis.values), where
      visible = choice.status == "visible"
      assert (choice.value is not None) == visible, where
      assert not visible or choice.candidates == (choice.value,), where


@pytest.mark.parametrize(
  ("column", "expected"),
  [
    ("cifar10_bin-resnet92-resnet56", (20, 1 / 4, 1)),
    ("cifar100_bin-resnet92-resnet56", (20, None, 2)),
    ("cifar100_bin-resnet92-mobilenet", (50, 1 / 2, None)),
    ("cifar100_bin-mobilenet_wd2-mobilenet", (10, None, 4)),
    ("cifar10-resnet92-mobilenet", (None, 1 / 2, 10)),
    ("cifar100-resnet92-mobilenet", (None, 1, 10)),
    ("cifar100-resnet92-mobilenet-10000", (None, 1, 10)),
    ("lmrd-albert_large-albert_base", (10, 1, 1)),
    ("glue_cola-albert_large-albert_base", (15, 1 / 4, 3)),
    ("glue_sst2-albert_large-albert_base", (None, None, 2)),
    ("amazon_bin-albert_xxlarge-albert_base", (None, 1 / 16, 5)),
    ("amazon_bin-albert_xxlarge-mlp", (None, 1 / 8, 1)),
    ("amazon-albert_xxlarge-albert_base", (200, 1 / 8, 2)),
    ("amazon-albert_xxlarge-mlp", (80, 1, 1)),
    ("sentiment140_bin-albert_xlarge-albert_base", (500, 1, 2)),
  ],
)
def test_what_lelp_chose(column, expected):
  # Read from Table 12 by eye.
  found = chosen("lelp", column)
  assert tuple(found) == (NUM_SUBCLASSES, BETA, TAU)
  assert tuple(found.values()) == expected


def test_misprint_is_corrected_and_kept():
  axis = next(
    axis
    for method, dataset, name, axis in axes()
    if (method, dataset, name) == ("vid", "glue_cola", TAU)
  )
  assert axis.printed[:3] == ("1.0", "3.0", "3.0")
  found = chosen("vid", "glue_cola-albert_large-albert_base")
  assert found == {TAU: 2.0, LAMBDA: 0.1}
  assert "A-39" in axis.note


def test_candidates():
  choice = grids.choices("lelp", "glue_sst2-albert_large-albert_base")[BETA]
  assert choice == grids.Choice(None, "ambiguous", (0.5,))
  choice = grids.choices("lelp", "amazon_bin-albert_xxlarge-albert_base")
  assert choice[NUM_SUBCLASSES] == grids.Choice(None, "multiple", (4, 100))


def test_every_row_of_every_table_has_a_grid():
  for table in map(tables.paper_table, range(1, 6)):
    for row in table.rows:
      if row.method in ("teacher", "subclass_teacher"):
        continue
      for column in table.columns:
        grid = grids.grid(row.method, column.id)
        assert tuple(grid) == AXES.get(row.method, ())
        assert all(grid.values())
        found = grids.choices(row.method, column.id)
        assert tuple(found) == tuple(grid)
        unprinted = row.method in ("crd", "dkd")
        assert unprinted == ("absent" in {c.status for c in found.values()})


def test_a_pair_that_is_not_the_papers_has_a_grid_and_no_choice():
  column = "cifar10-mobilenet_wd2-resnet56"
  assert grids.grid("lelp", column)[NUM_SUBCLASSES] == (2, 4, 8, 10)
  assert set(chosen("lelp", column).values()) == {None}


@pytest.mark.parametrize(
  ("method", "column", "message"),
  [
    ("dist", "lmrd-albert_large-albert_base", "'dist'"),
    ("lelp", "digits-mlp-mlp", "'lelp' .*'digits'"),
    ("kmeans", "lmrd-albert_large-albert_base", "'kmeans' .*'lmrd'"),
    ("lelp", "lmrd", "dataset-teacher-student"),
  ],
)
def test_no_such_grid(method, column, message):
  with pytest.raises(ValueError, match=message):
    grids.grid(method, column)
