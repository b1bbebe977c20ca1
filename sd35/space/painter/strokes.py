"""Styles that paint the picture again from strokes, dots, or pieces of glass."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from PIL import Image, ImageDraw, ImageEnhance

from sd35.space.painter.colour import RGB, mix, rgb
from sd35.space.painter.shapes import Outline, Point, lens, oval, turn
from sd35.space.painter.stage import Stage
from sd35.space.painter.streams import Stream

_SAMPLES = 2  # per pixel and axis

Marks = Iterator[tuple[Outline, RGB]]


class _Sampler:
    """Tells the colour of the picture at a place given in units."""

    def __init__(self, stage: Stage) -> None:
        self._image = stage.canvas.image.reduce(max(stage.canvas.unit // 256, 1))
        self._across = self._image.width / stage.w
        self._down = self._image.height / stage.h

    def __call__(self, x: float, y: float) -> RGB:
        column = min(max(int(x * self._across), 0), self._image.width - 1)
        row = min(max(int(y * self._down), 0), self._image.height - 1)
        red, green, blue = self._image.getpixel((column, row))  # type: ignore[misc]  # RGB: three channels
        return int(red), int(green), int(blue)


def _lay(stage: Stage, marks: Marks, under: Image.Image | RGB) -> None:
    """Draw many small marks at once, over the picture itself or over a plain ground."""
    image = stage.canvas.image
    size = (image.width * _SAMPLES, image.height * _SAMPLES)
    large = (
        Image.new("RGB", size, under)
        if isinstance(under, tuple)
        else under.resize(size, Image.Resampling.BOX)
    )
    draw = ImageDraw.Draw(large)
    scale = stage.canvas.unit * _SAMPLES
    for outline, colour in marks:
        draw.polygon([(round(x * scale), round(y * scale)) for x, y in outline], fill=colour)
    image.paste(large.reduce(_SAMPLES))


def _varied(random: Stream, colour: RGB, amount: float) -> RGB:
    shade = random.between(-amount, amount)
    return mix(colour, (255, 246, 224) if shade > 0 else (20, 16, 40), abs(shade))


def oil(stage: Stage, random: Stream) -> None:
    """Paint the picture again with brush strokes, first broad, then fine."""
    _lay(stage, _brushwork(stage, random), stage.canvas.image)


def _brushwork(stage: Stage, random: Stream) -> Marks:
    colour_at = _Sampler(stage)
    for count, length, thick in ((900, 0.055, 0.016), (2400, 0.032, 0.0085), (2600, 0.017, 0.0042)):
        for _ in range(round(count * stage.w * stage.h)):
            x, y = random.between(0, stage.w), random.between(0, stage.h)
            c, s = _flow(stage, x, y, random)
            outline = [
                (x + px * c - py * s, y + px * s + py * c)
                for px, py in lens(0, 0, length, thick)[::2]
            ]
            yield outline, _varied(random, colour_at(x, y), 0.10)


def _flow(stage: Stage, x: float, y: float, random: Stream) -> Point:
    """Return the direction of a stroke: around the light in the sky, level on the ground."""
    if y > stage.horizon:
        return turn(random.between(-14, 14))
    away_x, away_y = x - stage.light[0], y - stage.light[1]
    length = (away_x * away_x + away_y * away_y) ** 0.5 or 1.0
    c, s = turn(random.between(-20, 20))
    tangent = (-away_y / length, away_x / length)
    return tangent[0] * c - tangent[1] * s, tangent[0] * s + tangent[1] * c


def pointillism(stage: Stage, random: Stream) -> None:
    """Paint the picture again from dots of unmixed colour."""
    _lay(stage, _dots(stage, random), mix(stage.palette.haze, (255, 255, 255), 0.5))


def _dots(stage: Stage, random: Stream) -> Marks:
    colour_at = _Sampler(stage)
    for count, radius in ((5200, 0.0115), (7600, 0.0078)):
        for _ in range(round(count * stage.w * stage.h)):
            x, y = random.between(0, stage.w), random.between(0, stage.h)
            yield oval(x, y, radius)[::9], _varied(random, colour_at(x, y), 0.14)


def mosaic(stage: Stage, random: Stream) -> None:
    """Set the picture in pieces of coloured glass with lead between them."""
    _lay(stage, _panes(stage, random), rgb("17161d"))
    stage.canvas.image.paste(ImageEnhance.Color(stage.canvas.image).enhance(1.35))


def _panes(stage: Stage, random: Stream) -> Marks:
    colour_at = _Sampler(stage)
    pitch = 1 / 21
    columns, rows = int(stage.w / pitch) + 2, int(stage.h / pitch) + 2
    jitter = 0.33 * pitch
    knots = [
        [
            (
                (i - 0.5) * pitch + random.between(-jitter, jitter),
                (j - 0.5) * pitch + random.between(-jitter, jitter),
            )
            for i in range(columns + 1)
        ]
        for j in range(rows + 1)
    ]
    for j in range(rows):
        for i in range(columns):
            corners = [knots[j][i], knots[j][i + 1], knots[j + 1][i + 1], knots[j + 1][i]]
            pieces = [corners] if random.chance(0.45) else [corners[:3], [corners[0], *corners[2:]]]
            for piece in pieces:
                yield _pane(piece, colour_at, random)


def _pane(
    piece: Outline, colour_at: Callable[[float, float], RGB], random: Stream
) -> tuple[Outline, RGB]:
    """Return the piece drawn in by half the lead's width, and its colour."""
    x, y = sum(px for px, _ in piece) / len(piece), sum(py for _, py in piece) / len(piece)
    inner = [(px + (x - px) * 0.11, py + (y - py) * 0.11) for px, py in piece]
    return inner, _varied(random, colour_at(x, y), 0.16)


def popart(stage: Stage, random: Stream) -> None:
    """Print the picture in four loud inks under a halftone screen."""
    sets = (
        "20174a e0245e ffb31a fff2c9",
        "12355b d72638 f49d37 f7f4e3",
        "2b0f54 ab1f65 ff4f69 fff7c0",
    )
    inks = [rgb(code) for code in random.pick(sets).split()]
    image = stage.canvas.image
    grey = image.convert("L")
    levels = [ink for ink in inks for _ in range(64)]
    bands = [grey.point([ink[channel] for ink in levels]) for channel in range(3)]
    image.paste(Image.merge("RGB", bands))
    _lay(stage, _halftone(stage, grey, inks), image)


def _halftone(stage: Stage, grey: Image.Image, inks: list[RGB]) -> Marks:
    pitch = 1 / 64
    small = grey.resize((round(stage.w * 64), round(stage.h * 64)), Image.Resampling.BOX)
    for row in range(small.height):
        for column in range(small.width):
            level = small.getpixel((column, row))
            assert isinstance(level, int | float)
            band, place = divmod(int(level), 64)
            if band > 0:
                x = (column + (0.5 if row % 2 else 0.0)) * pitch
                yield oval(x, row * pitch, pitch * 0.62 * (1 - place / 64))[::6], inks[band - 1]
