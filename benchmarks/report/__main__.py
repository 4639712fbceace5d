"""`python -m benchmarks.report`: REPORT.md and report.html from the cells."""

from __future__ import annotations

import sys

from benchmarks.report.build import main
from common.errors import run_cli

if __name__ == "__main__":
    sys.exit(run_cli(main))
