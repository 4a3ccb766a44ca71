"""CLINC150: queries to an assistant, with few classes and 150 hidden intents.

Larson et al. 2019, "An Evaluation Dataset for Intent Classification and
Out-of-Scope Prediction". The data set is not in the paper. It is the
counterpart of CIFAR-100-bin for texts: the 150 published intents are the hidden
subclasses of a task with 2 or 5 classes.

* clinc_parity: The class is the parity of the intent's position (from 0) in
  alphabetical order.
* clinc_domain2: The class is the parity of the position (from 0) of the
  intent's domain among the 10 domains in alphabetical order.
* clinc_domain5: A class consists of two consecutive domains in alphabetical
  order.

The training examples are the published training queries, followed by the
published validation queries. Out-of-scope queries are not used, since they have
no intent and hence no class.
"""

import json
import pathlib
from collections.abc import Mapping
from collections.abc import Sequence

from experiments.data import examples as examples_lib
from experiments.data import originals
from experiments.data import tables
from experiments.data.dataset import Task

# The intents of each domain; domains and intents are in alphabetical order.
_DOMAINS = {
  "auto_and_commute": """
    current_location directions distance gas gas_type jump_start
    last_maintenance mpg oil_change_how oil_change_when schedule_maintenance
    tire_change tire_pressure traffic uber
  """.split(),
  "banking": """
    account_blocked balance bill_balance bill_due freeze_account interest_rate
    min_payment order_checks pay_bill pin_change report_fraud routing
    spending_history transactions transfer
  """.split(),
  "credit_cards": """
    application_status apr card_declined credit_limit credit_limit_change
    credit_score damaged_card expiration_date improve_credit_score
    international_fees new_card redeem_rewards replacement_card_duration
    report_lost_card rewards_balance
  """.split(),
  "home": """
    calendar calendar_update next_song order order_status play_music reminder
    reminder_update shopping_list shopping_list_update smart_home todo_list
    todo_list_update update_playlist what_song
  """.split(),
  "kitchen_and_dining": """
    accept_reservations calories cancel_reservation confirm_reservation
    cook_time food_last how_busy ingredient_substitution ingredients_list
    meal_suggestion nutrition_info recipe restaurant_reservation
    restaurant_reviews restaurant_suggestion
  """.split(),
  "meta": """
    cancel change_accent change_ai_name change_language change_speed
    change_user_name change_volume maybe no repeat reset_settings sync_device
    user_name whisper_mode yes
  """.split(),
  "small_talk": """
    are_you_a_bot do_you_have_pets fun_fact goodbye greeting how_old_are_you
    meaning_of_life tell_joke thank_you what_are_your_hobbies what_can_i_ask_you
    what_is_your_name where_are_you_from who_do_you_work_for who_made_you
  """.split(),
  "travel": """
    book_flight book_hotel car_rental carry_on exchange_rate flight_status
    international_visa lost_luggage plug_type timezone translate travel_alert
    travel_notification travel_suggestion vaccines
  """.split(),
  "utility": """
    alarm calculator date definition find_phone flip_coin make_call
    measurement_conversion roll_dice share_location spelling text time timer
    weather
  """.split(),
  "work": """
    direct_deposit income insurance insurance_change meeting_schedule
    next_holiday payday pto_balance pto_request pto_request_status pto_used
    rollover_401k schedule_meeting taxes w2
  """.split(),
}
_INTENTS = tuple(sorted(name for part in _DOMAINS.values() for name in part))
_FILE = "data_full.json"
# The published parts of each split.
_PARTS = {"train": ("train", "val"), "test": ("test",)}
_PER_INTENT = {"train": 100 + 20, "test": 30}
_NOTES = (
  "the training split is the published training and validation queries; the "
  "out-of-scope queries are not used",
)


def _read(paths: Mapping[str, pathlib.Path]) -> originals.Raw:
  """Reads the queries."""
  path = paths[_FILE]
  with tables.opened(path) as file:
    published = json.load(file)
    splits = {
      split: [row for part in parts for row in _rows(published, part)]
      for split, parts in _PARTS.items()
    }
  found = {}
  for split, rows in splits.items():
    columns = {
      "id": range(len(rows)),
      "text": [text for text, _ in rows],
      "label": [intent for _, intent in rows],
    }
    found[split] = examples_lib.Examples(f"{split} of {path}", columns)
  return originals.from_tables(found, _INTENTS, notes=_NOTES)


def _rows(published: object, part: str) -> list[tuple[str, str]]:
  """Returns the text and the intent of each query in a part of the file."""
  rows = published.get(part) if isinstance(published, dict) else None
  if not isinstance(rows, list):
    raise ValueError(f"it has no list {part!r} of queries")
  for number, row in enumerate(rows, 1):
    if not isinstance(row, list) or [*map(type, row)] != [str, str]:
      raise ValueError(
        f"query {number:,} of {part!r} is not a pair of a text and an intent"
      )
  return [(text, intent) for text, intent in rows]


def _dataset(
  name: str, classes: Mapping[str, Sequence[str]]
) -> originals.Dataset:
  """Returns one of the data sets, given the intents of each class."""
  class_of_intent = {
    intent: label
    for label, intents in enumerate(classes.values())
    for intent in intents
  }
  return originals.Dataset(
    task=Task(
      name=name,
      num_classes=len(classes),
      fine_to_class=tuple(class_of_intent[intent] for intent in _INTENTS),
      class_names=tuple(classes),
      fine_names=_INTENTS,
    ),
    forms=(
      originals.Form(
        name="CLINC150", files=(_FILE,), read=_read, folders=("", "data")
      ),
    ),
    published={
      split: tuple(number * len(intents) for intents in classes.values())
      for split, number in _PER_INTENT.items()
    },
    where="it is at https://github.com/clinc/oos-eval",
    max_length=40,
  )


def _unions(groups: Sequence[Sequence[str]]) -> dict[str, list[str]]:
  """Returns the intents of each class, given its domains."""
  return {
    " + ".join(domains).replace("_", " "): [
      intent for domain in domains for intent in _DOMAINS[domain]
    ]
    for domains in groups
  }


_NAMES = tuple(_DOMAINS)
PARITY = _dataset(
  "clinc_parity", {"even": _INTENTS[::2], "odd": _INTENTS[1::2]}
)
DOMAIN2 = _dataset("clinc_domain2", _unions([_NAMES[::2], _NAMES[1::2]]))
DOMAIN5 = _dataset(
  "clinc_domain5", _unions([_NAMES[i : i + 2] for i in range(0, 10, 2)])
)
