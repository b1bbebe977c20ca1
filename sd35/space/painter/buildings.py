"""Houses, towers and other buildings."""

from sd35.space.painter.canvas import Brush, Gradient
from sd35.space.painter.color import RGB, darker, lighter, mix, rgb
from sd35.space.painter.shapes import lens, oval, smooth, unit_vector
from sd35.space.painter.stage import LAMP_COLOR, Spot, Stage


def _window_color(stage: Stage) -> RGB:
    """Return the color of a window, which is lit in dim light."""
    dim = sum(stage.palette.ambient) < 640
    return LAMP_COLOR if dim else mix(stage.palette.sky[1], rgb("2c4a66"), 0.55)


def house(stage: Stage, spot: Spot) -> None:
    """Paint a small house with a smoking chimney."""
    brush = spot.brush(stage, is_mirrored=stage.light[0] < spot.x)
    wall = spot.tone(stage, rgb("f3e3c8"))
    roof = stage.palette.illuminate(rgb("b9483b"))
    pane = _window_color(stage)
    # Smoke.
    for i in range(5):
        brush.oval(
            0.3 + 0.03 * i * i * 0.6,
            0.98 + 0.085 * i,
            0.035 + 0.014 * i,
            0.03 + 0.012 * i,
            stage.palette.cloud,
            0.55 - 0.09 * i,
        )
    # Chimney.
    brush.block(0.25, 0.6, 0.35, 0.94, darker(roof, 0.3))
    # Long wall in the shade, and the gable in the light.
    brush.block(-0.5, 0, 0.5, 0.46, darker(wall, 0.16))
    brush.polygon([(-0.5, 0), (-0.08, 0), (-0.08, 0.46), (-0.29, 0.82), (-0.5, 0.46)], wall)
    brush.polygon([(-0.29, 0.86), (0.4, 0.86), (0.6, 0.42), (-0.06, 0.42)], roof)
    brush.polygon(
        [(-0.29, 0.88), (-0.57, 0.42), (-0.51, 0.40), (-0.29, 0.76), (-0.07, 0.40), (-0.01, 0.42)],
        darker(roof, 0.22),
    )
    # Door.
    brush.block(-0.36, 0, -0.22, 0.27, stage.palette.illuminate(rgb("6b4330")))
    brush.oval(-0.29, 0.56, 0.055, 0.055, pane)
    # Windows with frames.
    for x in (0.04, 0.26):
        brush.block(x - 0.012, 0.138, x + 0.142, 0.312, lighter(wall, 0.4))
        brush.block(x, 0.15, x + 0.13, 0.3, pane)
        brush.block(x + 0.06, 0.15, x + 0.07, 0.3, lighter(wall, 0.4))
    if pane == LAMP_COLOR:
        stage.canvas.glow(*brush.to_canvas(0.15, 0.22), spot.size * 0.5, LAMP_COLOR, 0.35)


def castle(stage: Stage, spot: Spot) -> None:
    """Paint a castle with pointed towers and flags."""
    brush = spot.brush(stage, is_mirrored=spot.random.chance(0.5))
    stone = spot.tone(stage, rgb("cfc3bd"))
    roof = stage.palette.illuminate(rgb("3f5f94"))
    pane = _window_color(stage)
    # Towers behind the wall.
    for x, half, height in ((-0.14, 0.09, 0.74), (0.17, 0.075, 0.64), (0.02, 0.10, 0.92)):
        _tower(brush, (x, half, height), darker(stone, 0.12), roof, pane)
    brush.block(-0.46, 0, 0.46, 0.34, stone)
    # Battlements.
    for i in range(12):
        brush.block(-0.46 + 0.08 * i, 0.33, -0.42 + 0.08 * i, 0.38, stone)
    # Towers in front.
    for x, half, height in ((-0.44, 0.11, 0.52), (0.44, 0.11, 0.56)):
        _tower(brush, (x, half, height), lighter(stone, 0.06), roof, pane)
    arch = [
        (-0.09, 0),
        (-0.09, 0.16),
        (-0.05, 0.22),
        (0, 0.24),
        (0.05, 0.22),
        (0.09, 0.16),
        (0.09, 0),
    ]
    brush.polygon(arch, stage.palette.illuminate(rgb("4a3326")))
    for x in (-0.24, 0.24):
        brush.block(x - 0.016, 0.14, x + 0.016, 0.22, pane)


def _tower(
    brush: Brush, shape: tuple[float, float, float], stone: RGB, roof: RGB, pane: RGB
) -> None:
    x, half, height = shape
    brush.block(x - half, 0, x + half, height, stone)
    brush.block(x + half * 0.3, 0, x + half, height, darker(stone, 0.14))
    brush.block(
        x - half * 1.15, height - 0.02, x + half * 1.15, height + 0.02, lighter(stone, 0.15)
    )
    # Roof, with the side away from the light darker.
    tip = height + half * 3.1
    brush.polygon(
        [(x - half * 1.3, height + 0.02), (x, tip), (x + half * 1.3, height + 0.02)], roof
    )
    brush.polygon(
        [(x + half * 0.2, height + 0.02), (x, tip), (x + half * 1.3, height + 0.02)],
        darker(roof, 0.25),
    )
    # Flag.
    brush.block(x - 0.004, tip - 0.01, x + 0.004, tip + 0.09, darker(stone, 0.5))
    brush.polygon([(x, tip + 0.09), (x + 0.1, tip + 0.065), (x, tip + 0.04)], rgb("d8433f"))
    brush.block(x - 0.016, height * 0.68, x + 0.016, height * 0.68 + 0.075, pane)


def lighthouse(stage: Stage, spot: Spot) -> None:
    """Paint a striped lighthouse on a rock, with its beam and the keeper's cottage."""
    brush = spot.brush(stage, is_mirrored=spot.x > stage.w / 2)
    white = stage.palette.illuminate(rgb("fbf5ea"))
    red = spot.tone(stage, rgb("d2403c"))
    _beam(stage, brush)
    stage.canvas.glow(*brush.to_canvas(0, 0.83), spot.size * 0.34, LAMP_COLOR, 0.8)
    _cottage(stage, brush, white, red)
    _rock(stage, spot, brush)
    # Striped tower, tapered.
    for i in range(5):
        low = 0.12 + 0.13 * i
        high = 0.12 + 0.13 * (i + 1)
        wide = _taper(low)
        narrow = _taper(high)
        tone = white if i % 2 else red
        brush.polygon([(-wide, low), (wide, low), (narrow, high), (-narrow, high)], tone)
        brush.polygon(
            [(wide * 0.25, low), (wide, low), (narrow, high), (narrow * 0.25, high)],
            darker(tone, 0.2),
        )
    iron = stage.palette.illuminate(rgb("38424f"))
    pane = _window_color(stage)
    # Windows.
    for y in (0.28, 0.42, 0.56):
        brush.block(-0.045, y, -0.015, y + 0.045, pane)
    # Gallery with its railing.
    brush.block(-0.092, 0.765, 0.092, 0.785, iron)
    for i in range(9):
        brush.block(-0.088 + 0.021 * i, 0.785, -0.082 + 0.021 * i, 0.815, iron)
    brush.block(-0.09, 0.812, 0.09, 0.82, iron)
    # Lamp room.
    brush.block(-0.052, 0.785, 0.052, 0.875, LAMP_COLOR)
    for x in (-0.052, -0.02, 0.014, 0.046):
        brush.block(x, 0.785, x + 0.006, 0.875, iron)
    brush.blob([(-0.07, 0.87), (-0.05, 0.92), (0, 0.955), (0.05, 0.92), (0.07, 0.87)], red)
    brush.block(-0.004, 0.95, 0.004, 1.0, iron)


def _cottage(stage: Stage, brush: Brush, wall: RGB, roof: RGB) -> None:
    brush.block(-0.36, 0.04, -0.14, 0.19, darker(wall, 0.08))
    brush.polygon([(-0.39, 0.18), (-0.34, 0.275), (-0.16, 0.275), (-0.11, 0.18)], darker(roof, 0.2))
    brush.block(-0.2, 0.26, -0.17, 0.31, darker(roof, 0.35))
    for x in (-0.32, -0.235):
        brush.block(x, 0.105, x + 0.04, 0.155, _window_color(stage))


def _rock(stage: Stage, spot: Spot, brush: Brush) -> None:
    """Paint the rock with its ledges, and the foam around it."""
    rock = stage.palette.land(0.62)
    line = [
        (-0.78, -0.05),
        (-0.62, 0.01),
        (-0.48, 0.07),
        (-0.3, 0.09),
        (-0.14, 0.13),
        (0.12, 0.14),
        (0.24, 0.09),
        (0.4, 0.07),
        (0.55, 0.0),
        (0.7, -0.05),
    ]
    top = spot.y - spot.size * 0.14
    foot = spot.y + spot.size * 0.05
    shape = smooth(brush.outline(line), closed=False)
    stage.canvas.fill([shape], Gradient(((top, lighter(rock, 0.12)), (foot, darker(rock, 0.25)))))
    for x, y, half in (
        (0.28, 0.035, 0.2),
        (0.05, 0.06, 0.16),
        (-0.4, 0.0, 0.2),
        (-0.1, -0.01, 0.15),
        (0.42, -0.02, 0.16),
    ):
        ledge = [
            (x - half, y),
            (x - half * 0.3, y + 0.022),
            (x + half * 0.5, y + 0.012),
            (x + half, y - 0.02),
            (x, y - 0.03),
        ]
        brush.blob(ledge, darker(rock, 0.32), 0.6)
    foam = [
        lens(*brush.to_canvas(x, -0.05), spot.size * half, 0.0042)
        for x, half in ((0, 0.8), (-0.4, 0.5), (0.45, 0.42))
    ]
    stage.canvas.fill(foam, lighter(stage.palette.water, 0.6), opacity=0.85)


def _taper(height: float) -> float:
    return 0.125 - 0.075 * height


def _beam(stage: Stage, brush: Brush) -> None:
    beam = brush.outline([(0, 0.84), (3.5, 1.35), (3.5, 0.85)])
    opacity = 0.30 if sum(stage.palette.ambient) < 640 else 0.16
    stage.canvas.fill([beam], rgb("fff2c0"), opacity=opacity, blur=0.008)


def windmill(stage: Stage, spot: Spot) -> None:
    """Paint a Dutch windmill."""
    brush = spot.brush(stage)
    body = spot.tone(stage, rgb("e9dcc6"))
    cap = stage.palette.illuminate(rgb("8a4b38"))
    brush.oval(0, 0, 0.34, 0.04, stage.palette.near, 0.35)
    # Tower with its shaded side, and the cap.
    brush.polygon([(-0.23, 0), (-0.13, 0.62), (0.13, 0.62), (0.23, 0)], body)
    brush.polygon([(0.04, 0), (0.03, 0.62), (0.13, 0.62), (0.23, 0)], darker(body, 0.18))
    brush.blob([(-0.16, 0.61), (-0.12, 0.73), (0.0, 0.79), (0.12, 0.73), (0.16, 0.61)], cap)
    brush.block(-0.055, 0, 0.055, 0.17, stage.palette.illuminate(rgb("5f3d2b")))
    for y in (0.28, 0.45):
        brush.block(-0.03, y, 0.03, y + 0.07, _window_color(stage))
    # Sails.
    tilt = spot.random.uniform(10, 80)
    wood = stage.palette.illuminate(rgb("4d372b"))
    cloth = stage.palette.illuminate(rgb("fbf3e2"))
    for i in range(4):
        (c, s), (px, py) = unit_vector(tilt + 90 * i), unit_vector(tilt + 90 * i + 90)
        points = [
            (c * r + px * k, 0.68 + s * r + py * k)
            for r, k in ((0.09, 0), (0.52, 0), (0.52, 0.12), (0.09, 0.12))
        ]
        brush.polygon(points, cloth, 0.92)
        for r in (0.2, 0.3, 0.4):
            brush.stroke(
                [(c * r, 0.68 + s * r), (c * r + px * 0.12, 0.68 + s * r + py * 0.12)], 0.008, wood
            )
        brush.stroke([(0, 0.68), (c * 0.54, 0.68 + s * 0.54)], 0.022, wood)
    brush.oval(0, 0.68, 0.03, 0.03, darker(wood, 0.3))


def pagoda(stage: Stage, spot: Spot) -> None:
    """Paint a pagoda of five roofs."""
    brush = spot.brush(stage)
    wall = stage.palette.illuminate(rgb("f1e0c5"))
    roof = spot.tone(stage, rgb("b8392f"))
    brush.block(-0.34, 0, 0.34, 0.035, darker(wall, 0.35))
    for i in range(5):
        low = 0.035 + 0.165 * i
        half = 0.22 - 0.027 * i
        brush.block(-half, low, half, low + 0.11, wall)
        brush.block(half * 0.3, low, half, low + 0.11, darker(wall, 0.14))
        # Windows.
        for k in (-0.55, 0.0, 0.55):
            brush.block(
                k * half - 0.022, low + 0.015, k * half + 0.022, low + 0.085, _window_color(stage)
            )
        _eaves(brush, low + 0.095, half, mix(roof, darker(roof, 0.3), (4 - i) / 8))
    # Spire.
    brush.polygon(
        [(-0.02, 0.86), (0.02, 0.86), (0.0, 1.06)], stage.palette.illuminate(rgb("d8a83d"))
    )


def _eaves(brush: Brush, eave: float, half: float, roof: RGB) -> None:
    """Paint one roof of a pagoda, turned up at its ends and shaded on the right."""
    wide = half * 1.75
    top = eave + 0.08
    right = [(half * 1.1, eave), (wide, eave + 0.03), (half * 0.95, top - 0.02), (half * 0.75, top)]
    brush.polygon([*right, *((-x, y) for x, y in right[::-1])], roof)
    brush.polygon([(0.1 * half, eave), *right], darker(roof, 0.3), 0.6)


def tent(stage: Stage, spot: Spot) -> None:
    """Paint a lit tent and a camp fire."""
    brush = spot.brush(stage, is_mirrored=spot.random.chance(0.5))
    cloth = spot.tone(stage, rgb("e0803c"))
    brush.oval(0, 0, 0.72, 0.06, stage.palette.near, 0.35)
    brush.polygon([(-0.5, 0), (-0.1, 0.62), (0.62, 0.0)], darker(cloth, 0.24))
    brush.polygon([(-0.5, 0), (-0.1, 0.62), (0.26, 0)], cloth)
    # The open flap shows the light inside.
    brush.polygon([(-0.24, 0), (-0.1, 0.5), (0.03, 0)], rgb("ffe2a0"))
    brush.polygon([(-0.24, 0), (-0.1, 0.5), (-0.15, 0)], darker(cloth, 0.35))
    # Camp fire: logs and flames.
    fire = brush.to_canvas(0.92, 0.06)
    stage.canvas.glow(*fire, spot.size * 0.8, rgb("ff9a3c"), 0.6)
    brush.stroke([(0.8, 0.0), (1.04, 0.04)], 0.04, stage.palette.illuminate(rgb("4a3022")))
    brush.stroke([(1.04, 0.0), (0.8, 0.04)], 0.04, stage.palette.illuminate(rgb("5a3b28")))
    brush.blob([(0.84, 0.04), (0.86, 0.16), (0.93, 0.3), (0.98, 0.16), (1.0, 0.04)], rgb("ff8a2f"))
    brush.blob([(0.88, 0.04), (0.9, 0.12), (0.93, 0.19), (0.95, 0.12), (0.97, 0.04)], rgb("ffdf80"))


def lantern(stage: Stage, spot: Spot) -> None:
    """Paint a glowing paper lantern in the air."""
    brush = spot.brush(stage)
    paper = spot.color or rgb("f2643d")
    stage.canvas.glow(spot.x, spot.y, spot.size * 1.9, rgb("ffb45e"), 0.75)
    brush.blob(
        [
            (-0.2, 0.42),
            (-0.42, 0.12),
            (-0.36, -0.25),
            (-0.16, -0.4),
            (0.16, -0.4),
            (0.36, -0.25),
            (0.42, 0.12),
            (0.2, 0.42),
        ],
        paper,
    )
    brush.blob(
        [(-0.1, 0.4), (-0.2, 0.0), (-0.1, -0.38), (0.1, -0.38), (0.2, 0.0), (0.1, 0.4)],
        lighter(paper, 0.5),
        0.7,
    )
    # The flame, seen through the paper.
    stage.canvas.fill(
        [oval(spot.x, spot.y + spot.size * 0.2, spot.size * 0.13)],
        rgb("fff3c4"),
        opacity=0.9,
        blur=spot.size * 0.05,
    )
    # Ribs.
    for y, half in ((0.24, 0.36), (0.05, 0.42), (-0.14, 0.40)):
        brush.stroke(
            [(-half, y + 0.03), (0, y - 0.03), (half, y + 0.03)], 0.014, darker(paper, 0.2)
        )
    for y in (0.43, -0.42):
        brush.block(-0.17, y - 0.035, 0.17, y + 0.035, rgb("5b2a22"))
    # Tassel.
    brush.stroke([(0, -0.45), (0, -0.75)], 0.025, rgb("f2c14e"), 0.06)
