"""Train an image tokenizer: a VQModel that turns an image into a grid of codes.

    python -m image.tokenize --out runs/image/tokenizer

Writes `model/` (for `VQModel.from_pretrained`), `history.jsonl` (loss, usage and perplexity of the
codebook, held-out PSNR), `tokenize.json` (figures of the model as saved: PSNR, usage, perplexity,
stability, reconstruction FID) and `grid.png` (originals above reconstructions). `--resume`
continues after an interruption, with the same result as an uninterrupted run.
"""

from __future__ import annotations

import sys

from common.errors import run_cli
from common.tools.options import parse
from image.inputs import check_inputs
from image.tokenizer.config import TokenizeConfig, check_ranges

PROG = "python -m image.tokenize"


def main(argv: list[str]) -> int:
    config = parse(TokenizeConfig, argv, prog=PROG, description=__doc__ or "")
    check_ranges(config)
    check_inputs(
        config.out,
        sources={"--data": config.data, "--heldout": config.heldout},
        root=("--root", config.root),
        extractors=("--extractor", [config.extractor] if config.extractor else []),
    )
    # Imported after the checks, because it is slow: a mistyped option is reported at once.
    from image.tokenizer.run import run_tokenizer

    run_tokenizer(config, [PROG, *argv])
    return 0


if __name__ == "__main__":
    sys.exit(run_cli(main))
