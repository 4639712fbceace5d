"""Complete images, or make them from nothing, and write one picture of all of them.

    python -m image.generate --model runs/image/default/model --out completions.png
    python -m image.generate --model runs/image/default/model --images photos/ --count 8
    python -m image.generate --prompt_share 0 --method sampled

The first part of each image is given and the model completes it, greedily by default, whatever the
checkpoint's own generation config says. With --prompt_share 0 nothing is given. The picture has a
column for the given part (where there is one), one for the completions and one for the originals.

Shapes: N images, L codes per image.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from common.decode import generate
from common.decode_config import greedy_config, sampling_config
from common.device import pick_device
from common.errors import UserError, run_cli
from common.options import parse, require
from common.quiet import quiet_transformers
from common.values import SEED_RANGE, seed_fits
from image.data import load_images
from image.grids import labelled_sheet, prompt_pictures, save_png
from image.inputs import check_inputs
from image.model import (
    OnlyCodes,
    check_fits,
    load_transformer,
    meta_transformer,
    sequences,
    vocabulary,
)
from image.tokens import load_tokenizer, tokenizer_of

PROG = "python -m image.generate"


@dataclass(frozen=True, kw_only=True)
class GenerateConfig:
    """Options of `python -m image.generate`."""

    model: str = "embedded"
    """The embedded transformer, a checkpoint folder, or a hub id (ImageGPT)."""
    tokenizer: str | None = None
    """Image tokenizer: embedded, a folder, or a hub id; null is the one that belongs to model."""
    images: str = "embedded:vignettes"
    """Images to complete: embedded:vignettes, a folder, cifar10, fashion-mnist or hub:..."""
    root: str = "data"
    """Where cifar10 and fashion-mnist are kept; fetched there once."""
    count: int = 12
    """How many images."""
    prompt_share: float = 0.25
    """Share of an image's codes that is given, from the top; 0 gives nothing."""
    label: int | None = None
    """Class to make, by its number: needed by a class-conditional model, refused by others."""
    method: Literal["greedy", "sampled"] = "greedy"
    """greedy, or sampling with the three options below."""
    top_p: float = 0.9
    """Sampling: nucleus mass."""
    temperature: float = 0.7
    """Sampling: temperature."""
    top_k: int = 50
    """Sampling: draw from so many codes at most; 0 is off."""
    seed: int = 0
    """Seed of the sampling and of the choice of images."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    out: str = "completions.png"
    """The picture to write."""
    overwrite: bool = False
    """Replace the picture if it is there."""
    dry_run: bool = False
    """Print sizes, load no weights of the transformer."""
    json: bool = False
    """Print one JSON object: the codes of every image."""


def main(argv: list[str]) -> int:
    config = parse(GenerateConfig, argv, prog=PROG, description=__doc__ or "")
    quiet_transformers()
    check(config)
    method = greedy_config()
    if config.method == "sampled":
        method = sampling_config(
            top_p=config.top_p, temperature=config.temperature, top_k=config.top_k
        )
    device = pick_device(config.device)
    tokenizer = load_tokenizer(config.tokenizer or tokenizer_of(config.model), device=device)
    shape = meta_transformer(config.model)
    check_fits(shape, tokenizer)
    words = vocabulary(shape)
    if config.label is not None and not 0 <= config.label < words.classes:
        raise UserError(
            expected=f"a class from 0 to {words.classes - 1}"
            if words.classes
            else "no --label: the transformer has no class tokens",
            got=f"{config.label}",
            fix="change --label, or leave it out",
        )
    if config.label is None and words.classes:
        raise UserError(
            expected=f"--label from 0 to {words.classes - 1} for a transformer with class tokens",
            got="none",
            fix=f"choose one of {', '.join(words.class_names)}",
        )
    codes = tokenizer.grid**2
    given = min(round(config.prompt_share * codes), codes - 1)
    parameters = sum(p.numel() for p in shape.parameters())
    _say(
        f"{parameters / 1e6:.1f} M parameters, {config.count} images of {codes} codes, {given} "
        f"given, {config.method}"
    )
    images = load_images(
        config.images,
        split="heldout",
        count=config.count,
        seed=config.seed,
        size=tokenizer.image_size,
        root=Path(config.root),
    )
    if config.dry_run:
        return 0

    model = load_transformer(config.model, device=device)
    given_NC = tokenizer.encode(images.images_NCHW)[:, :given]
    labels_N = None if config.label is None else torch.full((config.count,), config.label)
    begun = time.perf_counter()
    texts = generate(
        model,
        sequences(given_NC, start=words.start, labels_N=labels_N),
        new_tokens=codes - given,
        method=method,
        notify=_say,
        seed=config.seed,
        processors=[OnlyCodes(words.codes)],
    )
    seconds = time.perf_counter() - begun
    ids_NL = torch.cat([given_NC, torch.tensor([text.tolist() for text in texts])], dim=1)
    columns: dict[str, Tensor] = {config.method: tokenizer.decode(ids_NL)}
    if given:
        prompts_NCHW = prompt_pictures(images.images_NCHW, grid=tokenizer.grid, given=given)
        columns = {"given": prompts_NCHW, **columns, "original": images.images_NCHW}
    save_png(labelled_sheet(columns), Path(config.out))
    if config.json:
        print(json.dumps({"method": config.method, "given": given, "codes": ids_NL.tolist()}))
    _say(f"{config.out}: {len(ids_NL)} images in {seconds:.1f} s")
    return 0


def check(config: GenerateConfig) -> None:
    """Check the options that need no file, and that nothing would be overwritten.

    Raises:
        UserError: one of them cannot be used.
    """
    if config.count < 1:
        raise UserError(expected="count of at least 1", got=str(config.count), fix="ask for more")
    if not 0 <= config.prompt_share < 1:
        raise UserError(
            expected="prompt_share from 0 to below 1",
            got=str(config.prompt_share),
            fix="change --prompt_share",
        )
    require([("seed", config.seed, seed_fits(config.seed), SEED_RANGE)])
    if Path(config.out).suffix.lower() != ".png":
        raise UserError(
            expected="--out to be a .png file", got=repr(config.out), fix="change --out"
        )
    check_inputs(
        config.out,
        sources={"--images": config.images},
        root=("--root", config.root),
        models={"--model": config.model, "--tokenizer": config.tokenizer},
    )
    if os.path.lexists(config.out) and not config.overwrite:
        raise UserError(
            expected="a new file",
            got=f"{config.out!r}, which is there",
            fix="choose another --out, or pass --overwrite",
        )


def _say(line: str) -> None:
    print(line, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(run_cli(main))
