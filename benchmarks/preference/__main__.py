"""What people prefer: make a blind A/B page from finished runs, score the votes it gives back.

    python -m benchmarks.preference make runs/text/seed0 --out page.html
    python -m benchmarks.preference score votes-anna.json votes-ben.json --key page.key.json

The page is one file that loads nothing from elsewhere: send it, or put it on any web server. Its
key names what was shown; do not publish it before the votes are in.
"""

from __future__ import annotations

import argparse
import sys

from benchmarks.preference import make, score
from common.errors import run_cli

COMMANDS = {"make": make, "score": score}


def main(argv: list[str]) -> int:
    """`python -m benchmarks.preference make | score`."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.preference",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name, module in COMMANDS.items():
        summary = (module.__doc__ or "").partition("\n")[0]
        module.add_arguments(
            commands.add_parser(name, help=summary, description=module.__doc__, allow_abbrev=False)
        )
    options = parser.parse_args(argv)
    return COMMANDS[options.command].run(options)


if __name__ == "__main__":
    sys.exit(run_cli(main))
