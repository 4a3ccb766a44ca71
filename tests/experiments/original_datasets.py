"""Small originals of every data set in every form, and their contents."""

import csv
import dataclasses
import io
import json

import numpy as np

from tests.experiments import original_files as files

TEXTS = [
  "plain",
  'a "quote',
  "naïve café",
  "<br />two",
  "comma, too",
  "it's",
  " blank ",
  "last",
]


@dataclasses.dataclass
class Made:
  """Originals and the examples in them.

  Attributes:
    source: The argument of `prepare`; None for TFDS.
    examples: Content and original label of each example, by split.
    tfds: TFDS's records, by its name and split.
  """

  source: object
  examples: dict
  tfds: dict | None = None


def cifar_parts(rng, num_labels):
  return {
    "train": files.cifar_images(rng, 11, num_labels),
    "test": files.cifar_images(rng, 4, num_labels),
  }


def cut(part):
  """The train examples in five batches."""
  images, labels = part
  places = ((0, 3), (3, 5), (5, 8), (8, 9), (9, 11))
  return [(images[a:b], labels[a:b]) for a, b in places]


def _pairs(parts):
  return {
    split: list(zip(images, labels, strict=True))
    for split, (images, labels) in parts.items()
  }


def _put(folder, members, archive=None):
  """Writes files, or an archive of them."""
  if archive is None:
    return files.folder(folder, members)
  write = files.zipped if archive.endswith(".zip") else files.tar
  return write(folder / archive, members)


def _cifar(folder, rng, number, version, inside, archive=None):
  parts = cifar_parts(rng, number)
  batches = dict(parts)
  if number == 10:
    batches = {
      f"data_batch_{i}": batch for i, batch in enumerate(cut(parts["train"]), 1)
    } | {"test_batch": parts["test"]}
  members = {f"{inside}/readme.html": b"not wanted"}
  for name, (images, labels) in reversed(batches.items()):  # Unsorted.
    coarse = [label // 5 for label in labels]
    path = f"{inside}/{name}"
    if version == "binary":
      kinds = [labels] if number == 10 else [coarse, labels]
      members[f"{path}.bin"] = files.binary_batch(images, *kinds)
    else:
      keys = {"batch_label": name, "labels": labels}
      if number == 100:
        keys = {"coarse_labels": coarse, "fine_labels": labels}
      keys["data"] = files.channels_first(images)
      members[path] = files.python2_pickle(keys)
  source = _put(folder, members, archive)
  if (number, version) == (10, "python"):  # Found in a folder; in its own.
    source = folder if archive else folder / inside
  return Made(source, _pairs(parts))


def _cifar10_jpeg(folder, rng):
  parts = cifar_parts(rng, 10)
  for split, (images, labels) in parts.items():
    path = folder / f"cifar10_jpegq75_{split}.parquet"
    parts[split] = (files.jpeg_parquet(path, images, labels), labels)
  return Made(folder, _pairs(parts))


def _cifar_tfds(_folder, rng, number):
  parts = _pairs(cifar_parts(rng, number))
  records = {
    (f"cifar{number}", split): [
      {"id": f"{split}_{i}".encode(), "image": image, "label": label}
      for i, (image, label) in enumerate(examples)
    ]
    for split, examples in parts.items()
  }
  return Made(None, parts, records)


def _labelled(texts=TEXTS):
  """Texts with both labels in either split."""
  examples = [(text, i % 2) for i, text in enumerate(texts)]
  return {"train": examples, "test": examples[::-1][:5]}


def _imdb(folder, rng, archive=None):
  members, order = {}, {"train": [], "test": []}
  for split, pairs in _labelled([*TEXTS, "two\nlines", "\ttab"]).items():
    for label, name in enumerate(("neg", "pos")):
      chosen = [text for text, value in pairs if value == label]
      order[split] += [(text, label) for text in chosen]
      for number, text in enumerate(chosen):
        # 10_7.txt comes after 9_7.txt.
        path = f"aclImdb/{split}/{name}/{number + 9}_{number % 4 + 7}.txt"
        members[path] = text.encode()
  members["aclImdb/train/unsup/0_0.txt"] = b"unlabelled"
  members["aclImdb/train/labeledBow.feat"] = b"0 1:2"
  names = map(str, rng.permutation(list(members)))  # In no order.
  source = _put(folder, {name: members[name] for name in names}, archive)
  return Made(source if archive else source / "aclImdb", order)


def _imdb_json(folder, _rng):
  examples = _labelled([*TEXTS, "two\nlines", "\ttab"])
  members = {
    f"{split}.jsonl.gz": files.json_lines(
      [{"id": i, "label": y, "text": t} for i, (t, y) in enumerate(pairs)]
    )
    for split, pairs in examples.items()
  }
  return Made(files.folder(folder, members), examples)


def _cola(examples):
  return files.tsv([("gj04", y, "*" * (1 - y), text) for text, y in examples])


def _sst2(examples):
  return files.tsv(examples, ("sentence", "label"))


def _glue(folder, _rng, table, paths, archive=None):
  """Tables of the training, the test, or two parts of the test examples."""
  examples = _labelled()
  train, test = examples.values()
  parts = [train, test] if len(paths) == 2 else [train, test[:3], test[3:]]
  members = dict(zip(paths, map(table, parts), strict=True))
  return Made(_put(folder, members, archive), examples)


def _clinc(folder, _rng, path):
  # Positions by hand: "accept_reservations" and "account_blocked" come before
  # "alarm", and "yes" is the last of 150 intents.
  parts = {
    "oos_train": [["what is a", "oos"]],
    "train": [["wake me", "alarm"], ["naïve café", "alarm"]],
    "val": [['a "yes"', "yes"]],
    "test": [["no", "yes"], ["wake me", "alarm"]],
  }
  position = {"alarm": 2, "yes": 149}
  examples = {
    split: [
      (text, position[intent]) for part in of for text, intent in parts[part]
    ]
    for split, of in (("train", ("train", "val")), ("test", ("test",)))
  }
  content = json.dumps(parts).encode()
  return Made(files.folder(folder, {path: content}), examples)


def _banking(folder, _rng, inside=""):
  intents = {
    0: "Refund_not_showing_up",
    1: "activate_my_card",
    53: "reverted_card_payment?",
    76: "wrong_exchange_rate_for_cash_withdrawal",
  }
  examples = {
    "train": [("Where?", 0), ('A "quoted", text\n\nof lines', 1), ("Undo", 53)],
    "test": [("Euro", 76)],
  }
  members = {}
  for split, pairs in examples.items():
    table = io.StringIO(newline="")
    rows = [(text, intents[position]) for text, position in pairs]
    csv.writer(table).writerows([("text", "category"), *rows])
    members[f"{inside}{split}.csv.gz"] = table.getvalue().encode()
  return Made(files.folder(folder, members), examples)


def _text_tfds(_folder, _rng, name, feature, test):
  examples = _labelled()
  records = {
    (name, {"train": "train", "test": test}[split]): [
      {feature: text.encode(), "label": label} for text, label in pairs
    ]
    for split, pairs in examples.items()
  }
  return Made(None, examples, records)


_COLA = ("CoLA/train.tsv", "CoLA/dev.tsv")
_SST2 = ("SST-2/train.tsv", "SST-2/dev.tsv")
_AUTHORS = [
  f"{name}.tsv"
  for name in ("in_domain_train", "in_domain_dev", "out_of_domain_dev")
]
FORMS = {
  **{
    (f"cifar{number}", version + (" archive" if archive else "")): (
      *(_cifar, number, version, inside),
      f"cifar-{number}-{version}.tar.gz" if archive else None,
    )
    for number, version, inside in (
      (10, "binary", "cifar-10-batches-bin"),
      (10, "python", "cifar-10-batches-py"),
      (100, "binary", "cifar-100-binary"),
      (100, "python", "cifar-100-python"),
    )
    for archive in (True, False)
  },
  ("cifar10", "jpeg"): (_cifar10_jpeg,),
  ("cifar10", "tfds"): (_cifar_tfds, 10),
  ("cifar100", "tfds"): (_cifar_tfds, 100),
  ("lmrd", "archive"): (_imdb, "aclImdb_v1.tar.gz"),
  ("lmrd", "folders"): (_imdb,),
  ("lmrd", "json lines"): (_imdb_json,),
  ("lmrd", "tfds"): (_text_tfds, "imdb_reviews", "text", "test"),
  ("glue_cola", "archive"): (_glue, _cola, _COLA, "CoLA.zip"),
  ("glue_cola", "folder"): (_glue, _cola, _COLA),
  ("glue_cola", "authors' archive"): (
    *(_glue, _cola),
    [f"cola_public/raw/{name}" for name in _AUTHORS],
    "cola_public_1.1.zip",
  ),
  ("glue_cola", "authors', gzip"): (
    *(_glue, _cola),
    [f"{name}.gz" for name in _AUTHORS],
  ),
  ("glue_cola", "tfds"): (_text_tfds, "glue/cola", "sentence", "validation"),
  ("glue_sst2", "archive"): (_glue, _sst2, _SST2, "SST-2.zip"),
  ("glue_sst2", "folder, gzip"): (
    *(_glue, _sst2),
    [f"{name}.gz" for name in _SST2],
  ),
  ("glue_sst2", "tfds"): (_text_tfds, "glue/sst2", "sentence", "validation"),
  ("clinc_parity", "file"): (_clinc, "data_full.json"),
  ("clinc_parity", "folder, gzip"): (_clinc, "data/data_full.json.gz"),
  ("banking_parity", "folder"): (_banking,),
  ("banking_parity", "inner folder"): (_banking, "banking_data/"),
}


def make(folder, name, form):
  """Writes the originals of a dataset in a form."""
  folder.mkdir(parents=True, exist_ok=True)
  function, *arguments = FORMS[name, form]
  return function(folder, np.random.default_rng(3), *arguments)
