"""Banking77: its classes, and small files in its published form."""

import pytest

from experiments.data.datasets import DATASETS
from experiments.data.prepare import prepare
from tests.experiments import original_files as files

# Text, intent and its position in Python's order of the 77 names.
TRAIN = [
  ("Where is my refund?", "Refund_not_showing_up", 0),
  ('A "quoted", text\n\nof lines', "activate_my_card", 1),
  ("Undo", "reverted_card_payment?", 53),
]
TEST = [("Euro", "wrong_exchange_rate_for_cash_withdrawal", 76)]


def write(folder, train=TRAIN, inside=""):
  members = {}
  for split, rows in (("train", train), ("test", TEST)):
    lines = ["text,category\r\n"]
    for text, intent, _ in rows:
      quoted = text.replace('"', '""')
      lines.append(f'"{quoted}",{intent}\r\n')
    members[f"{inside}{split}.csv.gz"] = "".join(lines).encode()
  return files.folder(folder, members)


@pytest.mark.parametrize("inside", ["", "banking_data/"])
def test_the_intent_is_hidden_and_its_parity_is_the_class(tmp_path, inside):
  source = write(tmp_path / "in", inside=inside)
  found = prepare(
    "banking_parity", data_dir=tmp_path / "data", source=source, partial=True
  )
  for split, rows in (("train", TRAIN), ("test", TEST)):
    texts, intents, positions = map(list, zip(*rows, strict=True))
    arrays = found.splits[split]
    assert list(found.texts(split)) == texts
    assert arrays["fine_labels"].tolist() == positions
    assert arrays["labels"].tolist() == [i % 2 for i in positions]
    assert [found.task.fine_names[i] for i in positions] == intents


def test_intents_are_in_order_and_parity_is_their_position_s():
  task = DATASETS["banking_parity"].task
  assert len(set(task.fine_names)) == 77
  assert list(task.fine_names) == sorted(task.fine_names)
  assert task.fine_to_class == tuple(i % 2 for i in range(77))


def test_an_unknown_intent_is_named(tmp_path):
  source = write(tmp_path / "in", [*TRAIN, ("a", "balance", 0)])
  with pytest.raises(ValueError, match="'balance'"):
    prepare(
      "banking_parity", data_dir=tmp_path / "data", source=source, partial=True
    )
