"""Skylines and bridges."""

from itertools import pairwise

from sd35.space.painter.canvas import Gradient
from sd35.space.painter.color import darker, mix, rgb
from sd35.space.painter.shapes import Outline, Point, box
from sd35.space.painter.stage import LAMP_COLOR, Spot, Stage


def city(stage: Stage, spot: Spot) -> None:
    """Paint a skyline in three depths, with lit windows."""
    for depth in range(3):
        color = spot.tint(
            mix(stage.palette.land(0.15 + 0.35 * depth), stage.palette.haze, 0.3 - 0.12 * depth)
        )
        blocks = _blocks(stage, spot, depth)
        top = min(y for outline in blocks for _, y in outline)
        paint = Gradient(
            ((top, color), (stage.horizon, mix(color, stage.palette.haze, 0.42 - 0.12 * depth)))
        )
        stage.canvas.fill(blocks, paint)
        if depth:
            _windows(stage, spot, [outline for outline in blocks if len(outline) == 4], 0.3 * depth)


def _blocks(stage: Stage, spot: Spot, depth: int) -> list[Outline]:
    """Return the buildings of one depth, taller towards the middle."""
    blocks: list[Outline] = []
    x = -0.05
    while x < stage.w:
        width = spot.random.uniform(0.05, 0.11)
        # Towers rise in the middle.
        central = 1 - abs(2 * (x + width / 2) / stage.w - 1) ** 1.5
        height = (
            spot.size
            * (0.30 + 0.75 * central * spot.random.uniform(0.35, 1.0))
            * (1.05 - 0.22 * depth)
        )
        top = stage.horizon - height
        blocks.append(box(x, top, x + width, stage.horizon + 0.005))
        blocks += _roof(spot, x, width, top)
        x += width * spot.random.uniform(0.92, 1.25)
    return blocks


def _roof(spot: Spot, x: float, width: float, top: float) -> list[Outline]:
    middle = x + width / 2
    kind = spot.random.choice(["flat", "flat", "spire", "step", "slant"])
    if kind == "spire":
        spire: Outline = [
            (middle - width * 0.3, top),
            (middle - 0.002, top - width),
            (middle + 0.002, top - width),
            (middle + width * 0.3, top),
        ]
        return [[*spire, (middle, top + 0.001)]]
    if kind == "step":
        return [
            [
                *box(middle - width * 0.3, top - width * 0.35, middle + width * 0.3, top + 0.001),
                (middle, top),
            ]
        ]
    if kind == "slant":
        return [[(x, top), (x + width, top - width * 0.5), (x + width, top + 0.001)]]
    return []


def _windows(stage: Stage, spot: Spot, blocks: list[Outline], share: float) -> None:
    panes: list[Outline] = []
    for (x0, top), _, (x1, _), _ in blocks:
        columns = max(int((x1 - x0) / 0.014), 2)
        pitch = (x1 - x0) / (columns + 0.6)
        for row in range(int((stage.horizon - top - 0.03) / 0.019)):
            for column in range(columns):
                if spot.random.chance(share * 0.55):
                    x = x0 + pitch * (column + 0.55)
                    y = top + 0.016 + 0.019 * row
                    panes.append(box(x, y, x + pitch * 0.5, y + 0.009))
    stage.canvas.fill(panes, mix(LAMP_COLOR, stage.palette.light, 0.3), opacity=0.85)


def bridge(stage: Stage, spot: Spot) -> None:
    """Paint a suspension bridge across the whole water."""
    steel = spot.tone(stage, rgb("c9472f"))
    near = mix(steel, stage.palette.near, 0.2)
    width = stage.w
    deck = spot.y - 0.13
    towers = [width * 0.24, width * 0.76]
    top = deck - 0.30
    cable: list[Point] = [
        (-0.1, deck - 0.07),
        (towers[0], top),
        (width / 2, deck - 0.035),
        (towers[1], top),
        (width + 0.1, deck - 0.07),
    ]
    # Hangers, then the cable over them.
    for (ax, ay), (bx, by) in pairwise(cable):
        line = _sagging((ax, ay), (bx, by), deck)
        stage.canvas.fill(
            [box(x - 0.0012, y, x + 0.0012, deck) for x, y in line[1:-1]], near, opacity=0.8
        )
        stage.canvas.fill(
            [[(x, y - 0.005) for x, y in line] + [(x, y + 0.005) for x, y in line[::-1]]], steel
        )
    # Piers and towers.
    for x in towers:
        stage.canvas.fill([box(x - 0.021, deck, x + 0.021, spot.y + 0.03)], darker(steel, 0.35))
        for side in (-0.018, 0.008):
            stage.canvas.fill([box(x + side, top - 0.015, x + side + 0.011, deck)], steel)
        bars = [box(x - 0.018, y, x + 0.018, y + 0.013) for y in (top, top + 0.09, top + 0.18)]
        stage.canvas.fill(bars, darker(steel, 0.15))
    stage.canvas.fill([box(0, deck - 0.009, width, deck + 0.013)], steel)
    stage.canvas.fill([box(0, deck + 0.013, width, deck + 0.023)], darker(steel, 0.4))


def _sagging(first: Point, second: Point, deck: float) -> list[Point]:
    """Return a cable between two points, steepest at the tower."""
    (ax, ay), (bx, by) = first, second
    points = []
    for i in range(13):
        t = i / 12
        eased = t * t if ay > by else 1 - (1 - t) * (1 - t)
        points.append((ax + (bx - ax) * t, min(ay + (by - ay) * eased, deck)))
    return points
