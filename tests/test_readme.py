"""The README's code runs as it stands."""

import configparser
import pathlib
import re

from tests import readme_loop

_README = pathlib.Path(__file__).parents[1] / "README.md"


def test_the_loop_of_the_readme_distils():
  assert readme_loop.accuracy(_README) > 0.95


def test_the_commands_of_the_readme_exist():
  makefile = (_README.parent / "Makefile").read_text()
  for target in re.findall(r"`?make ([a-z]+)", _README.read_text()):
    assert f"\n{target}:" in makefile, target


def test_the_readme_names_the_versions_and_extras_of_setup_cfg():
  config = configparser.ConfigParser()
  config.read(_README.parent / "setup.cfg")
  readme = _README.read_text()
  (line,) = re.findall(r"^Python 3.*$", readme, re.MULTILINE)
  classifiers = config["metadata"]["classifiers"]
  pythons = re.findall(r"Python :: (3\.\d+)", classifiers)
  first, after = re.search(
    r"jax >=0\.(\d+)\.0, <0\.(\d+)", config["options"]["install_requires"]
  ).groups()
  versions = f"{', '.join(pythons)} | jax 0.{first} to 0.{int(after) - 1}"
  assert line == f"Python {versions} | typed | {config['metadata']['license']}"
  table = readme.partition("| extra | for |")[2].partition("\n\n")[0]
  named = re.findall(r"`(\w+)`(?=[^|]*\|[^|]*\|\n)", table + "\n")
  assert set(named) == set(config["options.extras_require"])
