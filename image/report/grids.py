"""Pictures for people: contact sheets, the table of completions, heat maps over the grid of codes.

Everything is shown in one offline page, so pictures are data: URIs and diagrams are inline SVG.

Shapes: N images, C channels, H W pixels, G codes per row and column.
"""

from __future__ import annotations

import base64
import html
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from einops import rearrange
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from common.tools.files import atomic_write_bytes, writing

CELL_PIXELS = 72
"""Width of a picture on the page."""
_GAP, _PAPER, _BLANK = 2, 255, 232

STYLE = f"""<style>
.pictures td, .pictures th {{ padding: 2px 3px; text-align: center; }}
.pictures th {{ min-width: {CELL_PIXELS}px; white-space: normal; vertical-align: bottom; }}
.pictures img {{ display: block; width: {CELL_PIXELS}px; height: {CELL_PIXELS}px;
  image-rendering: pixelated; border-radius: 3px; }}
.pictures .subject {{ outline: 2px solid currentColor; outline-offset: -1px; border-radius: 3px; }}
.heat {{ display: flex; flex-wrap: wrap; gap: 1.2em; }}
.heat figure {{ margin: 0; max-width: 20em; flex: 1 1 14em; }}
.heat text {{ font: 11px system-ui, sans-serif; text-anchor: middle; dominant-baseline: central; }}
</style>"""


def contact_sheet(images_NCHW: Tensor, *, columns: int = 12, scale: int = 2) -> Image.Image:
    """All images in rows on a white background, enlarged without smoothing."""
    count, _, height, width = images_NCHW.shape
    rows = math.ceil(count / columns)
    step_y, step_x = height * scale + _GAP, width * scale + _GAP
    sheet = Image.new("RGB", (columns * step_x + _GAP, rows * step_y + _GAP), (_PAPER,) * 3)
    for index, pixels_CHW in enumerate(images_NCHW):
        row, column = divmod(index, columns)
        enlarged = _picture(pixels_CHW).resize(
            (width * scale, height * scale), Image.Resampling.BOX
        )
        sheet.paste(enlarged, (_GAP + column * step_x, _GAP + row * step_y))
    return sheet


def labelled_sheet(columns: Mapping[str, Tensor], *, scale: int = 3) -> Image.Image:
    """One column of images per label, the label above it.

    Args:
        columns: label -> (N, C, H, W) uint8, all of one shape.
    """
    stacks = [
        contact_sheet(images_NCHW, columns=1, scale=scale) for images_NCHW in columns.values()
    ]
    font = ImageFont.load_default(size=11)
    lines = [_below_each_other(label) for label in columns]
    measure = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    boxes = [measure.multiline_textbbox((0, 0), line, font, anchor="md") for line in lines]
    top = math.ceil(max(-box[1] for box in boxes)) + 6
    width, height = stacks[0].size
    sheet = Image.new("RGB", (width * len(stacks), height + top), (_PAPER,) * 3)
    draw = ImageDraw.Draw(sheet)
    for place, (line, stack) in enumerate(zip(lines, stacks, strict=True)):
        draw.multiline_text(
            (place * width + width // 2, top - 3), line, "black", font, anchor="md", align="center"
        )
        sheet.paste(stack, (place * width, top))
    return sheet


def prompt_pictures(images_NCHW: Tensor, *, grid: int, given: int) -> Tensor:
    """The images with everything but the given codes left blank.

    Args:
        images_NCHW: uint8.
        grid: G.
        given: how many codes, from the top left.
    """
    side = images_NCHW.shape[-1] // grid
    shown_NCHW = images_NCHW.clone()
    rows, rest = divmod(given, grid)
    shown_NCHW[:, :, (rows + 1) * side :] = _BLANK
    shown_NCHW[:, :, rows * side : (rows + 1) * side, rest * side :] = _BLANK
    return shown_NCHW


def save_png(image: Image.Image, path: Path) -> None:
    """Write a PNG atomically, and create the folders above it.

    Raises:
        UserError: the folder cannot be written.
    """
    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_bytes(path, _png(image))


def picture_table(columns: Mapping[str, Tensor], *, subject: str) -> str:
    """HTML: one row per image, one column per label.

    Args:
        columns: label -> (N, C, H, W) uint8, all with the same N.
        subject: the label of the column to mark.
    """
    heads = (html.escape(label).replace(", ", ",<br>") for label in columns)
    head = "".join(f'<th scope="col">{label}</th>' for label in heads)
    body = []
    for number in range(len(next(iter(columns.values())))):
        cells = []
        for label, images_NCHW in columns.items():
            mark = ' class="subject"' if label == subject else ""
            source = base64.b64encode(_png(_picture(images_NCHW[number]))).decode()
            alt = html.escape(f"{label}, image {number + 1}")
            cells.append(f'<td><img{mark} alt="{alt}" src="data:image/png;base64,{source}"></td>')
        body.append(f"<tr>{''.join(cells)}</tr>")
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="Table of completed images">'
        f'<table class="pictures"><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def heat_maps(
    maps: Mapping[str, Sequence[float]], *, grid: int, given: int, unit: str, top: float
) -> str:
    """HTML: per label one grid of coloured cells with their values; all share one colour scale.

    Args:
        maps: label -> values of the codes that follow the given ones, row-major.
        grid: G.
        given: how many codes come before the first value; they stay empty.
        unit: what the values are, for the captions.
        top: the value that is coloured most strongly; 0 is not coloured.
    """
    figures = "".join(
        f"<figure>{_heat_map(values, grid=grid, given=given, top=top, label=f'{label}, {unit}')}"
        f"<figcaption>{html.escape(label)}: {html.escape(unit)}, mean "
        f"{sum(values) / len(values):.2f}</figcaption></figure>"
        for label, values in maps.items()
    )
    return f'<div class="heat">{figures}</div>'


def _heat_map(values: Sequence[float], *, grid: int, given: int, top: float, label: str) -> str:
    side = 34
    cells = []
    for position in range(grid * grid):
        row, column = divmod(position, grid)
        at = f'x="{column * side}" y="{row * side}" width="{side - 1}" height="{side - 1}"'
        if position < given:
            cells.append(f'<rect {at} fill="none" stroke="currentColor" stroke-opacity=".25"/>')
            continue
        value = values[position - given]
        strength = min(max(value / top, 0.0), 1.0)
        middle = f'x="{(column + 0.5) * side}" y="{(row + 0.5) * side}"'
        cells.append(
            f'<rect {at} fill="#d9480f" fill-opacity="{strength:.2f}"/>'
            f'<text {middle} fill="currentColor">{value:.2g}</text>'
        )
    return (
        f'<svg viewBox="0 0 {grid * side} {grid * side}" role="img" '
        f'aria-label="{html.escape(label)}">{"".join(cells)}</svg>'
    )


def _below_each_other(label: str) -> str:
    """A label broken into lines for a narrow column: at its commas, else at its spaces."""
    return label.replace(", ", ",\n") if ", " in label else label.replace(" ", "\n")


def _picture(pixels_CHW: Tensor) -> Image.Image:
    pixels_HWC: np.ndarray = rearrange(pixels_CHW, "c h w -> h w c").contiguous().numpy()
    return Image.fromarray(pixels_HWC)


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()
