"""Styles that render the finished scene again, from watercolor to pixels."""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageEnhance, ImageFilter, ImageOps

from sd35.space.painter.canvas import Canvas
from sd35.space.painter.color import RGB, mix, rgb
from sd35.space.painter.shapes import Outline, box, oval, profile, ribbon
from sd35.space.painter.stage import Stage
from sd35.space.painter.streams import RandomStream
from sd35.space.painter.strokes import mosaic, oil, pointillism, popart

_PAPER: RGB = rgb("f6efe0")
_INK: RGB = rgb("23242e")

Style = Callable[[Stage, RandomStream], None]


def _blur(image: Image.Image, radius: float) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(radius))


def _edges(stage: Stage, thick: float = 1.0, gain: float = 22.0) -> Image.Image:
    """Return the strength of edges per pixel, L: a difference of Gaussians over all channels."""
    radius = max(stage.canvas.unit / 900, 0.45) * thick
    channels = []
    for channel in stage.canvas.image.split():
        fine = _blur(channel, radius * 0.7)
        coarse = _blur(channel, radius * 1.7)
        channels.append(ImageChops.difference(fine, coarse))
    strongest = ImageChops.lighter(ImageChops.lighter(channels[0], channels[1]), channels[2])
    return strongest.point([min(255, max(0, round((level - 1.2) * gain))) for level in range(256)])


def _soft_noise(stage: Stage, random: RandomStream, waves: int, spread: float) -> Image.Image:
    """Return soft noise around 128, L, with this number of waves across the shorter side."""
    size = (max(round(waves * stage.w), 2), max(round(waves * stage.h), 2))
    levels = np.clip(random.normal(size[1], size[0]) * np.float32(spread) + np.float32(128), 0, 255)
    return Image.fromarray(levels.astype(np.uint8)).resize(
        stage.canvas.image.size, Image.Resampling.BICUBIC
    )


def _apply_texture(stage: Stage, texture: Image.Image, strength: float) -> None:
    """Darken and lighten the image by a texture around 128."""
    image = stage.canvas.image
    for shade, table in (
        ((0, 0, 0), [round(max(128 - level, 0) * strength) for level in range(256)]),
        ((255, 255, 255), [round(max(level - 128, 0) * strength) for level in range(256)]),
    ):
        image.paste(shade, (0, 0), texture.point(table))


def watercolor(stage: Stage, random: RandomStream) -> None:
    """Let colors bleed on rough paper, with darker rims and a ragged white border."""
    image = stage.canvas.image
    unit = stage.canvas.unit
    # Before the washes soften them: pigment gathers at the rim of a wet area.
    rims = _edges(stage, 2.4, 4.0)
    washed = (
        image.reduce(2)
        .filter(ImageFilter.MedianFilter(5))
        .resize(image.size, Image.Resampling.BICUBIC)
    )
    image.paste(ImageEnhance.Color(_blur(washed, unit / 500)).enhance(1.15))
    stage.canvas.wash(_PAPER, 0.20)
    _apply_texture(stage, _soft_noise(stage, random, 5, 60), 0.38)
    _apply_texture(stage, _soft_noise(stage, random, 22, 44), 0.26)
    image.paste(
        ImageChops.multiply(
            image, Image.merge("RGB", [ImageOps.invert(rims.point(lambda v: v * 0.30))] * 3)
        )
    )
    _apply_texture(stage, _soft_noise(stage, random, 260, 34), 0.22)
    ragged = _ragged_outline(stage, random)
    stage.canvas.fill([box(0, 0, stage.w, stage.h)], _PAPER, holes=[ragged])
    stage.canvas.fill([ribbon([*ragged, ragged[0]], 0.008)], rgb("5a4a5a"), opacity=0.16)


def _ragged_outline(stage: Stage, random: RandomStream) -> Outline:
    """Return the outline of a wash that stops before the edge of the paper."""
    margin = 0.045
    swing = 0.014
    count = 64
    bends = [profile(random, count, 5, roughness=0.65) for _ in range(4)]
    w = stage.w - 2 * margin
    h = stage.h - 2 * margin
    top_side = [(margin + w * i / count, margin + swing * b) for i, b in enumerate(bends[0])]
    right_side = [(margin + w + swing * b, margin + h * i / count) for i, b in enumerate(bends[1])]
    bottom_side = [
        (margin + w - w * i / count, margin + h + swing * b) for i, b in enumerate(bends[2])
    ]
    left_side = [(margin + swing * b, margin + h - h * i / count) for i, b in enumerate(bends[3])]
    return top_side + right_side + bottom_side + left_side


def lineart(stage: Stage, _random: RandomStream) -> None:
    """Leave only ink lines on paper."""
    # Before the paper covers the image.
    lines = _edges(stage)
    stage.canvas.wash(_PAPER, 0.93)
    stage.canvas.image.paste(_INK, (0, 0), lines)


def sketch(stage: Stage, random: RandomStream) -> None:
    """Draw the image in pencil, hatched in the dark."""
    grey = ImageOps.autocontrast(stage.canvas.image.convert("L"), cutoff=1)
    # Before the paper covers the image.
    lines = _edges(stage, 1.2, 14.0)
    stage.canvas.wash(rgb("f5f1e8"))
    for limit, slope in ((150, 1.0), (95, -0.8), (50, 0.3)):
        table = [round(min(max(limit - level, 0) * 3, 130)) for level in range(256)]
        hatching = ImageChops.multiply(grey.point(table), _hatching(stage, random, slope))
        stage.canvas.image.paste(rgb("3b3a40"), (0, 0), hatching)
    stage.canvas.image.paste(rgb("2b2a30"), (0, 0), lines)
    _apply_texture(stage, _soft_noise(stage, random, 300, 40), 0.18)


def _hatching(stage: Stage, random: RandomStream, slope: float) -> Image.Image:
    """Return parallel pencil strokes, L."""
    sheet = Canvas(*stage.canvas.image.size)
    strokes = []
    reach = stage.w + stage.h
    for i in range(round(reach / 0.0085)):
        start = -stage.h + i * 0.0085 + random.uniform(-0.002, 0.002)
        x, y = (start, 0.0) if slope > 0 else (start, stage.h)
        strokes.append(ribbon([(x, y), (x + stage.h / abs(slope), stage.h - y)], 0.0026))
    sheet.fill(strokes, (235, 235, 235))
    return sheet.image.convert("L")


def pixel(stage: Stage, _random: RandomStream) -> None:
    """Rebuild the image from large square pixels in few colors."""
    image = stage.canvas.image
    size = (max(round(88 * stage.w), 1), max(round(88 * stage.h), 1))
    small = (
        image.resize(size, Image.Resampling.BOX)
        .quantize(28, dither=Image.Dither.NONE)
        .convert("RGB")
    )
    image.paste(ImageEnhance.Color(small).enhance(1.2).resize(image.size, Image.Resampling.NEAREST))


def poster(stage: Stage, _random: RandomStream) -> None:
    """Print the image in flat inks within a frame, as travel posters."""
    image = stage.canvas.image
    smooth = (
        image.reduce(2).filter(ImageFilter.MedianFilter(5)).quantize(12, dither=Image.Dither.NONE)
    )
    flat = _blur(smooth.convert("RGB").resize(image.size, Image.Resampling.BICUBIC), 0.5)
    image.paste(ImageEnhance.Color(Image.blend(image, flat, 0.6)).enhance(1.2))
    whole = box(0, 0, stage.w, stage.h)
    rim = 0.052
    stage.canvas.fill([whole], rgb("f7ecd6"), holes=[box(rim, rim, stage.w - rim, stage.h - rim)])
    outer = 0.030
    inner = 0.0335
    line = box(outer, outer, stage.w - outer, stage.h - outer)
    stage.canvas.fill([line], _INK, holes=[box(inner, inner, stage.w - inner, stage.h - inner)])


def monochrome(stage: Stage, _random: RandomStream) -> None:
    """Remove all colors and deepen the grays."""
    grey = ImageOps.autocontrast(stage.canvas.image.convert("L"), cutoff=1)
    stage.canvas.image.paste(ImageEnhance.Contrast(grey).enhance(1.1).convert("RGB"))


def vintage(stage: Stage, random: RandomStream) -> None:
    """Age the image: sepia, faded, darker towards the corners."""
    image = stage.canvas.image
    sepia = ImageOps.colorize(image.convert("L"), rgb("3a2414"), rgb("f5e6c4"), mid=rgb("b08a5a"))
    image.paste(Image.blend(image, sepia, 0.82))
    _apply_texture(stage, _soft_noise(stage, random, 240, 40), 0.25)
    corners = Image.radial_gradient("L").point([max(0, round((d - 110) * 0.9)) for d in range(256)])
    image.paste((48, 26, 10), (0, 0), corners.resize(image.size, Image.Resampling.BILINEAR))


def neon(stage: Stage, _random: RandomStream) -> None:
    """Let outlines glow in the dark, from magenta to cyan."""
    image = stage.canvas.image
    lines = _edges(stage, 1.3, 14.0)
    night = ImageOps.colorize(image.convert("L"), rgb("05020f"), rgb("7a2a8a"), mid=rgb("1f0f4a"))
    image.paste(Image.blend(ImageEnhance.Brightness(image).enhance(0.3), night, 0.75))
    hues = Image.new("RGB", (2, 2))
    hues.putdata([rgb("ff2fa8"), rgb("b04aff"), rgb("38d8ff"), rgb("20ffd0")])
    color = hues.resize(image.size, Image.Resampling.BILINEAR)
    for radius, gain in ((stage.canvas.unit / 60, 2.4), (stage.canvas.unit / 200, 1.6), (0.0, 1.0)):
        light = _blur(lines, radius) if radius else lines
        light = light.point([min(255, round(level * gain)) for level in range(256)])
        image.paste(
            ImageChops.screen(image, ImageChops.multiply(color, Image.merge("RGB", [light] * 3)))
        )


def minimal(stage: Stage, _random: RandomStream) -> None:
    """Keep a few flat colors in a circle on plain paper."""
    image = stage.canvas.image
    flat = (
        image.reduce(2)
        .filter(ImageFilter.MedianFilter(7))
        .quantize(7, dither=Image.Dither.NONE)
        .convert("RGB")
    )
    image.paste(Image.blend(image, flat.resize(image.size, Image.Resampling.BICUBIC), 0.75))
    paper = mix(stage.palette.haze, rgb("fbf6ec"), 0.75)
    circle = oval(stage.w / 2, stage.h / 2, stage.w * 0.43, stage.h * 0.43)
    stage.canvas.fill([box(0, 0, stage.w, stage.h)], paper, holes=[circle])


def papercut(stage: Stage, random: RandomStream) -> None:
    """Give the sheets, which have cast their shadows already, the look of paper."""
    image = stage.canvas.image
    image.paste(ImageEnhance.Contrast(ImageEnhance.Color(image).enhance(1.2)).enhance(1.08))
    _apply_texture(stage, _soft_noise(stage, random, 200, 34), 0.16)
    _apply_texture(stage, _soft_noise(stage, random, 420, 30), 0.14)


def blueprint(stage: Stage, random: RandomStream) -> None:
    """Draw the image in white lines on blue paper with a grid."""
    image = stage.canvas.image
    lines = _edges(stage)
    image.paste(rgb("164a8c"), (0, 0, *image.size))
    _apply_texture(stage, _soft_noise(stage, random, 4, 46), 0.25)
    draw = ImageDraw.Draw(image)
    pitch = stage.canvas.unit / 24
    for i in range(1, round(24 * max(stage.w, stage.h)) + 1):
        color = rgb("3a6eae") if i % 4 == 0 else rgb("2a5c9c")
        position = round(i * pitch)
        draw.line([(position, 0), (position, image.height)], fill=color)
        draw.line([(0, position), (image.width, position)], fill=color)
    image.paste(rgb("f2f8ff"), (0, 0), lines)


STYLE_EFFECTS: dict[str, Style] = {
    "minimal": minimal,
    "papercut": papercut,
    "oil": oil,
    "pointillism": pointillism,
    "mosaic": mosaic,
    "watercolor": watercolor,
    "lineart": lineart,
    "sketch": sketch,
    "blueprint": blueprint,
    "popart": popart,
    "neon": neon,
    "poster": poster,
    "monochrome": monochrome,
    "vintage": vintage,
    "pixel": pixel,
}
"""Styles in the order in which they follow one another."""
