"""Make the report page of a finished run again, from the files of its folder."""

from __future__ import annotations

import argparse
import sys

from common.errors import run_cli
from common.report.page import build_report
from common.tools.values import path_argument


def main(argv: list[str]) -> int:
    """`python -m common.report DIR`."""
    parser = argparse.ArgumentParser(prog="python -m common.report", description=__doc__)
    parser.add_argument("folder", type=path_argument, help="the --out folder of a finished run")
    print(build_report(parser.parse_args(argv).folder))
    return 0


if __name__ == "__main__":
    sys.exit(run_cli(main))
