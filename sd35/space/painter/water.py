"""Seas and lakes with their reflections, waterfalls, beaches and reefs."""

from PIL import Image, ImageFilter

from sd35.space.painter.canvas import Canvas, Gradient
from sd35.space.painter.color import RGB, darker, lighter, mix, rgb
from sd35.space.painter.shapes import (
    Outline,
    area_below,
    box,
    height_at,
    lens,
    oval,
    profile,
    profile_line,
    ribbon,
    smooth,
    unit_vector,
)
from sd35.space.painter.stage import Spot, Stage
from sd35.space.painter.streams import RandomStream


def sea(stage: Stage, spot: Spot) -> None:
    """Paint a deep sea with the path of the light on it."""
    _surface(stage, spot, clearness=0.30)
    swell(stage, spot, 34)
    _glitter(stage, spot.random)


def lake(stage: Stage, spot: Spot) -> None:
    """Paint a lake that mirrors the scene above it."""
    _surface(stage, spot, clearness=0.68)
    swell(stage, spot, 14)
    _glitter(stage, spot.random, 0.5)


def _surface(stage: Stage, spot: Spot, clearness: float) -> None:
    """Mirror the image at the horizon, under the color of the water."""
    deep = spot.tint(stage.palette.water)
    near = mix(deep, stage.palette.near, 0.25)
    bright = mix(deep, stage.palette.sky[3], 0.6)
    edge = stage.horizon
    paint = Gradient(((edge, bright), (edge + 0.22 * (stage.h - edge), deep), (stage.h, near)))
    canvas = stage.canvas
    reflection = _mirror(canvas, stage.horizon, spot.random)
    canvas.fill([box(0, edge, canvas.w, canvas.h)], paint)
    top = canvas.to_pixels(edge)
    # The reflection fades towards the viewer, who looks down into the water there.
    fade = Image.linear_gradient("L").resize(reflection.size)
    fade = fade.point([round(255 * clearness * (1 - 0.75 * level / 255)) for level in range(256)])
    canvas.image.paste(reflection, (0, top), fade)
    canvas.fill(
        [lens(canvas.w / 2, edge + 0.001, canvas.w * 0.8, 0.0035)], stage.palette.haze, opacity=0.7
    )


def _mirror(canvas: Canvas, horizon: float, random: RandomStream) -> Image.Image:
    """Return the image above the horizon upside down, as high as the water, with rippled rows."""
    width, height = canvas.image.size
    top = canvas.to_pixels(horizon)
    depth = max(height - top, 1)
    source = canvas.image.crop((0, max(top - depth, 0), width, max(top, 1)))
    flipped = source.transpose(Image.Transpose.FLIP_TOP_BOTTOM).resize(
        (width, depth), Image.Resampling.BILINEAR
    )
    flipped = flipped.filter(ImageFilter.GaussianBlur(canvas.unit / 400))
    # Each row shifts sideways, more so near the viewer.
    waves = profile(random, depth, 24, octaves=3)
    rippled = flipped.copy()
    for row, wave in enumerate(waves):
        shift = round(wave * canvas.unit * 0.011 * (0.15 + row / depth))
        rippled.paste(flipped.crop((0, row, width, row + 1)), (shift, row))
    return rippled


def swell(stage: Stage, spot: Spot, count: int) -> None:
    """Paint streaks of waves, larger towards the viewer."""
    deep = spot.tint(stage.palette.water)
    depth = stage.h - stage.horizon
    for color, opacity in (
        (lighter(deep, 0.55), 0.30),
        (mix(deep, stage.palette.near, 0.55), 0.28),
    ):
        streaks = []
        for _ in range(round(count * stage.w)):
            share = spot.random.uniform(0.03, 1.0) ** 1.5
            half = (0.03 + 0.20 * share) * spot.random.uniform(0.5, 1.2)
            y = stage.horizon + depth * share
            streaks.append(lens(spot.random.uniform(0, stage.w), y, half, 0.001 + 0.0055 * share))
        stage.canvas.fill(streaks, color, opacity=opacity)


def _glitter(stage: Stage, random: RandomStream, opacity: float = 0.8) -> None:
    """Paint the path of light below the sun or moon."""
    x = stage.light[0]
    streaks: list[Outline] = []
    for _ in range(60):
        share = random.uniform(0.0, 1.0) ** 1.3
        spread = 0.035 + 0.11 * share
        shift = (random.uniform(-1, 1) + random.uniform(-1, 1)) * spread * 0.5
        half = (0.012 + 0.055 * share) * random.uniform(0.4, 1.2)
        y = stage.horizon + 0.006 + (stage.h - stage.horizon) * 0.9 * share
        streaks.append(lens(x + shift, y, half, 0.0013 + 0.0038 * share))
    stage.canvas.fill(streaks, lighter(stage.palette.light, 0.1), opacity=opacity)


def waterfall(stage: Stage, spot: Spot) -> None:
    """Paint a waterfall between cliffs."""
    rock = spot.random.choice([stage.palette.land(0.5), stage.palette.land(0.6)])
    brush = spot.brush(stage)
    left_cliff = [(-1.0, 0), (-0.95, 0.5), (-0.72, 0.85), (-0.45, 1.05), (-0.2, 0.98), (0.0, 1.0)]
    right_cliff = [(0.2, 0.98), (0.42, 1.12), (0.62, 0.95), (0.86, 0.72), (0.98, 0.4), (1.1, 0)]
    paint = Gradient(((spot.y - spot.size, rock), (spot.y, mix(rock, stage.palette.haze, 0.35))))
    brush.polygon([*left_cliff, *right_cliff], paint)
    shade = mix(rock, stage.palette.near, 0.5)
    for x, top in ((-0.62, 0.9), (-0.36, 1.0), (0.4, 1.08), (0.66, 0.88)):
        brush.polygon(
            [(x, top), (x + 0.1, top - 0.1), (x + 0.06, 0.1), (x - 0.02, 0.0), (x - 0.05, 0.5)],
            shade,
            0.5,
        )
    white = spot.tint(lighter(stage.palette.water, 0.78))
    brush.blob(
        [(-0.13, 1.0), (0.2, 0.99), (0.22, 0.6), (0.26, 0.0), (-0.2, 0.0), (-0.15, 0.6)], white
    )
    # Strands in the falling water.
    for _ in range(9):
        x = spot.random.uniform(-0.12, 0.18)
        top = spot.random.uniform(0.55, 0.95)
        brush.stroke(
            [(x, top), (x * 1.15, top - 0.3)], 0.014, mix(white, stage.palette.water, 0.4), 0.004
        )
    # Spray at the foot.
    for x in (-0.26, -0.1, 0.06, 0.2, 0.32):
        brush.oval(x, 0.0, 0.13, 0.06, lighter(white, 0.4), 0.7)


def beach(stage: Stage, spot: Spot) -> None:
    """Paint a beach in front of the water, with foam at its edge."""
    sand = stage.palette.illuminate(spot.color or rgb("f1d6a2"))
    depth = stage.h - stage.horizon
    side = spot.random.choice([-1.0, 1.0])
    edge = [
        (
            stage.w * i / 79,
            stage.horizon + depth * (0.66 + side * 0.14 * (i / 39.5 - 1)) - 0.02 * wave,
        )
        for i, wave in enumerate(profile(spot.random, 80, 4, octaves=2))
    ]
    # Shallow water, foam and wet sand, one before another.
    for rise, color, opacity in (
        (0.05, lighter(stage.palette.water, 0.45), 0.45),
        (0.022, lighter(stage.palette.cloud, 0.3), 0.9),
        (0.006, mix(sand, stage.palette.near, 0.3), 0.9),
    ):
        line = [(x, y - rise) for x, y in edge]
        stage.canvas.fill([[*line, (stage.w, stage.h), (0, stage.h)]], color, opacity=opacity)
    paint = Gradient(
        (
            (stage.horizon + depth * 0.5, lighter(sand, 0.2)),
            (stage.h, mix(sand, stage.palette.near, 0.12)),
        )
    )
    stage.canvas.fill([[*edge, (stage.w, stage.h), (0, stage.h)]], paint)
    stage.floor = [(x, y + 0.03) for x, y in edge]


def reef(stage: Stage, spot: Spot) -> None:
    """Paint a scene under water: shafts of light, corals, weed and bubbles."""
    deep = spot.tint(mix(stage.palette.water, rgb("0e5f86"), 0.5))
    stops = (
        (0.0, lighter(deep, 0.62)),
        (stage.h * 0.35, deep),
        (stage.h, mix(deep, rgb("06213f"), 0.7)),
    )
    stage.canvas.wash(Gradient(stops))
    _light_shafts(stage, spot.random, lighter(deep, 0.7))
    for i in range(3):
        line = profile_line(
            profile(spot.random, 80, 2 + i, octaves=3), stage.w, stage.h * (0.80 + 0.065 * i), 0.045
        )
        stage.floor = line
        shade = mix(deep, rgb("0a2f4c"), 0.35 + 0.15 * i)
        _growth(stage, spot.random, line, shade, 0.25 + 0.35 * i)
        color = mix(mix(deep, rgb("e6cf9e"), 0.12 + 0.2 * i), rgb("06213f"), 0.25)
        paint = Gradient(((line[0][1], lighter(color, 0.1)), (stage.h, darker(color, 0.3))))
        stage.canvas.fill([area_below(line, stage.h)], paint)
    bubbles = [
        oval(
            spot.random.uniform(0, stage.w),
            stage.h * spot.random.uniform(0.05, 0.9),
            spot.random.uniform(0.003, 0.011),
        )
        for _ in range(36)
    ]
    stage.canvas.fill(bubbles, lighter(deep, 0.75), opacity=0.4)


def _light_shafts(stage: Stage, random: RandomStream, color: RGB) -> None:
    for i in range(6):
        x = stage.w * (i + random.uniform(0.1, 0.9)) / 6
        half = random.uniform(0.02, 0.06)
        drift = 0.25 * (x - stage.w / 2)
        shaft = [
            (x - half, -0.05),
            (x + half, -0.05),
            (x + drift + 3 * half, stage.h * 0.85),
            (x + drift - 3 * half, stage.h * 0.85),
        ]
        stage.canvas.fill([shaft], color, opacity=0.13, blur=0.008)


def _growth(stage: Stage, random: RandomStream, line: Outline, shade: RGB, nearness: float) -> None:
    """Paint weed and corals along a line of the sea bed."""
    hues = [rgb("f2727f"), rgb("f5a04c"), rgb("c86fc9"), rgb("3fae8f"), rgb("f2c75c")]
    for _ in range(round(11 * stage.w)):
        x = random.uniform(0, stage.w)
        y = height_at(line, x) + 0.02
        tall = random.uniform(0.07, 0.19) * (0.6 + nearness)
        color = mix(random.choice(hues), shade, 0.75 - 0.5 * nearness)
        if random.chance(0.5):
            sway = random.uniform(0.15, 0.3) * tall * random.choice([-1.0, 1.0])
            path = [
                (x, y),
                (x + sway, y - tall * 0.35),
                (x - sway, y - tall * 0.7),
                (x + sway * 0.5, y - tall * 1.2),
            ]
            stage.canvas.fill([ribbon(smooth(path, closed=False), tall * 0.15, 0.002)], color)
        else:
            stage.canvas.fill(_coral(random, x, y, tall), color)


def _coral(random: RandomStream, x: float, y: float, tall: float) -> list[Outline]:
    parts: list[Outline] = []
    for degrees in (-150.0, -120.0, -95.0, -65.0, -35.0):
        c, s = unit_vector(degrees + random.uniform(-10, 10))
        reach = tall * random.uniform(0.6, 0.95)
        tip = (x + c * reach * 0.8, y + s * reach)
        parts += [ribbon([(x, y), tip], tall * 0.16, tall * 0.11), oval(*tip, tall * 0.065)]
    return parts
