"""Abstract compositions for prompts without a known word."""

from collections.abc import Callable

from sd35.space.painter.canvas import Canvas, Gradient
from sd35.space.painter.color import RGB, lighter, mix, rgb
from sd35.space.painter.shapes import (
    area_below,
    box,
    lens,
    oval,
    profile,
    profile_line,
    ribbon,
    smooth,
    unit_vector,
)
from sd35.space.painter.streams import RandomStream

_PALETTES = (
    "f4ead7 1f3a4d e4572e f3a712 76b5a0 29335c",
    "f2e9e4 22223b c9ada7 9a8c98 e07a5f 4a4e69",
    "fdf0d5 003049 c1121f 669bbc f2b880 780000",
    "eef2e6 1c6758 3d8361 d6cda4 f08a4b 12343b",
    "f7e9d7 5b2a86 9b5de5 f15bb5 fee440 00bbf9",
    "e9f5f2 264653 2a9d8f e9c46a f4a261 e76f51",
    "141e30 f2d0a4 e87a5d 3b5b92 f3b941 7fb7be",
    "10131f f72585 7209b7 4361ee 4cc9f0 f9c74f",
)


def abstract(canvas: Canvas, random: RandomStream) -> None:
    """Paint a composition whose kind, colors and shapes all come from the stream."""
    colors = [rgb(code) for code in random.choice(_PALETTES).split()]
    if random.chance(0.5):
        colors[2:] = colors[:1:-1]
    tint = mix(colors[0], colors[3], 0.28)
    canvas.wash(Gradient(((0.0, colors[0]), (canvas.h, tint))))
    random.choice(_COMPOSITIONS)(canvas, random, colors)


def _random_point(canvas: Canvas, random: RandomStream) -> tuple[float, float]:
    return random.uniform(0.08, 0.92) * canvas.w, random.uniform(0.08, 0.92) * canvas.h


def _discs(canvas: Canvas, random: RandomStream, colors: list[RGB]) -> None:
    """Paint overlapping discs, arcs and lines, in the manner of the Bauhaus."""
    for i in range(round(9 * max(canvas.w, canvas.h))):
        x, y = _random_point(canvas, random)
        size = random.uniform(0.05, 0.26) * (1.25 if i < 3 else 0.8)
        color = colors[1 + i % 5]
        paint = Gradient(((y - size, lighter(color, 0.18)), (y + size, color)))
        hole = [oval(x, y, size * random.uniform(0.45, 0.85))] if random.chance(0.35) else []
        below = [box(x - size, y, x + size, y + size)] if random.chance(0.3) else []
        canvas.fill([oval(x, y, size)], paint, opacity=0.9, holes=hole + below)
    for i in range(6):
        x, y = _random_point(canvas, random)
        c, s = unit_vector(random.choice([0.0, 45.0, 90.0, 135.0]))
        reach = random.uniform(0.15, 0.5)
        canvas.fill(
            [ribbon([(x - c * reach, y - s * reach), (x + c * reach, y + s * reach)], 0.008)],
            colors[1 + i % 5],
        )


def _waves(canvas: Canvas, random: RandomStream, colors: list[RGB]) -> None:
    """Paint bands that swell across the image, with a disc above them."""
    x = random.uniform(0.25, 0.75) * canvas.w
    y = random.uniform(0.2, 0.4) * canvas.h
    size = random.uniform(0.12, 0.2)
    canvas.glow(x, y, size * 2.5, colors[4], 0.4)
    canvas.fill([oval(x, y, size)], colors[random.choice([2, 3, 4])])
    count = random.choice([6, 7, 8, 9])
    for i in range(count):
        level = canvas.h * (0.34 + 0.72 * i / count)
        line = profile_line(profile(random, 90, 1 + i % 3, octaves=2), canvas.w, level, 0.11)
        color = mix(colors[1 + i % 5], colors[1], 0.5 * i / count)
        paint = Gradient(((level - 0.15, lighter(color, 0.22)), (level + 0.3, color)))
        canvas.fill([area_below(line, canvas.h)], paint, opacity=0.94)


def _stones(canvas: Canvas, random: RandomStream, colors: list[RGB]) -> None:
    """Paint large overlapping shapes with soft corners, and sprigs and dots between them."""
    for i in range(round(7 * max(canvas.w, canvas.h))):
        x, y = _random_point(canvas, random)
        size = random.uniform(0.12, 0.34)
        tilt = random.uniform(0, 60)
        points = []
        for k in range(7):
            c, s = unit_vector(tilt + 360 / 7 * k)
            reach = size * random.uniform(0.65, 1.1)
            points.append((x + c * reach, y + s * reach))
        canvas.fill([smooth(points)], colors[1 + i % 5], opacity=0.88)
        grain = [oval(*_nearby_point(random, x, y, size * 0.6), 0.0045)[::6] for _ in range(24)]
        canvas.fill(grain, lighter(colors[1 + i % 5], 0.5), opacity=0.8)
    for i in range(3):
        _sprig(canvas, random, colors[1 + i])


def _nearby_point(random: RandomStream, x: float, y: float, reach: float) -> tuple[float, float]:
    return x + random.uniform(-reach, reach), y + random.uniform(-reach, reach)


def _sprig(canvas: Canvas, random: RandomStream, color: RGB) -> None:
    x = random.uniform(0.1, 0.9) * canvas.w
    y = canvas.h * random.uniform(0.6, 1.0)
    lean = random.uniform(-0.12, 0.12)
    stem = smooth([(x, y), (x + lean * 0.3, y - 0.15), (x + lean, y - 0.36)], closed=False)
    canvas.fill([ribbon(stem, 0.007, 0.003)], color)
    for i in range(2, len(stem), 2):
        px, py = stem[i]
        for degrees in (-35.0, -145.0):
            c, s = unit_vector(degrees)
            leaf = lens(0.045, 0, 0.045, 0.015)
            canvas.fill([[(px + lx * c - ly * s, py + lx * s + ly * c) for lx, ly in leaf]], color)


def _tiles(canvas: Canvas, random: RandomStream, colors: list[RGB]) -> None:
    """Paint a quilt of quarter discs, triangles and rings."""
    pitch = 1 / random.choice([4, 5, 6])
    for row in range(round(canvas.h / pitch + 0.49)):
        for column in range(round(canvas.w / pitch + 0.49)):
            x = column * pitch
            y = row * pitch
            back = random.choice(colors)
            front = random.choice(colors[1:])
            canvas.fill([box(x, y, x + pitch, y + pitch)], back)
            _tile(canvas, random, (x, y, pitch), front)


def _tile(
    canvas: Canvas, random: RandomStream, square: tuple[float, float, float], color: RGB
) -> None:
    x, y, size = square
    corner = random.choice([(x, y), (x + size, y), (x, y + size), (x + size, y + size)])
    outside = [
        box(x - size, y - size, x, y + 2 * size),
        box(x + size, y - size, x + 2 * size, y + 2 * size),
        box(x - size, y - size, x + 2 * size, y),
        box(x - size, y + size, x + 2 * size, y + 2 * size),
    ]
    kind = random.choice(["quarter", "quarter", "ring", "triangle", "dot", "plain"])
    if kind == "quarter":
        canvas.fill([oval(*corner, size)], color, holes=outside)
    elif kind == "ring":
        canvas.fill(
            [oval(*corner, size * 0.95)], color, holes=[oval(*corner, size * 0.55), *outside]
        )
    elif kind == "triangle":
        canvas.fill(
            [
                [
                    corner,
                    (2 * x + size - corner[0], corner[1]),
                    (corner[0], 2 * y + size - corner[1]),
                ]
            ],
            color,
        )
    elif kind == "dot":
        canvas.fill([oval(x + size / 2, y + size / 2, size * 0.3)], color)


_COMPOSITIONS: tuple[Callable[[Canvas, RandomStream, list[RGB]], None], ...] = (
    _discs,
    _waves,
    _stones,
    _tiles,
)
