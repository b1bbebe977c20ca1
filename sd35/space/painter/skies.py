"""The sky: sun, moon, stars, clouds, and rarer lights."""

import math

from sd35.space.painter.canvas import Gradient
from sd35.space.painter.color import RGB, WHITE, darker, lighter, mix, rgb
from sd35.space.painter.palettes import NAMED_COLORS
from sd35.space.painter.shapes import (
    Outline,
    Point,
    box,
    lens,
    oval,
    profile,
    ribbon,
    star,
    unit_vector,
)
from sd35.space.painter.stage import Spot, Stage
from sd35.space.painter.streams import RandomStream


def sky_gradient(stage: Stage) -> None:
    """Paint the gradient down to the horizon, brighter around the light."""
    zenith, high, low, horizon = stage.palette.sky
    far = stage.horizon
    stops = (
        (0.0, zenith),
        (far * 0.38, high),
        (far * 0.74, low),
        (far, horizon),
        (stage.h, horizon),
    )
    stage.canvas.wash(Gradient(stops))
    x, y = stage.light
    strength = 0.35 if stage.palette.is_dark else 0.6
    warm = mix(stage.palette.light, stage.palette.sky[3], 0.4)
    stage.canvas.glow(x, y, 0.95, warm, strength * 0.6)
    stage.canvas.glow(x, y, 0.42, warm, strength)


def sun_disc(stage: Stage, spot: Spot) -> None:
    """Paint a plain sun, or a crescent at night, for scenes without either word."""
    if stage.palette.is_dark:
        _crescent(stage, spot.x, spot.y, spot.size * 0.75, stage.palette.light)
        return
    stage.canvas.glow(spot.x, spot.y, spot.size * 2.6, stage.palette.light, 0.5)
    stage.canvas.fill([oval(spot.x, spot.y, spot.size)], stage.palette.light)


def sun(stage: Stage, spot: Spot) -> None:
    """Paint a large sun with rings of light around it."""
    color = spot.color or mix(stage.palette.light, NAMED_COLORS["yellow"], 0.12)
    for ring, opacity in ((2.5, 0.10), (1.95, 0.13), (1.45, 0.20)):
        stage.canvas.fill([oval(spot.x, spot.y, spot.size * ring)], color, opacity=opacity)
    stage.canvas.glow(spot.x, spot.y, spot.size * 3.4, color, 0.6)
    edge = mix(color, NAMED_COLORS["orange"], 0.28)
    shade = Gradient(((spot.y - spot.size, lighter(color, 0.25)), (spot.y + spot.size, edge)))
    stage.canvas.fill([oval(spot.x, spot.y, spot.size)], shade)


def moon(stage: Stage, spot: Spot) -> None:
    """Paint a full moon with its seas."""
    color = spot.color or mix(stage.palette.light, rgb("f4ecd2"), 0.5)
    stage.canvas.glow(spot.x, spot.y, spot.size * 3.2, color, 0.55)
    stage.canvas.fill([oval(spot.x, spot.y, spot.size)], color)
    shadow = mix(color, stage.palette.sky[1], 0.22)
    for _ in range(7):
        x, y = unit_vector(spot.random.uniform(0, 360))
        reach = spot.random.uniform(0.15, 0.68)
        radius = spot.random.uniform(0.07, 0.22)
        center = (spot.x + x * reach * spot.size, spot.y + y * reach * spot.size)
        stage.canvas.fill([oval(*center, radius * spot.size)], shadow, opacity=0.75)


def _crescent(stage: Stage, x: float, y: float, size: float, color: RGB) -> None:
    stage.canvas.glow(x, y, size * 4, color, 0.4)
    bite = oval(x + size * 0.42, y - size * 0.22, size * 0.86)
    stage.canvas.fill([oval(x, y, size)], color, holes=[bite])


def faint_stars(stage: Stage, spot: Spot) -> None:
    """Paint the faint stars of any night."""
    _points(stage, spot.random, round(90 * stage.w * stage.h), 0.0016, 0.75)


def stars(stage: Stage, spot: Spot) -> None:
    """Paint a sky full of stars, some of them sparkling."""
    color = spot.color or mix(stage.palette.light, WHITE, 0.5)
    _points(stage, spot.random, round(240 * stage.w * stage.h), 0.0022, 0.95, color)
    for _ in range(round(13 * max(stage.w, 1.0))):
        x = spot.random.uniform(0, stage.w)
        y = spot.random.uniform(0.02, stage.horizon * 0.8)
        size = spot.random.uniform(0.010, 0.024)
        stage.canvas.glow(x, y, size * 2.2, color, 0.5)
        stage.canvas.fill([star(x, y, size, size * 0.16, 4)], color)


def _points(
    stage: Stage,
    random: RandomStream,
    count: int,
    size: float,
    opacity: float,
    color: RGB | None = None,
) -> None:
    for share in (1.0, 0.6, 0.3):
        dots = [
            oval(
                random.uniform(0, stage.w),
                stage.horizon * random.uniform(0, 1) ** 1.5,
                size * (1.6 - share),
            )[::6]
            for _ in range(round(count * share / 2))
        ]
        stage.canvas.fill(dots, color or stage.palette.light, opacity=opacity * share)


def galaxy(stage: Stage, spot: Spot) -> None:
    """Paint a band of star clouds across the sky."""
    hues = [spot.color] * 3 if spot.color else [rgb("8a6be0"), rgb("e07ab8"), rgb("5fb8e8")]
    slope = spot.random.choice([-0.55, 0.55])
    for i in range(26):
        x = stage.w * (i + spot.random.uniform(-1, 1)) / 25
        y = (
            stage.horizon * 0.42
            + slope * (x - stage.w / 2) * 0.8
            + spot.random.uniform(-0.07, 0.07)
        )
        stage.canvas.glow(x, y, spot.random.uniform(0.09, 0.26), spot.random.choice(hues), 0.32)
    # Stars cluster around the band: the sum of two uniform draws has a peak.
    band = []
    for _ in range(round(300 * stage.w)):
        x = spot.random.uniform(0, stage.w)
        drift = (spot.random.uniform(-1, 1) + spot.random.uniform(-1, 1)) * 0.09
        y = stage.horizon * 0.42 + slope * (x - stage.w / 2) * 0.8 + drift
        band.append(oval(x, y, spot.random.uniform(0.0008, 0.0026))[::6])
    stage.canvas.fill(
        [dot for dot in band if dot[0][1] < stage.h], lighter(hues[1], 0.75), opacity=0.85
    )


def thin_clouds(stage: Stage, spot: Spot) -> None:
    """Paint the few thin clouds of a fair sky."""
    for _ in range(spot.random.choice([2, 3, 4])):
        _streak(stage, spot.random, spot.random.uniform(0.25, 0.85) * stage.horizon)


def _streak(stage: Stage, random: RandomStream, y: float) -> None:
    x = random.uniform(0, stage.w)
    half = random.uniform(0.12, 0.34)
    parts = []
    for _ in range(4):
        shift = random.uniform(-0.5, 0.5) * half
        row = y + random.uniform(-0.016, 0.016)
        parts.append(
            lens(x + shift, row, half * random.uniform(0.4, 0.9), random.uniform(0.004, 0.011))
        )
    stage.canvas.fill(parts, stage.palette.cloud, opacity=0.5)


def clouds(stage: Stage, spot: Spot) -> None:
    """Paint cumulus clouds with flat bases, larger as they come near."""
    color = spot.color or stage.palette.cloud
    count = round(5 * max(stage.w, 1.0))
    for i in range(count):
        nearness = 1 - i / count
        y = stage.horizon * (0.16 + 0.62 * (1 - nearness) + spot.random.uniform(-0.05, 0.05))
        # Steps of the golden ratio spread few clouds evenly, in no visible order.
        x = stage.w * ((i * 0.618 + spot.random.uniform(-0.1, 0.1) + 0.12) % 1.0)
        cumulus(stage, spot.random, x, y, spot.size * (0.35 + 0.65 * nearness), color)


def cumulus(
    stage: Stage, random: RandomStream, x: float, base: float, size: float, color: RGB
) -> None:
    """Paint one cumulus cloud, lit from above."""
    bumps: list[Outline] = []
    count = random.choice([4, 5, 6])
    for i in range(count):
        position = 2 * (i + 0.5) / count - 1
        radius = size * (0.24 + 0.30 * (1 - position * position)) * random.uniform(0.75, 1.1)
        bumps.append(oval(x + position * size * 1.05, base - radius * 0.55, radius, radius * 0.86))
    bumps.append(lens(x, base - size * 0.06, size * 1.22, size * 0.13))
    top = base - size * 0.95
    shade = mix(color, stage.palette.sky[2], 0.55)
    below = [box(x - 3 * size, base, x + 3 * size, base + size)]
    paint = Gradient(((top, lighter(color, 0.2)), (base - size * 0.35, color), (base, shade)))
    stage.canvas.fill(bumps, paint, opacity=0.93, holes=below)


def rainbow(stage: Stage, spot: Spot) -> None:
    """Paint a rainbow from horizon to horizon."""
    x = stage.w * spot.random.uniform(0.42, 0.58)
    y = stage.horizon + 0.06
    outer = min(stage.w * 0.46, stage.horizon * 0.98)
    hues = ("e8483f", "f2913d", "f7d850", "5fbf6b", "3f93d9", "6a5cc4", "9a5cb8")
    band = outer * 0.026
    for i, code in enumerate(hues):
        ring = _arch(x, y, outer - (i + 0.5) * band)
        stage.canvas.fill([ribbon(ring, band * 1.05)], rgb(code), opacity=0.62, blur=0.0015)


def _arch(x: float, y: float, radius: float) -> list[Point]:
    return [
        (x - radius * unit_vector(3 * i)[0], y - radius * unit_vector(3 * i)[1]) for i in range(61)
    ]


def aurora(stage: Stage, spot: Spot) -> None:
    """Paint curtains of northern light."""
    hues = [spot.color] * 3 if spot.color else [rgb("3df2a0"), rgb("2fd0c8"), rgb("a35cf0")]
    for i, hue in enumerate(hues):
        bend = profile(spot.random, 60, 2, octaves=2)
        level = stage.horizon * (0.62 - 0.13 * i)
        _curtain(stage, spot.random, [level - 0.10 * b for b in bend], hue)


def _curtain(stage: Stage, random: RandomStream, line: list[float], hue: RGB) -> None:
    last = len(line) - 1
    heights = profile(random, len(line), 6, octaves=2)
    for reach, opacity in ((1.0, 0.16), (0.7, 0.2), (0.42, 0.26), (0.2, 0.32)):
        lower = [(stage.w * i / last, y) for i, y in enumerate(line)]
        upper = [
            (x, y - reach * (0.34 + 0.10 * h)) for (x, y), h in zip(lower, heights, strict=True)
        ]
        stage.canvas.fill([lower + upper[::-1]], hue, opacity=opacity, blur=0.014)


def planet(stage: Stage, spot: Spot) -> None:
    """Paint a banded planet with a ring."""
    base = spot.color or spot.random.choice(
        [rgb("e0925a"), rgb("c86f86"), rgb("6f9fc8"), rgb("d9b06a")]
    )
    x = spot.x
    y = spot.y
    size = spot.size
    stage.canvas.glow(x, y, size * 2.4, base, 0.35)
    # Bands.
    stops = []
    for i in range(9):
        tone = mix(base, WHITE, 0.35) if i % 2 else darker(base, 0.12 * spot.random.uniform(0, 2))
        stops += [(y - size + size * i * 2 / 9, tone), (y - size + size * (i + 0.8) * 2 / 9, tone)]
    globe = oval(x, y, size)
    stage.canvas.fill([globe], Gradient(tuple(stops)))
    # What lies outside of this shifted disc is in the shade.
    shadow = oval(x - size * 0.30, y - size * 0.22, size * 1.06)
    stage.canvas.fill([globe], stage.palette.sky[0], opacity=0.5, holes=[shadow])
    _ring(stage, spot, lighter(base, 0.55))


def _ring(stage: Stage, spot: Spot, color: RGB) -> None:
    size = spot.size

    def tilted_arc(radius: float, part: range) -> list[Point]:
        points = [
            (unit_vector(i * 5)[0] * radius, unit_vector(i * 5)[1] * radius * 0.26) for i in part
        ]
        return [(spot.x + px + 0.3 * py, spot.y + py - 0.3 * px) for px, py in points]

    for radius, width in ((1.55, 0.16), (1.83, 0.09)):
        # The ring passes behind the globe at the top, and before it at the bottom.
        front = ribbon(tilted_arc(size * radius, range(-2, 39)), size * width)
        behind = ribbon(tilted_arc(size * radius, range(36, 73)), size * width)
        stage.canvas.fill([behind], color, opacity=0.75, holes=[oval(spot.x, spot.y, size)])
        stage.canvas.fill([front], color, opacity=0.9)


def comet(stage: Stage, spot: Spot) -> None:
    """Paint a comet and its tail."""
    color = spot.color or lighter(stage.palette.light, 0.4)
    c, s = unit_vector(spot.random.uniform(195, 225))
    for length, width, opacity in ((4.2, 0.34, 0.18), (3.2, 0.24, 0.3), (2.0, 0.16, 0.55)):
        tail = (spot.x + c * length * spot.size, spot.y + s * length * spot.size)
        stage.canvas.fill(
            [ribbon([(spot.x, spot.y), tail], width * spot.size, 0.0)], color, opacity=opacity
        )
    stage.canvas.glow(spot.x, spot.y, spot.size * 0.9, color, 0.9)
    stage.canvas.fill([oval(spot.x, spot.y, spot.size * 0.13)], lighter(color, 0.6))


def lightning(stage: Stage, spot: Spot) -> None:
    """Paint forked lightning from the clouds to the horizon."""
    x = spot.x
    path: list[Point] = [(x, stage.horizon * 0.14)]
    for i in range(1, 10):
        x += spot.random.uniform(-0.05, 0.05)
        path.append((x, stage.horizon * (0.14 + 0.88 * i / 9)))
    forks = [ribbon(path, 0.013, 0.004)]
    for start in (3, 5, 6):
        side = spot.random.choice([-1.0, 1.0])
        px, py = path[start]
        ends = [(px, py), (px + side * 0.05, py + 0.05), (px + side * 0.075, py + 0.12)]
        forks.append(ribbon(ends, 0.007, 0.001))
    stage.canvas.glow(*path[4], 0.5, rgb("b9c4ff"), 0.6)
    # A soft halo under the bright core.
    stage.canvas.fill(forks, rgb("dfe3ff"), opacity=0.8, blur=0.006)
    stage.canvas.fill(forks, rgb("fffdf2"))


def rays(stage: Stage, x: float, y: float, color: RGB, opacity: float) -> None:
    """Paint beams that spread from a point."""
    beams = []
    for i in range(16):
        (ax, ay), (bx, by) = unit_vector(22.5 * i - 3.6), unit_vector(22.5 * i + 3.6)
        reach = math.sqrt(stage.w**2 + stage.h**2)
        beams.append([(x, y), (x + ax * reach, y + ay * reach), (x + bx * reach, y + by * reach)])
    stage.canvas.fill(beams, color, opacity=opacity)
