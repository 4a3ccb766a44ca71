"""CLINC150: its classes, and small files in its published form."""

import json

import numpy as np
import pytest

from experiments.data.datasets import DATASETS
from experiments.data.prepare import prepare
from tests.experiments import original_files as files

NAMES = ("clinc_parity", "clinc_domain2", "clinc_domain5")
PARTS = {
  "oos_train": [["what is a", "oos"]],
  "train": [["move my money", "transfer"], ["naïve café", "translate"]],
  "val": [["wake me", "alarm"], ['a "yes"', "yes"]],
  "test": [["my vaccines", "vaccines"], ["wake me", "alarm"]],
}
# By hand: "accept_reservations", "account_blocked" and "alarm" are the first
# intents by alphabet, and "yes" is the last of 150.
POSITIONS = {"alarm": 2, "yes": 149}
# The domains by alphabet: 0 auto and commute, 1 banking, 2 credit cards,
# 3 home, 4 kitchen and dining, 5 meta, 6 small talk, 7 travel, 8 utility,
# 9 work.
DOMAINS = {"transfer": 1, "translate": 7, "alarm": 8, "yes": 5, "vaccines": 7}


def write(folder, parts=PARTS, name="data_full.json.gz"):
  return files.folder(folder, {name: json.dumps(parts).encode()})


def test_intents_are_in_alphabetical_order_and_parity_is_their_position_s():
  task = DATASETS["clinc_parity"].task
  assert len(set(task.fine_names)) == 150
  assert list(task.fine_names) == sorted(task.fine_names)
  assert task.fine_to_class == (0, 1) * 75
  assert task.class_names == ("even", "odd")


@pytest.mark.parametrize(
  ("name", "class_of_domain"),
  [("clinc_domain2", lambda d: d % 2), ("clinc_domain5", lambda d: d // 2)],
)
def test_classes_are_unions_of_domains(name, class_of_domain):
  task = DATASETS[name].task
  per_class = 150 // task.num_classes
  assert np.bincount(task.fine_to_class).tolist() == [per_class] * len(
    task.class_names
  )
  for intent, domain in DOMAINS.items():
    label = task.fine_to_class[task.fine_names.index(intent)]
    assert label == class_of_domain(domain), intent
  assert "utility + work" in DATASETS["clinc_domain5"].task.class_names
  assert DATASETS["clinc_domain2"].task.class_names[1] == (
    "banking + home + meta + travel + work"
  )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("file", ["data_full.json", "data/data_full.json.gz"])
def test_training_and_validation_queries_are_trained_on(tmp_path, name, file):
  source = write(tmp_path / "in", name=file)
  found = prepare(name, data_dir=tmp_path / "data", source=source, partial=True)
  expected = {"train": PARTS["train"] + PARTS["val"], "test": PARTS["test"]}
  assert list(found.splits) == ["train", "test"]  # Without out-of-scope ones.
  for split, rows in expected.items():
    arrays, task = found.splits[split], found.task
    assert list(found.texts(split)) == [text for text, _ in rows]
    fine = arrays["fine_labels"].tolist()
    assert [task.fine_names[i] for i in fine] == [intent for _, intent in rows]
    assert arrays["labels"].tolist() == [task.fine_to_class[i] for i in fine]
  assert found.splits["train"]["fine_labels"][2:].tolist() == [
    POSITIONS["alarm"],
    POSITIONS["yes"],
  ]
  (note,) = found.manifest["notes"]
  assert "out-of-scope" in note


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"test": {"a": "yes"}}, "no list 'test'"),
    ({"train": [["a", "yes"], ["b", 3]]}, "query 2 of 'train'"),
    ({"val": [["a", "oos"]]}, "the label 'oos'"),
    ({"test": []}, "no examples"),
  ],
)
def test_damaged_files_are_named(tmp_path, changes, message):
  source = write(tmp_path / "in", PARTS | changes)
  with pytest.raises(ValueError, match=f"{message}.* Expected: .*oos-eval"):
    prepare(
      "clinc_parity", data_dir=tmp_path / "data", source=source, partial=True
    )
  assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("content", [b"[]", b"{", b"\xff"])
def test_other_files_are_refused(tmp_path, content):
  source = files.folder(tmp_path / "in", {"data_full.json": content})
  with pytest.raises(ValueError, match=r"data_full\.json is"):
    prepare("clinc_parity", data_dir=tmp_path / "data", source=source)


def test_a_source_is_needed_as_tfds_does_not_have_it(tmp_path):
  with pytest.raises(ValueError, match=r"--source .* clinc_parity"):
    prepare("clinc_parity", data_dir=tmp_path)
