"""Dunes and pyramids."""

from itertools import pairwise

from sd35.space.painter.canvas import Brush, Gradient
from sd35.space.painter.color import RGB, darker, lighter, mix, rgb
from sd35.space.painter.shapes import Outline, area_below, smooth
from sd35.space.painter.stage import Spot, Stage
from sd35.space.painter.streams import RandomStream


def desert(stage: Stage, spot: Spot) -> None:
    """Paint dunes, each with a bright and a shaded side."""
    sand = stage.palette.illuminate(spot.color or rgb("e6b36a"))
    depth = stage.h - stage.horizon
    for i, share in enumerate((-0.06, 0.12, 0.34, 0.62)):
        nearness = i / 3
        color = mix(
            mix(sand, stage.palette.haze, 0.45), mix(sand, stage.palette.near, 0.22), nearness
        )
        line = _dune(stage, spot.random, stage.horizon + depth * share, depth * 0.2)
        paint = Gradient(
            (
                (stage.horizon + depth * share - 0.05, lighter(color, 0.14)),
                (stage.h, darker(color, 0.12)),
            )
        )
        stage.canvas.fill([area_below(line, stage.h)], paint)
        _shade_lee(stage, line, mix(darker(color, 0.25), stage.palette.near, 0.2))
        stage.floor = line


def _dune(stage: Stage, random: RandomStream, level: float, swing: float) -> Outline:
    knots = [(-0.3, level)]
    while knots[-1][0] < stage.w + 0.3:
        x = knots[-1][0]
        knots.append((x + random.uniform(0.28, 0.5), level - swing * random.uniform(0.35, 1.0)))
        knots.append(
            (knots[-1][0] + random.uniform(0.22, 0.4), level + swing * random.uniform(0.0, 0.4))
        )
    line = smooth(knots, closed=False)
    return [(stage.w * i / 119, _height_at(line, stage.w * i / 119)) for i in range(120)]


def _height_at(line: Outline, x: float) -> float:
    """Return the y at x of a line whose points go right at any spacing."""
    for (ax, ay), (bx, by) in pairwise(line):
        if ax <= x <= bx:
            return ay + (by - ay) * (x - ax) / max(bx - ax, 1e-9)
    return line[-1][1]


def _shade_lee(stage: Stage, line: Outline, shadow: RGB) -> None:
    """Shade the far side of each crest, along a curve down the dune."""
    for i in range(2, len(line) - 2):
        x, y = line[i]
        if not (line[i - 1][1] > y <= line[i + 1][1]):
            continue
        fall = [line[i]]
        for point in line[i + 1 :]:
            if point[1] < fall[-1][1]:
                break
            fall.append(point)
        low = fall[-1]
        deep = min(0.30, 0.12 + 1.2 * (fall[-1][1] - y))
        ridge = [
            (x, y),
            (x + 0.022, y + 0.25 * deep),
            (x - 0.012, y + 0.5 * deep),
            (x + 0.05, y + 0.8 * deep),
        ]
        curve = smooth([*ridge, ((x + low[0]) / 2, y + deep), low], closed=False)
        stage.canvas.fill([[*fall, *curve[::-1]]], shadow, opacity=0.42)


def pyramids(stage: Stage, spot: Spot) -> None:
    """Paint three pyramids, each with one side in the shade."""
    stone = mix(stage.palette.illuminate(spot.color or rgb("e2b870")), stage.palette.haze, 0.15)
    away = 1.0 if stage.light[0] < spot.x else -1.0
    for x, size in ((-0.95, 0.55), (0.95, 0.7), (0.0, 1.0)):
        brush = Brush(stage.canvas, spot.x + x * spot.size, spot.y + 0.02, spot.size * size)
        foot = mix(stone, stage.palette.haze, 0.45)
        side = [(-0.85, 0), (0, 1.0), (0.85, 0)]
        stops = ((spot.y - brush.size, stone), (spot.y, foot))
        stage.canvas.fill([brush.outline(side)], Gradient(stops))
        brush.polygon([(0, 1.0), (away * 0.85, 0), (away * 0.25, 0)], darker(stone, 0.32), 0.85)
