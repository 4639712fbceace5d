"""The painted landscapes: pure, varied, textured, the same at every size, counted truly."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import image.vignettes.scenes
from image.vignettes.buildings import HOUSES, draw_house
from image.vignettes.canvas import LAYER_SCALE, SUPERSAMPLING, Stage
from image.vignettes.noise import SCENE, noise
from image.vignettes.palettes import HOURS, LIGHTS, SEASON_COLOURS, SEASONS, Light, mix
from image.vignettes.props import TREES, draw_tree
from image.vignettes.render import LANDS, render, vignettes
from image.vignettes.scenery import paint_ridge, paint_water

COUNT = 200


@pytest.fixture(scope="module")
def many() -> tuple[torch.Tensor, torch.Tensor, list[dict[str, str | int]]]:
    return vignettes(0, COUNT)


def stage(size: int = 32, hour: str = "day", season: str = "summer") -> Stage:
    return Stage(size, Random(0), LIGHTS[hour][0], SEASON_COLOURS[season], SCENE / 2)


def test_a_batch_has_the_shapes_and_classes_it_promises(many: Any) -> None:
    images_NCHW, labels_N, attributes = many
    assert images_NCHW.shape == (COUNT, 3, 32, 32) and images_NCHW.dtype == torch.uint8
    assert labels_N.dtype == torch.int64
    assert [HOURS[label] for label in labels_N] == [found["hour"] for found in attributes]
    assert vignettes(7, 0)[0].shape == (0, 3, 32, 32)


def test_a_vignette_depends_on_nothing_but_its_number_seed_and_size(many: Any) -> None:
    images_NCHW, labels_N, attributes = many
    np.random.seed(1)
    later_NCHW, later_N, later = vignettes(40, 5)
    assert torch.equal(later_NCHW, images_NCHW[40:45]) and torch.equal(later_N, labels_N[40:45])
    assert later == attributes[40:45]
    np.random.seed(1)
    expected = np.random.random()
    np.random.seed(1)
    picture = render(3)
    assert np.random.random() == expected
    assert np.array_equal(picture.pixels_CHW, images_NCHW[3].numpy())
    assert not np.array_equal(picture.pixels_CHW, render(3, seed=1).pixels_CHW)


def test_no_two_are_alike(many: Any) -> None:
    images_NCHW, _, _ = many
    other_NCHW, _, _ = vignettes(10_000_000, 50)
    both = torch.cat([images_NCHW, other_NCHW]).flatten(1)
    assert len({row.numpy().tobytes() for row in both}) == COUNT + 50


def test_every_hour_season_and_land_occurs_and_every_thing(many: Any) -> None:
    _, _, attributes = many
    for name, values in (("hour", HOURS), ("season", SEASONS), ("land", LANDS)):
        shares = Counter(found[name] for found in attributes)
        assert set(shares) == set(values) and min(shares.values()) > COUNT / 8
    for thing in ("trees", "houses", "boats", "clouds", "birds"):
        assert {found[thing] > 0 for found in attributes} == {True, False}, thing
    assert all(found["boats"] == 0 for found in attributes if found["land"] == "valley")
    assert all(found["birds"] == 0 for found in attributes if found["hour"] == "night")


def test_things_are_counted_as_they_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: Counter[str] = Counter()

    def counted(thing: str) -> Any:
        draw = getattr(image.vignettes.scenes, f"draw_{thing}")

        def also_count(*args: Any) -> None:
            drawn[f"{thing}s"] += 1
            draw(*args)

        return also_count

    for thing in ("tree", "house", "boat", "cloud", "bird"):
        monkeypatch.setattr(image.vignettes.scenes, f"draw_{thing}", counted(thing))
    for index in range(40):
        drawn.clear()
        attributes = render(index).attributes
        told = {name: number for name, number in attributes.items() if isinstance(number, int)}
        assert drawn == Counter(told)


@pytest.mark.parametrize("size", [16, 24, 64])
def test_the_scene_is_the_same_at_every_size(size: int, many: Any) -> None:
    images_NCHW, _, attributes = many
    differences = []
    for index in range(30):
        picture = render(index, size=size)
        assert picture.pixels_CHW.shape == (3, size, size)
        assert picture.attributes == attributes[index]
        coarse = [
            np.asarray(
                Image.fromarray(pixels.transpose(1, 2, 0)).resize((8, 8), Image.Resampling.BOX)
            )
            for pixels in (picture.pixels_CHW, images_NCHW[index].numpy())
        ]
        differences.append(np.abs(coarse[0].astype(float) - coarse[1]).mean())
    # Two unrelated vignettes differ by about 50 grey levels.
    assert np.mean(differences) < 5 and max(differences) < 10


def test_hours_look_like_hours(many: Any) -> None:
    images_NCHW, labels_N, _ = many
    means = {
        hour: images_NCHW[labels_N == HOURS.index(hour)].float().mean((0, 2, 3)) for hour in HOURS
    }
    brightness = {hour: float(mean.mean()) for hour, mean in means.items()}
    assert 30 < brightness["night"] < 0.75 * brightness["dusk"] < 0.6 * brightness["day"]
    redness = {hour: float(mean[0] - mean[2]) for hour, mean in means.items()}
    assert redness["dusk"] > 20 and redness["day"] < 10 and redness["night"] < -20


def test_surfaces_are_textured_but_are_not_noise(many: Any) -> None:
    images_NCHW, _, _ = many
    grey = images_NCHW.float().mean(1)
    patches = grey.unfold(1, 4, 4).unfold(2, 4, 4).reshape(COUNT, 64, 16)
    assert float((patches.std(-1) < 1.0).float().mean()) < 0.03  # flat to the eye
    means = patches.mean(-1).view(COUNT, 8, 8)
    vertical = (means[:, 1:] - means[:, :-1]).abs()
    horizontal = (means[:, :, 1:] - means[:, :, :-1]).abs()
    for steps in (vertical, horizontal):
        assert float((steps < 1.0).float().mean()) < 0.2
    # What a 16 x 16 copy keeps is most of the picture: white noise would keep a quarter of it.
    half = torch.nn.functional.avg_pool2d(grey, 2)
    back = half.repeat_interleave(2, 1).repeat_interleave(2, 2)
    assert float((grey - back).square().mean() / grey.var((1, 2)).mean()) < 0.25


def test_noise_is_centred_and_has_the_wavelength_it_is_named_for() -> None:
    side = 64
    for name, high, low in (("ripple", "y", "x"), ("curtain", "x", "y")):
        spectrum: dict[str, float] = {}
        fields = [noise(name, Random(n), side, side) for n in range(20)]
        for axis, number in (("y", 0), ("x", 1)):
            power = np.mean([np.abs(np.fft.fft2(f)).sum(1 - number) for f in fields], axis=0)
            cycles = np.abs(np.fft.fftfreq(side))
            spectrum[axis] = float((power * cycles).sum() / power.sum())
        assert spectrum[high] > 1.5 * spectrum[low], name
        assert abs(np.mean(fields)) < 0.1 and 0.8 < np.std(fields) < 1.2
        assert np.abs(fields).max() <= 2.41


def test_noise_draws_the_same_numbers_at_every_size() -> None:
    small, large = Random(5), Random(5)
    a, b = noise("mottle", small, 32, 10), noise("mottle", large, 128, 40)
    assert a.shape == (10, 32) and b.shape == (40, 128)
    assert small.random() == large.random()
    assert np.corrcoef(a.ravel(), b[::4, ::4].ravel())[0, 1] > 0.9


def test_light_hazes_with_distance() -> None:
    light: Light = LIGHTS["dusk"][0]
    near = light.on((100, 200, 50))
    assert near == pytest.approx([c * t for c, t in zip((100, 200, 50), light.tint, strict=True)])
    assert light.on((100, 200, 50), distance=1.0) == light.haze
    assert mix((0, 10, 20), (10, 20, 40), 0.5) == (5, 15, 30)


def test_a_ridge_covers_what_is_below_its_skyline_only() -> None:
    painted = stage()
    skyline_w = np.full(painted.layer_side, 20.0, np.float32)
    paint_ridge(painted, skyline_w, ((90, 160, 60), (90, 160, 60)), distance=0.0)
    pixels_CHW = painted.finish().astype(int)
    assert (pixels_CHW[:, :20] == 0).all() and (pixels_CHW[1, 20:] > 80).all()
    assert pixels_CHW[1, 20:].std() > 5


def test_water_mirrors_what_is_above_it() -> None:
    plain, banded = stage(), stage()
    for painted in (plain, banded):
        painted.box(0, 0, SCENE, SCENE, (120, 120, 120))
    banded.box(0, 10, SCENE, 13, (255, 0, 0))
    for painted in (plain, banded):
        paint_water(painted, 16.0, float(SCENE), calm=1.0, glitter=0.0)
    redder = (banded.finish().astype(int) - plain.finish())[0, 16:].mean(1)
    # 3 to 6 units above the waterline come 2.6 to 5.2 below it, as the mirror image is squeezed.
    assert redder[3:5].min() > 25 and abs(redder[8:]).max() < 2


@pytest.mark.parametrize("season", SEASONS)
@pytest.mark.parametrize("kind", TREES)
def test_trees_stand_where_they_are_put(kind: str, season: str) -> None:
    painted = stage(season=season)
    draw_tree(painted, kind, 16.0, 30.0, 16.0, 0.0)
    rows, columns = np.nonzero(painted.finish().max(0))
    assert 12 <= rows.min() <= 16 and 29 <= rows.max() <= 31
    assert abs(columns.mean() - 16) < 2


@pytest.mark.parametrize("kind", HOUSES)
def test_houses_are_lit_at_night(kind: str) -> None:
    painted = stage(hour="night", season="winter")
    draw_house(painted, kind, 16.0, 28.0, 8.0, 0.0)
    pixels_CHW = painted.finish().astype(int)
    rows, columns = np.nonzero(pixels_CHW.max(0))
    assert abs(columns.mean() - 16) < 2 and 28 <= rows.max() + 1 <= 30
    red, _, blue = pixels_CHW
    assert ((red > 150) & (red - blue > 60)).any()


def test_the_canvas_is_antialiased_and_its_layers_are_half_as_fine() -> None:
    painted = stage()
    assert painted.side == 32 * SUPERSAMPLING == painted.layer_side * LAYER_SCALE
    painted.box(0.5, 0, 2, 1, (200, 100, 40))
    painted.box(3, 0, 3.01, 1, (255, 255, 255))  # thinner than a canvas pixel
    assert painted.finish()[:, 0, :4].T.tolist() == [
        [100, 50, 20],
        [200, 100, 40],
        [0, 0, 0],
        [0, 0, 0],
    ]
