"""Repetition of codes against loops over the grid, and copies against a search by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from common.errors import UserError
from image.measure.repeats import (
    METRICS,
    CopyDetector,
    code_arrays,
    code_metrics,
    distinct_images,
)

GRID = 5


def images(count: int = 30, *, codes: int = 3, seed: int = 0) -> Tensor:
    """Few codes, so that all kinds of repetition occur; the last three are flat or striped."""
    generator = torch.Generator().manual_seed(seed)
    ids_NGG = torch.randint(codes, (count, GRID, GRID), generator=generator)
    ids_NGG[-1] = 1
    ids_NGG[-2] = ids_NGG[-2, :1]
    ids_NGG[-3] = ids_NGG[-3, :, :1]
    return ids_NGG.reshape(count, GRID * GRID)


def by_loops(ids_L: list[int], given: int) -> dict[str, float]:
    """Every measure of one image, code by code."""
    above, left = [], []
    for place in range(given, GRID * GRID):
        row, column = divmod(place, GRID)
        if row > 0:
            above.append(ids_L[place] == ids_L[place - GRID])
        if column > 0:
            left.append(ids_L[place] == ids_L[place - 1])
    rows = [ids_L[GRID * r : GRID * (r + 1)] for r in range(GRID)]
    whole = [r for r in range(GRID) if r * GRID >= given]
    columns = [[rows[r][c] for r in whole] for c in range(GRID)]
    vertical, horizontal = sum(above) / len(above), sum(left) / len(left)
    repeated = [rows[r] == rows[r - 1] for r in whole if r > 0]
    return {
        "code_ttr": len(set(ids_L[given:])) / len(ids_L[given:]),
        "vertical_equal_share": vertical,
        "horizontal_equal_share": horizontal,
        "repeated_rows": sum(repeated) / len(repeated),
        "repeated_columns": sum(columns[c] == columns[c - 1] for c in range(1, GRID)) / (GRID - 1),
        "flat_share": float(vertical > 0.5 or horizontal > 0.5),
    }


@pytest.mark.parametrize("given", [0, 1, 5, 7, 10, 20])
def test_code_arrays_against_loops(given: int) -> None:
    """Prompts that end with a row and within one."""
    ids_NL = images()
    arrays = code_arrays(ids_NL, grid=GRID, given=given)
    expected = [by_loops(ids_L, given) for ids_L in ids_NL.tolist()]
    for name in expected[0]:
        np.testing.assert_allclose(arrays[name], [e[name] for e in expected], err_msg=name)
    assert arrays.keys() == expected[0].keys()


def test_flat_fill_and_stripes_both_ways_are_seen_and_a_checkerboard_is_not() -> None:
    row, column = torch.meshgrid(torch.arange(GRID), torch.arange(GRID), indexing="ij")
    board = (row + column) % 2
    kinds = torch.stack([torch.zeros_like(row), column, row, board]).reshape(4, -1)
    arrays = code_arrays(kinds, grid=GRID, given=GRID)
    assert arrays["flat_share"].tolist() == [1, 1, 1, 0]
    assert arrays["vertical_equal_share"].tolist() == [1, 1, 0, 0]
    assert arrays["horizontal_equal_share"].tolist() == [1, 0, 1, 0]
    assert arrays["repeated_rows"].tolist() == [1, 1, 0, 0]
    assert arrays["repeated_columns"].tolist() == [1, 0, 1, 0]


def test_what_the_prompt_repeats_does_not_count() -> None:
    varied_L = torch.arange(GRID * GRID)
    flat_prompt_L = varied_L.clone()
    flat_prompt_L[: 2 * GRID] = 0
    arrays = code_arrays(flat_prompt_L[None], grid=GRID, given=2 * GRID)
    assert arrays["code_ttr"][0] == 1.0
    assert arrays["vertical_equal_share"][0] == arrays["repeated_columns"][0] == 0.0


def test_code_metrics_are_means_showns_over_images() -> None:
    ids_NL = images()
    metrics = code_metrics(ids_NL, grid=GRID, given=GRID)
    arrays = code_arrays(ids_NL, grid=GRID, given=GRID)
    for name, values in arrays.items():
        interval = metrics[name]
        assert interval.mean == pytest.approx(values.mean()) and interval.n == len(ids_NL)
        assert interval.low is not None and interval.high is not None
        assert interval.low <= interval.mean <= interval.high
    assert metrics.keys() == arrays.keys() | {"distinct_images"}
    assert metrics.keys() | {"copy_rate"} == METRICS.keys()


def test_distinct_images_against_a_set_and_its_jackknife_against_leaving_out() -> None:
    completions = [(1, 2), (1, 2), (3, 4), (5, 6), (5, 6), (5, 6), (7, 8)]
    interval = distinct_images(torch.tensor(completions))
    assert interval.mean == pytest.approx(4 / 7) and interval.n == 7
    left = [len(set(completions[:i] + completions[i + 1 :])) / 6 for i in range(7)]
    error = (6 / 7 * sum((x - sum(left) / 7) ** 2 for x in left)) ** 0.5
    assert interval.high is not None
    assert interval.high - interval.mean == pytest.approx(1.959964 * error, rel=1e-5)


def test_distinct_images_of_one() -> None:
    interval = distinct_images(torch.tensor([[1, 2, 3]]))
    assert (interval.mean, interval.low, interval.n) == (1.0, None, 1)


def features(count: int, seed: int) -> Tensor:
    return torch.randn(count, 4, generator=torch.Generator().manual_seed(seed))


def test_nearest_against_a_search_by_hand() -> None:
    train_TD, judged_ND = features(17, 0), features(1100, 1)  # more than one chunk
    nearest = CopyDetector(train_TD, features(100, 2)).nearest(judged_ND)
    distances_NT = np.linalg.norm(judged_ND.numpy()[:, None] - train_TD.numpy(), axis=2)
    np.testing.assert_array_equal(nearest.indices_N.numpy(), distances_NT.argmin(1))
    np.testing.assert_allclose(nearest.distances_N.numpy(), distances_NT.min(1), rtol=1e-5)


def test_the_threshold_calls_the_nearest_share_of_held_out_images_copies() -> None:
    train_TD, heldout_ND = features(50, 0), features(1000, 1)
    for quantile in (0.01, 0.1):
        detector = CopyDetector(train_TD, heldout_ND, quantile=quantile)
        rate = detector.copy_rate(detector.nearest(heldout_ND))
        assert rate.mean == pytest.approx(quantile, abs=0.0011) and rate.n == 1000


def test_other_real_images_are_copies_at_about_the_same_rate() -> None:
    detector = CopyDetector(features(50, 0), features(4000, 1), quantile=0.1)
    rate = detector.copy_rate(detector.nearest(features(4000, 2)))
    assert rate.mean == pytest.approx(0.1, abs=0.025)


def test_copies_are_found_and_traced_to_their_originals() -> None:
    train_TD = features(50, 0)
    detector = CopyDetector(train_TD, features(200, 1))
    judged_ND = torch.cat([train_TD[[7, 3]], train_TD[[9]] + 1e-4, features(3, 2) + 20])
    nearest = detector.nearest(judged_ND)
    assert nearest.indices_N[:3].tolist() == [7, 3, 9]
    assert nearest.distances_N[:2].tolist() == [0.0, 0.0]
    assert detector.copy_rate(nearest).mean == 0.5


def test_an_exact_copy_counts_even_when_held_out_images_are_in_the_training_set() -> None:
    train_TD = features(50, 0)
    detector = CopyDetector(train_TD, torch.cat([train_TD[:3], features(97, 1)]))
    assert detector.threshold == 0.0
    assert detector.copy_rate(detector.nearest(train_TD[:1])).mean == 1.0


def test_too_few_held_out_images_are_refused() -> None:
    with pytest.raises(UserError, match="at least 100 held-out images for copy_rate; got 99"):
        CopyDetector(features(10, 0), features(99, 1))
    assert CopyDetector(features(10, 0), features(10, 1), quantile=0.1).threshold > 0
