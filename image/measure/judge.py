"""The metrics of completed images that only this domain has: repeats, fidelity, copies.

Fidelity compares whole images with real ones. Copies are searched in the completed rows alone: the
prompt of a copied completion comes from another image and would hide the copy. Training images go
through the tokenizer first, because it changes an image by more than the distance between many
images. A test with training images copied verbatim below another image's top quarter: comparing
whole raw images finds 0.4 % of these copies, this way finds all.

Shapes: N images, C channels, H W pixels, L codes per image = G * G, D features.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from common.domain import Metrics
from common.errors import UserError
from image.measure.features import Extractor
from image.measure.fidelity import LEAST_IMAGES, Fidelity
from image.measure.repeats import METRICS, CopyDetector, Nearest, code_metrics
from image.tokenizer.load import ImageTokenizer


class ImageJudge:
    """Scores sets of completed images.

    Args:
        extractors: feature networks; the first also serves to find copies.
        tokenizer: of the codes.
        train_NL: (N, L) codes of the training images.
        references_NCHW: uint8 held-out images that the judged ones are compared with.
        references_NL: their codes.
        given: how many codes of an image are the prompt.
        judged: number of images in each judged set.
        seed: of intervals and subsets.

    Raises:
        UserError: too few images for a measure, or two extractors of one name.
    """

    def __init__(
        self,
        *,
        extractors: Sequence[Extractor],
        tokenizer: ImageTokenizer,
        train_NL: Tensor,
        references_NCHW: Tensor,
        references_NL: Tensor,
        given: int,
        judged: int,
        seed: int,
    ) -> None:
        _check_names([extractor.name for extractor in extractors])
        metric = max(LEAST_IMAGES, key=lambda name: LEAST_IMAGES[name])
        if judged < LEAST_IMAGES[metric]:
            raise UserError(
                expected=f"at least {LEAST_IMAGES[metric]} judged images for {metric}",
                got=f"{judged}",
                fix="raise data.prompts",
            )
        self._extractors, self._grid = extractors, tokenizer.grid
        self._given, self._seed = given, seed
        self._fidelity = [
            Fidelity(extractor.name, extractor.features(references_NCHW), seed=seed)
            for extractor in extractors
        ]
        self._copies = CopyDetector(
            self._completed_features(tokenizer.decode(train_NL)),
            self._completed_features(tokenizer.decode(references_NL)),
        )

    def score(self, images_NCHW: Tensor, decoded_NCHW: Tensor, ids_NL: Tensor) -> Metrics:
        """Every metric of one set of completed images.

        Args:
            images_NCHW: uint8, whole images.
            decoded_NCHW: the same images decoded from codes; for generated images the same tensor.
            ids_NL: their codes.
        """
        metrics = code_metrics(ids_NL, grid=self._grid, given=self._given, seed=self._seed)
        for extractor, fidelity in zip(self._extractors, self._fidelity, strict=True):
            metrics |= fidelity.score(extractor.features(images_NCHW))
        metrics["copy_rate"] = self._copies.copy_rate(self.nearest(decoded_NCHW), seed=self._seed)
        return metrics

    def nearest(self, decoded_NCHW: Tensor) -> Nearest:
        """The training image whose completed rows are nearest to those of each decoded image."""
        return self._copies.nearest(self._completed_features(decoded_NCHW))

    def _completed_features(self, images_NCHW: Tensor) -> Tensor:
        """(N, D) features, by the first extractor, of the rows below the prompt."""
        first = -(-self._given // self._grid) * images_NCHW.shape[2] // self._grid
        return self._extractors[0].features(images_NCHW[:, :, first:])

    def definitions(self, judged: int) -> dict[str, tuple[str | None, str]]:
        """Metric -> (label, or None for the usual one, and definition), for a report.

        Args:
            judged: images per condition.
        """
        own: dict[str, tuple[str | None, str]] = {
            name: (None, definition) for name, definition in METRICS.items()
        }
        for fidelity in self._fidelity:
            own |= fidelity.definitions(judged)
        return own

    def notes(self, judged: int) -> list[str]:
        """Warnings about figures of this number of images."""
        return [note for fidelity in self._fidelity for note in fidelity.notes(judged)]


def _check_names(names: list[str]) -> None:
    """Refuse no name and equal names, because they become parts of the metrics' names."""
    if not names or len(set(names)) < len(names):
        raise UserError(
            expected="score.extractors to name one or more networks, each once",
            got=", ".join(names) or "none",
            fix="change score.extractors",
        )
