"""People, and a snowman."""

from sd35.space.painter.canvas import Brush
from sd35.space.painter.color import RGB, darker, mix, rgb
from sd35.space.painter.stage import Spot, Stage, shadow


def person(stage: Stage, spot: Spot) -> None:
    """Paint a traveller seen from behind, with a rucksack and a scarf."""
    brush = spot.brush(stage, is_mirrored=stage.light[0] < spot.x)
    coat = spot.tone(stage, rgb("d9573f"))
    trousers = stage.palette.illuminate(rgb("33405c"))
    hair = stage.palette.illuminate(rgb("3b2a26"))
    skin = stage.palette.illuminate(rgb("e9b48c"))
    shadow(stage, brush, 0.26)
    # Legs in mid-step.
    for x, foot in ((-0.06, -0.09), (0.06, 0.08)):
        brush.polygon(
            [(x - 0.055, 0.42), (x + 0.055, 0.42), (foot + 0.04, 0.02), (foot - 0.04, 0.02)],
            trousers,
        )
        brush.oval(foot, 0.02, 0.055, 0.025, darker(hair, 0.2))
    # Arms.
    brush.blob(
        [(-0.1, 0.7), (-0.2, 0.56), (-0.19, 0.4), (-0.13, 0.42), (-0.1, 0.56)], darker(coat, 0.15)
    )
    brush.blob([(0.1, 0.7), (0.2, 0.58), (0.2, 0.4), (0.14, 0.4), (0.1, 0.56)], darker(coat, 0.25))
    brush.blob(
        [(-0.11, 0.75), (-0.15, 0.5), (-0.14, 0.36), (0.14, 0.36), (0.15, 0.5), (0.11, 0.75)], coat
    )
    # Rucksack.
    brush.blob(
        [(-0.09, 0.7), (-0.11, 0.55), (-0.08, 0.46), (0.08, 0.46), (0.11, 0.55), (0.09, 0.7)],
        stage.palette.illuminate(rgb("7a5a3a")),
    )
    brush.block(-0.07, 0.5, 0.07, 0.57, stage.palette.illuminate(rgb("94714c")))
    # Head, from behind.
    brush.oval(0, 0.86, 0.075, 0.085, skin)
    brush.blob(
        [(0, 0.965), (-0.085, 0.92), (-0.085, 0.82), (0, 0.79), (0.085, 0.82), (0.085, 0.92)], hair
    )
    # Scarf, with its end in the wind.
    brush.block(-0.08, 0.735, 0.08, 0.785, stage.palette.illuminate(rgb("f0c04c")))
    brush.blob(
        [(0.05, 0.77), (0.2, 0.79), (0.32, 0.74), (0.2, 0.72)],
        stage.palette.illuminate(rgb("f0c04c")),
    )


def astronaut(stage: Stage, spot: Spot) -> None:
    """Paint an astronaut in a white suit."""
    brush = spot.brush(stage, is_mirrored=stage.light[0] < spot.x)
    suit = spot.color or rgb("eef1f5")
    shade = mix(suit, rgb("46557a"), 0.35)
    grey = rgb("77829a")
    orange = rgb("f0803c")
    shadow(stage, brush, 0.34)
    _pack(brush, shade, grey)
    for side, tone in ((-1, suit), (1, mix(suit, shade, 0.6))):
        brush.blob(
            [(side * 0.03, 0.42), (side * 0.19, 0.4), (side * 0.2, 0.1), (side * 0.06, 0.1)], tone
        )
        brush.blob(
            [(side * 0.03, 0.1), (side * 0.2, 0.12), (side * 0.26, 0.02), (side * 0.03, 0.0)], grey
        )
        brush.stroke([(side * 0.16, 0.6), (side * 0.31, 0.5), (side * 0.34, 0.36)], 0.13, tone, 0.1)
        brush.oval(side * 0.345, 0.33, 0.062, 0.066, grey)
        brush.stroke([(side * 0.28, 0.41), (side * 0.4, 0.42)], 0.026, orange)
    brush.blob([(-0.19, 0.64), (-0.2, 0.36), (0.2, 0.36), (0.19, 0.64)], suit)
    brush.blob([(0.06, 0.64), (0.1, 0.37), (0.2, 0.37), (0.185, 0.63)], shade, 0.6)
    # Control panel.
    brush.block(-0.1, 0.42, 0.1, 0.53, grey)
    for x, tone in ((-0.06, orange), (0.0, rgb("5fc0d8")), (0.06, rgb("f2d25c"))):
        brush.oval(x, 0.475, 0.02, 0.02, tone)
    # Helmet and visor.
    brush.oval(0, 0.79, 0.215, 0.205, suit)
    brush.blob(
        [(-0.15, 0.8), (-0.11, 0.91), (0.11, 0.91), (0.16, 0.8), (0.12, 0.69), (-0.11, 0.69)],
        rgb("1d2a4d"),
    )
    brush.blob(
        [(-0.14, 0.81), (-0.1, 0.895), (0.02, 0.9), (-0.06, 0.82), (-0.1, 0.74)], rgb("6f8fd8"), 0.8
    )
    brush.oval(0.08, 0.75, 0.024, 0.02, rgb("f7c46a"))


def _pack(brush: Brush, shade: RGB, grey: RGB) -> None:
    brush.blob([(-0.25, 0.7), (-0.26, 0.38), (0.26, 0.38), (0.25, 0.7)], grey)
    brush.stroke([(0.24, 0.7), (0.25, 1.05)], 0.012, shade)
    brush.oval(0.25, 1.06, 0.022, 0.022, rgb("f0803c"))


def snowman(stage: Stage, spot: Spot) -> None:
    """Paint a snowman with a hat and a scarf."""
    brush = spot.brush(stage, is_mirrored=stage.light[0] < spot.x)
    white = spot.tone(stage, rgb("fbfdff"))
    shade = mix(white, stage.palette.sky[0], 0.3)
    coal = rgb("2b2b33")
    scarf = rgb("d8434a")
    shadow(stage, brush, 0.36)
    # Arms.
    for side in (-1, 1):
        brush.stroke(
            [(side * 0.16, 0.46), (side * 0.32, 0.56), (side * 0.44, 0.62)],
            0.022,
            stage.palette.illuminate(rgb("5c4030")),
            0.01,
        )
    # Balls, each with a smaller lit one over its shade.
    for y, r in ((0.21, 0.25), (0.5, 0.185), (0.745, 0.135)):
        brush.oval(0, y, r, r * 0.94, shade)
        brush.oval(r * 0.12, y + r * 0.06, r * 0.86, r * 0.84, white)
    for x, y in ((0.035, 0.79), (0.125, 0.79)):
        brush.oval(x, y, 0.016, 0.02, coal)
    for y in (0.56, 0.48, 0.4):
        brush.oval(0.05, y, 0.018, 0.018, coal)
    # Nose.
    brush.polygon([(0.07, 0.765), (0.07, 0.725), (0.25, 0.735)], rgb("f08a2e"))
    brush.stroke([(-0.13, 0.64), (0, 0.61), (0.14, 0.64)], 0.055, scarf)
    brush.polygon([(-0.1, 0.64), (-0.04, 0.62), (-0.08, 0.42), (-0.16, 0.43)], darker(scarf, 0.15))
    # Hat.
    brush.block(-0.15, 0.84, 0.15, 0.868, coal)
    brush.block(-0.095, 0.86, 0.095, 1.02, coal)
    brush.block(-0.095, 0.875, 0.095, 0.905, scarf)
