"""The four kinds of vignette, each composed from back to front.

valley: rolling fields, a hamlet on the near hill. lake: hills and houses mirrored in still water,
with a grassy bank in front. sea: open water under a high sky, boats, a headland, a beach.
mountains: jagged heights with snow above a wood of conifers, sometimes with a tarn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from image.vignettes.buildings import draw_house
from image.vignettes.canvas import Stage
from image.vignettes.noise import SCENE
from image.vignettes.palettes import ROCK, SAND, SNOW, Colour, mix, shade
from image.vignettes.props import TREES, draw_bird, draw_boat, draw_cloud, draw_grass, draw_tree
from image.vignettes.scenery import (
    paint_moon,
    paint_ridge,
    paint_rocks,
    paint_sky,
    paint_stars,
    paint_sun,
    paint_water,
    ridge_line,
)


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A stage and a count of what has been put on it."""

    stage: Stage
    """What is painted on."""
    hour: str
    """One of HOURS."""
    aurora: bool
    """Whether northern lights are out."""
    counts: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(("trees", "houses", "boats", "clouds", "birds"), 0)
    )
    """How many of each thing; filled while painting."""

    def grass(self) -> Colour:
        """A meadow's daylight colour."""
        return self.stage.rng.choice(self.stage.season.grass)

    def heavens(self, horizon: float) -> None:
        """Sky, sun or moon, stars and clouds above `horizon` units."""
        stage, rng = self.stage, self.stage.rng
        paint_sky(stage, horizon, wisps=rng.uniform(-0.2, 1.0), aurora=self.aurora)
        if self.hour == "night":
            paint_stars(stage, horizon, rng.randint(24, 44))
            paint_moon(stage, rng.uniform(4, 8), rng.uniform(1.7, 2.6), crescent=rng.random() < 0.5)
        else:
            low = self.hour != "day"
            height = horizon - rng.uniform(1, 5) if low else rng.uniform(3.5, 7)
            paint_sun(stage, height, rng.uniform(2.0, 3.0) if low else rng.uniform(1.6, 2.2))
        for _ in range(rng.choice((0, 1, 2, 2, 3))):
            at = (rng.uniform(0, SCENE), rng.uniform(2, max(3.0, horizon - 5)))
            draw_cloud(stage, *at, rng.uniform(6, 12))
            self.counts["clouds"] += 1

    def tree(self, x: float, y: float, high: float, distance: float, kind: str) -> None:
        """One tree."""
        draw_tree(self.stage, kind, x, y, high, distance)
        self.counts["trees"] += 1

    def house(self, x: float, y: float, wide: float, distance: float, kind: str) -> None:
        """One house."""
        draw_house(self.stage, kind, x, y, wide, distance)
        self.counts["houses"] += 1

    def boats(self, top: float, bottom: float, most: int) -> None:
        """Up to `most` boats, the lower the larger."""
        rng = self.stage.rng
        for near in sorted(rng.random() for _ in range(rng.randint(0, most))):
            y = top + 0.8 + near * max(0.5, bottom - top - 3.0)
            draw_boat(self.stage, rng.uniform(4, SCENE - 4), y, 2.2 + 3.4 * near)
            self.counts["boats"] += 1

    def birds(self, bottom: float) -> None:
        """None, or a few together, by day only."""
        rng = self.stage.rng
        if self.hour == "night" or rng.random() < 0.45:
            return
        x, y = rng.uniform(6, SCENE - 6), rng.uniform(3, bottom)
        for _ in range(rng.randint(2, 4)):
            at = (x + rng.uniform(-5, 5), y + rng.uniform(-2, 2))
            draw_bird(self.stage, *at, rng.uniform(1.0, 1.7))
            self.counts["birds"] += 1

    def hamlet(self, skyline_w: np.ndarray, distance: float, drop: float) -> None:
        """Houses and trees along a skyline, around `drop` units below it."""
        rng = self.stage.rng
        scale = 1.0 - 0.45 * distance
        places = [SCENE * (slot + rng.uniform(0.2, 0.8)) / 6 for slot in range(6)]
        rng.shuffle(places)
        homes = rng.choice((1, 1, 2, 2, 3))
        # Back to front by the drop alone: skylines differ a little between sizes, drops do not.
        standing = [(drop * rng.uniform(0.4, 1.4), x, n < homes) for n, x in enumerate(places)]
        for down, x, home in sorted(standing):
            y = self.foot(skyline_w, x) + down
            if home:
                kind = rng.choice(("cottage", "cottage", "gable", "church"))
                self.house(x, y + 0.5, scale * rng.uniform(5.0, 7.0), distance, kind)
            elif rng.random() < 0.8:
                kind = rng.choice(TREES)
                high = scale * rng.uniform(4.5, 8.0)
                self.tree(x, y + 0.4, high, distance, kind)

    def foot(self, skyline_w: np.ndarray, x: float) -> float:
        """Height of a skyline at `x` units."""
        column = min(self.stage.layer_side - 1, int(x * self.stage.layer_unit))
        return float(skyline_w[column])

    def wood(self, skyline_w: np.ndarray, count: int, high: float, distance: float) -> None:
        """Trees side by side along a skyline, mostly conifers."""
        rng = self.stage.rng
        for slot in range(count):
            x = SCENE * (slot + rng.random()) / count
            kind = rng.choice(("conical", "conical", "conical", "round"))
            y = self.foot(skyline_w, x) + 0.6
            self.tree(x, y, high * rng.uniform(0.7, 1.25), distance, kind)

    def foreground(self, top: float, ground: Colour) -> None:
        """A near bank of grass, with a large tree or two at its sides."""
        stage, rng = self.stage, self.stage.rng
        skyline_w = ridge_line(stage, top, 1.6, jagged=False)
        colours = (shade(ground, 1.02), shade(ground, 0.8))
        paint_ridge(stage, skyline_w, colours, distance=0.0)
        draw_grass(stage, top + 1.2, 26, ground)
        for side in rng.sample((0, 1), rng.choice((0, 1, 1, 2))):
            x = rng.uniform(1, 6) + side * (SCENE - 7)
            kind = rng.choice(("round", "round", "conical", "poplar"))
            self.tree(x, self.foot(skyline_w, x) + 1.5, rng.uniform(10, 15), 0.0, kind)

    def far(self, base: float, layers: int, swell: float, *, jagged: bool) -> None:
        """Ridges behind ridges, the last one nearest."""
        stage, rng = self.stage, self.stage.rng
        green = mix(self.grass(), (96, 120, 140), 0.35)
        for layer in range(layers):
            distance = 0.78 - 0.34 * layer / max(1, layers - 1)
            skyline_w = ridge_line(stage, base - 2.6 * (layers - 1 - layer), swell, jagged=jagged)
            colour = shade(mix(ROCK, green, 0.25) if jagged else green, rng.uniform(0.8, 1.05))
            paint_ridge(
                stage,
                skyline_w,
                (shade(colour, 1.1), shade(colour, 0.78)),
                distance=distance,
                caps=jagged,
            )


def _valley(scene: Scene) -> None:
    rng = scene.stage.rng
    horizon = rng.uniform(13, 18)
    scene.heavens(horizon)
    scene.far(horizon, 2, 3.0, jagged=rng.random() < 0.35)
    for step in range(2):
        skyline_w = ridge_line(scene.stage, horizon + 3.2 + 5.0 * step, 2.2, jagged=False)
        ground = scene.grass()
        paint_ridge(
            scene.stage,
            skyline_w,
            (shade(ground, 1.06), shade(ground, 0.82)),
            distance=0.3 - 0.22 * step,
            furrows=True,
        )
        if step == 0:
            scene.wood(skyline_w, rng.randint(2, 6), 3.4, 0.42)
        else:
            scene.hamlet(skyline_w, 0.05, 1.0)
    scene.foreground(rng.uniform(27.5, 29.5), scene.grass())
    scene.birds(horizon - 3)


def _lake(scene: Scene) -> None:
    stage, rng = scene.stage, scene.stage.rng
    shore = rng.uniform(16, 20)
    scene.heavens(shore - 3)
    scene.far(shore - 3.5, rng.randint(1, 2), 3.6, jagged=rng.random() < 0.4)
    skyline_w = ridge_line(stage, shore - 1.6, 1.6, jagged=False)
    ground = scene.grass()
    colours = (shade(ground, 1.05), shade(ground, 0.8))
    paint_ridge(stage, skyline_w, colours, distance=0.18, bottom=shore, furrows=True)
    scene.hamlet(np.minimum(skyline_w, shore - 1.2), 0.25, 0.6)
    paint_water(stage, shore, SCENE, calm=rng.uniform(0.2, 0.9), glitter=rng.uniform(0.3, 0.7))
    scene.boats(shore, 29, 2)
    scene.foreground(rng.uniform(27.5, 30), scene.grass())
    scene.birds(shore - 6)


def _sea(scene: Scene) -> None:
    stage, rng = scene.stage, scene.stage.rng
    horizon = rng.uniform(14.5, 18)
    scene.heavens(horizon)
    if rng.random() < 0.5:
        island_w = ridge_line(stage, horizon + 0.6, 2.4, jagged=rng.random() < 0.5)
        colours = (shade(ROCK, 1.0), shade(ROCK, 0.75))
        paint_ridge(stage, island_w, colours, distance=0.6, bottom=horizon)
    paint_water(stage, horizon, SCENE, calm=rng.uniform(0, 0.5), glitter=rng.uniform(0.5, 0.9))
    scene.boats(horizon, 27, 3)
    side = rng.choice((-1, 1))
    if rng.random() < 0.7:
        _paint_headland(scene, horizon, side)
    beach_w = ridge_line(stage, rng.uniform(27, 29), 1.5, jagged=False)
    sand = mix(SAND, SNOW, 0.7) if stage.season.snow else SAND
    paint_ridge(stage, beach_w, (shade(sand, 1.05), shade(sand, 0.8)), distance=0.0)
    paint_rocks(stage, rng.uniform(4, 28), rng.uniform(28, 31), rng.randint(2, 5))
    scene.birds(horizon - 1)


def _paint_headland(scene: Scene, horizon: float, side: int) -> None:
    """A cliff on one side with a lighthouse or a cottage on it."""
    stage, rng = scene.stage, scene.stage.rng
    across = np.linspace(0, 1, stage.layer_side, dtype=np.float32)[:: -1 if side > 0 else 1]
    end = rng.uniform(0.38, 0.55)
    edge = ridge_line(stage, 0, 1.1, jagged=True)
    skyline_w = horizon - 1.0 + edge + np.clip((across - end) * 60, 0, 30) + 4 * across
    ground = scene.grass()
    foot = horizon + rng.uniform(5, 8)
    colours = (shade(ground, 1.0), shade(ROCK, 0.8))
    paint_ridge(stage, skyline_w, colours, distance=0.12, bottom=foot)
    place = rng.uniform(0.12, 0.6) * end * SCENE
    x = SCENE - place if side > 0 else place
    kind = rng.choice(("lighthouse", "lighthouse", "cottage"))
    wide = rng.uniform(3.8, 4.6) if kind == "lighthouse" else rng.uniform(5.0, 6.5)
    scene.house(x, scene.foot(skyline_w, x) + 1.2, wide, 0.05, kind)


def _mountains(scene: Scene) -> None:
    stage, rng = scene.stage, scene.stage.rng
    horizon = rng.uniform(13, 17)
    scene.heavens(horizon - 4)
    scene.far(horizon, rng.randint(2, 3), 6.0, jagged=True)
    skyline_w = ridge_line(stage, horizon + 4.5, 1.8, jagged=False)
    ground = scene.grass()
    tarn = rng.random() < 0.5
    shore = horizon + rng.uniform(6.5, 8.5)
    colours = (shade(ground, 1.0), shade(ground, 0.76))
    paint_ridge(stage, skyline_w, colours, distance=0.3, bottom=shore if tarn else SCENE)
    scene.wood(skyline_w, rng.randint(7, 12), 5.0, 0.42)
    if tarn:
        paint_water(stage, shore, SCENE, calm=rng.uniform(0.3, 0.9), glitter=0.3)
        scene.boats(shore, 29, 1)
    else:
        near_w = ridge_line(stage, shore + 2, 2.0, jagged=False)
        ground = scene.grass()
        colours = (shade(ground, 1.06), shade(ground, 0.82))
        paint_ridge(stage, near_w, colours, distance=0.1, furrows=True)
        if rng.random() < 0.75:
            scene.hamlet(near_w, 0.05, 1.2)
    scene.foreground(rng.uniform(27.5, 29.5), scene.grass())
    scene.birds(horizon - 4)


SCENES: dict[str, Callable[[Scene], None]] = {
    "valley": _valley,
    "lake": _lake,
    "sea": _sea,
    "mountains": _mountains,
}
