"""`python -m benchmarks.suite`: run the experiments."""

from __future__ import annotations

import sys

from benchmarks.suite.make_cells import main
from common.errors import run_cli

if __name__ == "__main__":
    sys.exit(run_cli(main))
