"""What `image.generate` does: complete images and write one picture of them all.

Shapes: N images, L codes per image.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import torch
from torch import Tensor

from common.decode.generate import generate
from common.decode.methods import greedy_config, sampling_config
from common.errors import UserError
from common.tools.device import pick_device
from common.tools.quiet import quiet_transformers
from image.generate_config import GenerateConfig
from image.model import (
    OnlyCodes,
    check_fits,
    load_transformer,
    meta_transformer,
    sequences,
    vocabulary,
)
from image.pictures.load import load_images
from image.report.grids import labelled_sheet, prompt_pictures, save_png
from image.tokenizer.load import load_tokenizer, tokenizer_of


def write_completions(config: GenerateConfig) -> None:
    """Complete the images and write the picture; with `dry_run` only report the sizes.

    Raises:
        UserError: model, tokenizer or images cannot be read, or do not fit the options.
    """
    quiet_transformers()
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
        return

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


def _say(line: str) -> None:
    print(line, file=sys.stderr)
