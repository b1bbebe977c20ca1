"""A surface to paint on with anti-aliased shapes, measured in units of its shorter side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from PIL import Image, ImageChops, ImageDraw, ImageFilter

from sd35.space.painter.colour import RGB, mix
from sd35.space.painter.shapes import Outline, Point, box, oval, ribbon, smooth

_SAMPLES = 4  # per pixel and axis: 16 shades of an edge
_FALLOFF = [round(255 * ((255 - d) / 255) ** 2) for d in range(256)]

Box = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Gradient:
    """A paint that changes downwards: pairs of y and the colour there, from top to bottom."""

    stops: tuple[tuple[float, RGB], ...]

    def at(self, y: float) -> RGB:
        """Return the colour at this y."""
        for (top, first), (bottom, second) in pairwise(self.stops):
            if y <= bottom:
                return mix(first, second, min(max((y - top) / max(bottom - top, 1e-9), 0.0), 1.0))
        return self.stops[-1][1]


Paint = RGB | Gradient


class Canvas:
    """An RGB picture whose shorter side has length 1; `w` and `h` are its sides in that unit.

    With `relief` every shape casts a shadow on those below it, as cut paper does.
    """

    def __init__(self, width: int, height: int, *, relief: bool = False) -> None:
        self.relief = relief
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
        """Paint the union of the outlines less the holes; `blur` (in units) softens its edge."""
        where = self._box(outlines, blur)
        if where is None:
            return
        if self.relief and blur == 0 and opacity > 0.6:
            self._cast(outlines, holes)
        mask = self._mask(where, outlines, holes, blur)
        if opacity < 1.0:
            mask = mask.point([round(level * opacity) for level in range(256)])
        self.image.paste(self._paint(where, paint), where, mask)

    def wash(self, paint: Paint, opacity: float = 1.0) -> None:
        """Lay the paint over everything."""
        self.fill([box(0, 0, self.w, self.h)], paint, opacity=opacity)

    def glow(self, x: float, y: float, radius: float, colour: RGB, strength: float = 1.0) -> None:
        """Add a round light that fades to nothing at the radius."""
        where = self._whole_box(x - radius, y - radius, x + radius, y + radius)
        cut = self._clipped(where)
        if cut is None:
            return
        falloff = Image.radial_gradient("L").crop((38, 38, 218, 218))
        table = [round(_FALLOFF[min(255, level * 2)] * strength) for level in range(256)]
        falloff = falloff.point(table)
        mask = falloff.resize(
            (cut[2] - cut[0], cut[3] - cut[1]),
            Image.Resampling.BILINEAR,
            _share(falloff.size, where, cut),
        )
        light = Image.new("RGB", mask.size)
        light.paste(colour, (0, 0), mask)
        self.image.paste(ImageChops.screen(self.image.crop(cut), light), cut)

    def pixels(self, length: float) -> int:
        """Return a length in whole pixels."""
        return round(length * self.unit)

    def _cast(self, outlines: Sequence[Outline], holes: Sequence[Outline]) -> None:
        lower, right, soft = 0.006, 0.004, 0.011
        shifted, gaps = (
            [[(x + right, y + lower) for x, y in o] for o in group] for group in (outlines, holes)
        )
        where = self._box(shifted, soft)
        if where is not None:
            mask = self._mask(where, shifted, gaps, soft).point(
                [round(level * 0.42) for level in range(256)]
            )
            self.image.paste((10, 10, 30), where, mask)

    def _box(self, outlines: Sequence[Outline], blur: float) -> Box | None:
        xs = [x for outline in outlines for x, _ in outline]
        ys = [y for outline in outlines for _, y in outline]
        if not xs:
            return None
        margin = 3 * blur
        return self._clipped(
            self._whole_box(min(xs) - margin, min(ys) - margin, max(xs) + margin, max(ys) + margin)
        )

    def _whole_box(self, left: float, top: float, right: float, bottom: float) -> Box:
        unit = self.unit
        return (
            math.floor(left * unit),
            math.floor(top * unit),
            math.ceil(right * unit) + 1,
            math.ceil(bottom * unit) + 1,
        )

    def _clipped(self, where: Box) -> Box | None:
        width, height = self.image.size
        left, top = max(where[0], 0), max(where[1], 0)
        right, bottom = min(where[2], width), min(where[3], height)
        return (left, top, right, bottom) if left < right and top < bottom else None

    def _mask(
        self, where: Box, outlines: Sequence[Outline], holes: Sequence[Outline], blur: float
    ) -> Image.Image:
        # What will be blurred anyway needs neither samples between the pixels nor every pixel.
        radius = blur * self.unit
        fine = _SAMPLES if radius < 2 else 1
        size = (where[2] - where[0], where[3] - where[1])
        mask = Image.new("L", (size[0] * fine, size[1] * fine))
        draw = ImageDraw.Draw(mask)
        for outline, level in [*((o, 255) for o in outlines), *((o, 0) for o in holes)]:
            draw.polygon([self._sample(point, where, fine) for point in outline], fill=level)
        if fine > 1:
            mask = mask.reduce(fine)
        return mask.filter(ImageFilter.GaussianBlur(radius)) if radius > 0 else mask

    def _sample(self, point: Point, where: Box, fine: int) -> tuple[int, int]:
        scale = self.unit * fine
        return round(point[0] * scale - 0.5) - where[0] * fine, round(
            point[1] * scale - 0.5
        ) - where[1] * fine

    def _paint(self, where: Box, paint: Paint) -> Image.Image | RGB:
        if not isinstance(paint, Gradient):
            return paint
        rows = range(where[1], where[3])
        column = Image.new("RGB", (1, len(rows)))
        column.putdata([paint.at((row + 0.5) / self.unit) for row in rows])
        return column.resize((where[2] - where[0], len(rows)), Image.Resampling.NEAREST)


def _share(size: tuple[int, int], whole: Box, part: Box) -> tuple[float, float, float, float]:
    """Return the box of `part` in a picture of this size that covers `whole`."""
    across, down = size[0] / (whole[2] - whole[0]), size[1] / (whole[3] - whole[1])
    left, top = (part[0] - whole[0]) * across, (part[1] - whole[1]) * down
    right, bottom = (part[2] - whole[0]) * across, (part[3] - whole[1]) * down
    return left, top, min(right, size[0]), min(bottom, size[1])


@dataclass(frozen=True, slots=True)
class Brush:
    """Draws in a subject's own measure: from its foot, x to the right, y upwards, `size` units long."""

    canvas: Canvas
    x: float
    y: float
    size: float
    mirrored: bool = False

    def at(self, x: float, y: float) -> Point:
        """Return the place on the canvas of a point of the subject."""
        return self.x + self.size * (-x if self.mirrored else x), self.y - self.size * y

    def outline(self, points: Sequence[Point]) -> Outline:
        """Return the points as an outline on the canvas."""
        return [self.at(x, y) for x, y in points]

    def polygon(self, points: Sequence[Point], paint: Paint, opacity: float = 1.0) -> None:
        """Fill straight lines between the points."""
        self.canvas.fill([self.outline(points)], paint, opacity=opacity)

    def block(self, left: float, bottom: float, right: float, top: float, paint: Paint) -> None:
        """Fill a rectangle."""
        self.polygon([(left, bottom), (right, bottom), (right, top), (left, top)], paint)

    def blob(self, points: Sequence[Point], paint: Paint, opacity: float = 1.0) -> None:
        """Fill the smooth closed curve through the points."""
        self.canvas.fill([smooth(self.outline(points))], paint, opacity=opacity)

    def oval(
        self, x: float, y: float, across: float, down: float, paint: Paint, opacity: float = 1.0
    ) -> None:
        """Fill an ellipse by its centre and half axes."""
        where = self.at(x, y)
        self.canvas.fill(
            [oval(*where, across * self.size, down * self.size)], paint, opacity=opacity
        )

    def stroke(
        self, points: Sequence[Point], width: float, paint: Paint, tip: float | None = None
    ) -> None:
        """Draw a smooth line through the points, from this width to that of its tip."""
        path = smooth(self.outline(points), closed=False)
        end = width if tip is None else tip
        self.canvas.fill([ribbon(path, width * self.size, end * self.size)], paint)
