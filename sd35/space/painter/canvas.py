"""Surface for anti-aliased shapes, measured in units of its shorter side."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from PIL import Image, ImageChops, ImageDraw, ImageFilter

from sd35.space.painter.color import RGB, mix
from sd35.space.painter.shapes import Outline, Point, box, oval, ribbon, smooth

_SAMPLES_PER_PIXEL = 4  # per pixel and axis: 16 shades of an edge
_FALLOFF = [round(255 * ((255 - d) / 255) ** 2) for d in range(256)]

Box = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Gradient:
    """Vertical gradient: pairs of y and color, from top to bottom."""

    stops: tuple[tuple[float, RGB], ...]

    def color_at(self, y: float) -> RGB:
        """Return the color at a height."""
        for (top, first), (bottom, second) in pairwise(self.stops):
            if y <= bottom:
                return mix(first, second, min(max((y - top) / max(bottom - top, 1e-9), 0.0), 1.0))
        return self.stops[-1][1]


Paint = RGB | Gradient


class Canvas:
    """RGB image whose shorter side has length 1; `w` and `h` are its sides in that unit.

    With `has_relief`, every shape casts a shadow on those below it, as cut paper does.
    """

    def __init__(self, width: int, height: int, *, has_relief: bool = False) -> None:
        self.has_relief = has_relief
        self.unit = min(width, height)  # pixels
        self.w = width / self.unit
        self.h = height / self.unit
        self.image = Image.new("RGB", (width, height))

    def fill(
        self,
        outlines: Sequence[Outline],
        paint: Paint,
        *,
        opacity: float = 1.0,
        blur: float = 0.0,
        holes: Sequence[Outline] = (),
    ) -> None:
        """Paint the union of the outlines without the holes; `blur` (in units) softens its edge."""
        bounds = self._bounds(outlines, blur)
        if bounds is None:
            return
        if self.has_relief and blur == 0 and opacity > 0.6:
            self._cast_shadow(outlines, holes)
        mask = self._mask(bounds, outlines, holes, blur)
        if opacity < 1.0:
            mask = mask.point([round(level * opacity) for level in range(256)])
        self.image.paste(self._paint(bounds, paint), bounds, mask)

    def wash(self, paint: Paint, opacity: float = 1.0) -> None:
        """Paint over everything."""
        self.fill([box(0, 0, self.w, self.h)], paint, opacity=opacity)

    def glow(self, x: float, y: float, radius: float, color: RGB, strength: float = 1.0) -> None:
        """Add a round light that fades to nothing at the radius."""
        bounds = self._pixel_bounds(x - radius, y - radius, x + radius, y + radius)
        visible_bounds = self._clip(bounds)
        if visible_bounds is None:
            return
        # Pillow's gradient reaches 255 only in the corners: this crop ends at 127, which the table
        # doubles.
        falloff = Image.radial_gradient("L").crop((38, 38, 218, 218))
        table = [round(_FALLOFF[min(255, level * 2)] * strength) for level in range(256)]
        falloff = falloff.point(table)
        mask = falloff.resize(
            (visible_bounds[2] - visible_bounds[0], visible_bounds[3] - visible_bounds[1]),
            Image.Resampling.BILINEAR,
            _crop_box(falloff.size, bounds, visible_bounds),
        )
        light = Image.new("RGB", mask.size)
        light.paste(color, (0, 0), mask)
        self.image.paste(ImageChops.screen(self.image.crop(visible_bounds), light), visible_bounds)

    def to_pixels(self, length: float) -> int:
        """Return a length in whole pixels."""
        return round(length * self.unit)

    def _cast_shadow(self, outlines: Sequence[Outline], holes: Sequence[Outline]) -> None:
        lower = 0.006
        right = 0.004
        softness = 0.011
        shifted, gaps = (
            [[(x + right, y + lower) for x, y in o] for o in group] for group in (outlines, holes)
        )
        bounds = self._bounds(shifted, softness)
        if bounds is not None:
            mask = self._mask(bounds, shifted, gaps, softness).point(
                [round(level * 0.42) for level in range(256)]
            )
            self.image.paste((10, 10, 30), bounds, mask)

    def _bounds(self, outlines: Sequence[Outline], blur: float) -> Box | None:
        xs = [x for outline in outlines for x, _ in outline]
        ys = [y for outline in outlines for _, y in outline]
        if not xs:
            return None
        margin = 3 * blur
        return self._clip(
            self._pixel_bounds(
                min(xs) - margin, min(ys) - margin, max(xs) + margin, max(ys) + margin
            )
        )

    def _pixel_bounds(self, x0: float, y0: float, x1: float, y1: float) -> Box:
        unit = self.unit
        return (
            math.floor(x0 * unit),
            math.floor(y0 * unit),
            math.ceil(x1 * unit) + 1,
            math.ceil(y1 * unit) + 1,
        )

    def _clip(self, bounds: Box) -> Box | None:
        width, height = self.image.size
        x0 = max(bounds[0], 0)
        y0 = max(bounds[1], 0)
        x1 = min(bounds[2], width)
        y1 = min(bounds[3], height)
        return (x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None

    def _mask(
        self, bounds: Box, outlines: Sequence[Outline], holes: Sequence[Outline], blur: float
    ) -> Image.Image:
        # What will be blurred anyway needs neither samples between the pixels nor every pixel.
        radius = blur * self.unit
        samples = _SAMPLES_PER_PIXEL if radius < 2 else 1
        size = (bounds[2] - bounds[0], bounds[3] - bounds[1])
        mask = Image.new("L", (size[0] * samples, size[1] * samples))
        draw = ImageDraw.Draw(mask)
        for outline, level in [*((o, 255) for o in outlines), *((o, 0) for o in holes)]:
            draw.polygon([self._to_sample(point, bounds, samples) for point in outline], fill=level)
        if samples > 1:
            mask = mask.reduce(samples)
        return mask.filter(ImageFilter.GaussianBlur(radius)) if radius > 0 else mask

    def _to_sample(self, point: Point, bounds: Box, samples: int) -> tuple[int, int]:
        scale = self.unit * samples
        return round(point[0] * scale - 0.5) - bounds[0] * samples, round(
            point[1] * scale - 0.5
        ) - bounds[1] * samples

    def _paint(self, bounds: Box, paint: Paint) -> Image.Image | RGB:
        if not isinstance(paint, Gradient):
            return paint
        rows = range(bounds[1], bounds[3])
        # One column, repeated: a gradient only changes downwards.
        column = Image.new("RGB", (1, len(rows)))
        column.putdata([paint.color_at((row + 0.5) / self.unit) for row in rows])
        return column.resize((bounds[2] - bounds[0], len(rows)), Image.Resampling.NEAREST)


def _crop_box(size: tuple[int, int], whole: Box, part: Box) -> tuple[float, float, float, float]:
    """Return the box in an image of this size, spread over `whole`, that covers `part`."""
    across = size[0] / (whole[2] - whole[0])
    down = size[1] / (whole[3] - whole[1])
    x0 = (part[0] - whole[0]) * across
    y0 = (part[1] - whole[1]) * down
    x1 = (part[2] - whole[0]) * across
    y1 = (part[3] - whole[1]) * down
    return x0, y0, min(x1, size[0]), min(y1, size[1])


@dataclass(frozen=True, slots=True)
class Brush:
    """Brush in a subject's coordinates: from its foot, x to the right, y up, in `size` units."""

    canvas: Canvas
    x: float
    y: float
    size: float
    is_mirrored: bool = False

    def to_canvas(self, x: float, y: float) -> Point:
        """Return the canvas coordinates of a point of the subject."""
        return self.x + self.size * (-x if self.is_mirrored else x), self.y - self.size * y

    def outline(self, points: Sequence[Point]) -> Outline:
        """Return the points as an outline on the canvas."""
        return [self.to_canvas(x, y) for x, y in points]

    def polygon(self, points: Sequence[Point], paint: Paint, opacity: float = 1.0) -> None:
        """Fill the polygon through the points."""
        self.canvas.fill([self.outline(points)], paint, opacity=opacity)

    def block(self, x0: float, y1: float, x1: float, y0: float, paint: Paint) -> None:
        """Fill a rectangle."""
        self.polygon([(x0, y1), (x1, y1), (x1, y0), (x0, y0)], paint)

    def blob(self, points: Sequence[Point], paint: Paint, opacity: float = 1.0) -> None:
        """Fill the smooth closed curve through the points."""
        self.canvas.fill([smooth(self.outline(points))], paint, opacity=opacity)

    def oval(
        self, x: float, y: float, across: float, down: float, paint: Paint, opacity: float = 1.0
    ) -> None:
        """Fill an ellipse, given by its center and half axes."""
        center = self.to_canvas(x, y)
        self.canvas.fill(
            [oval(*center, across * self.size, down * self.size)], paint, opacity=opacity
        )

    def stroke(
        self, points: Sequence[Point], width: float, paint: Paint, tip: float | None = None
    ) -> None:
        """Draw a smooth line through the points, `width` wide at its start and `tip` at its end."""
        path = smooth(self.outline(points), closed=False)
        end = width if tip is None else tip
        self.canvas.fill([ribbon(path, width * self.size, end * self.size)], paint)
