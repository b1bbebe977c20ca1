"""Fish and whales."""

from sd35.space.painter.canvas import Brush, Gradient
from sd35.space.painter.color import RGB, WHITE, darker, lighter, mix, rgb
from sd35.space.painter.shapes import oval, smooth
from sd35.space.painter.stage import Spot, Stage, eye


def fish(stage: Stage, spot: Spot) -> None:
    """Paint a fish with a fanned tail and bubbles."""
    brush = spot.brush(stage, is_mirrored=spot.random.chance(0.5))
    scales = spot.tone(stage, spot.random.choice([rgb("f2853f"), rgb("f2c14a"), rgb("e85d75")]))
    deep = darker(scales, 0.22)
    pale = lighter(scales, 0.5)
    # Tail and fins.
    brush.blob(
        [(-0.3, 0.02), (-0.52, 0.25), (-0.62, 0.22), (-0.52, 0.0), (-0.62, -0.22), (-0.5, -0.22)],
        deep,
    )
    brush.blob([(-0.1, 0.2), (0.02, 0.36), (-0.24, 0.32), (-0.26, 0.1)], deep)
    brush.blob([(0.0, -0.18), (-0.06, -0.34), (-0.2, -0.28), (-0.2, -0.1)], deep)
    brush.blob(
        [
            (0.46, 0.0),
            (0.28, 0.19),
            (0.0, 0.24),
            (-0.3, 0.07),
            (-0.36, 0.0),
            (-0.3, -0.07),
            (0.0, -0.2),
            (0.3, -0.16),
        ],
        scales,
    )
    brush.blob(
        [(0.44, -0.03), (0.2, -0.06), (-0.2, -0.06), (0.0, -0.19), (0.28, -0.155)], pale, 0.8
    )
    # Stripes.
    for x, tall in ((0.16, 0.205), (-0.04, 0.22)):
        brush.stroke([(x, tall), (x - 0.03, 0.0), (x, -tall * 0.8)], 0.06, lighter(pale, 0.4))
    brush.blob([(0.06, 0.0), (-0.06, 0.06), (-0.14, -0.04), (-0.02, -0.07)], deep)
    brush.oval(0.31, 0.06, 0.045, 0.045, WHITE)
    eye(brush, 0.32, 0.06, 0.027)
    # Bubbles.
    for x, y, r in ((0.58, 0.12, 0.03), (0.64, 0.26, 0.02), (0.57, 0.38, 0.035)):
        brush.oval(x, y, r, r, rgb("e8f6fa"), 0.55)


def leaping_fish(stage: Stage, spot: Spot) -> None:
    """Paint a fish above rings on the water, or a small shoal under water."""
    if "reef" in stage.known_words:
        for x, y, share in (
            (0.0, 0.0, 1.0),
            (-1.1, -0.9, 0.6),
            (1.0, -1.2, 0.5),
            (-1.5, 0.7, 0.45),
            (1.4, 0.6, 0.55),
        ):
            center = (spot.x + x * spot.size, stage.h * 0.46 + y * spot.size)
            fish(stage, Spot(*center, spot.size * share, spot.random, spot.color))
        return
    # Rings where it left the water.
    for reach in (1.0, 0.7, 0.42):
        ring = oval(spot.x, spot.y + 0.05, spot.size * reach, spot.size * reach * 0.16)
        hole = oval(
            spot.x, spot.y + 0.05, spot.size * (reach - 0.06), spot.size * (reach - 0.06) * 0.14
        )
        stage.canvas.fill([ring], lighter(stage.palette.water, 0.6), opacity=0.55, holes=[hole])
    fish(stage, Spot(spot.x, spot.y - spot.size * 0.55, spot.size, spot.random, spot.color))


def whale(stage: Stage, spot: Spot) -> None:
    """Paint a whale at the surface, blowing."""
    brush = spot.brush(stage, is_mirrored=spot.x > stage.w / 2)
    skin = spot.tone(stage, rgb("3d5f8a"))
    belly = lighter(skin, 0.65)
    foam = lighter(stage.palette.water, 0.7)
    _spout_and_fluke(brush, skin, foam)
    body = [
        (-0.66, 0.0),
        (-0.5, 0.2),
        (-0.1, 0.42),
        (0.3, 0.46),
        (0.62, 0.32),
        (0.72, 0.08),
        (0.66, -0.06),
        (-0.5, -0.06),
    ]
    shape = smooth(brush.outline(body))
    stops = (
        (spot.y - spot.size * 0.46, lighter(skin, 0.14)),
        (spot.y + spot.size * 0.06, darker(skin, 0.2)),
    )
    stage.canvas.fill([shape], Gradient(stops))
    brush.blob([(0.71, 0.1), (0.4, 0.14), (0.0, 0.06), (-0.2, -0.05), (0.66, -0.06)], belly)
    # Grooves of the throat.
    for y in (0.085, 0.045, 0.005):
        brush.stroke([(0.68, y), (0.4, y + 0.01), (0.12, y - 0.03)], 0.008, mix(belly, skin, 0.5))
    eye(brush, 0.47, 0.2, 0.022)
    brush.blob([(0.1, 0.1), (-0.02, -0.02), (-0.16, -0.07), (-0.1, 0.06)], darker(skin, 0.3))
    # Foam at the waterline.
    for x, half in ((0.0, 0.95), (0.12, 0.6), (-0.2, 0.5)):
        brush.oval(x, -0.06, half, 0.03, foam, 0.55)


def _spout_and_fluke(brush: Brush, skin: RGB, foam: RGB) -> None:
    # Spout.
    for side in (-1, 1):
        path = [
            (0.28, 0.45),
            (0.28 + side * 0.05, 0.72),
            (0.28 + side * 0.2, 0.76),
            (0.28 + side * 0.27, 0.62),
        ]
        brush.stroke(path, 0.035, foam, 0.02)
    brush.blob(
        [
            (-0.62, 0.1),
            (-0.72, 0.36),
            (-0.95, 0.52),
            (-0.78, 0.55),
            (-0.68, 0.5),
            (-0.56, 0.62),
            (-0.4, 0.62),
            (-0.58, 0.42),
            (-0.5, 0.1),
        ],
        darker(skin, 0.15),
    )
