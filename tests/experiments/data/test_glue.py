"""GLUE's tasks: the sentences that the phrases of SST-2 are parts of."""

from hypothesis import given
from hypothesis import strategies as st

from experiments.data.datasets.glue import sentences

PHRASES = st.lists(st.lists(st.sampled_from("abc"), max_size=5), max_size=12)


def test_a_phrase_belongs_to_the_longest_text_that_contains_it():
  texts = [
    "a dull film ",  # In the sentence below.
    "it is a dull film ",
    "dull ",
    "a fine film ",
    "film ",  # In both, and the other is longer.
    "fine ",
    "it is a dull film ",
    "is it ",  # Other words in between.
    "ull",  # Not a word of a sentence.
  ]
  found = sentences(texts)
  assert [found[i] for i in (0, 2, 4, 6)] == [found[1]] * 4
  assert found[5] == found[3]
  assert len({found[i] for i in (1, 3, 7, 8)}) == 4
  assert set(found) == set(range(4))


@given(PHRASES)
def test_sentences_by_comparing_all_texts(phrases):
  found = sentences([" ".join(phrase) for phrase in phrases])

  def contains(long, short):
    starts = range(len(long) - len(short) + 1)
    return any(long[i : i + len(short)] == short for i in starts)

  def sentence(short):
    containing = [long for long in phrases if short and contains(long, short)]
    return max(containing, key=len, default=short)  # The first of the longest.

  expected = [tuple(sentence(phrase)) for phrase in phrases]
  pairs = set(zip(expected, found, strict=True))
  assert len(pairs) == len(set(expected)) == len(set(found))
