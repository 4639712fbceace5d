"""Hyperfit an autoregressive image model and report how its greedy completions change.

    python -m image.run                                  the embedded model and vignettes, offline
    python -m image.run --config configs/image/cifar10.yaml
    python -m image.run --config configs/image/paper_imagegpt.yaml

The model receives the top quarter of held-out images and completes them, code by code. Writes
config.yaml, metrics.json, history.jsonl, samples.jsonl, report.html, pictures/, model/ and
checkpoints/ to --out (runs/image/NAME by default). The checkpoints are removed when the run has
ended, unless train.keep_checkpoints is true.
"""

from __future__ import annotations

import sys

from common.config import check_before_reading, output_folder
from common.errors import run_cli
from common.tools.options import parse
from image.config import DOMAIN, ImageRunConfig
from image.inputs import check_run_inputs

PROG = "python -m image.run"


def main(argv: list[str]) -> int:
    config = parse(ImageRunConfig, argv, prog=PROG, description=__doc__ or "")
    check_before_reading(config)
    out = output_folder(config, DOMAIN)
    check_run_inputs(config, out)
    # Imported after the checks, because it is slow: a mistyped option is reported at once.
    from common.command import run_command
    from image.prepare import prepare

    return run_command(config, [PROG, *argv], lambda: prepare(config), out=out)


if __name__ == "__main__":
    sys.exit(run_cli(main))
