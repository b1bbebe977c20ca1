"""Trees, flowers and other plants."""

from sd35.space.painter.canvas import Brush, Gradient
from sd35.space.painter.color import RGB, darker, lighter, mix, rgb
from sd35.space.painter.shapes import Outline, height_at, oval, profile, profile_line, unit_vector
from sd35.space.painter.stage import Spot, Stage, shadow
from sd35.space.painter.streams import RandomStream

_LEAF_COLORS: dict[str, list[RGB]] = {
    "autumn": [rgb("d9742b"), rgb("e0a032"), rgb("b84a2c")],
    "winter": [rgb("dfe9f2")],
    "spring": [rgb("93c45f"), rgb("a8cf72")],
    "summer": [rgb("5d9a4e"), rgb("4f9152"), rgb("6fa54c")],
}


def tree(stage: Stage, spot: Spot) -> None:
    """Paint a broad-leaved tree in the color of the season."""
    season = next((word for word in _LEAF_COLORS if word in stage.known_words), "summer")
    _paint_tree(stage, spot, spot.tone(stage, spot.random.choice(_LEAF_COLORS[season])))


def cherry(stage: Stage, spot: Spot) -> None:
    """Paint a cherry tree in blossom, and its petals on the ground."""
    pink = spot.tone(stage, rgb("f7a8c4"))
    _paint_tree(stage, spot, pink)
    brush = spot.brush(stage)
    for _ in range(34):
        x = spot.random.uniform(-0.55, 0.55)
        y = spot.random.uniform(-0.08, 0.5) ** 2 - 0.03
        brush.oval(x, y, 0.011, 0.007, lighter(pink, 0.3))


def _paint_tree(stage: Stage, spot: Spot, leaf: RGB) -> None:
    brush = spot.brush(stage)
    shadow(stage, brush, 0.42)
    bark = stage.palette.illuminate(rgb("5b3f31"), spot.distance)
    brush.polygon([(-0.06, 0), (-0.03, 0.45), (0.03, 0.45), (0.065, 0)], bark)
    brush.stroke([(0.0, 0.25), (0.08, 0.4), (0.18, 0.5)], 0.035, bark, 0.012)
    brush.stroke([(0.0, 0.3), (-0.08, 0.43), (-0.16, 0.52)], 0.035, bark, 0.012)
    # Three layers, each lighter, smaller and nearer to the light.
    side = 1.0 if stage.light[0] > spot.x else -1.0
    for shift, tone in ((0.0, darker(leaf, 0.28)), (0.035, leaf), (0.075, lighter(leaf, 0.18))):
        brush.canvas.fill(_crown(brush, shift, side), tone)


def _crown(brush: Brush, shift: float, side: float) -> list[Outline]:
    """Return the tufts of a crown; a greater shift gives fewer, nearer to the light."""
    shrink = 1 - shift * 5
    tufts = [
        (0.0, 0.62, 0.30),
        (-0.24, 0.58, 0.20),
        (0.24, 0.57, 0.20),
        (-0.13, 0.80, 0.20),
        (0.14, 0.79, 0.20),
    ]
    return [
        oval(*brush.to_canvas(x * shrink + side * shift * 1.5, y + shift), r * shrink * brush.size)
        for x, y, r in (*tufts, (0.0, 0.9, 0.15))
    ]


def pine(stage: Stage, spot: Spot) -> None:
    """Paint a fir with layered boughs."""
    brush = spot.brush(stage)
    shadow(stage, brush, 0.28)
    green = spot.tone(stage, rgb("2f6b52"))
    brush.block(-0.03, 0, 0.03, 0.2, stage.palette.illuminate(rgb("543a2d")))
    side = 1.0 if stage.light[0] > spot.x else -1.0
    # From bottom to top: each layer of boughs covers the one below.
    for i in range(5):
        bottom = 0.12 + 0.165 * i
        half = 0.27 - 0.042 * i
        top = bottom + 0.30 - 0.012 * i
        skirt = [(-half * 0.5, bottom - 0.02), (0.0, bottom + 0.015), (half * 0.5, bottom - 0.02)]
        brush.polygon(
            [(0, top), (-half, bottom), *skirt, (half, bottom)], darker(green, 0.20 - 0.05 * i)
        )
        lit_side = [
            (0, top),
            (side * half, bottom),
            (side * half * 0.5, bottom - 0.02),
            (0, bottom + 0.02),
        ]
        brush.polygon(lit_side, lighter(green, 0.10 + 0.03 * i), 0.6)


def palm(stage: Stage, spot: Spot) -> None:
    """Paint a palm that leans towards the light."""
    brush = spot.brush(stage, is_mirrored=stage.light[0] < spot.x)
    shadow(stage, brush, 0.25)
    trunk = stage.palette.illuminate(rgb("8a6547"))
    brush.stroke([(0, 0), (0.03, 0.3), (0.1, 0.58), (0.22, 0.84)], 0.06, trunk, 0.032)
    green = spot.tone(stage, rgb("2f8a5b"))
    # Leaves in the order of painting: the darkest first, behind the others.
    for i, angle in enumerate((200, 165, 235, 130, 55, 20, 340, 305)):
        c, s = unit_vector(angle)
        middle = (0.22 + c * 0.22, 0.84 - s * 0.16 + 0.07)
        tip = (0.22 + c * 0.44, 0.84 - s * 0.26 - 0.10)
        leaf = [(0.22, 0.85), (middle[0], middle[1] + 0.035), tip, (middle[0], middle[1] - 0.03)]
        brush.blob(leaf, mix(darker(green, 0.3), lighter(green, 0.12), i / 7))
    # Coconuts.
    for x, y in ((0.2, 0.81), (0.245, 0.805), (0.22, 0.785)):
        brush.oval(x, y, 0.022, 0.022, darker(trunk, 0.35))


def forest(stage: Stage, spot: Spot) -> None:
    """Paint a forest of firs, row behind row."""
    season, share = ("c8602a", 0.62) if "autumn" in stage.known_words else ("2f6a4f", 0.38)
    leaf = stage.palette.illuminate(rgb(season))
    for rank in range(4):
        nearness = 0.25 + 0.25 * rank
        base_color = mix(
            mix(stage.palette.land(nearness), leaf, share), stage.palette.haze, 0.34 - 0.11 * rank
        )
        color = spot.tint(base_color)
        level = stage.horizon + spot.size * (-0.18 + 0.17 * rank)
        bends = profile_line(profile(spot.random, 60, 2, octaves=2), stage.w, level, 0.03)
        trees = _tree_row(spot.random, bends, stage.w, spot.size * (0.42 + 0.14 * rank))
        top = level - spot.size * 0.5
        paint = Gradient(
            ((top, color), (level + 0.12, mix(color, stage.palette.haze, 0.42 - 0.1 * rank)))
        )
        stage.canvas.fill([[*bends, (stage.w, level + 0.25), (0, level + 0.25)], *trees], paint)


def _tree_row(random: RandomStream, line: Outline, width: float, tall: float) -> list[Outline]:
    trees: list[Outline] = []
    x = -0.05
    while x < width + 0.05:
        height = tall * random.uniform(0.6, 1.15)
        trees += fir(x, height_at(line, x) + 0.02, height)
        x += tall * random.uniform(0.12, 0.3)
    return trees


def fir(x: float, y: float, height: float) -> list[Outline]:
    """Return the outline of a distant fir, given by its foot and height."""
    tiers = []
    for i in range(4):
        bottom = y - height * (0.08 + 0.2 * i)
        half = height * (0.2 - 0.038 * i)
        tiers.append([(x, bottom - height * 0.34), (x - half, bottom), (x + half, bottom)])
    return [*tiers, [(x - height * 0.02, y), (x, y - height * 0.3), (x + height * 0.02, y)]]


def grove(stage: Stage, spot: Spot) -> None:
    """Paint the few small trees that a landscape has without being asked for."""
    color = mix(stage.palette.ground, stage.palette.near, 0.62)
    trees: list[Outline] = []
    for _ in range(spot.random.choice([2, 3])):
        middle = stage.w * spot.random.choice(
            [spot.random.uniform(0.0, 0.24), spot.random.uniform(0.76, 1.0)]
        )
        for _ in range(spot.random.choice([4, 6, 8])):
            x = middle + (spot.random.uniform(-1, 1) + spot.random.uniform(-1, 1)) * 0.06
            trees += fir(
                x, height_at(stage.floor, x) + 0.012, spot.size * spot.random.uniform(0.55, 1.1)
            )
    stage.canvas.fill(trees, color)


def flower(stage: Stage, spot: Spot) -> None:
    """Paint a flower with round petals."""
    brush = spot.brush(stage)
    default_color = spot.random.choice([rgb("f2637e"), rgb("f7f1e3"), rgb("f2a03d"), rgb("8f7ad6")])
    petal = spot.tone(stage, default_color)
    _stem(stage, brush, 0.72)
    # Two rings of petals, shifted by half a petal.
    for ring, tone in ((0.155, darker(petal, 0.12)), (0.125, lighter(petal, 0.12))):
        for i in range(8):
            c, s = unit_vector(45 * i + (22.5 if ring < 0.15 else 0))
            brush.oval(c * ring, 0.76 + s * ring, 0.085, 0.085, tone)
    brush.oval(0, 0.76, 0.085, 0.085, stage.palette.illuminate(rgb("f6c445")))
    brush.oval(-0.015, 0.775, 0.05, 0.05, stage.palette.illuminate(rgb("fbdc7e")))


def _stem(stage: Stage, brush: Brush, height: float) -> None:
    green = stage.palette.illuminate(rgb("3f8a4d"))
    brush.stroke([(0.03, 0), (-0.01, height * 0.5), (0, height)], 0.032, darker(green, 0.2))
    brush.blob([(0.0, 0.1), (0.12, 0.24), (0.27, 0.31), (0.2, 0.15)], green)
    brush.blob([(0.0, 0.2), (-0.12, 0.35), (-0.25, 0.4), (-0.18, 0.24)], lighter(green, 0.12))


def tulip(stage: Stage, spot: Spot) -> None:
    """Paint a tulip."""
    brush = spot.brush(stage)
    petal = spot.tone(stage, rgb("e2425b"))
    green = stage.palette.illuminate(rgb("4b9160"))
    brush.stroke([(0, 0), (0.015, 0.35), (0, 0.66)], 0.034, darker(green, 0.15))
    brush.blob([(0, 0), (0.16, 0.22), (0.22, 0.5), (0.07, 0.26)], green)
    brush.blob([(0, 0), (-0.15, 0.18), (-0.24, 0.42), (-0.08, 0.22)], lighter(green, 0.12))
    brush.blob(
        [(0, 0.62), (-0.14, 0.72), (-0.06, 0.99), (0.06, 0.99), (0.14, 0.72)], darker(petal, 0.2)
    )
    brush.blob([(0, 0.61), (-0.15, 0.68), (-0.17, 0.95), (-0.04, 0.82), (0.01, 0.68)], petal)
    brush.blob(
        [(0, 0.61), (0.15, 0.68), (0.17, 0.95), (0.04, 0.82), (-0.01, 0.68)], lighter(petal, 0.12)
    )


def sunflower(stage: Stage, spot: Spot) -> None:
    """Paint a sunflower."""
    brush = spot.brush(stage)
    petal = spot.tone(stage, rgb("f7bd2c"))
    _stem(stage, brush, 0.75)
    # Two rings of petals, shifted by half a petal.
    for shift, reach, tone in ((0.0, 0.255, darker(petal, 0.16)), (11.25, 0.225, petal)):
        for i in range(16):
            (c, s), (px, py) = unit_vector(22.5 * i + shift), unit_vector(22.5 * i + shift + 90)
            middle = (c * reach * 0.6, 0.78 + s * reach * 0.6)
            sides = [(middle[0] + k * px * 0.038, middle[1] + k * py * 0.038) for k in (-1, 1)]
            brush.polygon([(0, 0.78), sides[0], (c * reach, 0.78 + s * reach), sides[1]], tone)
    brown = stage.palette.illuminate(rgb("5b3620"))
    brush.oval(0, 0.78, 0.115, 0.115, brown)
    brush.oval(0, 0.78, 0.075, 0.075, lighter(brown, 0.16))


def cactus(stage: Stage, spot: Spot) -> None:
    """Paint a saguaro."""
    brush = spot.brush(stage, is_mirrored=spot.random.chance(0.5))
    shadow(stage, brush, 0.3)
    green = spot.tone(stage, rgb("3f8659"))
    arms: list[tuple[list[tuple[float, float]], float]] = [
        ([(0.0, 0.34), (-0.2, 0.36), (-0.24, 0.44), (-0.24, 0.66)], 0.11),
        ([(0.0, 0.46), (0.2, 0.48), (0.24, 0.56), (0.24, 0.82)], 0.11),
        ([(0, 0), (0, 0.5), (0, 0.93)], 0.17),
    ]
    for path, width in arms:
        brush.stroke(path, width, green)
        # Round ends, and a round elbow.
        brush.oval(*path[-1], width / 2, width / 2, green)
        if len(path) == 4:
            brush.oval(*path[1], width / 2, width / 2, green)
        # Ribs.
        for shift in (-0.25, 0.25):
            line = [(x + shift * width, y) for x, y in path[-2:]]
            brush.stroke(line, 0.012, darker(green, 0.25) if shift < 0 else lighter(green, 0.25))
    # Blossoms.
    for x, y in ((0, 1.02), (-0.03, 1.01), (0.03, 1.01)):
        brush.oval(x, y, 0.026, 0.026, stage.palette.illuminate(rgb("f27da0")))


def mushroom(stage: Stage, spot: Spot) -> None:
    """Paint a toadstool."""
    brush = spot.brush(stage)
    shadow(stage, brush, 0.4)
    cap = spot.tone(stage, rgb("d63b34"))
    stalk = stage.palette.illuminate(rgb("f5ead6"))
    brush.blob([(-0.15, 0), (-0.1, 0.3), (-0.09, 0.6), (0.09, 0.6), (0.1, 0.3), (0.16, 0)], stalk)
    brush.polygon(
        [(0.02, 0.02), (0.15, 0.01), (0.1, 0.3), (0.09, 0.58), (0.04, 0.58)],
        darker(stalk, 0.14),
        0.8,
    )
    # Gills.
    brush.oval(0, 0.52, 0.40, 0.075, darker(stalk, 0.28))
    dome = [
        (-0.46, 0.52),
        (-0.36, 0.76),
        (-0.14, 0.93),
        (0.14, 0.93),
        (0.36, 0.76),
        (0.46, 0.52),
        (0.2, 0.55),
        (-0.2, 0.55),
    ]
    brush.blob(dome, cap)
    brush.blob(
        [(0.0, 0.94), (0.24, 0.86), (0.42, 0.6), (0.45, 0.53), (0.2, 0.57), (0.26, 0.75)],
        darker(cap, 0.2),
        0.7,
    )
    # Spots.
    for x, y, r in (
        (-0.2, 0.73, 0.062),
        (0.03, 0.83, 0.05),
        (0.2, 0.68, 0.055),
        (-0.03, 0.63, 0.035),
        (-0.36, 0.6, 0.03),
    ):
        brush.oval(x, y, r, r * 0.82, lighter(stalk, 0.3))


def apple(stage: Stage, spot: Spot) -> None:
    """Paint an apple with a leaf."""
    brush = spot.brush(stage)
    shadow(stage, brush, 0.5)
    skin = spot.tone(stage, rgb("d8352f"))
    body = [
        (0, 0.8),
        (-0.2, 0.87),
        (-0.42, 0.72),
        (-0.42, 0.38),
        (-0.24, 0.05),
        (0, 0.06),
        (0.24, 0.05),
        (0.42, 0.38),
        (0.42, 0.72),
        (0.2, 0.87),
    ]
    brush.blob(body, skin)
    brush.blob(
        [(0.05, 0.08), (0.24, 0.07), (0.41, 0.4), (0.4, 0.7), (0.24, 0.82), (0.3, 0.45)],
        darker(skin, 0.22),
        0.8,
    )
    brush.blob(
        [(-0.33, 0.62), (-0.26, 0.76), (-0.14, 0.78), (-0.24, 0.66), (-0.28, 0.5)],
        lighter(skin, 0.55),
        0.75,
    )
    # Stalk and leaf.
    brush.stroke(
        [(0, 0.78), (0.01, 0.9), (0.06, 1.0)], 0.035, stage.palette.illuminate(rgb("5a3b26"))
    )
    brush.blob(
        [(0.03, 0.88), (0.14, 1.0), (0.33, 1.0), (0.22, 0.88)],
        stage.palette.illuminate(rgb("5aa24a")),
    )
