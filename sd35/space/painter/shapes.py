"""Outlines as lists of points, in units of the shorter side, x to the right and y down."""

import math
from collections.abc import Sequence

from sd35.space.painter.streams import RandomStream

Point = tuple[float, float]
Outline = list[Point]

# Rounded, because the last bit of a sine is the machine's own.
_CIRCLE = [
    (round(math.cos(math.tau * i / 72), 9), round(math.sin(math.tau * i / 72), 9))
    for i in range(72)
]


def oval(x: float, y: float, across: float, down: float | None = None) -> Outline:
    """Return an ellipse by center and half axes, or a circle if only one is given."""
    high = across if down is None else down
    return [(x + across * c, y + high * s) for c, s in _CIRCLE]


def box(x0: float, y0: float, x1: float, y1: float) -> Outline:
    """Return a rectangle."""
    return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]


def lens(x: float, y: float, half: float, thick: float) -> Outline:
    """Return a thin horizontal streak with pointed ends."""
    upper = [(x + half * i / 6, y - thick * (1 - (i / 6) ** 2)) for i in range(-6, 7)]
    return upper + [(x + half * i / 6, y + thick * (1 - (i / 6) ** 2)) for i in range(5, -6, -1)]


def unit_vector(degrees: float) -> Point:
    """Return the unit vector at an angle in degrees, clockwise from the right."""
    angle = math.radians(degrees)
    return round(math.cos(angle), 9), round(math.sin(angle), 9)


def star(
    x: float, y: float, outer: float, inner: float, points: int, tilt: float = -90.0
) -> Outline:
    """Return a star with this number of points."""
    outline = []
    for i in range(2 * points):
        c, s = unit_vector(tilt + 180.0 * i / points)
        radius = inner if i % 2 else outer
        outline.append((x + radius * c, y + radius * s))
    return outline


def smooth(points: Sequence[Point], *, closed: bool = True, detail: int = 8) -> Outline:
    """Return the Catmull-Rom spline through these points."""
    count = len(points)
    curve: Outline = []
    for i in range(count if closed else count - 1):
        near = [
            points[(i + k) % count if closed else min(max(i + k, 0), count - 1)]
            for k in (-1, 0, 1, 2)
        ]
        curve += [_interpolate(near, step / detail) for step in range(detail)]
    return curve if closed else [*curve, points[-1]]


def _interpolate(control_points: Sequence[Point], t: float) -> Point:
    (ax, ay), (bx, by), (cx, cy), (dx, dy) = control_points
    square = t * t
    cube = t * t * t
    wa = -cube + 2 * square - t
    wb = 3 * cube - 5 * square + 2
    wc = -3 * cube + 4 * square + t
    wd = cube - square
    return (wa * ax + wb * bx + wc * cx + wd * dx) / 2, (wa * ay + wb * by + wc * cy + wd * dy) / 2


def ribbon(path: Sequence[Point], start: float, end: float | None = None) -> Outline:
    """Return a band along a path, with a width from `start` to `end`."""
    last = len(path) - 1
    finish = start if end is None else end
    one_side: Outline = []
    other_side: Outline = []
    for i, (x, y) in enumerate(path):
        (ax, ay), (bx, by) = path[max(i - 1, 0)], path[min(i + 1, last)]
        length = math.sqrt((bx - ax) ** 2 + (by - ay) ** 2) or 1.0
        half = (start + (finish - start) * i / max(last, 1)) / 2
        nx = -(by - ay) / length * half
        ny = (bx - ax) / length * half
        one_side.append((x + nx, y + ny))
        other_side.append((x - nx, y - ny))
    return one_side + other_side[::-1]


def profile(
    random: RandomStream, count: int, first: int, *, roughness: float = 0.5, octaves: int = 5
) -> list[float]:
    """Return `count` heights from about −1 to 1: value noise with `first` waves at its coarsest."""
    heights = [0.0] * count
    strength = 1.0
    for octave in range(octaves):
        waves = first * 2**octave
        if waves > count:
            break
        knots = [random.uniform(-1.0, 1.0) for _ in range(waves + 2)]
        for i in range(count):
            heights[i] += strength * _sample_noise(knots, i * waves / count)
        strength *= roughness
    return heights


def _sample_noise(knots: Sequence[float], position: float) -> float:
    index = int(position)
    t = position - index
    return knots[index] + (knots[index + 1] - knots[index]) * t * t * (3 - 2 * t)


def profile_line(heights: Sequence[float], width: float, level: float, swing: float) -> Outline:
    """Return heights as an open line across the width, `swing` up and down around the level."""
    last = len(heights) - 1
    return [(width * i / last, level - swing * h) for i, h in enumerate(heights)]


def area_below(line: Sequence[Point], floor: float) -> Outline:
    """Return the area between an open line and a floor below it."""
    return [*line, (line[-1][0], floor), (line[0][0], floor)]


def height_at(line: Sequence[Point], x: float) -> float:
    """Return the y at x of an open line with even spacing."""
    width = line[-1][0] - line[0][0]
    position = min(max((x - line[0][0]) / width, 0.0), 1.0) * (len(line) - 1)
    index = min(int(position), len(line) - 2)
    return line[index][1] + (line[index + 1][1] - line[index][1]) * (position - index)
