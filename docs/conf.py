"""Configures the documentation site: `make docs` builds it."""

import importlib.util
import inspect
import logging
import os
import pathlib
import re
import shutil

from jupyter_client.manager import KernelManager
from sphinx.domains.python import PyObject

from lelp_jax.version import __version__

# Pages and notebooks need no accelerator, and JAX would look for one.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# It announces each notebook that it runs.
logging.getLogger("traitlets").setLevel(logging.WARNING)
# Encrypted connections: kernels of notebooks print a warning about others.
if _trait := KernelManager.class_traits().get("transport_encryption"):
  _trait.default_value = "auto"

project = "lelp_jax"
author = copyright = "The lelp_jax authors"
version = release = __version__

extensions = [
  "myst_nb",
  "sphinx.ext.autodoc",
  "sphinx.ext.mathjax",
  "sphinx.ext.napoleon",
  "sphinx.ext.viewcode",
  "sphinx_copybutton",
  "sphinx_design",
]
exclude_patterns = ["_build", "figures"]
default_role = "py:obj"  # `name` in a docstring links to its entry.

highlight_language = "none"  # Of a block without a language.

# --- Pages --------------------------------------------------------------------

myst_enable_extensions = [
  "attrs_inline",
  "colon_fence",
  "deflist",
  "dollarmath",
]
myst_heading_anchors = 3

# --- Notebooks: executed by every build, which fails if a cell does -----------

nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 1200  # Seconds per cell, for a busy machine.
nb_merge_streams = True

# --- API reference ------------------------------------------------------------

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 72
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_attr_annotations = False
add_module_names = False

# --- HTML ---------------------------------------------------------------------

html_theme = "furo"
html_title = f"lelp_jax {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

# Equations are drawn by a copy of MathJax that is part of the site, so that
# they appear without a connection to the internet as well.
_MATHJAX = importlib.util.find_spec("sphinx-mathjax-offline")
assert _MATHJAX is not None, "pip install '.[docs]'"
assert _MATHJAX.origin is not None
mathjax_path = "tex-svg.js"


def _copy_mathjax(app, exception):
  """Copies the one file of MathJax that the pages load."""
  if exception is None:
    folder = pathlib.Path(_MATHJAX.origin).parent / "static" / "mathjax"
    shutil.copy(folder / mathjax_path, app.outdir / "_static" / mathjax_path)


# Files of the repository that pages include.
_PAGES = {
  "../CONTRIBUTING.md": "contributing.md",
  "../RESULTS.md": "results.md",
  "../benchmarks/README.md": "speed.md",
  "../examples/README.md": "examples.md",
  "../experiments/README.md": "reproduce.md",
}


def _link_to_pages(app, path, parent, content):
  """Points the links of an included file at pages of the site."""
  del parent

  def link(match):
    text, target = match.groups()
    found = os.path.relpath(app.srcdir / path.parent / target, app.srcdir)
    if example := re.fullmatch(r"\.\./examples/(\w+)\.py", found):
      return f"[{text}](/examples.md#{example[1]}py)"
    page = _PAGES.get(found, found)
    if page.startswith("../"):
      return text  # Only the repository has it.
    # A link whose text is its file gets the title of the page.
    text = "" if text == target.replace("../", "") else text
    return f"[{text}](/{page})"

  content[0] = re.sub(r"\[([^]]*)\]\((?!https?:|#)([^)]*)\)", link, content[0])


def _without_parents(app, what, name, obj, options, signature, returned):
  """Leaves out the arguments that Flax adds to every module."""
  del app, what, name, options
  if inspect.isclass(obj) and signature and "parent:" in signature:
    signature = signature.split(", parent:")[0] + ")"
  if signature:
    signature = signature.replace("= <factory>", "= {}")
  return signature, returned


def setup(app):
  """Connects the functions above."""
  for field in PyObject.doc_field_types:
    if field.name == "variable":
      field.label = "Attributes"  # As the docstrings call them.
  app.connect("build-finished", _copy_mathjax)
  app.connect("include-read", _link_to_pages)
  app.connect("autodoc-process-signature", _without_parents)
