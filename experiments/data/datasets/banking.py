"""Banking77: questions to a bank, with two classes and 77 hidden intents.

Casanueva et al. 2020, "Efficient Intent Detection with Dual Sentence Encoders".
The data set is not in the paper. As in `clinc`, the class is the parity of the
intent's position (from 0) in alphabetical order. In this order capital letters
come before small ones, so that "Refund_not_showing_up" is the first intent. An
intent has between 35 and 187 training examples.
"""

from experiments.data import originals
from experiments.data.dataset import Task

_INTENTS = tuple(
  """
  Refund_not_showing_up activate_my_card age_limit apple_pay_or_google_pay
  atm_support automatic_top_up balance_not_updated_after_bank_transfer
  balance_not_updated_after_cheque_or_cash_deposit beneficiary_not_allowed
  cancel_transfer card_about_to_expire card_acceptance card_arrival
  card_delivery_estimate card_linking card_not_working card_payment_fee_charged
  card_payment_not_recognised card_payment_wrong_exchange_rate card_swallowed
  cash_withdrawal_charge cash_withdrawal_not_recognised change_pin
  compromised_card contactless_not_working country_support declined_card_payment
  declined_cash_withdrawal declined_transfer direct_debit_payment_not_recognised
  disposable_card_limits edit_personal_details exchange_charge exchange_rate
  exchange_via_app extra_charge_on_statement failed_transfer
  fiat_currency_support get_disposable_virtual_card get_physical_card
  getting_spare_card getting_virtual_card lost_or_stolen_card
  lost_or_stolen_phone order_physical_card passcode_forgotten
  pending_card_payment pending_cash_withdrawal pending_top_up pending_transfer
  pin_blocked receiving_money request_refund reverted_card_payment?
  supported_cards_and_currencies terminate_account
  top_up_by_bank_transfer_charge top_up_by_card_charge top_up_by_cash_or_cheque
  top_up_failed top_up_limits top_up_reverted topping_up_by_card
  transaction_charged_twice transfer_fee_charged transfer_into_account
  transfer_not_received_by_recipient transfer_timing unable_to_verify_identity
  verify_my_identity verify_source_of_funds verify_top_up
  virtual_card_not_working visa_or_mastercard why_verify_identity
  wrong_amount_of_cash_received wrong_exchange_rate_for_cash_withdrawal
  """.split()
)


PARITY = originals.Dataset(
  task=Task(
    name="banking_parity",
    num_classes=2,
    fine_to_class=tuple(position % 2 for position in range(len(_INTENTS))),
    class_names=("even", "odd"),
    fine_names=_INTENTS,
  ),
  forms=(
    originals.table_form(
      "Banking77",
      {"train": ("train.csv",), "test": ("test.csv",)},
      _INTENTS,
      {"text_column": "text", "label_column": "category"},
      folders=("", "banking_data"),
    ),
  ),
  published={"train": (5035, 4968), "test": (1560, 1520)},
  where="they are at https://github.com/PolyAI-LDN/task-specific-datasets",
  max_length=128,
)
