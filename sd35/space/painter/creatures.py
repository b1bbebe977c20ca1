"""Land animals, birds and butterflies."""

from sd35.space.painter.canvas import Brush
from sd35.space.painter.color import RGB, darker, lighter, mix, rgb
from sd35.space.painter.shapes import ribbon, smooth
from sd35.space.painter.stage import Spot, Stage, eye, shadow


def cat(stage: Stage, spot: Spot) -> None:
    """Paint a sitting cat."""
    brush = spot.brush(stage, is_mirrored=stage.light[0] < spot.x)
    fur = spot.tone(stage, spot.random.choice([rgb("e39a4e"), rgb("4a4654"), rgb("b9a79b")]))
    pale = lighter(fur, 0.5)
    deep = darker(fur, 0.22)
    shadow(stage, brush, 0.42, -0.04)
    # Tail.
    brush.stroke([(-0.2, 0.06), (-0.44, 0.05), (-0.5, 0.22), (-0.4, 0.4)], 0.085, deep, 0.06)
    # Body, chest and thigh.
    brush.blob(
        [
            (-0.02, 0.6),
            (-0.22, 0.42),
            (-0.3, 0.14),
            (-0.24, 0.0),
            (0.2, 0.0),
            (0.2, 0.2),
            (0.17, 0.45),
        ],
        fur,
    )
    brush.blob([(0.06, 0.5), (0.01, 0.3), (0.04, 0.1), (0.16, 0.12), (0.17, 0.4)], pale)
    brush.blob(
        [(-0.24, 0.22), (-0.28, 0.06), (-0.16, 0.0), (-0.02, 0.02), (-0.06, 0.22), (-0.16, 0.28)],
        deep,
        0.55,
    )
    # Paws.
    for x in (0.05, 0.17):
        brush.oval(x, 0.022, 0.07, 0.034, lighter(fur, 0.25))
    _cat_face(brush, fur)


def _cat_face(brush: Brush, fur: RGB) -> None:
    pale = lighter(fur, 0.5)
    deep = darker(fur, 0.22)
    # Ears.
    for side, tone in ((-1, deep), (1, fur)):
        outer = ((0.03, 0.80), (0.15, 0.99), (0.20, 0.70))
        inner = ((0.075, 0.80), (0.143, 0.93), (0.17, 0.75))
        brush.polygon([(0.06 + side * x, y) for x, y in outer], tone)
        brush.polygon([(0.06 + side * x, y) for x, y in inner], rgb("e7a09a"))
    brush.blob(
        [
            (0.06, 0.86),
            (-0.13, 0.79),
            (-0.17, 0.65),
            (-0.06, 0.53),
            (0.06, 0.51),
            (0.18, 0.53),
            (0.29, 0.65),
            (0.25, 0.79),
        ],
        fur,
    )
    # Muzzle.
    brush.oval(0.06, 0.585, 0.10, 0.06, pale)
    for x in (-0.03, 0.15):
        eye(brush, x, 0.69, 0.032)
    brush.polygon([(0.035, 0.635), (0.085, 0.635), (0.06, 0.61)], rgb("c96a6a"))
    # Whiskers.
    for side in (-1, 1):
        for y in (0.60, 0.57):
            brush.stroke(
                [(0.06 + side * 0.09, y), (0.06 + side * 0.25, y + 0.02)],
                0.007,
                lighter(fur, 0.7),
                0.003,
            )
    # Stripes on the forehead.
    for x in (-0.02, 0.06, 0.14):
        brush.stroke([(x, 0.77), (0.06 + (x - 0.06) * 1.15, 0.84)], 0.018, deep, 0.008)


def dog(stage: Stage, spot: Spot) -> None:
    """Paint a sitting dog with hanging ears."""
    brush = spot.brush(stage, is_mirrored=stage.light[0] < spot.x)
    fur = spot.tone(stage, spot.random.choice([rgb("c98b4f"), rgb("8a5f42"), rgb("e2c79b")]))
    deep = darker(fur, 0.3)
    pale = lighter(fur, 0.55)
    shadow(stage, brush, 0.42)
    # Tail.
    brush.stroke([(-0.22, 0.08), (-0.4, 0.12), (-0.48, 0.3)], 0.08, fur, 0.03)
    # Body, chest and thigh.
    brush.blob(
        [
            (0.0, 0.62),
            (-0.2, 0.45),
            (-0.3, 0.15),
            (-0.25, 0.0),
            (0.18, 0.0),
            (0.22, 0.3),
            (0.18, 0.56),
        ],
        fur,
    )
    brush.blob([(0.08, 0.52), (0.02, 0.3), (0.06, 0.06), (0.17, 0.06), (0.2, 0.4)], pale)
    brush.blob([(-0.24, 0.22), (-0.28, 0.05), (-0.14, 0.0), (0.0, 0.02), (-0.06, 0.24)], deep, 0.5)
    # Paws.
    for x in (0.05, 0.18):
        brush.oval(x, 0.025, 0.075, 0.038, pale)
    # Collar.
    brush.block(-0.08, 0.5, 0.2, 0.55, rgb("c8403f"))
    brush.oval(0.07, 0.49, 0.035, 0.035, rgb("f0c34a"))
    _dog_face(brush, fur)


def _dog_face(brush: Brush, fur: RGB) -> None:
    deep = darker(fur, 0.3)
    pale = lighter(fur, 0.55)
    brush.blob(
        [
            (0.06, 0.93),
            (-0.1, 0.88),
            (-0.14, 0.7),
            (-0.06, 0.56),
            (0.08, 0.53),
            (0.22, 0.56),
            (0.28, 0.7),
            (0.23, 0.88),
        ],
        fur,
    )
    brush.blob(
        [(0.07, 0.9), (0.03, 0.76), (-0.02, 0.6), (0.08, 0.54), (0.18, 0.6), (0.12, 0.76)], pale
    )
    # Ears, over the head.
    brush.blob([(-0.08, 0.9), (-0.2, 0.86), (-0.27, 0.66), (-0.2, 0.56), (-0.12, 0.7)], deep)
    brush.blob([(0.22, 0.9), (0.33, 0.86), (0.4, 0.66), (0.34, 0.56), (0.26, 0.7)], deep)
    for x in (-0.01, 0.16):
        eye(brush, x, 0.75, 0.028)
    # Nose and tongue.
    brush.oval(0.08, 0.665, 0.05, 0.035, rgb("231d22"))
    brush.blob(
        [(0.05, 0.6), (0.05, 0.53), (0.085, 0.5), (0.115, 0.53), (0.115, 0.6)], rgb("e8737c")
    )


def fox(stage: Stage, spot: Spot) -> None:
    """Paint a sitting fox with its tail around it."""
    brush = spot.brush(stage, is_mirrored=stage.light[0] < spot.x)
    fur = spot.tone(stage, rgb("e2712d"))
    deep = darker(fur, 0.24)
    cream = stage.palette.illuminate(rgb("fdf0de"))
    dark = stage.palette.illuminate(rgb("3a2a2c"))
    shadow(stage, brush, 0.5, -0.1)
    # The tail comes first: the body covers its root.
    tail = [(-0.1, 0.04), (-0.32, 0.0), (-0.56, 0.12), (-0.62, 0.36), (-0.5, 0.5)]
    brush.blob([*tail, (-0.42, 0.3), (-0.2, 0.22)], deep)
    brush.blob([(-0.62, 0.34), (-0.6, 0.46), (-0.5, 0.56), (-0.46, 0.44), (-0.52, 0.36)], cream)
    brush.blob(
        [
            (0.0, 0.62),
            (-0.18, 0.44),
            (-0.26, 0.14),
            (-0.2, 0.0),
            (0.17, 0.0),
            (0.18, 0.3),
            (0.17, 0.55),
        ],
        fur,
    )
    brush.blob([(0.07, 0.56), (0.0, 0.4), (0.06, 0.2), (0.14, 0.24), (0.19, 0.44)], cream)
    # Legs.
    for x in (0.05, 0.15):
        brush.blob(
            [(x - 0.035, 0.18), (x, 0.25), (x + 0.035, 0.18), (x + 0.055, 0.01), (x - 0.055, 0.01)],
            dark,
        )
    _fox_face(brush, fur, cream, dark)


def _fox_face(brush: Brush, fur: RGB, cream: RGB, dark: RGB) -> None:
    deep = darker(fur, 0.24)
    # Ears with dark tips.
    for side in (-1, 1):
        brush.polygon(
            [(0.07 + side * 0.04, 0.82), (0.07 + side * 0.17, 1.04), (0.07 + side * 0.22, 0.74)],
            deep,
        )
        brush.polygon(
            [(0.07 + side * 0.135, 0.97), (0.07 + side * 0.17, 1.04), (0.07 + side * 0.188, 0.93)],
            dark,
        )
    head = [
        (0.07, 0.86),
        (-0.12, 0.82),
        (-0.24, 0.62),
        (-0.08, 0.54),
        (0.07, 0.44),
        (0.22, 0.54),
        (0.38, 0.62),
        (0.26, 0.82),
    ]
    brush.blob(head, fur)
    # Cheeks.
    for side in (-1, 1):
        cheek = [
            (0.07, 0.455),
            (0.07 + side * 0.16, 0.555),
            (0.07 + side * 0.30, 0.625),
            (0.07 + side * 0.15, 0.67),
            (0.07 + side * 0.045, 0.60),
        ]
        brush.blob(cheek, cream)
        eye(brush, 0.07 + side * 0.095, 0.685, 0.027)
    brush.oval(0.07, 0.465, 0.035, 0.028, dark)


def rabbit(stage: Stage, spot: Spot) -> None:
    """Paint a rabbit with upright ears."""
    brush = spot.brush(stage, is_mirrored=stage.light[0] < spot.x)
    fur = spot.tone(stage, rgb("d9c7b4"))
    deep = darker(fur, 0.18)
    pale = lighter(fur, 0.55)
    shadow(stage, brush, 0.4, -0.04)
    # Tail.
    brush.oval(-0.31, 0.13, 0.085, 0.085, pale)
    brush.blob(
        [(0.02, 0.48), (-0.2, 0.4), (-0.32, 0.16), (-0.24, 0.0), (0.2, 0.0), (0.22, 0.22)], fur
    )
    brush.blob([(-0.24, 0.2), (-0.24, 0.02), (0.02, 0.0), (0.02, 0.14), (-0.1, 0.26)], deep, 0.6)
    _rabbit_ears(brush, fur, deep)
    # Head and muzzle.
    brush.oval(0.09, 0.56, 0.19, 0.165, fur)
    brush.oval(0.13, 0.50, 0.10, 0.075, pale)
    for x in (0.03, 0.2):
        eye(brush, x, 0.595, 0.026)
    brush.polygon([(0.11, 0.545), (0.15, 0.545), (0.13, 0.52)], rgb("c9707a"))
    # Paws.
    for x in (0.1, 0.2):
        brush.oval(x, 0.03, 0.075, 0.04, pale)


def _rabbit_ears(brush: Brush, fur: RGB, deep: RGB) -> None:
    for x, lean in ((0.02, -0.05), (0.15, 0.06)):
        ear = [
            (x - 0.045, 0.66),
            (x - 0.06 + lean, 0.92),
            (x + lean, 1.05),
            (x + 0.055 + lean, 0.9),
            (x + 0.045, 0.66),
        ]
        brush.blob(ear, fur if lean > 0 else deep)
        brush.blob(
            [
                (x - 0.015, 0.7),
                (x - 0.025 + lean, 0.9),
                (x + lean, 0.98),
                (x + 0.025 + lean, 0.88),
                (x + 0.02, 0.7),
            ],
            rgb("eeaeb0"),
        )


def owl(stage: Stage, spot: Spot) -> None:
    """Paint an owl on a post."""
    brush = spot.brush(stage)
    fur = spot.tone(stage, rgb("8a6848"))
    deep = darker(fur, 0.3)
    pale = mix(lighter(fur, 0.6), rgb("f5e2c2"), 0.4)
    # Post.
    brush.block(-0.09, -0.04, 0.09, 0.24, stage.palette.illuminate(rgb("4d392e")))
    brush.oval(0, 0.24, 0.13, 0.03, stage.palette.illuminate(rgb("7a5c46")))
    brush.blob(
        [
            (0, 0.96),
            (-0.2, 0.88),
            (-0.26, 0.6),
            (-0.2, 0.32),
            (0, 0.22),
            (0.2, 0.32),
            (0.26, 0.6),
            (0.2, 0.88),
        ],
        fur,
    )
    for side in (-1, 1):
        brush.polygon([(side * 0.05, 0.92), (side * 0.19, 1.05), (side * 0.23, 0.8)], fur)
    brush.blob(
        [(0, 0.68), (-0.14, 0.56), (-0.13, 0.36), (0, 0.26), (0.13, 0.36), (0.14, 0.56)], pale
    )
    _owl_feathers(brush, deep)
    for side in (-1, 1):
        # Wings and eyes.
        wing = [(side * 0.16, 0.66), (side * 0.29, 0.5), (side * 0.2, 0.26), (side * 0.13, 0.45)]
        brush.blob(wing, deep)
        brush.oval(side * 0.1, 0.77, 0.105, 0.105, pale)
        brush.oval(side * 0.095, 0.77, 0.07, 0.07, rgb("f5b93a"))
        eye(brush, side * 0.09, 0.77, 0.042)
    # Beak.
    brush.polygon([(-0.035, 0.73), (0.035, 0.73), (0, 0.645)], rgb("e08a2c"))


def _owl_feathers(brush: Brush, tone: RGB) -> None:
    for row in range(3):
        for k in range(-1 + row // 2, 2 - row // 2):
            brush.polygon(
                [
                    (k * 0.08 - 0.025, 0.52 - row * 0.08),
                    (k * 0.08 + 0.025, 0.52 - row * 0.08),
                    (k * 0.08, 0.475 - row * 0.08),
                ],
                tone,
            )


def birds(stage: Stage, spot: Spot) -> None:
    """Paint a flock of gliding birds."""
    color = spot.color or mix(stage.palette.near, rgb("1c2030"), 0.4)
    if stage.palette.is_dark and not spot.color:
        color = lighter(stage.palette.cloud, 0.45)
    wings = []
    for i in range(7):
        x = spot.x + (i - 3) * 0.075 + spot.random.uniform(-0.03, 0.03)
        y = spot.y + abs(i - 3) * 0.03 + spot.random.uniform(-0.03, 0.03)
        # The one in the middle leads, and is nearer.
        wingspan = spot.size * spot.random.uniform(0.24, 0.42) * (1.35 if i == 3 else 1.0)
        lift = wingspan * spot.random.uniform(0.3, 0.5)
        for side in (-1, 1):
            path = [
                (x, y),
                (x + side * wingspan * 0.35, y - lift),
                (x + side * wingspan, y - lift * 0.55),
            ]
            wings.append(ribbon(smooth(path, closed=False), wingspan * 0.16, 0.001))
    stage.canvas.fill(wings, color)


def butterfly(stage: Stage, spot: Spot) -> None:
    """Paint a butterfly with open wings."""
    brush = spot.brush(stage)
    default_color = spot.random.choice([rgb("f08a2e"), rgb("4f8fe0"), rgb("e05a8a"), rgb("8f6fd8")])
    wing = spot.tone(stage, default_color)
    rim = mix(darker(wing, 0.65), rgb("1c1a2a"), 0.5)
    spots = lighter(wing, 0.65)
    for side in (-1, 1):
        upper = [
            (side * 0.02, 0.02),
            (side * 0.2, 0.34),
            (side * 0.5, 0.46),
            (side * 0.54, 0.22),
            (side * 0.3, 0.0),
        ]
        lower = [
            (side * 0.02, 0.0),
            (side * 0.3, -0.02),
            (side * 0.42, -0.2),
            (side * 0.26, -0.4),
            (side * 0.1, -0.2),
        ]
        # The rim shows around a smaller copy of the wing.
        for points, shrink in ((lower, 0.76), (upper, 0.82)):
            brush.blob(points, rim)
            brush.blob(
                [(side * 0.03 + (x - side * 0.03) * shrink, 0.01 + y * shrink) for x, y in points],
                wing,
            )
        brush.oval(side * 0.34, 0.25, 0.06, 0.06, spots)
        brush.oval(side * 0.26, -0.19, 0.05, 0.05, spots)
        brush.oval(side * 0.475, 0.34, 0.018, 0.018, spots)
        # Antenna.
        brush.stroke(
            [(side * 0.01, 0.16), (side * 0.06, 0.3), (side * 0.13, 0.36)], 0.012, rim, 0.02
        )
    brush.blob(
        [(0, 0.2), (-0.035, 0.1), (-0.022, -0.24), (0, -0.3), (0.022, -0.24), (0.035, 0.1)], rim
    )
