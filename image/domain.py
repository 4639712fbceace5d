"""Images as a domain of the core: codes in, completed images and their scores out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import LogitsProcessor, PreTrainedModel

from common.conditions import methods_json
from common.domain import Condition, Generations, Metrics, PromptSet, Split
from common.report.presentation import Presentation
from image.config import DOMAIN
from image.data import ImageData, completed_codes
from image.measure.judge import ImageJudge
from image.model import OnlyCodes, Vocabulary, save_transformer
from image.report.presentation import ROWS_SHOWN, present
from image.tokenizer.load import ImageTokenizer

# Through the tokenizer, which no completion can beat, and as it was.
REFERENCES = (RECONSTRUCTION := "reconstruction", REAL := "real")


class ImageDomain:
    """What the core needs to hyperfit a model of image codes.

    Args:
        model: the transformer, dropout off.
        tokenizer: of its codes.
        vocabulary: of the model.
        data: from `load_image_data`.
        judge: scores completed images.
        conditions: what to compare.
        main_fidelity: name of the fidelity metric that a short table shows.
    """

    name = DOMAIN
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
        self._images: dict[str, Tensor] = {}

    def sequences(self, split: Split) -> Tensor:
        """(N, T) int64 ids, the first token included."""
        return self._data.train_NT if split == "train" else self._data.prompts_PT

    def prompts(self) -> list[PromptSet]:
        """One set: the top of held-out images."""
        return [self._data.prompt_set()]

    def conditions(self) -> list[Condition]:
        """What to compare."""
        return self._conditions

    def processors(self) -> list[LogitsProcessor]:
        """Only codes may follow, no start or class token."""
        return [OnlyCodes(self._vocabulary.codes)]

    def judge(self, generated: Generations) -> Metrics:
        """Repeats among codes, fidelity and copies of the completed images."""
        return self._judge.score(
            self._completed(generated), self._decoded(generated), _codes(generated)
        )

    def pieces(self, ids: np.ndarray) -> list[str]:
        """Codes as numbers."""
        return [f"{code} " for code in ids.tolist()]

    def present(
        self,
        generated: dict[str, list[Generations]],
        by_position: Mapping[str, Mapping[str, Sequence[float]]],
        folder: Path,
    ) -> Presentation:
        """Tables of pictures and heat maps; contact sheets in the folder `pictures`."""
        images = {name: self._completed(sets[0]) for name, sets in generated.items()}
        subject = self._decoded(generated["hyperfitted-greedy"][0])[:ROWS_SHOWN]
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

    def _completed(self, generated: Generations) -> Tensor:
        """(P, C, H, W) uint8 images of a condition."""
        real = generated.condition == REAL
        return self._data.prompts_PCHW if real else self._decoded(generated)

    def _decoded(self, generated: Generations) -> Tensor:
        """(P, C, H, W) uint8 images from the codes of a condition, decoded once."""
        name = RECONSTRUCTION if generated.condition == REAL else generated.condition
        if name not in self._images:
            self._images[name] = self.tokenizer.decode(_codes(generated))
        return self._images[name]


def _codes(generated: Generations) -> Tensor:
    """(P, L) codes of whole images."""
    rest_PN = torch.from_numpy(np.stack(generated.continuations))
    return completed_codes(generated.prompts.ids_PC, rest_PN)
