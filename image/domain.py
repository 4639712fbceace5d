"""Images as a domain of the core: codes in, completed images and their scores out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import LogitsProcessor, PreTrainedModel

from common.conditions import methods_json
from common.domain import Condition, Generations, Judgement, PromptSet
from common.report.presentation import Presentation
from common.tools.choices import Split
from image.config import DOMAIN, REFERENCE
from image.data import ImageData, completed_codes
from image.measure.judge import ImageJudge
from image.model import OnlyCodes, Vocabulary, save_transformer
from image.report.presentation import ROWS_SHOWN, present
from image.tokenizer.load import ImageTokenizer

RECONSTRUCTION = "reconstruction"
"""The condition that shows the true continuation after the tokenizer has encoded and decoded it. No
completion can be better, since the tokenizer decodes all of them."""


class ImageDomain:
    """What the core needs to hyperfit a model of image codes.

    Args:
        model: the transformer, dropout off.
        tokenizer: encodes images to the model's codes and decodes these.
        vocabulary: of the model.
        data: from `load_image_data`.
        judge: scores completed images.
        conditions: what to compare.
        main_fidelity: name of the fidelity metric in short tables.
    """

    name, reference = DOMAIN, REFERENCE
    word_start_V: Tensor | None = None

    def __init__(
        self,
        *,
        model: PreTrainedModel,
        tokenizer: ImageTokenizer,
        vocabulary: Vocabulary,
        data: ImageData,
        judge: ImageJudge,
        conditions: list[Condition],
        main_fidelity: str,
    ) -> None:
        self.model, self.tokenizer = model, tokenizer
        self._vocabulary, self._data = vocabulary, data
        self._judge, self._conditions = judge, conditions
        self.ttr_window, self.ttr_name = data.completed, "code_ttr"
        self.main_metrics: tuple[str, ...] = (
            self.ttr_name,
            "vertical_equal_share",
            main_fidelity,
            "copy_rate",
        )
        self.first_target = data.first_target

    def sequences(self, split: Split) -> Tensor:
        """(N, T) int64 ids: the start or class token, then the codes of an image."""
        return self._data.train_NT if split == "train" else self._data.prompts_PT

    def prompts(self) -> list[PromptSet]:
        """One set: the top part of each held-out image."""
        return [self._data.prompt_set()]

    def conditions(self) -> list[Condition]:
        """What to compare."""
        return self._conditions

    def processors(self) -> list[LogitsProcessor]:
        """One that allows codes only, no start or class token."""
        return [OnlyCodes(self._vocabulary.codes)]

    def judge(self, generated: Generations) -> Judgement:
        """Measure repeats among codes, fidelity and copies. The report shows the images."""
        codes_PL = _codes(generated)
        decoded_PCHW = self._decoded(codes_PL)
        real = generated.condition == REFERENCE.condition
        images_PCHW = self._data.prompts_PCHW if real else decoded_PCHW
        metrics = self._judge.score(images_PCHW, decoded_PCHW, codes_PL)
        return Judgement(metrics=metrics, shown=images_PCHW)

    def pieces(self, ids: np.ndarray) -> list[str]:
        """Codes as numbers."""
        return [f"{code} " for code in ids.tolist()]

    def present(
        self,
        shown: Mapping[str, Sequence[Any]],
        by_position: Mapping[str, Mapping[str, Sequence[float]]],
        folder: Path,
    ) -> Presentation:
        """Add tables of images and heat maps, and write contact sheets to the folder `pictures`."""
        images: dict[str, Tensor] = {name: sets[0] for name, sets in shown.items()}
        subject = images["hyperfitted-greedy"][:ROWS_SHOWN]
        return present(
            images,
            by_position,
            nearest_NCHW=self._data.train_NCHW[self._judge.nearest(subject).indices_N],
            judge=self._judge,
            grid=self.tokenizer.grid,
            given=self._data.given,
            folder=folder,
            methods=methods_json(self._conditions),
        )

    def save(self, model: PreTrainedModel, folder: Path, card: str) -> None:
        """Write what `from_pretrained` loads, with the image tokenizer in a folder of its own."""
        save_transformer(model, folder, tokenizer=self.tokenizer, card=card)

    def _decoded(self, codes_PL: Tensor) -> Tensor:
        """(P, C, H, W) uint8 images from (P, L) codes."""
        if torch.equal(codes_PL, self._true_codes_PL):
            return self._reconstructed_PCHW
        return self.tokenizer.decode(codes_PL)

    @property
    def _true_codes_PL(self) -> Tensor:
        """(P, L) true codes of the held-out images that are completed."""
        return self._data.prompts_PT[:, 1:].cpu()

    @cached_property
    def _reconstructed_PCHW(self) -> Tensor:
        """(P, C, H, W) uint8 images decoded from the true codes, for both references."""
        return self.tokenizer.decode(self._true_codes_PL)


def _codes(generated: Generations) -> Tensor:
    """(P, L) codes of whole images: those of the prompt, then those that were generated."""
    rest_PN = torch.from_numpy(np.stack(generated.continuations))
    return completed_codes(generated.prompts.ids_PC, rest_PN)
