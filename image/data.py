"""The images of one run and their codes: for training, for completion, for comparison.

Shapes: N images, C channels, H W pixels, L codes per image, T = 1 + L tokens, P prompts.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from common.domain import PromptSet
from common.errors import UserError
from common.tools.values import check_values
from image.config import ImageDataConfig
from image.model import Vocabulary, sequences
from image.pictures.load import LabelledImages, load_images, refuse_overlap
from image.tokenizer.load import ImageTokenizer, cached_codes


@dataclass(frozen=True, kw_only=True)
class ImageData:
    """Images and codes of one run.

    Attributes:
        train_NCHW: the training images.
        prompts_PCHW: the held-out images that are completed.
        references_NCHW: further held-out images, with which the completed ones are compared.
        references_NL: their codes.
        train_NT: (N, T) training sequences, the first token included.
        prompts_PT: (P, T) sequences of the images to complete, their true codes included.
        given: how many codes of an image are given.
        first_target: the first position of a sequence that is trained on.
        notes: lines for the user.
    """

    train_NCHW: Tensor
    prompts_PCHW: Tensor
    references_NCHW: Tensor
    references_NL: Tensor
    train_NT: Tensor
    prompts_PT: Tensor
    given: int
    first_target: int
    notes: tuple[str, ...]

    @property
    def completed(self) -> int:
        """How many codes of an image are generated."""
        return self.prompts_PT.shape[1] - 1 - self.given

    def prompt_set(self) -> PromptSet:
        """The prompts and, as references, the true codes after them."""
        context = 1 + self.given
        return PromptSet(
            name="heldout",
            ids_PC=self.prompts_PT[:, :context],
            references=[row.numpy() for row in self.prompts_PT[:, context:]],
            new_tokens=self.completed,
        )


def load_image_data(
    config: ImageDataConfig, tokenizer: ImageTokenizer, vocabulary: Vocabulary, *, seed: int
) -> ImageData:
    """Read and encode the images.

    Raises:
        UserError: an option out of range, images that cannot be read or are too few, training
            images among the held-out ones, or classes that the images or the model do not have.
    """
    check_values(config, "data.")
    codes = tokenizer.grid**2
    given = round(config.prompt_share * codes)
    # Repeats are counted over completed rows, so at least one row must be completed.
    if not 1 <= given <= codes - tokenizer.grid:
        raise UserError(
            expected=f"data.prompt_share that gives 1 to {codes - tokenizer.grid} of {codes} codes",
            got=f"{config.prompt_share}, which gives {given}",
            fix="set data.prompt_share",
        )
    if vocabulary.classes and not config.class_conditional:
        raise UserError(
            expected="--data.class_conditional true for a transformer with class tokens",
            got="false, although the model was never trained on its start token",
            fix="add the option",
        )
    size, root = tokenizer.image_size, Path(config.root)
    train = load_images(
        config.train, split="train", count=config.sequences, seed=seed, size=size, root=root
    )
    heldout = load_images(
        config.heldout or config.train,
        split="heldout",
        count=config.prompts + config.references,
        seed=0,  # all runs are measured on the same images
        size=size,
        root=root,
    )
    refuse_overlap(train, heldout)
    folder = None if config.codes is None else Path(config.codes)

    def sequences_of(images: LabelledImages) -> Tensor:
        return sequences(
            cached_codes(tokenizer, images.images_NCHW, folder),
            start=vocabulary.start,
            labels_N=_labels(images, vocabulary) if config.class_conditional else None,
        )

    heldout_NT = sequences_of(heldout)
    notes = (
        f"training on {config.sequences} images of {codes} codes ({train.source})",
        f"prompts: {config.prompts} held-out images ({heldout.source}), {given} codes given, "
        f"{codes - given} to generate; compared with {config.references} others",
        *train.notes,
        *heldout.notes,
    )
    return ImageData(
        train_NCHW=train.images_NCHW,
        prompts_PCHW=heldout.images_NCHW[: config.prompts],
        references_NCHW=heldout.images_NCHW[config.prompts :],
        references_NL=heldout_NT[config.prompts :, 1:],
        train_NT=sequences_of(train),
        prompts_PT=heldout_NT[: config.prompts],
        given=given,
        first_target=1 if config.prompt_loss else 1 + given,
        notes=notes,
    )


def _labels(images: LabelledImages, vocabulary: Vocabulary) -> Tensor:
    """The class of each image, by the model's numbering."""
    if vocabulary.classes == 0:
        raise UserError(
            expected="a transformer with class tokens, for data.class_conditional",
            got="one without",
            fix="pretrain it with python -m image.pretrain --class_conditional, or leave the "
            "option out",
        )
    if images.labels_N is None or images.class_names != vocabulary.class_names:
        raise UserError(
            expected=f"images of the classes {', '.join(vocabulary.class_names)}",
            got=f"{', '.join(images.class_names) or 'no classes'} in {images.source}",
            fix="use images with the classes that the transformer was pretrained on",
        )
    return images.labels_N


def completed_codes(prompts_PC: Tensor, rest_PN: Tensor) -> Tensor:
    """(P, L) codes of whole images: prompts without their first token, then the completion."""
    return torch.cat([prompts_PC[:, 1:].cpu(), rest_PN.cpu()], dim=1)
