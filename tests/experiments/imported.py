"""What the processes of tests start with: `tests.experiments.processes`.

The commands themselves are not among it, since each defines its flags.
"""

import warnings

from experiments import cli as cli
from experiments.distillation import pipeline as pipeline
from experiments.planning import dry_run as dry_run
from experiments.reporting import render as render
from experiments.training import sweep as sweep

# Nothing runs yet that a fork could interrupt.
warnings.filterwarnings("ignore", "os.fork", RuntimeWarning)
