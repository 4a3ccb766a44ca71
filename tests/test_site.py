"""The documentation site: what its pages contain, and that it builds."""

import importlib
import inspect
import os
import pathlib
import pkgutil
import re
import shutil
import subprocess
import sys

import pytest

import lelp_jax

_ROOT = pathlib.Path(__file__).parents[1]
_DOCS = _ROOT / "docs"
_PAGES = sorted(
  path for path in _DOCS.rglob("*.md") if "_build" not in path.parts
)


def _documented():
  """Every name that a page of the API reference has an entry for."""
  found = []
  for page in (_DOCS / "api").glob("*.md"):
    module = ""
    for line in page.read_text().splitlines():
      if match := re.match(r"\.\. currentmodule:: (\S+)", line):
        module = match[1]
      elif match := re.match(
        r"\.\. (?:autofunction|autoclass|py:data):: (\S+)", line
      ):
        name = match[1]
        found.append(
          name if name.startswith("lelp_jax") else f"{module}.{name}"
        )
  return found


def _value(name):
  """The object that a full name stands for."""
  module, _, attribute = name.rpartition(".")
  return getattr(importlib.import_module(module), attribute)


def _modules():
  """The library's modules that are not private, by name."""
  names = [
    module.name
    for module in pkgutil.walk_packages(lelp_jax.__path__, "lelp_jax.")
    if not any(part.startswith("_") for part in module.name.split("."))
  ]
  return {name: importlib.import_module(name) for name in ["lelp_jax", *names]}


@pytest.mark.parametrize(
  "package", ["lelp_jax", "lelp_jax.baselines", "lelp_jax.models"]
)
def test_the_api_reference_has_every_exported_name(package):
  exported = set(importlib.import_module(package).__all__)
  documented = {
    name.removeprefix(f"{package}.")
    for name in _documented()
    if name.rpartition(".")[0] == package
  }
  missing = exported - documented
  assert not missing, f"add {sorted(missing)} to a page in docs/api"
  assert documented <= exported, f"not in {package}.__all__"


def test_the_api_reference_has_every_public_function_and_class():
  documented = list(map(_value, _documented()))
  missing = [
    f"{name}.{attribute}"
    for name, module in _modules().items()
    for attribute, value in vars(module).items()
    if not attribute.startswith("_")
    and (inspect.isfunction(value) or inspect.isclass(value))
    and value.__module__ == name
    and not any(value is other for other in documented)
  ]
  assert not missing, f"add {missing} to a page in docs/api"


def test_the_api_reference_has_no_name_twice():
  names = _documented()
  assert len(names) == len(set(names)) > 60


@pytest.mark.parametrize("page", _PAGES, ids=lambda path: path.name)
def test_what_a_page_includes_exists(page):
  blocks = re.findall(
    r"```\{(?:literal)?include\} (\S+)\n(.*?)```", page.read_text(), re.DOTALL
  )
  for target, options in blocks:
    text = (page.parent / target).read_text()
    for marker in re.findall(r':(?:start-after|end-before): "(.*)"', options):
      assert text.count(f"{marker}\n") == 1, (target, marker)


def test_every_page_is_in_the_table_of_contents():
  listed = {"index.md"}
  for page in _PAGES:
    for block in re.findall(
      r"```\{toctree\}\n(.*?)```", page.read_text(), re.DOTALL
    ):
      folder = page.parent.relative_to(_DOCS)
      listed |= {
        (folder / f"{line}.md").as_posix()
        for line in block.splitlines()
        if line and not line.startswith(":")
      }
  assert listed == {page.relative_to(_DOCS).as_posix() for page in _PAGES}
  assert len(listed) >= 10


@pytest.mark.slow  # It runs the notebooks.
def test_the_site_builds_without_a_warning(tmp_path):
  pytest.importorskip("sphinx")
  pytest.importorskip("myst_nb")
  subprocess.run(
    [sys.executable, "-m", "sphinx", "-q", "-W", "docs", str(tmp_path)],
    cwd=_ROOT,
    # Notebooks show pictures by a backend of their own.
    env={k: v for k, v in os.environ.items() if k != "MPLBACKEND"}
    | {"PYTHONPATH": str(_ROOT), "JAX_PLATFORMS": "cpu"},
    check=True,
  )
  # Equations are drawn by a script of the site, not of another server.
  page = (tmp_path / "api" / "lelp.html").read_text()
  assert r"\log p_{c,s}" in page
  assert re.search(r'src="\.\./_static/tex-svg\.js', page)
  elsewhere = re.compile(r'<(?:script|link)[^>]*(?:src|href)="https?:')
  for path in tmp_path.rglob("*.html"):
    assert not elsewhere.search(path.read_text()), path
  # Links and pictures of included files lead to pages and files of the site.
  page = (tmp_path / "index.html").read_text()
  assert 'href="how_lelp_works.html"' in page.split("<article")[1]
  assert 'src="_images/idea.svg"' in page
  # The notebooks ran: their results are in their pages.
  for name in ("lelp_step_by_step", "subclasses"):
    page = (tmp_path / "notebooks" / f"{name}.html").read_text()
    assert page.count("cell_output") > 5


@pytest.mark.slow  # It trains a teacher and a student.
def test_the_script_draws_the_pictures_of_the_site(tmp_path):
  pytest.importorskip("matplotlib")
  script = shutil.copy(_DOCS / "figures" / "lelp_on_digits.py", tmp_path)
  subprocess.run(
    [sys.executable, script],
    env=os.environ | {"PYTHONPATH": str(_ROOT), "JAX_PLATFORMS": "cpu"},
    check=True,
  )
  committed = {path.name for path in (_DOCS / "figures").glob("*.svg")}
  assert {path.name for path in tmp_path.glob("*.svg")} == committed
