"""A student of a user's own."""

from lelp_jax.models import Static


def make(num_outputs, width=5, vocab_size=50):
  """A small model of texts, as a Linen module."""
  return Static(num_outputs, vocab_size=vocab_size, width=width, features=())
