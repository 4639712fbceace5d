"""A run of `image.tokenize`: read the images, train, save, measure the saved tokenizer."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import set_seed
from diffusers import VQModel
from einops import rearrange
from PIL import Image
from torch import Tensor

from common.errors import UserError
from common.hyperfit.checkpoint import Checkpoints
from common.hyperfit.linear_decay import LinearDecay
from common.hyperfit.memory import BYTES_PER_TRAINED_WEIGHT, BYTES_PER_WEIGHT, GIB
from common.hyperfit.session import Session
from common.hyperfit.spacing import Cadence
from common.record.provenance import provenance
from common.record.run_folder import RunFolder
from common.tools.device import pick_device
from common.tools.options import to_yaml
from common.tools.progress import Progress
from image.measure.features import load_extractor
from image.measure.fidelity import Fidelity
from image.pictures.load import drop_shared, load_images
from image.report.grids import contact_sheet, save_png
from image.tokenizer.codebook import Codebook
from image.tokenizer.config import TokenizeConfig
from image.tokenizer.loss import Maps, TokenizerLoss
from image.tokenizer.quality import measure_tokenizer
from image.tokenizer.training import ImageBatches, TokenizerTraining
from image.tokenizer.vq import VQTokenizer, load_vq, new_vq_model, rounded

CURVE_IMAGES = 256  # held-out images behind each point of the curve
GRID_COLUMNS, GRID_ROWS = 16, 4


def run_tokenizer(config: TokenizeConfig, command: list[str]) -> None:
    """Train and measure a tokenizer; with `dry_run` only report the cost.

    Args:
        config: the options, checked.
        command: for the provenance.

    Raises:
        UserError: images or extractor cannot be read, or the folder cannot be used.
    """
    with torch.device("meta"):
        shape = fresh_model(config)
    with Progress() as progress:
        device = pick_device(config.device)
        schedule = LinearDecay(
            learning_rate=config.learning_rate,
            updates=config.updates,
            warmup_updates=config.warmup_updates,
        )
        read = partial(load_images, seed=config.seed, size=config.size, root=Path(config.root))
        training = read(config.data, split="train", count=config.count)
        heldout = read(config.heldout or config.data, split="heldout", count=config.heldout_count)
        heldout = drop_shared(training, heldout)
        for what, images in (("training on", training), ("measuring on", heldout)):
            progress.note(f"{what} {len(images.images_NCHW):,} images: {images.source}")
            for note in images.notes:
                progress.note(note)
        progress.note(cost(config, shape, device))
        if config.dry_run:
            return
        result = tokenize(
            config,
            schedule,
            training.images_NCHW,
            heldout.images_NCHW,
            progress,
            command,
        )
    if config.json:
        print(json.dumps(result))


def fresh_model(config: TokenizeConfig) -> VQModel:
    """A model with random weights."""
    return new_vq_model(
        image_size=config.size,
        codes=config.codes,
        embed_dim=config.embed_dim,
        channels=config.channels,
        layers_per_block=config.layers_per_block,
        groups=config.groups,
    )


def cost(config: TokenizeConfig, shape: VQModel, device: torch.device) -> str:
    """Size, steps and memory in one line, from a model on the meta device."""
    parameters = sum(p.numel() for p in shape.parameters())
    state = parameters * (BYTES_PER_WEIGHT + BYTES_PER_TRAINED_WEIGHT)
    memory = (state + kept_bytes(config, shape)) / GIB
    grid = VQTokenizer(shape).grid
    epochs = config.updates * config.batch_size / config.count
    return (
        f"{parameters / 1e6:.2f} M parameters, {grid} x {grid} codes out of {config.codes}; "
        f"{config.updates:,} updates of {config.batch_size} images = {epochs:.1f} epochs; "
        f"about {memory:.1f} GiB to train, on {device}"
    )


def kept_bytes(config: TokenizeConfig, shape: VQModel) -> int:
    """Bytes that one update keeps for its backward pass; the feature network is not counted."""
    kept: list[int] = []

    def note(tensor: Tensor) -> Tensor:
        kept.append(tensor.numel() * tensor.element_size())
        return tensor

    images = torch.empty(config.batch_size, 3, config.size, config.size, device="meta")
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        decoded: Any = shape.decode(shape.encode(images).latents, force_not_quantize=True)
        if config.stability_weight:
            shape.encode(decoded.sample)
    return sum(kept)


def tokenize(
    config: TokenizeConfig,
    schedule: LinearDecay,
    images_NCHW: Tensor,
    heldout_NCHW: Tensor,
    progress: Progress,
    command: list[str],
) -> dict[str, Any]:
    """Train, save and measure; returns what `tokenize.json` holds."""
    device = pick_device(config.device)
    extractor = None
    if config.extractor is not None:
        extractor = load_extractor(config.extractor, device=device)
    maps = perceptual_maps(extractor) if config.perceptual_weight else None
    set_seed(config.seed)
    model: Any = fresh_model(config)
    model.to(device)
    model.quantize.embedding.weight.requires_grad_(False)
    folder = RunFolder.create(
        Path(config.out),
        config_yaml=to_yaml(config),
        overwrite=config.overwrite,
        resume=config.resume,
        may_differ=("out", "overwrite", "resume", "dry_run", "json", "device"),
        tell=progress.note,
    )
    task = progress.task("training the tokenizer", config.updates)

    def show(update: int) -> None:
        progress.update(task, completed=update, **training.shown)

    checkpoints = Checkpoints(folder.checkpoints, folder.manifest.claim)
    cadence = Cadence(
        log_every=config.log_every,
        checkpoint_every=config.checkpoint_every,
        validate_every=config.validate_every,
    )
    training = TokenizerTraining(
        model=model,
        loss=TokenizerLoss(
            maps=maps,
            perceptual_weight=config.perceptual_weight,
            commitment_weight=config.commitment_weight,
            stability_weight=config.stability_weight,
        ),
        batches=ImageBatches(
            images_NCHW, seed=config.seed, batch_size=config.batch_size, flip=config.flip
        ),
        heldout_NCHW=heldout_NCHW[:CURVE_IMAGES],
        schedule=schedule,
        optimizer=torch.optim.AdamW(
            [p for p in model.parameters() if p.requires_grad],
            lr=config.learning_rate,
            betas=(0.9, 0.99),
            weight_decay=0.0,
            fused=True,
        ),
        codebook=Codebook(
            model.quantize.embedding.weight,
            decay=config.codebook_decay,
            restart_after=config.restart_after,
            seed=config.seed,
        ),
        session=Session(checkpoints, folder.journal, cadence, on_window=show),
        quantise_from=config.quantise_from,
        max_gradient_norm=config.max_gradient_norm,
    )
    seconds = training.run(resume=config.resume)

    with folder.manifest.adding(folder.model.name) as added:
        VQTokenizer(rounded(model)).save(added)
    saved = load_vq(str(folder.model), device=device)
    quality = measure_tokenizer(saved, heldout_NCHW)
    figures = quality.to_json()
    if extractor is not None:
        real_ND = extractor.features(heldout_NCHW)
        fake_ND = extractor.features(quality.reconstructions_NCHW)
        fidelity = Fidelity(extractor.name, real_ND)
        scores = fidelity.score(fake_ND)
        for note in fidelity.notes(len(fake_ND)):
            progress.note(note)
        figures["reconstruction"] = {name: score.to_json() for name, score in scores.items()}
    result: dict[str, Any] = {
        "config": asdict(config),
        "updates": training.update,
        "images": training.update * config.batch_size,
        "seconds": round(seconds, 1),
        "parameters": sum(p.numel() for p in model.parameters()),
        "heldout_images": len(heldout_NCHW),
        "heldout": figures,
        "fingerprint": saved.fingerprint,
        "provenance": provenance(config.seed, command),
    }
    folder.write_text(folder.path / "tokenize.json", json.dumps(result, indent=1) + "\n")
    grid = folder.path / "grid.png"
    folder.manifest.claim(grid)
    save_png(comparison(heldout_NCHW, quality.reconstructions_NCHW), grid)
    progress.note(summary(figures, len(heldout_NCHW)))
    progress.note(f"model in {folder.model}")
    return result


def perceptual_maps(extractor: Any) -> Maps:
    """The feature maps of the perceptual term.

    Raises:
        UserError: an extractor without differentiable maps.
    """
    if not hasattr(extractor, "maps"):
        raise UserError(
            expected="an extractor with feature maps for the perceptual term",
            got=f"{extractor.name}, which has none",
            fix="set --extractor offline, or --perceptual_weight 0",
        )
    return extractor.maps


def comparison(images_NCHW: Tensor, reconstructions_NCHW: Tensor) -> Image.Image:
    """The first images: each row of originals above the row of their reconstructions."""
    count = min(GRID_COLUMNS * GRID_ROWS, len(images_NCHW))
    columns = min(GRID_COLUMNS, count)
    count -= count % columns
    pairs_PNCHW = torch.stack([images_NCHW[:count], reconstructions_NCHW[:count]])
    rows_NCHW = rearrange(pairs_PNCHW, "p (r k) c h w -> (r p k) c h w", k=columns)
    return contact_sheet(rows_NCHW, columns=columns, scale=3)


def summary(figures: dict[str, Any], images: int) -> str:
    """The figures in one line, each fidelity score with its extractor's name."""
    psnr, stability = (figures[name]["mean"] for name in ("psnr_db", "stability"))
    scores = figures.get("reconstruction", {})
    fidelity = [f"{name} {score['mean']:.4f}" for name, score in scores.items()]
    parts = [
        f"PSNR {psnr:.2f} dB",
        f"usage {figures['usage']:.1%}",
        f"perplexity {figures['perplexity']:.0f}",
        f"stable codes {stability:.1%}",
        *fidelity,
    ]
    return f"{images:,} held-out images: {', '.join(parts)}"
