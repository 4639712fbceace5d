"""The scores of completed images that only this domain knows: repeats, fidelity, copies.

Shapes: N images, C channels, H W pixels, L codes per image, D features.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from common.domain import Metrics
from common.errors import UserError
from image.diversity import METRICS, CopyDetector, Nearest, code_metrics
from image.features import Extractor
from image.fidelity import LEAST_IMAGES, Fidelity


class ImageJudge:
    """Scores sets of completed images.

    Args:
        extractors: feature networks; copies are looked for with the first.
        train_NCHW: uint8 training images.
        references_NCHW: uint8 held-out images that the judged ones are compared with.
        grid: codes per row and column.
        given: how many codes of an image are the prompt.
        judged: how many images each set will have.
        seed: of intervals and subsets.

    Raises:
        UserError: too few images for a measure, or two extractors of one name.
    """

    def __init__(
        self,
        *,
        extractors: Sequence[Extractor],
        train_NCHW: Tensor,
        references_NCHW: Tensor,
        grid: int,
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
        self._extractors, self._grid, self._given, self._seed = extractors, grid, given, seed
        features = [extractor.features(references_NCHW) for extractor in extractors]
        self._fidelity = [
            Fidelity(extractor.name, real_ND, seed=seed)
            for extractor, real_ND in zip(extractors, features, strict=True)
        ]
        self._copies = CopyDetector(extractors[0].features(train_NCHW), features[0])

    def score(self, images_NCHW: Tensor, ids_NL: Tensor) -> Metrics:
        """Every metric of one set of completed images.

        Args:
            images_NCHW: uint8, whole images.
            ids_NL: their codes.

        """
        metrics = code_metrics(ids_NL, grid=self._grid, given=self._given, seed=self._seed)
        for place, (extractor, fidelity) in enumerate(
            zip(self._extractors, self._fidelity, strict=True)
        ):
            features_ND = extractor.features(images_NCHW)
            metrics |= fidelity.score(features_ND)
            if place == 0:
                nearest = self._copies.nearest(features_ND)
                metrics["copy_rate"] = self._copies.copy_rate(nearest, seed=self._seed)
        return metrics

    def nearest(self, images_NCHW: Tensor) -> Nearest:
        """The nearest training image of each image, by the first extractor."""
        return self._copies.nearest(self._extractors[0].features(images_NCHW))

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
        """What a reader must know about figures of so many images."""
        return [note for fidelity in self._fidelity for note in fidelity.notes(judged)]


def _check_names(names: list[str]) -> None:
    """Names go into the names of the metrics."""
    if not names or len(set(names)) < len(names):
        raise UserError(
            expected="score.extractors to name one or more networks, each once",
            got=", ".join(names) or "none",
            fix="change score.extractors",
        )
