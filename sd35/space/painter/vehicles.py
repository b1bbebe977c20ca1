"""Boats, trains, balloons, rockets and other vehicles."""

from sd35.space.painter.canvas import Brush, Gradient
from sd35.space.painter.color import RGB, WHITE, darker, lighter, mix, rgb
from sd35.space.painter.shapes import Outline, Point, box, oval, smooth
from sd35.space.painter.stage import Spot, Stage


def _reflection(stage: Stage, brush: Brush, half: float, color: RGB) -> None:
    """Paint the reflection of a hull: streaks that thin out below it."""
    for i in range(7):
        width = half * (1.0 - 0.11 * i) * (0.9 if i % 2 else 1.0)
        brush.oval(
            0.03 * (i % 3 - 1),
            -0.035 - 0.05 * i,
            width,
            0.017,
            mix(color, stage.palette.water, 0.45),
            0.5 - 0.055 * i,
        )


def boat(stage: Stage, spot: Spot) -> None:
    """Paint a sailing boat and its reflection."""
    brush = spot.brush(stage, is_mirrored=stage.light[0] > spot.x)
    sail = spot.tone(stage, rgb("fdf6e8"))
    hull = stage.palette.illuminate(rgb("8c4433"))
    _reflection(stage, brush, 0.36, mix(hull, sail, 0.5))
    # Mast.
    brush.block(-0.012, 0.1, 0.012, 1.02, stage.palette.illuminate(rgb("4a3528")))
    main = [
        brush.to_canvas(0.03, 0.98),
        brush.to_canvas(0.2, 0.62),
        brush.to_canvas(0.34, 0.2),
        brush.to_canvas(0.03, 0.18),
    ]
    jib = [
        brush.to_canvas(-0.03, 0.92),
        brush.to_canvas(-0.17, 0.52),
        brush.to_canvas(-0.36, 0.2),
        brush.to_canvas(-0.03, 0.2),
    ]
    for points, tone in ((main, sail), (jib, darker(sail, 0.12))):
        # The wind bends the outer edge of a sail.
        bent = [*smooth(points[:3], closed=False), points[3]]
        top = min(y for _, y in bent)
        stage.canvas.fill(
            [bent], Gradient(((top, lighter(tone, 0.25)), (top + 0.8 * spot.size, tone)))
        )
    brush.polygon([(0.0, 1.03), (0.13, 1.0), (0.0, 0.965)], rgb("e0543f"))
    # Hull, on the waterline.
    shape = [(-0.46, 0.14), (-0.36, 0.0), (-0.3, -0.03), (0.3, -0.03), (0.38, 0.02), (0.44, 0.14)]
    brush.polygon(shape, hull)
    brush.polygon(
        [(-0.46, 0.14), (-0.435, 0.105), (0.425, 0.105), (0.44, 0.14)], lighter(hull, 0.65)
    )
    brush.oval(0, -0.03, 0.5, 0.014, lighter(stage.palette.water, 0.6), 0.7)


def ship(stage: Stage, spot: Spot) -> None:
    """Paint a steamer with two funnels."""
    brush = spot.brush(stage, is_mirrored=spot.random.chance(0.5))
    hull = spot.tone(stage, rgb("2d3f5f"))
    white = stage.palette.illuminate(rgb("fbf7ee"))
    red = stage.palette.illuminate(rgb("d4483c"))
    _reflection(stage, brush, 0.75, hull)
    # Smoke.
    for i in range(7):
        brush.oval(
            -0.1 - 0.12 * i,
            0.66 + 0.035 * i,
            0.06 + 0.02 * i,
            0.045 + 0.014 * i,
            stage.palette.cloud,
            0.6 - 0.07 * i,
        )
    # Funnels with black tops.
    for x in (-0.08, 0.18):
        brush.polygon([(x - 0.06, 0.3), (x + 0.06, 0.3), (x + 0.045, 0.62), (x - 0.075, 0.62)], red)
        brush.polygon(
            [(x - 0.07, 0.54), (x + 0.05, 0.54), (x + 0.045, 0.62), (x - 0.075, 0.62)],
            rgb("23242c"),
        )
    _decks(brush, white, mix(stage.palette.sky[1], rgb("2b3f5c"), 0.6))
    # Hull, with a white rail and a red waterline.
    brush.polygon([(-0.78, 0.22), (-0.68, -0.03), (0.62, -0.03), (0.84, 0.25)], hull)
    brush.polygon([(-0.78, 0.22), (-0.765, 0.185), (0.795, 0.205), (0.84, 0.25)], white)
    brush.polygon([(-0.69, 0.02), (-0.68, -0.03), (0.62, -0.03), (0.66, 0.02)], red)
    # Portholes.
    for i in range(12):
        brush.oval(-0.58 + 0.1 * i, 0.11, 0.016, 0.016, rgb("ffe9a8"))
    brush.oval(0, -0.03, 0.85, 0.016, lighter(stage.palette.water, 0.6), 0.7)


def _decks(brush: Brush, white: RGB, pane: RGB) -> None:
    brush.block(-0.44, 0.2, 0.42, 0.3, white)
    brush.block(-0.34, 0.29, 0.32, 0.38, darker(white, 0.06))
    for i in range(9):
        brush.block(-0.4 + 0.09 * i, 0.225, -0.36 + 0.09 * i, 0.268, pane)


def car(stage: Stage, spot: Spot) -> None:
    """Paint a small round car with luggage on its roof."""
    brush = spot.brush(stage, is_mirrored=spot.random.chance(0.5))
    paint = spot.tone(stage, rgb("e0533f"))
    glass = stage.palette.illuminate(rgb("bfe3ee"))
    # Shadow.
    brush.oval(0, 0.0, 0.62, 0.05, stage.palette.near, 0.45)
    # Luggage.
    brush.block(-0.2, 0.60, 0.16, 0.70, stage.palette.illuminate(rgb("8a5a36")))
    brush.block(-0.06, 0.60, -0.02, 0.70, stage.palette.illuminate(rgb("e8c27a")))
    brush.blob(
        [(-0.42, 0.3), (-0.32, 0.54), (-0.12, 0.61), (0.14, 0.6), (0.3, 0.48), (0.4, 0.3)],
        darker(paint, 0.08),
    )
    # Windows.
    brush.polygon([(-0.3, 0.34), (-0.24, 0.5), (-0.1, 0.545), (-0.04, 0.545), (-0.04, 0.34)], glass)
    brush.polygon(
        [(0.01, 0.34), (0.01, 0.545), (0.13, 0.535), (0.25, 0.45), (0.3, 0.34)], lighter(glass, 0.3)
    )
    brush.blob(
        [
            (-0.56, 0.14),
            (-0.55, 0.3),
            (-0.4, 0.36),
            (0.3, 0.36),
            (0.54, 0.3),
            (0.58, 0.14),
            (0.4, 0.1),
            (-0.4, 0.1),
        ],
        paint,
    )
    brush.block(-0.5, 0.2, 0.54, 0.225, lighter(paint, 0.45))
    for x in (-0.32, 0.33):
        _wheel(brush, x)
    # Headlight.
    brush.oval(0.53, 0.27, 0.035, 0.045, rgb("fff0b8"))
    stage.canvas.glow(*brush.to_canvas(0.56, 0.27), spot.size * 0.3, rgb("fff0b8"), 0.6)


def _wheel(brush: Brush, x: float) -> None:
    tire = rgb("26262d")
    brush.oval(x, 0.12, 0.125, 0.125, tire)
    brush.oval(x, 0.12, 0.065, 0.065, rgb("d9dce2"))
    brush.oval(x, 0.12, 0.025, 0.025, tire)


def train(stage: Stage, spot: Spot) -> None:
    """Paint a steam train on a viaduct across the whole image."""
    rail = spot.y - 0.12
    stone = mix(stage.palette.land(0.6), stage.palette.illuminate(rgb("a08a78")), 0.45)
    _viaduct(stage, rail, stone)
    body = spot.tone(stage, rgb("b53d36"))
    size = spot.size
    loco = Brush(stage.canvas, stage.w * 0.66, rail, size)
    # Puffs grow as they drift back.
    puffs = [
        oval(
            *loco.to_canvas(0.34 - 0.2 * i, 0.78 + 0.05 * i),
            size * (0.09 + 0.026 * i + spot.random.uniform(0, 0.07)),
        )
        for i in range(13)
    ]
    stage.canvas.fill(puffs, lighter(stage.palette.cloud, 0.25), opacity=0.85)
    carriage_x = stage.w * 0.66 - 0.55 * size
    # Carriages, until the left edge.
    while carriage_x > -1.2 * size:
        carriage_x -= 1.02 * size
        _carriage(Brush(stage.canvas, carriage_x + 0.48 * size, rail, size), body)
    _locomotive(stage, loco, darker(body, 0.1))


def _viaduct(stage: Stage, rail: float, stone: RGB) -> None:
    pitch = 0.16
    arches = []
    for i in range(int(stage.w / pitch) + 2):
        x = (i - 0.25) * pitch
        round_top = [(px, min(py, rail + 0.12)) for px, py in oval(x, rail + 0.12, 0.058, 0.075)]
        arches += [round_top, box(x - 0.058, rail + 0.115, x + 0.058, stage.h + 0.1)]
    paint = Gradient(((rail, lighter(stone, 0.1)), (rail + 0.3, darker(stone, 0.15))))
    bottom = min(rail + 0.34, stage.h)
    stage.canvas.fill([box(0, rail, stage.w, bottom)], paint, holes=arches)
    stage.canvas.fill([box(0, rail - 0.004, stage.w, rail + 0.012)], darker(stone, 0.3))


def _carriage(brush: Brush, body: RGB) -> None:
    brush.block(-0.48, 0.08, 0.48, 0.42, body)
    brush.block(-0.5, 0.41, 0.5, 0.46, darker(body, 0.4))
    brush.block(-0.48, 0.1, 0.48, 0.14, rgb("f0cf8a"))
    for i in range(5):
        brush.block(-0.42 + 0.175 * i, 0.22, -0.30 + 0.175 * i, 0.36, rgb("ffe6ac"))
    for x in (-0.34, -0.2, 0.2, 0.34):
        brush.oval(x, 0.06, 0.06, 0.06, rgb("25242b"))
    brush.block(0.46, 0.1, 0.58, 0.13, rgb("25242b"))


def _locomotive(stage: Stage, brush: Brush, body: RGB) -> None:
    iron = stage.palette.illuminate(rgb("2a2d38"))
    # Cab.
    brush.block(-0.5, 0.1, -0.16, 0.56, body)
    brush.block(-0.56, 0.55, -0.1, 0.61, iron)
    brush.block(-0.42, 0.34, -0.24, 0.5, rgb("ffe6ac"))
    # Boiler with its bands.
    brush.block(-0.18, 0.14, 0.46, 0.42, body)
    brush.oval(0.46, 0.28, 0.05, 0.14, iron)
    for x in (-0.02, 0.16):
        brush.block(x, 0.14, x + 0.03, 0.42, rgb("f0cf8a"))
    # Funnel and steam dome.
    brush.polygon([(0.3, 0.42), (0.42, 0.42), (0.46, 0.64), (0.26, 0.64)], iron)
    brush.blob([(0.0, 0.42), (0.02, 0.52), (0.12, 0.52), (0.14, 0.42)], rgb("e8b650"))
    # Cowcatcher.
    brush.polygon([(0.48, 0.14), (0.66, 0.02), (0.46, 0.02)], iron)
    # Wheels and their rod.
    for x, r in ((-0.34, 0.1), (-0.08, 0.1), (0.16, 0.1), (0.38, 0.065)):
        brush.oval(x, r, r, r, iron)
        brush.oval(x, r, r * 0.55, r * 0.55, darker(body, 0.1))
    brush.stroke([(-0.34, 0.1), (0.16, 0.1)], 0.03, rgb("c9ccd4"))
    stage.canvas.glow(*brush.to_canvas(0.5, 0.3), brush.size * 0.5, rgb("fff0b8"), 0.6)


def balloon(stage: Stage, spot: Spot) -> None:
    """Paint a hot air balloon of colored gores."""
    brush = spot.brush(stage)
    first = spot.tone(
        stage, spot.random.choice([rgb("e4523f"), rgb("2f8fa8"), rgb("e8a13a"), rgb("8a5fc0")])
    )
    second = stage.palette.illuminate(rgb("fdf0d8"))
    # From wide to narrow, in two colors by turns.
    for i, reach in enumerate((1.0, 0.74, 0.46, 0.16)):
        brush.blob(_gore(reach), first if i % 2 == 0 else second)
    # The part that faces away from the light lies outside of the shifted copy.
    side = 0.16 if stage.light[0] < spot.x else -0.16
    envelope, lit_envelope = (
        smooth(brush.outline([(x + shift, y) for x, y in _gore(1.0)])) for shift in (0.0, -side)
    )
    stage.canvas.fill([envelope], stage.palette.near, opacity=0.2, holes=[lit_envelope])
    rope = stage.palette.illuminate(rgb("5a4636"))
    # Ropes and basket.
    for x in (-1, 1):
        brush.stroke([(x * 0.1, -0.34), (x * 0.065, -0.5)], 0.01, rope)
    brush.block(-0.1, -0.37, 0.1, -0.33, darker(first, 0.3))
    brush.polygon(
        [(-0.075, -0.5), (0.075, -0.5), (0.058, -0.63), (-0.058, -0.63)],
        stage.palette.illuminate(rgb("a06a3c")),
    )
    brush.block(-0.08, -0.515, 0.08, -0.49, rope)


def _gore(reach: float) -> list[Point]:
    """Return the outline of a balloon, or of its middle, `reach` of it wide."""
    half = [(0.1, -0.34), (0.34, -0.06), (0.42, 0.22), (0.26, 0.47)]
    return [
        (0, 0.52),
        *((-x * reach, y) for x, y in half[::-1]),
        *((x * reach, y) for x, y in half),
    ]


def rocket(stage: Stage, spot: Spot) -> None:
    """Paint a rocket on its tail of fire and smoke."""
    brush = spot.brush(stage)
    body = mix(rgb("f4f4f2"), stage.palette.haze, 0.1)
    red = spot.color or rgb("e2493f")
    _exhaust(stage, spot, brush)
    # Fins.
    for side in (-1, 1):
        brush.polygon(
            [(side * 0.15, -0.08), (side * 0.33, -0.36), (side * 0.3, -0.5), (side * 0.12, -0.36)],
            darker(red, 0.1 + 0.08 * side),
        )
    _rocket_hull(brush, body)
    # Nose.
    brush.blob(
        [(0, 0.63), (-0.065, 0.52), (-0.115, 0.4), (0, 0.37), (0.115, 0.4), (0.065, 0.52)], red
    )
    brush.polygon([(-0.155, -0.26), (0.155, -0.26), (0.12, -0.4), (-0.12, -0.4)], red)
    # Porthole.
    brush.oval(0, 0.14, 0.092, 0.092, darker(red, 0.15))
    brush.oval(0, 0.14, 0.066, 0.066, rgb("7cc6e6"))
    brush.oval(-0.02, 0.165, 0.024, 0.024, WHITE, 0.8)


def _rocket_hull(brush: Brush, body: RGB) -> None:
    hull = [
        (0, 0.62),
        (-0.12, 0.4),
        (-0.185, 0.08),
        (-0.16, -0.26),
        (-0.11, -0.4),
        (0.11, -0.4),
        (0.16, -0.26),
        (0.185, 0.08),
        (0.12, 0.4),
    ]
    brush.blob(hull, body)
    brush.blob(
        [
            (0.01, 0.6),
            (0.12, 0.4),
            (0.185, 0.08),
            (0.16, -0.26),
            (0.1, -0.4),
            (0.06, -0.1),
            (0.07, 0.3),
        ],
        mix(body, rgb("5b6b90"), 0.35),
    )


def _exhaust(stage: Stage, spot: Spot, brush: Brush) -> None:
    """Paint the smoke that widens below a rocket, and its flame."""
    smoke: list[Outline] = []
    for i in range(22):
        spread = 0.05 + 0.014 * i
        for side in (-1, 1):
            x = side * spread * 0.55 + spot.random.uniform(-0.05, 0.05)
            smoke.append(
                oval(
                    *brush.to_canvas(x, -0.78 - 0.10 * i),
                    spread * spot.size * spot.random.uniform(0.8, 1.25),
                )
            )
    below = spot.y + spot.size
    fading = Gradient(
        ((below, lighter(stage.palette.cloud, 0.3)), (below + spot.size * 1.8, stage.palette.haze))
    )
    stage.canvas.fill(smoke, fading, opacity=0.9)
    stage.canvas.glow(*brush.to_canvas(0, -0.6), spot.size * 0.8, rgb("ff9d3c"), 0.7)
    brush.blob(
        [(-0.11, -0.42), (-0.1, -0.66), (0.0, -1.0), (0.1, -0.66), (0.11, -0.42)], rgb("ff8a2f")
    )
    brush.blob(
        [(-0.06, -0.42), (-0.055, -0.6), (0.0, -0.8), (0.055, -0.6), (0.06, -0.42)], rgb("ffe48a")
    )


def airplane(stage: Stage, spot: Spot) -> None:
    """Paint an airliner with its trails."""
    brush = spot.brush(stage, is_mirrored=spot.random.chance(0.5))
    body = mix(rgb("fafafa"), stage.palette.haze, 0.12)
    accent = spot.color or rgb("d9483f")
    # Condensation trails of both engines.
    trails = [
        brush.outline([(-0.5, y), (-3.2, y - 0.55), (-3.3, y - 0.62), (-0.5, y - 0.04)])
        for y in (-0.02, -0.09)
    ]
    stage.canvas.fill(trails, stage.palette.cloud, opacity=0.55, blur=0.003)
    # The far wing.
    shade = rgb("50607c")
    brush.polygon([(0.02, 0.0), (-0.2, 0.3), (-0.29, 0.3), (-0.14, 0.0)], mix(body, shade, 0.45))
    brush.polygon([(-0.42, 0.04), (-0.57, 0.27), (-0.46, 0.27), (-0.27, 0.07)], accent)
    brush.blob(
        [
            (0.56, 0.0),
            (0.44, 0.085),
            (0.2, 0.1),
            (-0.3, 0.085),
            (-0.54, 0.05),
            (-0.3, -0.06),
            (0.4, -0.07),
        ],
        body,
    )
    belly = [(0.56, -0.01), (0.3, -0.02), (-0.5, 0.035), (-0.3, -0.06), (0.4, -0.07)]
    brush.blob(belly, mix(body, shade, 0.3))
    # Windows.
    for i in range(9):
        brush.oval(0.32 - 0.065 * i, 0.035, 0.014, 0.018, rgb("43597c"))
    brush.polygon([(0.44, 0.07), (0.5, 0.055), (0.475, 0.025), (0.42, 0.03)], rgb("2b3d5c"))
    # The near wing.
    wing = [(0.14, -0.02), (-0.26, -0.34), (-0.36, -0.34), (-0.14, -0.02)]
    brush.polygon(wing, mix(body, shade, 0.16))
    brush.polygon([(-0.26, -0.34), (-0.36, -0.34), (-0.335, -0.295), (-0.215, -0.295)], accent)
    brush.polygon([(-0.36, 0.03), (-0.55, -0.09), (-0.62, -0.09), (-0.5, 0.03)], accent)
