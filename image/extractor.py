"""Train the offline feature network: a small classifier whose pooled features measure images.

    python -m image.extractor --data cifar10/train --heldout cifar10/test

Fidelity measures need the features of a network that was trained on photographs. The usual one,
Inception, is a download of 90 MB. This one is a timm network of 0.7 M parameters, trained in half
an hour on one core. Its name is part of its figures' names, because they are not Inception's.

Writes `model/` (weights and shape, see `image/measure/offline_network.py`), `history.jsonl`, and
`extractor.json` (held-out accuracy with its N, settings, versions). `model/` is written after every
epoch, so an interrupted run leaves a network that loads. The next run starts from the beginning.
"""

from __future__ import annotations

import sys

from common.errors import run_cli
from common.tools.options import parse
from image.inputs import check_inputs
from image.measure.extractor_config import ExtractorConfig, check_ranges

PROG = "python -m image.extractor"


def main(argv: list[str]) -> int:
    config = parse(ExtractorConfig, argv, prog=PROG, description=__doc__ or "")
    check_ranges(config)
    check_inputs(
        config.out,
        sources={"--data": config.data, "--heldout": config.heldout},
        root=("--root", config.root),
    )
    # Imported after the checks, because it is slow: a mistyped option is reported at once.
    from image.extractor_training import run_extractor

    run_extractor(config, [PROG, *argv])
    return 0


if __name__ == "__main__":
    sys.exit(run_cli(main))
