r"""The digits of the quickstart with every method, on 20 random splits.

python -m experiments.sweep --workdir=runs/digits \
    --config=experiments/configs/results/digits.py
"""

from ml_collections import ConfigDict

from experiments.configs import quickstart


def get_config(arg: str | None = None) -> ConfigDict:
  """Returns the quickstart's config with all methods and more splits.

  Args:
    arg: See `quickstart.get_config`.
  """
  options = ",".join(filter(None, ("methods=all", arg)))
  config = quickstart.get_config(options)
  config.title = "scikit-learn's digits, odd or even, 20 splits"
  config.sweep.methods.lelp_centroids = ConfigDict(
    {
      "loss": {"temperature": (1.0, 2.0), "subclass_temperature": (1.0, 3.0)},
      "clustering": {"num_clusters": (2, 5)},
    }
  )
  for split in range(20):
    config.sweep.columns[f"split{split}"] = ConfigDict(
      {"data": {"options": {"split_seed": split}}}
    )
  return config
