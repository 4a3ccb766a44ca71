"""Pages on planted subclasses: right examples, right numbers, whole HTML."""

import base64
import io

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from PIL import Image
from sklearn import metrics

from experiments.data.dataset import Subclasses
from experiments.data.dataset import Task
from experiments.reporting import permutation_test
from experiments.reporting import subclass_pages as pages_lib
from experiments.reporting.permutation_test import subclass_information
from experiments.reporting.subclass_pages import INDEX
from experiments.reporting.subclass_pages import subclass_pages
from experiments.reporting.subclass_pages import Subject
from tests.experiments.reporting.test_render import Page

_TEXT = '<script>alert("x")</script> & more'


def planted(rng, num_examples=240, **changes):
  """Two classes; the fine label decides the sign along direction 0.

  Images are of one level, which is the number of the example.
  """
  labels = np.arange(num_examples) % 2
  fine = labels * 2 + (np.arange(num_examples) // 2) % 2
  coordinates = 0.1 * rng.standard_normal((num_examples, 2))
  coordinates[:, 0] += 2 * (fine % 2) - 1
  number = np.arange(num_examples, dtype=np.uint8)
  examples = {
    "inputs": np.broadcast_to(
      number[:, None, None, None], (len(number), 4, 6, 1)
    ),
    "labels": labels,
    "fine_labels": fine,
    "ids": np.arange(1000, 1000 + num_examples),
  }
  fields = {
    "kind": "direction",
    "examples": examples,
    "where": np.ones((2, 2), bool),
    "assignments": coordinates.argmax(axis=1),
    "coordinates": coordinates.astype(np.float32),
    "variance_shares": np.array([[0.75, 0.125], [0.5, 0.25]]),
  }
  return Subclasses(**fields | changes)


def task(**changes):
  fields = {
    "name": "planted",
    "num_classes": 2,
    "fine_to_class": (0, 0, 1, 1),
    "class_names": ("a<b", "odd"),
    "fine_names": ("f0", "f1", "f2", "f3"),
    "image_shape": (4, 6, 1),
    "scale": 255.0,
  }
  return Task(**fields | changes)


def pages_of(subclasses, **changes):
  fields = {
    "title": "Subclasses of <LELP>",
    "facts": {"data": "planted"},
    "task": task(),
    "subclasses": subclasses,
    "num_shown": 5,
  }
  return subclass_pages(Subject(**fields | changes))


def levels(page):
  """The level of each image, in their order."""
  found = []
  for attributes in page.all("img"):
    kind, data = attributes["src"].split(",")
    assert kind == "data:image/png;base64"
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
    assert picture.shape == (4, 6)
    assert (attributes["width"], attributes["height"]) == ("96", "64")
    assert attributes["class"] == "small"
    found.append(int(picture[0, 0]))
  return found


def test_the_extremes_of_a_direction_are_the_examples_at_its_ends(rng):
  subclasses = planted(rng)
  pages = pages_of(subclasses)
  assert list(pages) == [INDEX, "class0.html", "class1.html"]
  for c in range(2):
    page = Page(pages[f"class{c}.html"])
    rows = np.flatnonzero(subclasses.examples["labels"] == c)
    expected, captions = [], []
    for s in range(2):
      along = subclasses.coordinates[rows, s]
      order = rows[np.argsort(along)]
      ends = [*order[::-1][:5], *order[:5]]
      expected += ends
      for i in ends:
        fine = subclasses.examples["fine_labels"][i]
        captions += [f"{subclasses.coordinates[i, s]:+.2f}", f"f{fine}"]
    assert levels(page) == expected
    assert page.texts("figcaption") == captions
    # The planted subclass is what stands at the ends of direction 0.
    assert set(captions[1:10:2]) == {f"f{2 * c + 1}"}
    assert set(captions[11:20:2]) == {f"f{2 * c}"}
    assert ("a<b", "odd")[c] in page.texts("h1")
    assert ("75.0 %", "50.0 %")[c] in page.texts("td")


def test_histograms_count_every_example_once(rng):
  subclasses = planted(rng)
  page = Page(pages_of(subclasses)["class0.html"])
  assert len(page.all("svg")) == 2
  along = subclasses.coordinates[subclasses.examples["labels"] == 0]
  expected = []
  for s in range(2):
    own = along[along.argmax(axis=1) == s, s]
    limits = along.min(), along.max()
    every, own = (np.histogram(x, 32, limits)[0] for x in (along[:, s], own))
    expected += [
      (kind, f"{bin + 0.05}", f"{100 * counts[bin] / every.max():.2f}")
      for bin in range(32)
      for kind, counts in (("all", every), ("own", own))
      if counts[bin]
    ]
  found = [(r["class"], r["x"], r["height"]) for r in page.all("rect")]
  assert found == expected


def test_pages_link_to_each_other_and_to_nothing_else(rng):
  pages = pages_of(planted(rng))
  for content in pages.values():
    page = Page(content)
    ids = {attrs["id"] for _, attrs in page.found if "id" in attrs}
    for link in page.all("a"):
      target = link["href"]
      assert target in pages or target.removeprefix("#") in ids
    assert page.all("script") == []
    assert [x["href"] for x in page.all("link")] == ["data:,"]
    for word in ("http:", "https:", "url(", "@import"):
      assert word not in content
    assert page.texts("title")[0].endswith("Subclasses of <LELP>")
  index = Page(pages[INDEX])
  assert [a["href"] for a in index.all("a")] == ["class0.html", "class1.html"]


def test_information_of_planted_subclasses_and_of_chance(rng):
  subclasses = planted(rng)
  labels, fine = (
    subclasses.examples[name] for name in ("labels", "fine_labels")
  )
  told, over_all = subclass_information(subclasses, 4)
  for c in range(2):
    own = labels == c
    pair = fine[own], subclasses.assignments[own]
    assert told[c].nats == pytest.approx(metrics.mutual_info_score(*pair))
    assert told[c].nats > 0.6  # Of log 2.
    assert told[c].entropy == pytest.approx(np.log(2))
    assert told[c].normalized == pytest.approx(
      metrics.normalized_mutual_info_score(*pair)
    )
    # Chance: (2 - 1) (2 - 1) / (2 * 120) nats on average.
    assert told[c].chance.mean == pytest.approx(1 / 240, rel=0.5)
    assert told[c].chance.n == permutation_test.NUM_PERMUTATIONS
    assert told[c].chance_normalized < 0.02
    counts = metrics.cluster.contingency_matrix(*pair).T
    np.testing.assert_array_equal(told[c].counts[:, 2 * c : 2 * c + 2], counts)
  mean = (told[0].nats + told[1].nats) / 2
  assert over_all.nats == pytest.approx(np.log(2) + mean)
  assert over_all.chance.mean == pytest.approx(np.log(2), abs=0.02)
  shuffled = planted(rng, assignments=rng.integers(2, size=240))
  told, over_all = subclass_information(shuffled, 4)
  assert max(x.nats for x in told) < 0.03
  # Its seed is fixed.
  assert subclass_information(shuffled, 4)[1].chance == over_all.chance


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
def test_narrow_labels_do_not_wrap(rng, dtype):
  """Of 8 classes with 40 subclasses and 100 fine labels each."""
  labels, fine = rng.integers(8, size=500), rng.integers(100, size=500)
  where = np.ones((8, 40), bool)
  assignments = rng.integers(40, size=500)
  found = [
    subclass_information(
      planted(
        rng,
        examples={"labels": labels.astype(d), "fine_labels": fine.astype(d)},
        where=where,
        assignments=assignments.astype(d),
      ),
      100,
    )
    for d in (np.int64, dtype)
  ]
  np.testing.assert_array_equal(found[0][1].counts, found[1][1].counts)
  assert found[0][1].counts.sum() == 500
  assert found[0][1].chance == found[1][1].chance


COUNTS = st.lists(st.integers(0, 50), min_size=12, max_size=12).map(
  lambda values: np.array(values).reshape(3, 4)
)


@hypothesis.settings(deadline=None, max_examples=50)
@hypothesis.given(counts=COUNTS)
def test_information_of_any_counts(counts):
  nats, normalized = permutation_test.information(counts).tolist()
  rows, columns = np.indices(counts.shape).reshape(2, -1)
  rows, columns = (np.repeat(x, counts.ravel()) for x in (rows, columns))
  # Two labels that do not vary: scikit-learn calls them the same.
  if len(set(rows)) < 2 and len(set(columns)) < 2:
    assert nats == normalized == 0
    return
  expected = metrics.mutual_info_score(rows, columns)
  assert nats == pytest.approx(expected, abs=1e-9)
  expected = metrics.normalized_mutual_info_score(rows, columns)
  assert normalized == pytest.approx(expected, abs=1e-9)


def test_texts_are_escaped_and_long_ones_folded(rng):
  long = "many words " * 40
  texts = {1000: _TEXT, 1002: long}
  pages = pages_of(
    planted(rng, 4),
    task=task(image_shape=None),
    text_of=lambda i: texts.get(i, f"text {i}"),
  )
  page = Page(pages["class0.html"])
  assert "<script" not in pages["class0.html"]
  assert _TEXT in page.texts("span")
  assert any(data.endswith("…") for data in page.texts("summary"))
  assert long in page.texts("details")
  assert page.all("img") == []
  # An example that cannot be shown is named by its id.
  pages = pages_of(planted(rng, 4), task=task(image_shape=None))
  assert "example 1000" in Page(pages["class0.html"]).texts("span")


def test_clusters_without_fine_labels_show_their_members(rng):
  whole = planted(rng)
  examples = {k: v for k, v in whole.examples.items() if k != "fine_labels"}
  clusters = planted(
    rng,
    kind="cluster",
    examples=examples,
    coordinates=None,
    variance_shares=None,
    where=np.array([[True, True], [True, False]]),
    assignments=np.where(examples["labels"] == 0, np.arange(240) % 4 // 2, 0),
  )
  pages = pages_of(clusters, task=task(fine_to_class=None, fine_names=()))
  first, second = (Page(pages[f"class{c}.html"]) for c in range(2))
  shown = levels(first)
  assert len(shown) == 10
  assert {clusters.assignments[i] for i in shown[:5]} == {0}
  assert {clusters.assignments[i] for i in shown[5:]} == {1}
  assert second.texts("h2") == ["Cluster 0"]
  assert first.all("svg") == []
  assert "information (nats)" not in Page(pages[INDEX]).texts("th")


def test_a_class_without_examples_and_one_with_a_single_example(rng):
  one = {
    "inputs": np.full((1, 4, 6, 1), 7, np.uint8),
    "labels": np.array([1]),
    "fine_labels": np.array([2]),
    "ids": np.array([5]),
  }
  pages = pages_of(
    planted(
      rng,
      examples=one,
      assignments=np.array([0]),
      coordinates=np.array([[0.5, -0.5]], np.float32),
    )
  )
  assert "No example is of this class." in Page(pages["class0.html"]).texts("p")
  assert levels(Page(pages["class1.html"])) == [7, 7, 7, 7]


def test_many_fine_labels_stand_by_the_subclass_they_fall_to(rng):
  whole = planted(rng)
  fine = np.arange(240) % 26
  examples = {**whole.examples, "labels": 0 * fine, "fine_labels": fine}
  clusters = planted(rng, examples=examples, assignments=fine % 2)
  names = tuple(f"g{f}" for f in range(26))
  changes = {"fine_to_class": (0,) * 26, "fine_names": names}
  pages = pages_of(clusters, task=task(**changes))
  header = Page(pages["class0.html"]).texts("th")
  assert [x for x in header if x in names] == [*names[::2], *names[1::2]]


def test_images_in_colour_and_large_ones():
  pixels = np.zeros((300, 600, 3), np.uint8)
  pixels[..., 0] = 255
  made = pages_lib.image(pixels, 255.0)
  data = base64.b64decode(made["data"].split(",")[1])
  picture = Image.open(io.BytesIO(data))
  assert (picture.mode, picture.size) == ("RGB", (192, 96))
  assert picture.getpixel((5, 5)) == (255, 0, 0)
  assert not made["is_small"]
