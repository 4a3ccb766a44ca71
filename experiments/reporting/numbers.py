"""Formats numbers as the texts of tables and sentences."""

from collections.abc import Callable
from collections.abc import Iterable

from experiments.reporting.estimates import Estimate
from experiments.reporting.estimates import estimate

_POWERS = tuple(2.0**i for i in range(1, 11))


def number(
  value: Estimate, expected: int | None = None, *, sign: bool = False
) -> str:
  """Formats mean ± standard error, and n if it is not the expected one.

  Examples:
    >>> number(estimate([1.0, 2.0]), 2, sign=True)
    '+1.50 ± 0.50'
    >>> number(estimate([1.0]), 3)
    '1.00 (n=1)'
  """
  text = signed(value.mean) if sign else f"{value.mean:.2f}"
  if value.standard_error is not None:
    text += f" ± {value.standard_error:.2f}"
  return text if expected in (None, value.n) else f"{text} (n={value.n})"


def with_interval(value: Estimate | None, expected: int | None = None) -> str:
  r"""Formats a difference, with its 95 % interval on a second line.

  Examples:
    >>> with_interval(estimate([1.0, 2.0]), 2)
    '+1.50 ± 0.50\n[-4.85, 7.85]'
    >>> with_interval(estimate([1.0]), 1)
    '+1.00'
  """
  if value is None:
    return ""
  text = number(value, expected, sign=True)
  return f"{text}\n{interval(value)}" if value.interval else text


def interval(value: Estimate) -> str:
  """Formats a 95 % interval; empty if it is unknown.

  Examples:
    >>> interval(estimate([1.0, 2.0]))
    '[-4.85, 7.85]'
  """
  if value.interval is None:
    return ""
  # Plus signs would make the columns wider, so that intervals have none.
  low, high = (f"{round(x, 2) + 0.0:.2f}" for x in value.interval)
  return f"[{low}, {high}]"


def signed(value: float) -> str:
  """Formats a difference with two digits and its sign.

  Examples:
    >>> signed(-0.001), signed(-1.5)
    ('+0.00', '-1.50')
  """
  # Adding 0.0 turns the -0.0 that rounding leaves into 0.0.
  return f"{round(value, 2) + 0.0:+.2f}"


def setting(value: object) -> str:
  """Formats the value of a hyperparameter; powers of 1/2 are fractions.

  Examples:
    >>> setting(0.03125), setting(4.0), setting(50000), setting(0.1)
    ('1/32', '4', '50,000', '0.1')
    >>> setting(None), setting("heldout"), setting((1.0, 0.5))
    ('', 'heldout', '1, 1/2')
  """
  if value is None:
    return ""
  if isinstance(value, tuple):
    return ", ".join(map(setting, value))
  if isinstance(value, bool) or not isinstance(value, int | float):
    return str(value)
  if 0 < value < 1 and 1 / value in _POWERS:
    return f"1/{1 / value:.0f}"
  return f"{value:,.0f}" if value >= 1000 else f"{value:g}"


def percent(share: float) -> str:
  """Formats a fraction in percent with one digit.

  Examples:
    >>> percent(0.1234)
    '12.3'
  """
  return f"{100 * share:.1f}"


def mean(values: Iterable[float | None], form: Callable[[float], str]) -> str:
  """Formats the mean of the known values; empty if none is known.

  Examples:
    >>> mean([0.5, None, 1.0], percent)
    '75.0'
  """
  known = [value for value in values if value is not None]
  return form(estimate(known).mean) if known else ""


def span(values: Iterable[float | None], form: Callable[[float], str]) -> str:
  """Formats the range of the known values; one number if its ends are alike.

  Examples:
    >>> span([0.5, None, 1.0], percent), span([99, 99], "{:,}".format)
    ('50.0 to 100.0', '99')
  """
  known = [value for value in values if value is not None]
  if not known:
    return ""
  return " to ".join(dict.fromkeys(map(form, (min(known), max(known)))))
