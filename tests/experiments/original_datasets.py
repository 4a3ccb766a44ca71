"""Small originals of every data set in every form, and their contents."""

import dataclasses

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


def _cifar10_binary(folder, rng, archive):
  parts = cifar_parts(rng, 10)
  members = {
    f"cifar-10-batches-bin/data_batch_{i}.bin": files.binary_batch(
      images, labels
    )
    for i, (images, labels) in enumerate(cut(parts["train"]), start=1)
  }
  images, labels = parts["test"]
  name = "cifar-10-batches-bin/test_batch.bin"
  members[name] = files.binary_batch(images, labels)
  members = dict(reversed(members.items()))  # The archive has them unsorted.
  members["cifar-10-batches-bin/readme.html"] = b"not wanted"
  if archive:
    source = files.tar(folder / "cifar-10-binary.tar.gz", members)
  else:
    source = files.folder(folder, members)
  return Made(source, _pairs(parts))


def _cifar10_python(folder, rng, archive):
  parts = cifar_parts(rng, 10)
  batches = [*cut(parts["train"]), parts["test"]]
  names = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
  members = {
    f"cifar-10-batches-py/{name}": files.python2_pickle(
      {"batch_label": name, "labels": labels}
      | {"data": files.channels_first(images)}
    )
    for name, (images, labels) in zip(names, batches, strict=True)
  }
  if archive:
    files.tar(folder / "cifar-10-python.tar.gz", members)
    return Made(folder, _pairs(parts))  # Found in its folder.
  source = files.folder(folder, members) / "cifar-10-batches-py"
  return Made(source, _pairs(parts))


def _cifar10_jpeg(folder, rng):
  parts = cifar_parts(rng, 10)
  for split, (images, labels) in parts.items():
    path = folder / f"cifar10_jpegq75_{split}.parquet"
    parts[split] = (files.jpeg_parquet(path, images, labels), labels)
  return Made(folder, _pairs(parts))


def _cifar100_binary(folder, rng, archive):
  parts = cifar_parts(rng, 100)
  members = {}
  for split, (images, labels) in parts.items():
    coarse = [label // 5 for label in labels]
    batch = files.binary_batch(images, coarse, labels)
    members[f"cifar-100-binary/{split}.bin"] = batch
  if archive:
    source = files.tar(folder / "cifar-100-binary.tar.gz", members)
  else:
    source = files.folder(folder, members)
  return Made(source, _pairs(parts))


def _cifar100_python(folder, rng, archive):
  parts = cifar_parts(rng, 100)
  members = {}
  for split, (images, labels) in parts.items():
    batch = {"coarse_labels": [label // 5 for label in labels]}
    batch |= {"data": files.channels_first(images), "fine_labels": labels}
    members[f"cifar-100-python/{split}"] = files.python2_pickle(batch)
  if archive:
    source = files.tar(folder / "cifar-100-python.tar.gz", members)
  else:
    source = files.folder(folder, members)
  return Made(source, _pairs(parts))


def _cifar_tfds(folder, rng, num_labels):
  del folder
  parts = _pairs(cifar_parts(rng, num_labels))
  records = {
    (f"cifar{num_labels}", split): [
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


def _imdb_files(examples):
  """Where the official archive has each review."""
  members, order = {}, {"train": [], "test": []}
  for split, pairs in examples.items():
    for label, name in enumerate(("neg", "pos")):
      chosen = [text for text, value in pairs if value == label]
      order[split] += [(text, label) for text in chosen]
      for number, text in enumerate(chosen):
        # 10_7.txt comes after 9_7.txt.
        path = f"aclImdb/{split}/{name}/{number + 9}_{number % 4 + 7}.txt"
        members[path] = text.encode()
  return members, order


def _imdb(folder, rng, archive):
  members, examples = _imdb_files(_labelled([*TEXTS, "two\nlines", "\ttab"]))
  members["aclImdb/train/unsup/0_0.txt"] = b"unlabelled"
  members["aclImdb/train/labeledBow.feat"] = b"0 1:2"
  names = rng.permutation(list(members))  # As the archive's, in no order.
  members = {str(name): members[name] for name in names}
  if archive:
    source = files.tar(folder / "aclImdb_v1.tar.gz", members)
  else:
    source = files.folder(folder, members) / "aclImdb"
  return Made(source, examples)


def _imdb_json(folder, rng):
  del rng
  examples = _labelled([*TEXTS, "two\nlines", "\ttab"])
  members = {
    f"{split}.jsonl.gz": files.json_lines(
      [{"id": i, "label": y, "text": t} for i, (t, y) in enumerate(pairs)]
    )
    for split, pairs in examples.items()
  }
  return Made(files.folder(folder, members), examples)


def _cola_table(examples):
  return files.tsv(
    [("gj04", label, "*" * (1 - label), text) for text, label in examples]
  )


def _cola_glue(folder, rng, archive):
  del rng
  examples = _labelled()
  members = {
    "CoLA/train.tsv": _cola_table(examples["train"]),
    "CoLA/dev.tsv": _cola_table(examples["test"]),
    "CoLA/test.tsv": files.tsv([(0, "unlabelled")], ("index", "sentence")),
  }
  if archive:
    return Made(files.zipped(folder / "CoLA.zip", members), examples)
  return Made(files.folder(folder, members), examples)


def _cola_public(folder, rng, archive):
  del rng
  examples = _labelled()
  suffix = "" if archive else ".gz"
  members = {
    f"in_domain_train.tsv{suffix}": _cola_table(examples["train"]),
    f"in_domain_dev.tsv{suffix}": _cola_table(examples["test"][:3]),
    f"out_of_domain_dev.tsv{suffix}": _cola_table(examples["test"][3:]),
  }
  if archive:
    members = {f"cola_public/raw/{k}": v for k, v in members.items()}
    return Made(files.zipped(folder / "cola_public_1.1.zip", members), examples)
  return Made(files.folder(folder, members), examples)


def _sst2(folder, rng, form):
  del rng
  examples = _labelled()
  suffix = ".gz" if form == "gz" else ""
  members = {
    f"SST-2/{name}.tsv{suffix}": files.tsv(
      examples[split], ("sentence", "label")
    )
    for split, name in (("train", "train"), ("test", "dev"))
  }
  if form == "zip":
    files.zipped(folder / "SST-2.zip", members)
    return Made(folder, examples)
  source = files.folder(folder, members)
  return Made(source / "SST-2" if form == "gz" else source, examples)


def _glue_tfds(folder, rng, name):
  del folder, rng
  examples = _labelled()
  records = {
    (f"glue/{name}", split): [
      {"idx": i, "sentence": text.encode(), "label": label}
      for i, (text, label) in enumerate(pairs)
    ]
    for split, pairs in (
      ("train", examples["train"]),
      ("validation", examples["test"]),
    )
  }
  return Made(None, examples, records)


def _imdb_tfds(folder, rng):
  del folder, rng
  examples = _labelled()
  records = {
    ("imdb_reviews", split): [
      {"text": text.encode(), "label": label} for text, label in pairs
    ]
    for split, pairs in examples.items()
  }
  return Made(None, examples, records)


FORMS = {
  ("cifar10", "binary archive"): (_cifar10_binary, True),
  ("cifar10", "binary"): (_cifar10_binary, False),
  ("cifar10", "python archive"): (_cifar10_python, True),
  ("cifar10", "python"): (_cifar10_python, False),
  ("cifar10", "jpeg"): (_cifar10_jpeg,),
  ("cifar10", "tfds"): (_cifar_tfds, 10),
  ("cifar100", "binary archive"): (_cifar100_binary, True),
  ("cifar100", "binary"): (_cifar100_binary, False),
  ("cifar100", "python archive"): (_cifar100_python, True),
  ("cifar100", "python"): (_cifar100_python, False),
  ("cifar100", "tfds"): (_cifar_tfds, 100),
  ("lmrd", "archive"): (_imdb, True),
  ("lmrd", "folders"): (_imdb, False),
  ("lmrd", "json lines"): (_imdb_json,),
  ("lmrd", "tfds"): (_imdb_tfds,),
  ("glue_cola", "archive"): (_cola_glue, True),
  ("glue_cola", "folder"): (_cola_glue, False),
  ("glue_cola", "authors' archive"): (_cola_public, True),
  ("glue_cola", "authors', gzip"): (_cola_public, False),
  ("glue_cola", "tfds"): (_glue_tfds, "cola"),
  ("glue_sst2", "archive"): (_sst2, "zip"),
  ("glue_sst2", "folder, gzip"): (_sst2, "gz"),
  ("glue_sst2", "tfds"): (_glue_tfds, "sst2"),
}


def make(folder, name, form):
  """Writes the originals of a dataset in a form."""
  folder.mkdir(exist_ok=True)
  function, *arguments = FORMS[name, form]
  return function(folder, np.random.default_rng(3), *arguments)
