"""Imports for the processes of tests, see `tests.experiments.processes`.

The commands are not imported, since each of them defines flags.
"""

import warnings

from experiments import cli as cli
from experiments.distillation import pipeline as pipeline
from experiments.planning import dry_run as dry_run
from experiments.reporting import render as render
from experiments.training import sweep as sweep

# Nothing runs yet that a fork could interrupt.
warnings.filterwarnings("ignore", "os.fork", RuntimeWarning)
