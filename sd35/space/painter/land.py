"""Mountains, hills and the ground in the foreground."""

from itertools import pairwise

from sd35.space.painter.canvas import Brush, Gradient
from sd35.space.painter.color import RGB, darker, lighter, mix, rgb
from sd35.space.painter.shapes import (
    Outline,
    Point,
    area_below,
    height_at,
    lens,
    oval,
    profile,
    profile_line,
    ribbon,
    smooth,
)
from sd35.space.painter.stage import Spot, Stage
from sd35.space.painter.streams import RandomStream


def _haze_gradient(stage: Stage, color: RGB, top: float, share: float) -> Gradient:
    """Return a gradient from a color at the top into haze at the horizon."""
    return Gradient(((top, color), (stage.horizon, mix(color, stage.palette.haze, share))))


def _paint_range(stage: Stage, line: list[Point], color: RGB, share: float) -> None:
    top = min(y for _, y in line)
    stage.canvas.fill([area_below(line, stage.h)], _haze_gradient(stage, color, top, share))


def hills(stage: Stage, spot: Spot) -> None:
    """Paint soft ranges of hills up to the horizon."""
    for i in range(3):
        nearness = 0.12 + 0.2 * i
        heights = profile(spot.random, 90, 2 + i, roughness=0.32, octaves=3)
        level = stage.horizon - spot.size * (0.34 - 0.13 * i)
        line = profile_line(heights, stage.w, level, spot.size * 0.16)
        color = spot.tint(stage.palette.land(nearness))
        _paint_range(stage, line, color, 0.5)


def rolling_hills(stage: Stage, spot: Spot) -> None:
    """Paint high round hills with striped fields."""
    for i in range(4):
        heights = profile(spot.random, 90, 2 + i % 2, roughness=0.2, octaves=2)
        level = stage.horizon - spot.size * (0.5 - 0.16 * i)
        line = profile_line(heights, stage.w, level, spot.size * 0.3)
        color = spot.tint(mix(stage.palette.land(0.15 + 0.15 * i), stage.palette.ground, 0.45))
        _paint_range(stage, line, color, 0.35)
        for step in (0.035, 0.075, 0.12):
            stripe = [(x, y + step) for x, y in line]
            stage.canvas.fill([ribbon(stripe, 0.005)], lighter(color, 0.18), opacity=0.4)


def mountains(stage: Stage, spot: Spot) -> None:
    """Paint three ranges of mountains, paler with distance, with snow and shadow."""
    for i in range(3):
        color = spot.tint(stage.palette.land(0.08 + 0.24 * i))
        height = spot.size * (1.0 - 0.22 * i)
        peaks = _peaks(stage, spot.random, height, 0.15 * i)
        line = _crest(spot.random, peaks, stage.horizon, height)
        _paint_range(stage, line, color, 0.62)
        _facets(stage, spot.random, line, peaks, color)
        # The nearest range is too low for snow.
        if i < 2:
            _snow(stage, spot.random, line, height, 0.5 + 0.2 * i)


def _peaks(stage: Stage, random: RandomStream, height: float, shift: float) -> list[Point]:
    """Return summits and the passes between them, from beyond the left edge to beyond the right."""
    points: list[Point] = []
    # Summits and passes beyond both edges keep the range from ending in the image.
    x = -0.9 + shift + random.uniform(0.0, 0.4)
    while x < stage.w + 0.6:
        summit = stage.horizon - height * random.uniform(0.6, 1.0)
        points.append((x, summit))
        x += height * random.uniform(0.42, 0.75)
        points.append((x, stage.horizon - height * random.uniform(0.22, 0.42)))
        x += height * random.uniform(0.38, 0.65)
    return points


def _crest(random: RandomStream, peaks: list[Point], horizon: float, height: float) -> list[Point]:
    line: list[Point] = []
    for (ax, ay), (bx, by) in pairwise(peaks):
        for step in range(12):
            t = step / 12
            rough = 0.0 if step == 0 else random.uniform(-0.022, 0.022) * height
            # Steeper towards the summit: a mountain's foot spreads.
            eased = t * (0.72 + 0.28 * t) if ay > by else 1 - (1 - t) * (0.72 + 0.28 * (1 - t))
            line.append((ax + (bx - ax) * t, min(ay + (by - ay) * eased + rough, horizon)))
    return [*line, peaks[-1]]


def _facets(
    stage: Stage, random: RandomStream, line: list[Point], peaks: list[Point], color: RGB
) -> None:
    """Paint the side of each peak that faces away from the light."""
    away = 1 if stage.light[0] < stage.w / 2 else -1
    facets: list[Outline] = []
    for index in range(0, len(peaks) - 1, 2):
        first = index * 12
        # Twelve points lead from a summit to the next pass.
        side = line[first : first + 13] if away > 0 else line[max(first - 12, 0) : first + 1][::-1]
        if len(side) < 13:
            continue
        (px, py), (vx, vy) = side[0], side[-1]
        depth = (vy - py) * 1.25
        spine = []
        for step in range(7, 0, -1):
            drift = random.uniform(-0.10, 0.16) * depth
            spine.append((px + away * drift * step / 7, py + depth * step / 7))
        facets.append([*side, (vx - away * 0.2 * depth, vy + depth * 0.12), *spine])
    shadow = mix(darker(color, 0.28), stage.palette.sky[0], 0.25)
    bottom = mix(shadow, stage.palette.haze, 0.6)
    top = min(y for _, y in line)
    stage.canvas.fill(facets, Gradient(((top, shadow), (stage.horizon, bottom))), opacity=0.55)


def _snow(
    stage: Stage, random: RandomStream, line: list[Point], height: float, limit: float
) -> None:
    """Paint the snow above a ragged line."""
    lower = []
    for i, (x, y) in enumerate(line):
        ragged = (0.07 if i % 2 else -0.05) + random.uniform(-0.03, 0.03)
        level = stage.horizon - height * (limit + 0.22 + ragged)
        lower.append((x, max(y, min(level, y + height * 0.30))))
    color = mix(lighter(stage.palette.light, 0.3), stage.palette.haze, 0.25)
    stage.canvas.fill([line + lower[::-1]], color, opacity=0.85)


def volcano(stage: Stage, spot: Spot) -> None:
    """Paint a smoking volcano with lava on its flanks."""
    color = spot.tint(stage.palette.land(0.5))
    brush = spot.brush(stage)
    rock = mix(color, stage.palette.haze, 0.15)
    # Smoke, darkest where it leaves the crater.
    for i in range(7):
        puff = 0.10 + 0.035 * i
        tone = mix(stage.palette.cloud, darker(stage.palette.near, 0.1), 0.55 - 0.05 * i)
        brush.oval(
            0.05 * i + spot.random.uniform(-0.03, 0.03),
            1.02 + 0.11 * i,
            puff,
            puff * 0.85,
            tone,
            0.75,
        )
    stage.canvas.glow(*brush.to_canvas(0, 1.0), spot.size * 0.5, rgb("ff6a2f"), 0.8)
    cone = [
        (-1.15, 0),
        (-0.7, 0.22),
        (-0.36, 0.62),
        (-0.15, 1.0),
        (0.15, 1.0),
        (0.36, 0.62),
        (0.7, 0.22),
        (1.15, 0),
    ]
    shape = smooth(brush.outline(cone), closed=False)
    stage.canvas.fill([shape], _haze_gradient(stage, rock, shape[0][1] - spot.size, 0.45))
    brush.polygon(
        [(0.15, 1.0), (0.36, 0.62), (0.7, 0.22), (1.1, 0.0), (0.2, 0), (0.12, 0.4), (0.0, 0.7)],
        darker(rock, 0.3),
        0.5,
    )
    _lava(brush)


def _lava(brush: Brush) -> None:
    lava = rgb("ff7a35")
    brush.stroke([(-0.02, 1.0), (-0.06, 0.75), (0.02, 0.5), (-0.08, 0.2)], 0.06, lava, 0.015)
    brush.stroke([(0.09, 1.0), (0.17, 0.75), (0.16, 0.55)], 0.045, lava, 0.01)
    brush.stroke([(-0.1, 1.0), (-0.2, 0.72), (-0.3, 0.5)], 0.04, lava, 0.01)
    brush.oval(0, 1.0, 0.15, 0.03, rgb("ffd07a"))


def island(stage: Stage, spot: Spot) -> None:
    """Paint a rocky island in the water."""
    brush = spot.brush(stage)
    rock = spot.tint(stage.palette.land(0.4))
    heights = [0.0, 0.12, 0.35, 0.5, 0.42, 0.66, 0.55, 0.3, 0.16, 0.08, 0.0]
    line = [(-1.0 + 0.2 * i, h * spot.random.uniform(0.85, 1.1)) for i, h in enumerate(heights)]
    shape = smooth(brush.outline(line), closed=False)
    stage.canvas.fill(
        [shape],
        Gradient(((spot.y - spot.size * 0.6, rock), (spot.y, mix(rock, stage.palette.haze, 0.3)))),
    )
    green = spot.tone(stage, rgb("4f8f58"))
    crowns = [(x, y) for x, y in line[2:9]]
    for x, y in crowns:
        brush.oval(x, y, 0.13, 0.08, mix(green, rock, 0.25))
    stage.canvas.fill(
        [lens(spot.x, spot.y, spot.size * 1.15, 0.007)], lighter(stage.palette.water, 0.5)
    )


def ground(stage: Stage, spot: Spot) -> None:
    """Paint the foreground: overlapping slopes, darker as they come near."""
    base = spot.tint(stage.palette.ground)
    lines = slopes(stage, spot)
    for i, line in enumerate(lines):
        nearness = i / max(len(lines) - 1, 1)
        color = mix(
            mix(base, stage.palette.haze, 0.3), mix(base, stage.palette.near, 0.45), nearness
        )
        top = min(y for _, y in line)
        paint = Gradient(((top, lighter(color, 0.09)), (top + 0.3, darker(color, 0.16))))
        stage.canvas.fill([area_below(line, stage.h)], paint)
    stage.floor = lines[-1]
    _tufts(stage, spot, base)


def shore(stage: Stage, spot: Spot) -> None:
    """Paint the near bank of a water, for things to stand on."""
    base = spot.tint(stage.palette.ground)
    side = spot.random.choice([-1.0, 1.0])
    bends = profile(spot.random, 80, 2, roughness=0.3, octaves=3)
    level = stage.h - 0.145
    line = [
        (stage.w * i / 79, level + side * 0.05 * (i / 39.5 - 1) - 0.018 * b)
        for i, b in enumerate(bends)
    ]
    # A light rim where water meets the land.
    rim = [(x, y - 0.006) for x, y in line]
    stage.canvas.fill([area_below(rim, stage.h)], lighter(stage.palette.water, 0.5), opacity=0.6)
    color = mix(base, stage.palette.near, 0.35)
    paint = Gradient(((level - 0.06, lighter(color, 0.1)), (stage.h, darker(color, 0.2))))
    stage.canvas.fill([area_below(line, stage.h)], paint)
    stage.floor = line
    _tufts(stage, spot, base)


def moonscape(stage: Stage, spot: Spot) -> None:
    """Paint the cratered ground of a moon."""
    stone = rgb("8d90b8")
    for i, rise in enumerate((0.10, 0.0)):
        line = profile_line(
            profile(spot.random, 80, 2 + i, roughness=0.4, octaves=4),
            stage.w,
            stage.h * 0.83 - rise,
            0.03,
        )
        color = mix(stone, rgb("2b2a52"), 0.45 - 0.2 * i)
        stage.canvas.fill(
            [area_below(line, stage.h)],
            Gradient(((line[0][1], color), (stage.h, darker(color, 0.45)))),
        )
        stage.floor = line
    for _ in range(round(11 * stage.w)):
        x = spot.random.uniform(0, stage.w)
        y = stage.h - 0.15 * spot.random.uniform(0, 1)
        size = 0.02 + 0.05 * spot.random.uniform(0.2, 1) * (1 - (stage.h - y) / 0.2)
        # Craters: the dark rim above, and the lit bottom over it.
        stage.canvas.fill([oval(x, y, size, size * 0.3)], darker(stone, 0.6))
        stage.canvas.fill([oval(x, y + size * 0.07, size * 0.93, size * 0.23)], darker(stone, 0.42))


def slopes(stage: Stage, spot: Spot) -> list[Outline]:
    """Return the upper edges of the foreground's slopes, from far to near."""
    depth = stage.h - stage.horizon
    lines = []
    for i, share in enumerate((0.0, 0.26, 0.55)):
        heights = profile(spot.random, 80, 1 + i % 2, roughness=0.25, octaves=2)
        lines.append(
            profile_line(heights, stage.w, stage.horizon + depth * share, min(depth, 0.5) * 0.13)
        )
    return lines


def _tufts(stage: Stage, spot: Spot, base: RGB) -> None:
    blades: list[Outline] = []
    for _ in range(round(70 * stage.w)):
        x = spot.random.uniform(0, stage.w)
        y = height_at(stage.floor, x) + (stage.h - height_at(stage.floor, x)) * spot.random.uniform(
            0.08, 1.0
        )
        tall = 0.012 + 0.03 * max(y - stage.horizon, 0.0)
        left_foot = (x - tall * 0.12, y)
        right_foot = (x + tall * 0.12, y)
        blades += [
            [left_foot, (x + lean * tall, y - tall), right_foot] for lean in (-0.5, 0.0, 0.5)
        ]
    stage.canvas.fill(blades, mix(base, stage.palette.near, 0.72), opacity=0.42)


def meadow(stage: Stage, spot: Spot) -> None:
    """Paint a meadow in flower."""
    ground(stage, spot)
    hues = (
        [spot.color] if spot.color else [rgb("f6d357"), rgb("f7f2e4"), rgb("e8718d"), rgb("9a7fd0")]
    )
    for hue in hues:
        dots = []
        for _ in range(round(240 * stage.w / len(hues))):
            x = spot.random.uniform(0, stage.w)
            depth = spot.random.uniform(0, 1) ** 1.3
            # More flowers in the distance, and smaller ones.
            y = height_at(stage.floor, x) + (stage.h - height_at(stage.floor, x)) * depth
            dots.append(oval(x, y, 0.0022 + 0.0075 * depth)[::6])
        stage.canvas.fill(dots, stage.palette.illuminate(hue))


def road(stage: Stage, spot: Spot) -> None:
    """Paint a road that winds to the horizon."""
    color = spot.tone(stage, rgb("6b6670"))
    path = _winding_path(stage, spot, 1.0)
    stage.canvas.fill([_perspective(stage, path, 0.40)], mix(color, stage.palette.near, 0.25))
    # Center line.
    dashes = [path[i : i + 4] for i in range(4, len(path) - 4, 7)]
    for dash in dashes:
        width = 0.022 * _nearness(stage, dash[0][1])
        stage.canvas.fill([ribbon(dash, width)], stage.palette.illuminate(rgb("fbf3d8")))


def river(stage: Stage, spot: Spot) -> None:
    """Paint a river that meanders towards the viewer."""
    color = spot.tint(mix(stage.palette.water, stage.palette.sky[2], 0.35))
    path = _winding_path(stage, spot, 1.25)
    bank = mix(stage.palette.ground, stage.palette.near, 0.5)
    stage.canvas.fill([_perspective(stage, path, 0.80)], bank, opacity=0.8)
    paint = Gradient(((stage.horizon, mix(color, stage.palette.sky[3], 0.65)), (stage.h, color)))
    stage.canvas.fill([_perspective(stage, path, 0.72)], paint)
    glints = []
    for i in range(3, len(path) - 2, 3):
        width = 0.3 * _nearness(stage, path[i][1])
        x = path[i][0] + spot.random.uniform(-0.5, 0.5) * width
        glints.append(oval(x, path[i][1], width * 0.35, 0.002 + width * 0.008))
    stage.canvas.fill(glints, lighter(color, 0.55), opacity=0.6)


def _nearness(stage: Stage, y: float) -> float:
    share: float = max(y - stage.horizon, 0.0) / (stage.h - stage.horizon)
    return 0.02 + 0.98 * share * (0.3 + 0.7 * share)


def _winding_path(stage: Stage, spot: Spot, swing: float) -> Outline:
    side = spot.random.choice([-1.0, 1.0])
    middle = stage.w * spot.random.uniform(0.42, 0.58)
    depth = stage.h - stage.horizon
    bends = ((0.0, 0.05), (0.07, -0.10), (0.17, 0.12), (0.34, -0.17), (0.6, 0.18), (1.05, -0.14))
    points = [(middle + side * shift * swing, stage.horizon + depth * y) for y, shift in bends]
    return smooth(points, closed=False, detail=12)


def _perspective(stage: Stage, path: Outline, width: float) -> Outline:
    left_side = [(x - width / 2 * _nearness(stage, y), y) for x, y in path]
    right_side = [(x + width / 2 * _nearness(stage, y), y) for x, y in path]
    return left_side + right_side[::-1]
