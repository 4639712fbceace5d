"""What the report of an image run shows: pictures side by side, and the entropy at each code.

Shapes: N images, C channels, H W pixels.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from common.report.names import Methods, condition_label
from common.report.presentation import Presentation, ReportSection
from image.measure.judge import ImageJudge
from image.report.grids import (
    STYLE,
    contact_sheet,
    heat_maps,
    labelled_sheet,
    picture_table,
    prompt_pictures,
    save_png,
)

PICTURES = "pictures"
ROWS_SHOWN = 12
SHEET_IMAGES = 144
_SUBJECT = "hyperfitted-greedy"


def present(
    images: Mapping[str, Tensor],
    by_position: Mapping[str, Mapping[str, Sequence[float]]],
    *,
    nearest_NCHW: Tensor,
    judge: ImageJudge,
    grid: int,
    given: int,
    folder: Path,
    methods: Methods,
) -> Presentation:
    """Sections for the report; writes `pictures/` into the run's folder.

    Args:
        images: condition -> (N, C, H, W) uint8 images, "real" among them.
        by_position: model -> measure -> mean per completed code.
        nearest_NCHW: the training images nearest to the first hyperfitted greedy completions.
        judge: gives the definitions of its metrics.
        grid: codes per row and column.
        given: how many codes are the prompt.
        folder: the folder of the run.
        methods: condition -> decoding method, for the labels.
    """
    shown = {"prompt": prompt_pictures(images["real"][:ROWS_SHOWN], grid=grid, given=given)}
    shown |= {condition_label(name, methods): part[:ROWS_SHOWN] for name, part in images.items()}
    shown["nearest training image"] = nearest_NCHW
    save_png(labelled_sheet(shown), folder / PICTURES / "comparison.png")
    for name, part_NCHW in images.items():
        save_png(contact_sheet(part_NCHW[:SHEET_IMAGES]), folder / PICTURES / f"{name}.png")

    judged = len(images["real"])
    table = picture_table(shown, subject=condition_label(_SUBJECT))
    notes = "".join(f'<p class="note">{html.escape(note)}</p>' for note in judge.notes(judged))
    entropy = {model: measured["entropy_nats"] for model, measured in by_position.items()}
    top = max(max(values) for values in entropy.values())
    maps = heat_maps(entropy, grid=grid, given=given, unit="entropy (nats)", top=top)
    own = judge.definitions(judged)
    return Presentation(
        conditions={
            "reconstruction": "the tokens of what really followed, turned back into an image"
        },
        sections=[
            ReportSection(
                heading="Completions",
                html=f"{STYLE}{table}"
                f'<p class="note">The first {len(next(iter(shown.values())))} of {judged} held-out '
                "images, not chosen. The nearest training image is that of the hyperfitted greedy "
                f"completion. Contact sheets are in the folder {PICTURES}.</p>{notes}",
            ),
            ReportSection(
                heading="Entropy over the image",
                html=f'{maps}<p class="note">Mean entropy of the prediction of each code of '
                "held-out images, the true codes before it given. Empty cells are the prompt.</p>",
            ),
        ],
        definitions={name: definition for name, (_, definition) in own.items()},
        labels={name: label for name, (label, _) in own.items() if label is not None},
        first=list(own),
        samples=False,
    )
