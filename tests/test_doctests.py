"""The examples in the docstrings of `experiments` and `benchmarks`.

pytest collects those of `lelp_jax` itself; of the others it would import the
commands too, whose flags have the same names.
"""

import doctest
import importlib
import pathlib

import pytest

_ROOT = pathlib.Path(__file__).parents[1]
_FILES = sorted(
  path.relative_to(_ROOT)
  for folder in ("experiments", "benchmarks")
  for path in (_ROOT / folder).glob("**/*.py")
  if ">>> " in path.read_text()
)


@pytest.mark.parametrize("path", _FILES, ids=str)
def test_examples(path):
  module = importlib.import_module(".".join(path.with_suffix("").parts))
  failed, tried = doctest.testmod(
    module, optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
  )
  assert tried
  assert not failed
