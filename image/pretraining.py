"""What pretraining over image codes needs: images, codes, shape and initial weights.

Shapes: N images, C channels, H W pixels, L codes per image, T = 1 + L tokens.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel

from common.errors import UserError
from common.pretrain import Pretraining
from common.tools.device import pick_device
from image.model import Vocabulary, new_transformer, save_transformer, sequences
from image.pictures.load import LabelledImages, drop_shared, load_images
from image.pretrain_config import PretrainConfig
from image.tokenizer.load import ImageTokenizer, cached_codes, load_tokenizer


def prepare(config: PretrainConfig) -> Pretraining:
    """Read the images; they are encoded when the training begins.

    Raises:
        UserError: images or tokenizer cannot be read, all held-out images are training images, or
            the options ask for classes that the images do not have.
    """
    tokenizer = load_tokenizer(config.tokenizer, device=pick_device(config.device))
    size, root = tokenizer.image_size, Path(config.root)
    read = partial(load_images, size=size, root=root)
    training = read(config.data, split="train", count=config.count, seed=config.seed)
    # Always seed 0, so that all runs are measured on the same images.
    source = config.heldout or config.data
    heldout = read(source, split="heldout", count=config.heldout_count, seed=0)
    names = class_names(training, heldout) if config.class_conditional else ()
    heldout = drop_shared(training, heldout)
    vocabulary = Vocabulary(codes=tokenizer.vocab_size, classes=len(names), class_names=names)
    with torch.device("meta"):
        shape = fresh_model(config, vocabulary, tokenizer)
    copies = 2 if config.flip else 1

    def ids() -> tuple[Tensor, Tensor]:
        encode = partial(encoded, tokenizer=tokenizer, vocabulary=vocabulary, folder=config.codes)
        return encode(training, flip=config.flip), encode(heldout, flip=False)

    return Pretraining(
        notes=[
            f"training on {copies * len(training.images_NCHW):,} images ({training.source}), held "
            f"out {len(heldout.images_NCHW):,} ({heldout.source}); {tokenizer.grid**2} codes "
            f"each, out of {tokenizer.vocab_size}"
            + (f"; classes {', '.join(names)}" if names else ""),
            *training.notes,
            *heldout.notes,
        ],
        shape=shape,
        sequences=copies * len(training.images_NCHW),
        length=1 + tokenizer.grid**2,
        ids=ids,
        model=lambda: fresh_model(config, vocabulary, tokenizer),
        save=partial(save_transformer, tokenizer=tokenizer),
        record={"tokenizer_fingerprint": tokenizer.fingerprint, "class_names": list(names)},
    )


def class_names(training: LabelledImages, heldout: LabelledImages) -> tuple[str, ...]:
    """The classes of both splits.

    Raises:
        UserError: there are none, or they differ.
    """
    for images in (training, heldout):
        if images.labels_N is None:
            raise UserError(
                expected="images with classes, for class_conditional",
                got=f"{images.source}, which has none",
                fix="leave --class_conditional out, or use a folder with a subfolder per class",
            )
    if training.class_names != heldout.class_names:
        raise UserError(
            expected=f"held-out images of the classes {', '.join(training.class_names)}",
            got=f"{', '.join(heldout.class_names)} in {heldout.source}",
            fix="change --heldout",
        )
    return training.class_names


def fresh_model(
    config: PretrainConfig, vocabulary: Vocabulary, tokenizer: ImageTokenizer
) -> PreTrainedModel:
    """A model with random weights whose configuration names its tokenizer."""
    model = new_transformer(
        codes=vocabulary.codes,
        classes=vocabulary.classes,
        tokens=tokenizer.grid**2,
        hidden_size=config.hidden_size,
        layers=config.layers,
        heads=config.heads,
        intermediate_size=config.intermediate_size,
    )
    model.config.image_tokenizer = tokenizer.fingerprint
    model.config.image_class_names = list(vocabulary.class_names)
    return model


def encoded(
    images: LabelledImages,
    *,
    tokenizer: ImageTokenizer,
    vocabulary: Vocabulary,
    folder: str | None,
    flip: bool,
) -> Tensor:
    """(N, T) sequences, or (2N, T) with the mirrored images after the images."""
    codes = partial(cached_codes, tokenizer, folder=None if folder is None else Path(folder))
    begin = partial(
        sequences,
        start=vocabulary.start,
        labels_N=images.labels_N if vocabulary.classes else None,
    )
    ids_NT = begin(codes(images.images_NCHW))
    if not flip:
        return ids_NT
    return torch.cat([ids_NT, begin(codes(images.images_NCHW.flip(-1)))])
