"""FID, KID, precision and recall against independent computations on the same features."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import torch
import torch_fidelity
from torch import Tensor
from torch_fidelity.feature_extractor_base import FeatureExtractorBase

from common.errors import UserError
from image.measure.fidelity import KID_SUBSETS, LEAST_IMAGES, Fidelity, kid_subset_size

KEY = re.compile(r"[a-z0-9_]+\[[a-z0-9._-]+\]")


def features(count: int, dim: int = 12, *, seed: int = 0, shift: float = 0.0) -> Tensor:
    """Correlated, skewed, positive: like pooled activations."""
    generator = torch.Generator().manual_seed(seed)
    mixing_DD = torch.randn(dim, dim, generator=torch.Generator().manual_seed(99)) / dim**0.5
    return (torch.randn(count, dim, generator=generator) @ mixing_DD + shift).relu() + 0.1


def frechet(x_ND: Tensor, y_ND: Tensor) -> float:
    """|m - m'|^2 + tr(S + S' - 2 (S S')^(1/2)) in float64, with scipy's matrix root."""
    x, y = x_ND.double().numpy(), y_ND.double().numpy()
    centred = [a - a.mean(0) for a in (x, y)]
    s, t = (a.T @ a / (len(a) - 1) for a in centred)
    root = scipy.linalg.sqrtm(s @ t)
    return float(((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(s + t - 2 * np.real(root)))


def naive_mmd(x: np.ndarray, y: np.ndarray) -> float:
    """Unbiased squared MMD, pair by pair."""

    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        return (float(a @ b) / len(a) + 1) ** 3

    def within(a: np.ndarray) -> float:
        pairs = [(i, j) for i in range(len(a)) for j in range(len(a)) if i != j]
        return sum(kernel(a[i], a[j]) for i, j in pairs) / len(pairs)

    across = np.mean([kernel(a, b) for a in x for b in y])
    return within(x) + within(y) - 2 * float(across)


def naive_precision(fake: np.ndarray, real: np.ndarray, k: int = 3) -> float:
    """Share of `fake` within the k-nearest-neighbour ball of one of `real`."""
    radii = []
    for i, point in enumerate(real):
        others = np.delete(real, i, axis=0)
        radii.append(np.sort(np.linalg.norm(others - point, axis=1))[k - 1])
    inside = [
        any(np.linalg.norm(x - point) <= r for point, r in zip(real, radii, strict=True))
        for x in fake
    ]
    return float(np.mean(inside))


def test_names_say_which_features_and_the_value_says_how_many() -> None:
    scores = Fidelity("cifar-net", features(40)).score(features(30, seed=1))
    assert list(scores) == [
        f"{metric}[cifar-net]" for metric in ("fid", "kid", "kid_sd", "precision", "recall")
    ]
    assert all(KEY.fullmatch(name) for name in scores)
    assert {interval.n for interval in scores.values()} == {30}
    assert all(interval.low is None and interval.high is None for interval in scores.values())


@pytest.mark.parametrize(
    ("real", "fake", "shift"), [(200, 200, 0.0), (150, 90, 0.4), (300, 8, 0.1)]
)
def test_fid_against_the_matrix_root(real: int, fake: int, shift: float) -> None:
    real_ND, fake_ND = features(real), features(fake, seed=1, shift=shift)
    scored = Fidelity("x", real_ND).score(fake_ND)["fid[x]"].mean
    assert scored == pytest.approx(frechet(real_ND, fake_ND), rel=1e-3)


def test_fid_of_gaussians_with_a_known_distance() -> None:
    """Exact moments: whitened features, then scaled by 2 and moved by 3 along every axis."""
    raw_ND = features(100, 6).double()
    centred_ND = raw_ND - raw_ND.mean(0)
    white_ND = centred_ND @ torch.linalg.inv(torch.linalg.cholesky(centred_ND.T.cov())).T
    score = Fidelity("x", white_ND).score(white_ND * 2 + 3)
    assert score["fid[x]"].mean == pytest.approx(6 * 3**2 + 6 * (2 - 1) ** 2, rel=1e-6)


def test_kid_against_the_naive_sum() -> None:
    """On the whole sets, whose value is that of the subsets on average."""
    real_ND, fake_ND = features(60), features(60, seed=1, shift=0.3)
    scored = Fidelity("x", real_ND).score(fake_ND)
    exact = naive_mmd(fake_ND.double().numpy(), real_ND.double().numpy())
    error = scored["kid_sd[x]"].mean / KID_SUBSETS**0.5
    assert abs(scored["kid[x]"].mean - exact) < 4 * error
    assert exact > 10 * error


def test_kid_is_the_mean_and_deviation_over_its_subsets() -> None:
    """The draws of one RandomState, the naive sum on each."""
    real, fake = features(8).double().numpy(), features(6, seed=1, shift=0.3).double().numpy()
    draws, values = np.random.RandomState(7), []
    for _ in range(KID_SUBSETS):
        x = fake[draws.choice(6, 3, replace=False)]
        values.append(naive_mmd(x, real[draws.choice(8, 3, replace=False)]))
    scored = Fidelity("x", torch.tensor(real), seed=7).score(torch.tensor(fake))
    assert scored["kid[x]"].mean == pytest.approx(np.mean(values), rel=1e-9)
    assert scored["kid_sd[x]"].mean == pytest.approx(np.std(values), rel=1e-9)
    other = Fidelity("x", torch.tensor(real), seed=8).score(torch.tensor(fake))
    assert other["kid[x]"].mean != scored["kid[x]"].mean


def test_kid_subsets_are_a_thousand_or_half_a_small_set() -> None:
    assert kid_subset_size(50_000, 10_000) == 1000
    assert kid_subset_size(1024, 10_000) == 512
    assert kid_subset_size(4, 4) == 2


@pytest.mark.parametrize("shift", [0.0, 0.5, 3.0])
def test_precision_and_recall_against_the_naive_ones(shift: float) -> None:
    real_ND, fake_ND = features(50), features(35, seed=1, shift=shift)
    scored = Fidelity("x", real_ND).score(fake_ND)
    real, fake = real_ND.double().numpy(), fake_ND.double().numpy()
    assert scored["precision[x]"].mean == pytest.approx(naive_precision(fake, real))
    assert scored["recall[x]"].mean == pytest.approx(naive_precision(real, fake))


def test_the_same_images_are_at_distance_zero() -> None:
    same_ND = features(80)
    scored = Fidelity("x", same_ND).score(same_ND)
    assert scored["fid[x]"].mean == pytest.approx(0, abs=1e-6)
    assert scored["precision[x]"].mean == scored["recall[x]"].mean == 1.0


def test_flat_images_have_no_recall() -> None:
    scored = Fidelity("x", features(40)).score(features(1, seed=5).expand(20, -1))
    assert scored["recall[x]"].mean == 0.0
    assert scored["fid[x]"].mean > 0


@pytest.mark.parametrize("count", [0, 1, 3])
def test_too_few_images_are_refused_by_name_and_number(count: int) -> None:
    with pytest.raises(UserError, match=rf"at least 4 judged images for \w+\[x\]; got {count};"):
        Fidelity("x", features(10)).score(features(10)[:count])
    with pytest.raises(UserError, match=rf"at least 4 real images for \w+\[x\]; got {count};"):
        Fidelity("x", features(10)[:count])


def test_the_least_number_of_images_is_enough() -> None:
    least = max(LEAST_IMAGES.values())
    scores = Fidelity("x", features(least)).score(features(least, seed=1))
    assert all(np.isfinite(interval.mean) for interval in scores.values())


def test_a_note_where_the_covariance_is_singular() -> None:
    assert Fidelity("x", features(30)).notes(13) == []
    for fidelity, judged in ((Fidelity("x", features(30)), 12), (Fidelity("x", features(12)), 30)):
        (note,) = fidelity.notes(judged)
        assert "fid[x] of 12 images and 12 features" in note


def test_definitions_cover_every_score_with_the_counts() -> None:
    fidelity = Fidelity("x", features(40))
    definitions = fidelity.definitions(30)
    assert definitions.keys() == fidelity.score(features(30)).keys()
    for label, definition in definitions.values():
        assert "-30" in label and "[x]" in label
        assert "30 images against 40 real ones" in definition


class PixelMeans(FeatureExtractorBase):
    """Means of 4 x 4 patches: 48 features of a 16 x 16 image, for torch-fidelity."""

    def __init__(self, name: str, features_list: list[str], **_: Any) -> None:
        super().__init__(name, features_list)

    @staticmethod
    def get_provided_features_list() -> tuple[str, ...]:
        return ("48",)

    @staticmethod
    def get_default_feature_layer_for_metric(metric: str) -> str:
        return "48"

    def forward(self, input: Tensor) -> tuple[Tensor, ...]:
        return (patch_means(input),)


def patch_means(images_NCHW: Tensor) -> Tensor:
    return torch.nn.functional.avg_pool2d(images_NCHW.float(), 4).flatten(1) / 255


class Images(torch.utils.data.Dataset):
    """One tensor per image, as torch-fidelity wants it."""

    def __init__(self, images_NCHW: Tensor) -> None:
        self.images_NCHW = images_NCHW

    def __len__(self) -> int:
        return len(self.images_NCHW)

    def __getitem__(self, index: int) -> Tensor:
        return self.images_NCHW[index]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the library's own data loader
def test_against_torch_fidelity_from_pixels_to_figures() -> None:
    generator = torch.Generator().manual_seed(3)
    draw: Callable[[int, int], Tensor] = lambda n, top: torch.randint(  # noqa: E731
        0, top, (n, 3, 16, 16), generator=generator, dtype=torch.uint8
    )
    real_NCHW, fake_NCHW = draw(200, 256), draw(160, 240)
    torch_fidelity.register_feature_extractor("patch-means", PixelMeans)
    expected = torch_fidelity.calculate_metrics(
        input1=Images(fake_NCHW),
        input2=Images(real_NCHW),
        feature_extractor="patch-means",
        fid=True,
        kid=True,
        prc=True,
        kid_subsets=KID_SUBSETS,
        kid_subset_size=80,
        rng_seed=0,
        samples_shuffle=False,
        cuda=False,
        cache=False,
        verbose=False,
    )
    scored = Fidelity("x", patch_means(real_NCHW)).score(patch_means(fake_NCHW))
    for ours, theirs in {
        "fid": "frechet_inception_distance",
        "kid": "kernel_inception_distance_mean",
        "kid_sd": "kernel_inception_distance_std",
        "precision": "precision",
        "recall": "recall",
    }.items():
        assert scored[f"{ours}[x]"].mean == pytest.approx(expected[theirs], rel=1e-3), ours
