"""Files of the Hugging Face hub, by the id of a model."""

import pathlib
from collections.abc import Sequence


def download(model: str, files: Sequence[str]) -> pathlib.Path:
  """Downloads some files of a model, unless they are cached.

  Args:
    model: Its id, such as "albert/albert-base-v2"; "@" and a branch, a tag or
      a commit may follow.
    files: The names of the files, or patterns such as "*.safetensors": those
      that the model lacks are passed over. Nothing else is downloaded.

  Returns:
    The folder that holds them.

  Raises:
    FileNotFoundError: If there is no such model, or no way to reach it.
    ValueError: If huggingface_hub is not installed.
  """
  try:
    import huggingface_hub
  except ImportError:
    raise ValueError(
      f"{model!r} is no path here, and reading it from the hub needs "
      "huggingface_hub: pip install -e '.[text]'."
    ) from None
  repository, _, revision = model.partition("@")
  try:
    folder = huggingface_hub.snapshot_download(
      repository, revision=revision or None, allow_patterns=list(files)
    )
  except (OSError, ValueError) as error:
    reason = str(error).strip().partition("\n")[0]
    raise FileNotFoundError(
      f"{model!r} is no path here, and the hub gives no model of that id "
      f"({type(error).__name__}: {reason}): check the name, or download it "
      "where there is a network and give the folder."
    ) from None
  return pathlib.Path(folder)
