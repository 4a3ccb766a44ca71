"""Files with a few bytes replaced, for tests that read damaged files."""

import hypothesis
from hypothesis import strategies as st

# A place, the number of bytes that are removed there, and those that come.
EDITS = st.lists(
  st.tuples(st.integers(0, 2**16), st.integers(0, 3), st.binary(max_size=6)),
  min_size=1,
  max_size=4,
)


def damaged(data: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
  """Returns the contents of a file after some edits."""
  for place, length, new in edits:
    place %= len(data) + 1
    data = data[:place] + new + data[place + length :]
  return data


def quick(num_examples: int) -> hypothesis.settings:
  """Returns settings that try some examples, however long they take."""
  return hypothesis.settings(
    max_examples=num_examples,
    suppress_health_check=list(hypothesis.HealthCheck),
  )
