"""Downloads from the Hugging Face hub."""

import pathlib
from collections.abc import Sequence


def download(model: str, files: Sequence[str]) -> pathlib.Path:
  """Downloads files of a model, unless they are cached; returns their folder.

  Args:
    model: The id of the model, optionally followed by "@" and a branch, a tag
      or a commit.
    files: Names or patterns such as "*.safetensors". Files that the model does
      not have are skipped.

  Raises:
    FileNotFoundError: If there is no such model, or the hub cannot be reached.
    ValueError: If huggingface_hub is not installed.
  """
  try:
    import huggingface_hub
  except ImportError:
    raise ValueError(
      f"{model!r} is not a local path, and reading it from the hub needs the "
      "package huggingface_hub: pip install -e '.[text]'."
    ) from None
  repository, _, revision = model.partition("@")
  try:
    folder = huggingface_hub.snapshot_download(
      repository, revision=revision or None, allow_patterns=list(files)
    )
  except (OSError, ValueError) as error:
    reason = str(error).strip().partition("\n")[0]
    raise FileNotFoundError(
      f"{model!r} is not a local path, and the hub has no model of that name "
      f"or cannot be reached ({type(error).__name__}: {reason}): check the "
      "name, or download the model elsewhere and give its folder."
    ) from None
  return pathlib.Path(folder)
