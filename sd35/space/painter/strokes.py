"""Styles that rebuild the image from strokes, dots, or pieces of glass."""

from collections.abc import Callable, Iterator

from PIL import Image, ImageDraw, ImageEnhance

from sd35.space.painter.color import RGB, mix, rgb
from sd35.space.painter.shapes import Outline, Point, lens, oval, unit_vector
from sd35.space.painter.stage import Stage
from sd35.space.painter.streams import RandomStream

_SAMPLES_PER_PIXEL = 2  # per pixel and axis

Marks = Iterator[tuple[Outline, RGB]]


class _ColorSampler:
    """Colors of the image by place, in units."""

    def __init__(self, stage: Stage) -> None:
        self._image = stage.canvas.image.reduce(max(stage.canvas.unit // 256, 1))
        self._across = self._image.width / stage.w
        self._down = self._image.height / stage.h

    def __call__(self, x: float, y: float) -> RGB:
        column = min(max(int(x * self._across), 0), self._image.width - 1)
        row = min(max(int(y * self._down), 0), self._image.height - 1)
        # The image is RGB, so a pixel has three channels.
        red, green, blue = self._image.getpixel((column, row))  # type: ignore[misc]
        return int(red), int(green), int(blue)


def _draw_marks(stage: Stage, marks: Marks, background: Image.Image | RGB) -> None:
    """Draw many small marks at once, on the image itself or on a plain ground."""
    image = stage.canvas.image
    size = (image.width * _SAMPLES_PER_PIXEL, image.height * _SAMPLES_PER_PIXEL)
    large = (
        Image.new("RGB", size, background)
        if isinstance(background, tuple)
        else background.resize(size, Image.Resampling.BOX)
    )
    draw = ImageDraw.Draw(large)
    scale = stage.canvas.unit * _SAMPLES_PER_PIXEL
    for outline, color in marks:
        draw.polygon([(round(x * scale), round(y * scale)) for x, y in outline], fill=color)
    image.paste(large.reduce(_SAMPLES_PER_PIXEL))


def _vary_color(random: RandomStream, color: RGB, amount: float) -> RGB:
    shade = random.uniform(-amount, amount)
    return mix(color, (255, 246, 224) if shade > 0 else (20, 16, 40), abs(shade))


def oil(stage: Stage, random: RandomStream) -> None:
    """Rebuild the image from brush strokes, first broad, then fine."""
    _draw_marks(stage, _brushwork(stage, random), stage.canvas.image)


def _brushwork(stage: Stage, random: RandomStream) -> Marks:
    color_at = _ColorSampler(stage)
    for count, length, thick in ((900, 0.055, 0.016), (2400, 0.032, 0.0085), (2600, 0.017, 0.0042)):
        for _ in range(round(count * stage.w * stage.h)):
            x = random.uniform(0, stage.w)
            y = random.uniform(0, stage.h)
            c, s = _stroke_direction(stage, x, y, random)
            outline = [
                (x + px * c - py * s, y + px * s + py * c)
                for px, py in lens(0, 0, length, thick)[::2]
            ]
            yield outline, _vary_color(random, color_at(x, y), 0.10)


def _stroke_direction(stage: Stage, x: float, y: float, random: RandomStream) -> Point:
    """Return the direction of a stroke: around the light in the sky, level on the ground."""
    if y > stage.horizon:
        return unit_vector(random.uniform(-14, 14))
    away_x = x - stage.light[0]
    away_y = y - stage.light[1]
    length = (away_x * away_x + away_y * away_y) ** 0.5 or 1.0
    c, s = unit_vector(random.uniform(-20, 20))
    tangent = (-away_y / length, away_x / length)
    return tangent[0] * c - tangent[1] * s, tangent[0] * s + tangent[1] * c


def pointillism(stage: Stage, random: RandomStream) -> None:
    """Rebuild the image from dots of unmixed color."""
    _draw_marks(stage, _dots(stage, random), mix(stage.palette.haze, (255, 255, 255), 0.5))


def _dots(stage: Stage, random: RandomStream) -> Marks:
    color_at = _ColorSampler(stage)
    for count, radius in ((5200, 0.0115), (7600, 0.0078)):
        for _ in range(round(count * stage.w * stage.h)):
            x = random.uniform(0, stage.w)
            y = random.uniform(0, stage.h)
            yield oval(x, y, radius)[::9], _vary_color(random, color_at(x, y), 0.14)


def mosaic(stage: Stage, random: RandomStream) -> None:
    """Rebuild the image from pieces of colored glass with lead between them."""
    _draw_marks(stage, _panes(stage, random), rgb("17161d"))
    stage.canvas.image.paste(ImageEnhance.Color(stage.canvas.image).enhance(1.35))


def _panes(stage: Stage, random: RandomStream) -> Marks:
    color_at = _ColorSampler(stage)
    pitch = 1 / 21
    columns = int(stage.w / pitch) + 2
    rows = int(stage.h / pitch) + 2
    jitter = 0.33 * pitch
    knots = [
        [
            (
                (i - 0.5) * pitch + random.uniform(-jitter, jitter),
                (j - 0.5) * pitch + random.uniform(-jitter, jitter),
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
                yield _pane(piece, color_at, random)


def _pane(
    piece: Outline, color_at: Callable[[float, float], RGB], random: RandomStream
) -> tuple[Outline, RGB]:
    """Return a piece without half the lead's width, and its color."""
    x = sum(px for px, _ in piece) / len(piece)
    y = sum(py for _, py in piece) / len(piece)
    inner = [(px + (x - px) * 0.11, py + (y - py) * 0.11) for px, py in piece]
    return inner, _vary_color(random, color_at(x, y), 0.16)


def popart(stage: Stage, random: RandomStream) -> None:
    """Print the image in four loud inks under a halftone screen."""
    ink_sets = (
        "20174a e0245e ffb31a fff2c9",
        "12355b d72638 f49d37 f7f4e3",
        "2b0f54 ab1f65 ff4f69 fff7c0",
    )
    inks = [rgb(code) for code in random.choice(ink_sets).split()]
    image = stage.canvas.image
    grey = image.convert("L")
    levels = [ink for ink in inks for _ in range(64)]
    bands = [grey.point([ink[channel] for ink in levels]) for channel in range(3)]
    image.paste(Image.merge("RGB", bands))
    _draw_marks(stage, _halftone(stage, grey, inks), image)


def _halftone(stage: Stage, grey: Image.Image, inks: list[RGB]) -> Marks:
    pitch = 1 / 64
    small = grey.resize((round(stage.w * 64), round(stage.h * 64)), Image.Resampling.BOX)
    for row in range(small.height):
        for column in range(small.width):
            level = small.getpixel((column, row))
            assert isinstance(level, int | float)
            band, remainder = divmod(int(level), 64)
            if band > 0:
                x = (column + (0.5 if row % 2 else 0.0)) * pitch
                yield oval(x, row * pitch, pitch * 0.62 * (1 - remainder / 64))[::6], inks[band - 1]
