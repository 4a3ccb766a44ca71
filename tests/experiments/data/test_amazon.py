"""Amazon reviews: sampled as the paper's sentences say, row for row."""

import itertools
import signal

import numpy as np
import pytest

from experiments.data.datasets import amazon
from experiments.data.prepare import prepare as prepare_dataset
from experiments.distributed.signals import Interrupted
from experiments.io import progress
from tests.experiments import original_files

QUOTAS = {"per_category": 40, "num_train": 15, "num_test": 4}


@pytest.fixture(scope="module")
def reviews():
  """More of each category than are sampled from."""
  rng = np.random.default_rng(7)
  return {
    category: original_files.amazon_reviews(rng, 50)
    for category in amazon.CATEGORIES
  }


@pytest.fixture(scope="module")
def folder(tmp_path_factory, reviews):
  path = tmp_path_factory.mktemp("amazon")
  return original_files.amazon_folder(path, reviews)


def prepare(tmp_path, folder, name="amazon", **options):
  return prepare_dataset(
    name,
    data_dir=tmp_path,
    source=folder,
    partial=True,
    options=QUOTAS | options,
  )


def rows(found, split):
  """Texts and labels of a split."""
  labels = found.splits[split]["labels"].tolist()
  return list(zip(found.texts(split), labels, strict=True))


def papers_sample(reviews):
  """Appendix D, sentence by sentence, on small numbers."""
  # "We first sequentially parse and concatenate the first 200k examples of the
  # following datasets ... (in this order)."
  collection = []
  for category in (
    "Office_Products",
    "Video_Games",
    "Video",
    "Toys",
    "Tools",
    "Sports",
    "Jewelry",
    "Digital_Music_Purchase",
    "Mobile_Apps",
    "Video_DVD",
    "Watches",
  ):
    collection += [(category, *review) for review in reviews[category][:40]]
  # "We then sequentially parse the resulting collection ... for each class (1-5
  # stars), we add the first 100k examples we encounter to the training dataset,
  # and the next 2k examples we encounter to the test dataset."
  train, test = [], []
  for example in collection:
    met = [e for e in train if e[1] == example[1]]
    met_later = [e for e in test if e[1] == example[1]]
    if len(met) < 15:
      train.append(example)
    elif len(met_later) < 4:
      test.append(example)
  return {"train": train, "test": test}


def expected_rows(sampled, text="headline_and_body"):
  """Texts and labels of sampled reviews."""
  return [
    (body if text == "body" else f"{headline} {body}", stars - 1)
    for _, stars, headline, body in sampled
  ]


@pytest.mark.parametrize("text", ["headline_and_body", "body"])
def test_the_sample_is_the_papers(tmp_path, reviews, folder, text):
  found = prepare(tmp_path, folder, text=text)
  for split, sampled in papers_sample(reviews).items():
    assert rows(found, split) == expected_rows(sampled, text)
    # The table tells how many there are of each category.
    table = found.manifest["tables"][f"{split}: examples by category and stars"]
    assert table["columns"] == list(found.task.class_names)
    assert table["rows"] == {
      category: [
        sum(e[:2] == (category, stars) for e in sampled)
        for stars in (1, 2, 3, 4, 5)
      ]
      for category in amazon.CATEGORIES
    }
  # the commonest class comes from the first category alone.
  assert table["rows"]["Watches"] == [0, 0, 0, 0, 0]
  assert [len(found.texts(s)) for s in ("train", "test")] == [75, 20]
  names = ("1 star", "2 stars", "3 stars", "4 stars", "5 stars")
  assert found.task.class_names == names


def test_three_stars_are_left_out_of_the_binary_version(
  tmp_path, reviews, folder
):
  found = prepare(tmp_path, folder, "amazon_bin")
  for split, sampled in papers_sample(reviews).items():
    kept = [example for example in sampled if example[1] != 3]
    texts = [text for text, _ in expected_rows(kept)]
    labels = [int(stars in (1, 5)) for _, stars, *_ in kept]
    assert rows(found, split) == list(zip(texts, labels, strict=True))
    fine = found.splits[split]["fine_labels"]
    names = [found.task.fine_names[i] for i in fine]
    assert [int(name[0]) for name in names] == [e[1] for e in kept]
  assert found.task.class_names == ("mild", "polarized")


def test_shuffled_quotas_are_filled_from_the_same_pool(
  tmp_path, reviews, folder
):
  pool = expected_rows(
    (category, *review)
    for category in amazon.CATEGORIES
    for review in reviews[category][:40]
  )
  found = {
    seed: prepare(tmp_path / str(seed), folder, sampling="shuffled", seed=seed)
    for seed in (0, 1)
  }
  order = np.random.default_rng(1).permutation(len(pool))
  train, test = [], []
  for stars in range(5):
    met = [i for i in order if pool[i][1] == stars]
    train, test = train + met[:15], test + met[15:19]
  assert rows(found[1], "train") == [pool[i] for i in sorted(train)]
  assert rows(found[1], "test") == [pool[i] for i in sorted(test)]
  assert rows(found[0], "train") != rows(found[1], "train")
  tables = found[1].manifest["tables"].values()
  assert all(sum(t["rows"]["Watches"]) > 0 for t in tables)


_line = original_files.amazon_line
BROKEN = [
  b"\n",  # A blank line is none.
  original_files.tsv([_line(5, "a\ttab", "inside")]),
  original_files.tsv([_line(5, "cut", "off")[:9]]),
  *(
    original_files.tsv([_line(stars, "x", "y")])
    for stars in ("", 6, "2015-08-31")
  ),
  original_files.tsv([_line(4, "not", "utf8")]).replace(b"utf8", b"\xff"),
]


def test_malformed_lines_are_counted_and_left_out(tmp_path, reviews):
  folder = tmp_path / "broken"
  folder.mkdir()
  for category, chosen in reviews.items():
    pairs = zip(itertools.starmap(_line, chosen), itertools.cycle(BROKEN))
    lines = list(itertools.chain.from_iterable(pairs))
    original_files.amazon_file(folder / amazon.file_name(category), lines)
  found = prepare(tmp_path / "out", folder)
  for split, sampled in papers_sample(reviews).items():
    assert rows(found, split) == expected_rows(sampled)
  # 40 reviews are read of a category, with 39 lines between them.
  (office,) = [r for r in found.left_out if r.split == "Office_Products"]
  assert (office.kind, office.count) == ("malformed", 39 - 6)
  assert "star_rating is '6'" in str(office)
  assert "row 4: 16 fields, expected 15" in str(office)


def sample(reviews, **options):
  defaults = {"sampling": "paper", "text": "body", "seed": 0, "binary": False}
  return amazon.sample(
    {
      category: itertools.starmap(amazon.Review, rows)
      for category, rows in reviews.items()
    },
    **(defaults | QUOTAS | options),
  )


def test_reading_stops_when_the_quotas_are_full(reviews):
  """A category is not read if the quotas are full before it."""

  def unread():
    yield 1 / 0

  full = dict(reviews)
  full["Watches"] = unread()
  raw = sample(full)
  sizes = [len(columns["text"]) for columns in raw.splits.values()]
  assert sizes == [75, 20]
  with pytest.raises(ZeroDivisionError):
    sample(full, sampling="shuffled")


@pytest.mark.parametrize(
  ("change", "options", "message"),
  [
    ({"Video": []}, {"sampling": "shuffled"}, "Video has 0 .* 40 "),
    ({}, {"num_train": 100}, "with 1 star, .* 104"),
  ],
)
def test_samples_that_cannot_be(reviews, change, options, message):
  with pytest.raises(ValueError, match=message):
    sample(reviews | change, **options)


def test_an_interrupt_is_minded_while_sampling(tmp_path, folder, monkeypatch):
  reviews = amazon._reviews

  def interrupting(path, bad):
    if "Video_DVD" in path.name:
      signal.raise_signal(signal.SIGTERM)
    return reviews(path, bad)

  monkeypatch.setattr(amazon, "_reviews", interrupting)
  monkeypatch.setattr(progress, "_ITEMS_PER_UPDATE", 10)
  with pytest.raises(Interrupted, match="SIGTERM"):
    prepare(tmp_path / "out", folder, sampling="shuffled")
  assert not (tmp_path / "out").exists()
