"""Contact sheets, the table of pictures and heat maps."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from image.report.grids import (
    contact_sheet,
    heat_maps,
    labelled_sheet,
    picture_table,
    prompt_pictures,
)


def noise(count: int, size: int = 8) -> Tensor:
    generator = torch.Generator().manual_seed(count)
    return torch.randint(0, 200, (count, 3, size, size), generator=generator, dtype=torch.uint8)


def test_contact_sheet_places_every_image_in_reading_order() -> None:
    images = noise(5)
    sheet = np.asarray(contact_sheet(images, columns=3, scale=2))
    assert sheet.shape == (2 * 18 + 2, 3 * 18 + 2, 3)
    for index in range(5):
        row, column = divmod(index, 3)
        top, left = 2 + row * 18, 2 + column * 18
        cell = sheet[top : top + 16, left : left + 16]
        expected = images[index].permute(1, 2, 0).numpy().repeat(2, 0).repeat(2, 1)
        assert np.array_equal(cell, expected)
    assert (sheet[20:36, 38:54] == 255).all()  # the sixth place is empty


def test_labelled_sheet_has_a_column_per_label() -> None:
    columns = {"one": noise(2), "two words": noise(2) // 2}
    sheet = np.asarray(labelled_sheet(columns, scale=1))
    height, width = np.asarray(contact_sheet(noise(2), columns=1, scale=1)).shape[:2]
    assert sheet.shape[1] == 2 * width and sheet.shape[0] > height
    below = sheet[-height:]
    for place, images in enumerate(columns.values()):
        cell = below[2:10, place * width + 2 : place * width + 10]
        assert np.array_equal(cell, images[0].permute(1, 2, 0).numpy())
    assert (sheet[:-height] < 128).any()  # something is written above


@pytest.mark.parametrize("given", [8, 10])
def test_prompt_pictures_blank_what_is_not_given(given: int) -> None:
    images = noise(2)
    shown = prompt_pictures(images, grid=4, given=given)
    for code in range(16):
        row, column = divmod(code, 4)
        place = (
            slice(None),
            slice(None),
            slice(2 * row, 2 * row + 2),
            slice(2 * column, 2 * column + 2),
        )
        if code < given:
            assert torch.equal(shown[place], images[place])
        else:
            assert (shown[place] == 232).all()


def test_picture_table_holds_the_pixels_and_escapes_labels() -> None:
    columns = {"a < b": noise(2), "subject": noise(2) // 2}
    page = picture_table(columns, subject="subject")
    assert "a &lt; b" in page and "a < b" not in page
    sources = re.findall(
        r'<img( class="subject")? alt="[^"]*" src="data:image/png;base64,([^"]+)"', page
    )
    assert [bool(mark) for mark, _ in sources] == [False, True, False, True]
    for (_, source), (label, row) in zip(
        sources, [("a < b", 0), ("subject", 0), ("a < b", 1), ("subject", 1)], strict=True
    ):
        with Image.open(io.BytesIO(base64.b64decode(source))) as picture:
            pixels = np.asarray(picture)
        assert np.array_equal(pixels, columns[label][row].permute(1, 2, 0).numpy())


def test_a_label_of_several_parts_takes_a_line_for_each() -> None:
    label = "original, top-p 0.9, T 0.7, top-k 50"
    page = picture_table({label: noise(1)}, subject="none")
    assert ">original,<br>top-p 0.9,<br>T 0.7,<br>top-k 50</th>" in page
    assert f'alt="{label}, image 1"' in page

    def height(label: str) -> int:
        return labelled_sheet({label: noise(1)}, scale=1).size[1]

    sheet = np.asarray(labelled_sheet({label: noise(1)}, scale=1))
    assert (sheet[:3] == 255).all()  # the first line is not cut off

    assert height("a b c") < height(label) < height("a b c d e")


def test_heat_maps_share_one_scale_and_leave_the_prompt_empty() -> None:
    page = heat_maps(
        {"before": [2.0, 4.0], "after": [0.0, 1.0]}, grid=2, given=2, unit="nats", top=4.0
    )
    assert re.findall(r'fill-opacity="([\d.]+)"', page) == ["0.50", "1.00", "0.00", "0.25"]
    assert page.count('fill="none"') == 4 and "mean 3.00" in page and "mean 0.50" in page
