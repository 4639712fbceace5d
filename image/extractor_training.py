"""A run of `image.extractor`: read the images, train the network, save and measure it.

Shapes: N images, C channels, H W pixels, B images per update.
"""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch
from accelerate.utils import set_seed
from timm.models.byobnet import ByobNet
from torch import Tensor
from torch.nn import functional

from common.errors import UserError
from common.record.provenance import provenance
from common.record.run_folder import RunFolder
from common.tools.device import pick_device
from common.tools.options import to_yaml
from common.tools.progress import Progress
from image.measure.extractor_config import ExtractorConfig
from image.measure.offline_network import NetworkShape, new_network, normalise, save_network
from image.pictures.load import LabelledImages, drop_shared, load_images

MOMENTUM = 0.9
WARMUP_SHARE = 0.2  # of the updates; the rate then falls along a cosine
CROP_PIXELS = 4  # by which a crop is moved, at most
EVALUATED_IMAGES = 500  # at a time


def run_extractor(config: ExtractorConfig, command: list[str]) -> None:
    """Train and measure a feature network; with `dry_run` only report the cost.

    Args:
        config: the options, checked.
        command: for the provenance.

    Raises:
        UserError: images cannot be read, the two sets have different classes, or training fails.
    """
    assert config.data is not None
    device = pick_device(config.device)
    with Progress() as progress:
        read = partial(load_images, seed=config.seed, size=config.size, root=Path(config.root))
        training = read(config.data, split="train", count=config.count)
        heldout = read(config.heldout or config.data, split="heldout", count=config.heldout_count)
        for images in (training, heldout):
            if images.labels_N is None or images.class_names != training.class_names:
                raise UserError(
                    expected="training and held-out images of the same classes",
                    got=f"{', '.join(images.class_names) or 'no classes'} in {images.source}",
                    fix="give folders with one sub-folder per class, of the same names",
                )
        heldout = drop_shared(training, heldout)
        for note in (*training.notes, *heldout.notes):
            progress.note(note)
        set_seed(config.seed)
        network = new_network(
            classes=len(training.class_names),
            stem_width=config.stem_width,
            widths=config.widths,
        )
        progress.note(
            f"{len(training.images_NCHW):,} images of {len(training.class_names)} classes, "
            f"{len(heldout.images_NCHW):,} held out; {parameters(network) / 1e6:.2f} M parameters, "
            f"{updates_per_epoch(config) * config.epochs:,} updates, on {device}"
        )
        if config.dry_run:
            return
        network.to(device).to(memory_format=torch.channels_last)
        result = train(config, network, training, heldout, progress, command)
    if config.json:
        print(json.dumps(result))


def train(
    config: ExtractorConfig,
    network: ByobNet,
    training: LabelledImages,
    heldout: LabelledImages,
    progress: Progress,
    command: list[str],
) -> dict[str, object]:
    """Train, measure and save; returns what `extractor.json` holds.

    Raises:
        UserError: the loss became NaN, or the output folder cannot be used.
    """
    assert training.labels_N is not None
    folder = RunFolder.create(
        Path(config.out),
        config_yaml=to_yaml(config),
        overwrite=config.overwrite,
        tell=progress.note,
    )
    shape = shape_of(config, training)
    device = next(network.parameters()).device
    total = updates_per_epoch(config) * config.epochs
    optimizer = torch.optim.SGD(
        network.parameters(),
        lr=config.learning_rate,
        momentum=MOMENTUM,
        weight_decay=config.weight_decay,
        nesterov=True,
    )
    rates = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=config.learning_rate,
        total_steps=total,
        pct_start=WARMUP_SHARE,
        cycle_momentum=False,
    )
    generator = torch.Generator().manual_seed(config.seed)
    task = progress.task("training", total)
    started, update = time.perf_counter(), 0
    for epoch in range(config.epochs):
        network.train()
        order_N = torch.randperm(len(training.images_NCHW), generator=generator)
        for rows_B in order_N.split(config.batch_size)[: updates_per_epoch(config)]:
            images_BCHW = augment(training.images_NCHW[rows_B], generator).to(device)
            loss = functional.cross_entropy(
                network(inputs(images_BCHW, shape)),
                training.labels_N[rows_B].to(device),
                label_smoothing=config.label_smoothing,
            )
            optimizer.zero_grad()
            loss.backward()
            rate = rates.get_last_lr()[0]
            optimizer.step()
            rates.step()
            update += 1
            if update % config.log_every == 0:
                nats = loss.item()
                if not math.isfinite(nats):
                    raise UserError(
                        expected="a finite training loss",
                        got=f"{nats} at update {update}",
                        fix="lower --learning_rate",
                    )
                folder.append_history(
                    {"kind": "update", "update": update, "loss": nats, "learning_rate": rate}
                )
                progress.update(task, completed=update, loss=f"{nats:.3f}")
        reached = accuracy(network, shape, heldout)
        folder.append_history(
            {"kind": "epoch", "update": update, "epoch": epoch + 1, "accuracy": reached}
        )
        progress.note(f"epoch {epoch + 1}: held-out accuracy {reached:.4f}")
        with folder.manifest.adding(folder.model.name) as added:
            save_network(network, shape, added)
    network.half().float()  # rounded to half precision, as the saved network is
    reached, count = accuracy(network, shape, heldout), len(heldout.images_NCHW)
    result: dict[str, object] = {
        "name": config.name,
        "accuracy": reached,
        "accuracy_n": count,
        "parameters": parameters(network),
        "features": config.widths[-1],
        "training_images": len(training.images_NCHW),
        "updates": update,
        "seconds": round(time.perf_counter() - started, 1),
        "config": asdict(config),
        "provenance": provenance(config.seed, command),
    }
    folder.write_text(folder.path / "extractor.json", json.dumps(result, indent=1) + "\n")
    progress.note(f"saved in {folder.model}: held-out accuracy {reached:.4f} of {count} images")
    return result


def updates_per_epoch(config: ExtractorConfig) -> int:
    """Counts whole batches only: batch normalisation fails on a last batch of one image."""
    return config.count // config.batch_size


def parameters(network: ByobNet) -> int:
    return sum(p.numel() for p in network.parameters())


def shape_of(config: ExtractorConfig, training: LabelledImages) -> NetworkShape:
    """The network's shape, with the mean and deviation of the colours of the training images."""
    # 5,000 images give both to three digits.
    every = max(len(training.images_NCHW) // 5000, 1)
    pixels_NCHW = training.images_NCHW[::every].float() / 255
    return NetworkShape(
        name=config.name,
        classes=training.class_names,
        stem_width=config.stem_width,
        widths=config.widths,
        image_size=config.size,
        mean=tuple(round(value, 4) for value in pixels_NCHW.mean((0, 2, 3)).tolist()),
        std=tuple(round(value, 4) for value in pixels_NCHW.std((0, 2, 3)).tolist()),
    )


def inputs(images_NCHW: Tensor, shape: NetworkShape) -> Tensor:
    """uint8 to normalised floats, channels last: 386 images a second per core instead of 319."""
    normal_NCHW = normalise(images_NCHW.float() / 255, shape.mean, shape.std)
    return normal_NCHW.contiguous(memory_format=torch.channels_last)


def augment(images_NCHW: Tensor, generator: torch.Generator) -> Tensor:
    """Shift each image by up to `CROP_PIXELS`, with black borders, and mirror half of them.

    One gather serves the whole batch: a loop over images would take as long as the update.
    """
    count, channels, height, width = images_NCHW.shape
    padded_NCHW = functional.pad(images_NCHW, [CROP_PIXELS] * 4)
    top_N, left_N = torch.randint(0, 2 * CROP_PIXELS + 1, (2, count), generator=generator)
    mirrored_N = torch.rand(count, generator=generator) < 0.5
    columns_NW = left_N[:, None] + torch.arange(width)
    columns_NW = torch.where(mirrored_N[:, None], columns_NW.flip(1), columns_NW)
    rows_NH = top_N[:, None] + torch.arange(height)
    return padded_NCHW[
        torch.arange(count)[:, None, None, None],
        torch.arange(channels)[:, None, None],
        rows_NH[:, None, :, None],
        columns_NW[:, None, None, :],
    ]


@torch.no_grad()
def accuracy(network: ByobNet, shape: NetworkShape, images: LabelledImages) -> float:
    """Share of images classified correctly; leaves the network in evaluation mode."""
    assert images.labels_N is not None
    network.eval()
    device = next(network.parameters()).device
    batches = zip(
        images.images_NCHW.split(EVALUATED_IMAGES),
        images.labels_N.split(EVALUATED_IMAGES),
        strict=True,
    )
    hits = sum(
        int((network(inputs(part_NCHW.to(device), shape)).argmax(1).cpu() == labels_N).sum())
        for part_NCHW, labels_N in batches
    )
    return hits / len(images.images_NCHW)
