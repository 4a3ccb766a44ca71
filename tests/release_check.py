r"""Builds the release and tries it in empty environments.

  python -m tests.release_check [--pythons=3.11,3.12,3.13]

It builds the sdist, and the wheel from it, without a warning, and looks at what
they hold. Each Python then gets environments with the oldest and the newest
versions that setup.cfg allows, in which the README's loop runs. With the newest
ones, mypy and pyrefly check `typed_client.py` against the installed wheel.
Everything happens in a temporary folder. A Python that this machine does not
have is listed as missing; without any the command fails.
"""

import argparse
import configparser
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile

_ROOT = pathlib.Path(__file__).parents[1]
_PYENV = pathlib.Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser()


def run(*command: object, cwd: pathlib.Path) -> str:
  """Runs a command; returns its output, or exits with it if it failed."""
  # PYTHONPATH would hide the installed package.
  environment = {k: v for k, v in os.environ.items() if k[:6] != "PYTHON"}
  done = subprocess.run(
    list(map(str, command)),
    cwd=cwd,
    env=environment,
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
    check=False,
  )
  if done.returncode:
    sys.exit(f"{done.stdout}\nFailed: {' '.join(map(str, command))}")
  return done.stdout


def make_environment(
  folder: pathlib.Path, python: str, *requirements: object
) -> pathlib.Path:
  """Makes an environment with some packages; returns its interpreter."""
  run(python, "-m", "venv", folder, cwd=folder.parent)
  interpreter = folder / "bin" / "python"
  pip = (interpreter, "-m", "pip", "install", "-q", "--no-compile")
  run(*pip, "--disable-pip-version-check", *requirements, cwd=folder)
  return interpreter


def build(folder: pathlib.Path) -> pathlib.Path:
  """Builds the sdist, and the wheel from it; returns the wheel's path."""
  source, output = folder / "source", folder / "dist"
  listed = run(
    *("git", "ls-files", "--cached", "--others", "--exclude-standard"),
    cwd=_ROOT,
  )
  for name in filter(lambda name: (_ROOT / name).is_file(), listed.split("\n")):
    (source / name).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(_ROOT / name, source / name)
  python = make_environment(folder / "builder", sys.executable, "build")
  log = run(python, "-m", "build", "--outdir", output, source, cwd=folder)
  if warned := re.findall(r"^.*warning.*$", log, re.IGNORECASE | re.MULTILINE):
    sys.exit("The build gave warnings:\n" + "\n".join(warned))
  (sdist,) = output.glob("*.tar.gz")
  (wheel,) = output.glob("*.whl")
  check_contents(sdist, wheel)
  return wheel


def check_contents(sdist: pathlib.Path, wheel: pathlib.Path) -> None:
  """Exits unless both hold the library, its marker of types and the licence."""
  tracked = {
    str(path.relative_to(_ROOT))
    for path in (_ROOT / "lelp_jax").rglob("*")
    if path.suffix == ".py" or path.name == "py.typed"
  }
  in_wheel = set(zipfile.ZipFile(wheel).namelist())
  in_library = {name for name in in_wheel if ".dist-info/" not in name}
  if in_library != tracked:
    sys.exit(f"The wheel differs in {sorted(in_library ^ tracked)}.")
  if not any(name.endswith("/LICENSE") for name in in_wheel):
    sys.exit("The wheel has no LICENSE.")
  with tarfile.open(sdist) as archive:
    in_sdist = {name.partition("/")[2] for name in archive.getnames()}
  needed = {"LICENSE", "README.md", "pyproject.toml", "setup.cfg", *tracked}
  if missing := sorted(needed - in_sdist):
    sys.exit(f"The sdist lacks {missing}.")
  folders = {name.partition("/")[0] for name in in_sdist if "/" in name}
  if unknown := sorted(folders - {"lelp_jax", "lelp_jax.egg-info"}):
    sys.exit(f"The sdist holds the folders {unknown}.")


def oldest() -> list[str]:
  """Returns the requirements of setup.cfg, pinned to the oldest versions."""
  config = configparser.ConfigParser()
  config.read(_ROOT / "setup.cfg")
  lines = config["options"]["install_requires"].split("\n")
  found = [re.match(r"(\w+) *>=([\w.]+)", line) for line in lines if line]
  return [f"{match[1]}=={match[2]}" for match in found if match]


def interpreter_of(version: str) -> str | None:
  """Returns a Python of a version, from pyenv or the PATH."""
  found = sorted(map(str, _PYENV.glob(f"versions/{version}.*/bin/python")))
  for path in (sys.executable, *found, shutil.which(f"python{version}")):
    # Those of pyenv on the PATH exist even for versions that it lacks.
    command = [path or "python", "-c", "import sys; print(sys.version)"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.stdout.startswith(f"{version}."):
      return path
  return None


def try_wheel(
  place: pathlib.Path, python: str, wheel: pathlib.Path, pins: list[str]
) -> str:
  """Runs the README's loop and the typed program; returns the versions."""
  checkers = [] if pins else ["mypy", "pyrefly"]
  interpreter = make_environment(place, python, wheel, *pins, *checkers)
  for name in ("readme_loop.py", "typed_client.py"):
    shutil.copy(_ROOT / "tests" / name, place)
  run(interpreter, "readme_loop.py", _ROOT / "README.md", cwd=place)
  run(interpreter, "typed_client.py", cwd=place)
  if checkers:
    run(interpreter, "-m", "mypy", "--strict", "typed_client.py", cwd=place)
    # Without a preset, pyrefly leaves out most errors where it has no config.
    pyrefly = (place / "bin" / "pyrefly", "check", "--preset=default")
    path = ("--python-interpreter-path", interpreter)
    run(*pyrefly, *path, "typed_client.py", cwd=place)
  listed = run(interpreter, "-m", "pip", "freeze", cwd=place)
  wanted = r"^(?:jax|flax|optax|numpy|mypy|pyrefly)==.*$"
  return " ".join(re.findall(wanted, listed, re.MULTILINE))


def main() -> None:
  """Builds, installs and runs; prints a line per environment."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--pythons", default="3.11,3.12,3.13")
  tried = False
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    wheel = build(folder)
    print(f"built {wheel.name} and its sdist without a warning", flush=True)
    for version in parser.parse_args().pythons.split(","):
      python = interpreter_of(version)
      if python is None:
        print(f"Python {version}: not on this machine", flush=True)
        continue
      for bound, pins in (("oldest", oldest()), ("newest", [])):
        place = folder / f"{version}-{bound}"
        versions = try_wheel(place, python, wheel, pins)
        print(f"Python {version}, {bound}, passed: {versions}", flush=True)
        shutil.rmtree(place)
        tried = True
  if not tried:
    sys.exit("This machine has none of these versions of Python.")


if __name__ == "__main__":
  main()
