"""Weather, seasons and moods: effects over the whole scene."""

from collections.abc import Callable

from PIL import Image, ImageChops, ImageEnhance, ImageFilter

from sd35.space.painter.canvas import Gradient
from sd35.space.painter.color import RGB, WHITE, darker, lighter, mix, rgb
from sd35.space.painter.shapes import Outline, box, lens, oval, ribbon, unit_vector
from sd35.space.painter.skies import rays
from sd35.space.painter.stage import Stage
from sd35.space.painter.streams import RandomStream

Effect = Callable[[Stage, RandomStream], None]


def rain(stage: Stage, random: RandomStream) -> None:
    """Add slanting rain and a gray light."""
    stage.canvas.wash(mix(stage.palette.sky[1], rgb("6c7a8c"), 0.6), 0.28)
    # Far drops, then near ones.
    for share, opacity in ((0.5, 0.25), (1.0, 0.42)):
        drops = []
        for _ in range(round(150 * stage.w * stage.h)):
            x = random.uniform(-0.1, stage.w + 0.1)
            y = random.uniform(-0.1, stage.h)
            long = 0.05 * share * random.uniform(0.6, 1.4)
            drops.append(
                ribbon([(x, y), (x - long * 0.22, y + long)], 0.0012 * share, 0.0030 * share)
            )
        stage.canvas.fill(drops, rgb("e4eef6"), opacity=opacity)


def snow(stage: Stage, random: RandomStream) -> None:
    """Add falling snow, with large soft flakes in front."""
    for count, size, blur, opacity in (
        (260, 0.0022, 0.0, 0.75),
        (110, 0.0048, 0.0, 0.9),
        (26, 0.012, 0.004, 0.8),
    ):
        flakes = []
        for _ in range(round(count * stage.w * stage.h)):
            radius = size * random.uniform(0.6, 1.4)
            flakes.append(oval(random.uniform(0, stage.w), random.uniform(0, stage.h), radius)[::4])
        stage.canvas.fill(flakes, rgb("fbfdff"), opacity=opacity, blur=blur)


def fog(stage: Stage, random: RandomStream) -> None:
    """Add banks of fog over the distance."""
    color = mix(stage.palette.haze, WHITE, 0.0 if stage.palette.is_dark else 0.3)
    for _ in range(9):
        y = stage.horizon + random.uniform(-0.24, 0.26)
        bank = lens(
            random.uniform(0, stage.w), y, random.uniform(0.5, 1.2), random.uniform(0.03, 0.075)
        )
        stage.canvas.fill([bank], color, opacity=0.5, blur=0.03)
    stage.canvas.wash(color, 0.22)


def storm(stage: Stage, random: RandomStream) -> None:
    """Add a ceiling of dark cloud."""
    slate = mix(stage.palette.sky[0], rgb("2b3040"), 0.75)
    gloom = Gradient(
        ((0.0, slate), (stage.horizon * 1.1, mix(slate, rgb("7b8494"), 0.5)), (stage.h, slate))
    )
    stage.canvas.wash(gloom, 0.42)
    for row in range(4):
        depth = 0.30 - 0.075 * row
        color = mix(slate, rgb("9aa3b5"), 0.34 - 0.1 * row)
        x = -0.1
        lumps = [box(0, 0, stage.w, depth * 0.55)]
        while x < stage.w + 0.1:
            size = random.uniform(0.06, 0.13)
            lumps.append(oval(x, depth * 0.55, size, min(size, depth * 0.5)))
            x += size * random.uniform(0.8, 1.4)
        stage.canvas.fill(
            lumps,
            Gradient(((0.0, darker(color, 0.3)), (depth, lighter(color, 0.12)))),
            opacity=0.94,
        )


def wind(stage: Stage, random: RandomStream) -> None:
    """Draw the wind as curling lines, with leaves in it."""
    color = mix(stage.palette.cloud, WHITE, 0.5)
    for _ in range(round(6 * max(stage.w, 1.0))):
        x = random.uniform(-0.1, stage.w * 0.8)
        y = random.uniform(0.1, 0.75) * stage.h
        curl = [
            (
                x + 0.34 + 0.05 * unit_vector(a)[0] * (1 - i / 14),
                y - 0.05 + 0.05 * unit_vector(a)[1] * (1 - i / 14),
            )
            for i, a in enumerate(range(90, -220, -30))
        ]
        path = [(x, y + 0.015), (x + 0.12, y - 0.008), (x + 0.24, y + 0.008), *curl]
        stage.canvas.fill([ribbon(path, 0.001, 0.006)], color, opacity=0.7)
    _leaves(stage, random, [rgb("c9803a"), rgb("8fa24a")], 16)


def _leaves(stage: Stage, random: RandomStream, hues: list[RGB], count: int) -> None:
    for hue in hues:
        leaves: list[Outline] = []
        for _ in range(round(count * max(stage.w, 1.0))):
            x = random.uniform(0, stage.w)
            y = random.uniform(0.2, 1.0) * stage.h
            size = random.uniform(0.005, 0.012)
            c, s = unit_vector(random.uniform(0, 360))
            leaf = lens(0, 0, size, size * 0.45)
            leaves.append([(x + px * c - py * s, y + px * s + py * c) for px, py in leaf])
        stage.canvas.fill(leaves, hue, opacity=0.9)


def sunny(stage: Stage, _random: RandomStream) -> None:
    """Add beams of sunlight."""
    rays(stage, *stage.light, mix(stage.palette.light, WHITE, 0.2), 0.14)
    stage.canvas.glow(*stage.light, 1.1, rgb("ffe9a8"), 0.45)
    _enhance(stage, 1.08, 1.12)


def spring(stage: Stage, random: RandomStream) -> None:
    """Freshen the greens and add flying petals."""
    stage.canvas.wash(rgb("c8f0b8"), 0.10)
    _leaves(stage, random, [rgb("ffc4d8"), rgb("fff0f4")], 34)


def summer(stage: Stage, _random: RandomStream) -> None:
    """Warm the image and saturate it."""
    _enhance(stage, 1.22, 1.06)
    stage.canvas.glow(stage.w / 2, 0.0, max(stage.w, stage.h), rgb("ffdf8a"), 0.34)


def autumn(stage: Stage, random: RandomStream) -> None:
    """Turn the image towards amber, and add falling leaves."""
    stage.canvas.wash(rgb("c9712c"), 0.13)
    _leaves(stage, random, [rgb("d9622b"), rgb("e9a93a"), rgb("a83f2a")], 26)


def winter(stage: Stage, random: RandomStream) -> None:
    """Cool the image and add frost to its lower edge."""
    _enhance(stage, 0.72, 1.04)
    stage.canvas.wash(rgb("cfe2f5"), 0.20)
    snow(stage, random)


def calm(stage: Stage, _random: RandomStream) -> None:
    """Desaturate the colors."""
    _enhance(stage, 0.82, 0.94)
    stage.canvas.wash(mix(stage.palette.haze, WHITE, 0.3), 0.12)


def dark(stage: Stage, _random: RandomStream) -> None:
    """Darken the image, most of all at the edges."""
    stage.canvas.wash(rgb("0b0d1a"), 0.34)
    _vignette(stage, 0.75)


def bright(stage: Stage, _random: RandomStream) -> None:
    """Brighten the image."""
    # Lifts shadows more than lights, so that nothing burns out.
    lifted = stage.canvas.image.point(
        [min(255, round(255 * (v / 255) ** 0.5 * 0.45 + v * 0.6)) for v in range(256)] * 3
    )
    stage.canvas.image.paste(lifted)


def warm(stage: Stage, _random: RandomStream) -> None:
    """Shift the colors towards fire."""
    _grade_colors(stage, rgb("fff0d0"), rgb("3a1200"))


def cold(stage: Stage, _random: RandomStream) -> None:
    """Shift the colors towards ice."""
    _grade_colors(stage, rgb("d4e8ff"), rgb("001a3a"))


def dreamy(stage: Stage, random: RandomStream) -> None:
    """Let all lights bloom, and add motes."""
    image = stage.canvas.image
    # Blurring a quarter of the size costs a sixteenth of the time, and looks the same.
    bloom = (
        image.reduce(4).filter(ImageFilter.GaussianBlur(stage.canvas.unit / 160)).resize(image.size)
    )
    image.paste(Image.blend(image, ImageChops.screen(image, bloom), 0.5))
    stage.canvas.wash(rgb("e9c8f2"), 0.12)
    for _ in range(round(14 * max(stage.w, 1.0))):
        x = random.uniform(0, stage.w)
        y = random.uniform(0, stage.h)
        stage.canvas.glow(x, y, random.uniform(0.02, 0.07), rgb("fff3dd"), 0.55)


def dramatic(stage: Stage, _random: RandomStream) -> None:
    """Deepen the contrast and break the sky with beams."""
    rays(stage, *stage.light, stage.palette.light, 0.10)
    stage.canvas.image.paste(ImageEnhance.Contrast(stage.canvas.image).enhance(1.28))
    _vignette(stage, 0.6)


def vivid(stage: Stage, _random: RandomStream) -> None:
    """Saturate all colors."""
    _enhance(stage, 1.6, 1.02)


def pastel(stage: Stage, _random: RandomStream) -> None:
    """Make all colors light and powdery."""
    _enhance(stage, 0.85, 1.0)
    stage.canvas.wash(rgb("fff4ee"), 0.42)


def _enhance(stage: Stage, saturation: float, brightness: float) -> None:
    image = ImageEnhance.Color(stage.canvas.image).enhance(saturation)
    stage.canvas.image.paste(ImageEnhance.Brightness(image).enhance(brightness))


def _grade_colors(stage: Stage, light: RGB, shade: RGB) -> None:
    image = stage.canvas.image
    product = ImageChops.multiply(image, Image.new("RGB", image.size, light))
    image.paste(ImageChops.screen(product, Image.new("RGB", image.size, shade)))


def _vignette(stage: Stage, strength: float) -> None:
    ramp = [0 if d < 90 else round((d - 90) / 165 * 255 * strength) for d in range(256)]
    mask = (
        Image.radial_gradient("L")
        .point(ramp)
        .resize(stage.canvas.image.size, Image.Resampling.BILINEAR)
    )
    stage.canvas.image.paste((8, 8, 22), (0, 0), mask)


EFFECTS: dict[str, Effect] = {
    "storm": storm,
    "rain": rain,
    "snow": snow,
    "fog": fog,
    "wind": wind,
    "sunny": sunny,
    "spring": spring,
    "summer": summer,
    "autumn": autumn,
    "winter": winter,
    "calm": calm,
    "dark": dark,
    "bright": bright,
    "warm": warm,
    "cold": cold,
    "dreamy": dreamy,
    "dramatic": dramatic,
    "vivid": vivid,
    "pastel": pastel,
}
"""Effects in the order in which they go over the image."""
