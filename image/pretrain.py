"""Pretrain the small transformer over image codes that ships with the package, or one like it.

    python -m image.pretrain --out runs/image/base
    python -m image.pretrain --data photos/ --tokenizer runs/image/tokenizer/model

Encodes the images once, trains a small Llama on their codes with the core's loop, warm-up and
linear decay, and writes `model/` (bf16 safetensors, the image tokenizer in a folder of its own),
`history.jsonl` (the curve) and `pretrain.json` (held-out loss before and after, settings,
versions). `--resume` continues after an interruption; the weights become bit-identical to those of
an uninterrupted run.
"""

from __future__ import annotations

import sys

from common.errors import run_cli
from common.tools.options import parse
from image.inputs import check_inputs
from image.pretrain_config import PretrainConfig

PROG = "python -m image.pretrain"


def main(argv: list[str]) -> int:
    config = parse(PretrainConfig, argv, prog=PROG, description=__doc__ or "")
    check_inputs(
        config.out,
        sources={"--data": config.data, "--heldout": config.heldout},
        root=("--root", config.root),
        models={"--tokenizer": config.tokenizer, "--codes": config.codes},
    )
    # Imported after the checks, because it is slow: a mistyped option is reported at once.
    from common.pretrain import run_pretraining
    from image.pretraining import prepare

    return run_pretraining(config, [PROG, *argv], lambda: prepare(config))


if __name__ == "__main__":
    sys.exit(run_cli(main))
