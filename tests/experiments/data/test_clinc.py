"""CLINC150 and Banking77: their classes, and damaged files."""

import json

import numpy as np
import pytest

from experiments.data.datasets import DATASETS
from experiments.data.prepare import prepare
from tests.experiments import original_files as files

PARTS = {"train": [["a", "alarm"]], "val": [], "test": [["b", "yes"]]}
# The domains by alphabet: 0 auto and commute, 1 banking, 2 credit cards,
# 3 home, 4 kitchen and dining, 5 meta, 6 small talk, 7 travel, 8 utility,
# 9 work.
DOMAINS = {"transfer": 1, "translate": 7, "alarm": 8, "yes": 5, "vaccines": 7}


@pytest.mark.parametrize(
  ("name", "number"), [("clinc_parity", 150), ("banking_parity", 77)]
)
def test_intents_are_in_order_and_parity_is_their_position_s(name, number):
  task = DATASETS[name].task
  assert len(set(task.fine_names)) == number
  assert list(task.fine_names) == sorted(task.fine_names)
  assert task.fine_to_class == tuple(i % 2 for i in range(number))
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
  content = json.dumps(PARTS | changes).encode()
  source = files.folder(tmp_path / "in", {"data_full.json": content})
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
