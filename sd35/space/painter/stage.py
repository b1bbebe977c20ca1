"""What a motif is given to paint with: the canvas, the light, and the place it should take."""

from __future__ import annotations

from dataclasses import dataclass, field

from sd35.space.painter.canvas import Brush, Canvas
from sd35.space.painter.colour import RGB, WHITE, mix, rgb, shift_towards_hue
from sd35.space.painter.palettes import Palette
from sd35.space.painter.shapes import Outline, height_at
from sd35.space.painter.streams import RandomStream

LAMP_COLOUR = rgb("ffd98a")  # the light in windows


@dataclass(slots=True)
class Stage:
    """The picture being painted; lengths are in units of its shorter side, y points down."""

    canvas: Canvas
    palette: Palette
    key: str  # of all its random streams
    words: frozenset[str]
    horizon: float
    light: tuple[float, float]  # where the sun or the moon is
    floor: Outline = field(default_factory=list)  # the line on which things in the foreground stand

    def stream(self, purpose: str) -> RandomStream:
        """Return the random stream for this purpose."""
        return RandomStream(self.key, purpose)

    def floor_at(self, x: float) -> float:
        """Return the y of the foreground's ground at x."""
        return height_at(self.floor, x) if self.floor else self.canvas.h * 0.86

    @property
    def w(self) -> float:
        """The picture's width."""
        return self.canvas.w

    @property
    def h(self) -> float:
        """The picture's height."""
        return self.canvas.h


def shadow(stage: Stage, brush: Brush, half: float, x: float = 0.0) -> None:
    """Lay a soft shadow at a subject's foot, as long as twice `half`, away from the light."""
    away = 0.2 * half if stage.light[0] < brush.x else -0.2 * half
    brush.oval(x + away, 0.0, half, half * 0.14, stage.palette.near, 0.38)


def eye(brush: Brush, x: float, y: float, size: float) -> None:
    """Draw an eye with a glint in it."""
    brush.oval(x, y, size, size * 1.15, rgb("1d1a22"))
    brush.oval(x + size * 0.3, y + size * 0.4, size * 0.33, size * 0.33, WHITE)


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a motif goes: its foot (or its middle, if it flies), its size, and its colour if one was named."""

    x: float
    y: float
    size: float
    random: RandomStream
    colour: RGB | None = None
    distance: float = 0.0  # 0 … 1, how much haze lies before it

    def brush(self, stage: Stage, *, is_mirrored: bool = False) -> Brush:
        """Return a brush that draws at this spot in the subject's own measure."""
        return Brush(stage.canvas, self.x, self.y, self.size, is_mirrored)

    def tone(self, stage: Stage, default_colour: RGB, *, use_spot_colour: bool = True) -> RGB:
        """Return a colour in the scene's light; the named colour takes its place where `named`."""
        colour = self.colour if use_spot_colour and self.colour else default_colour
        return stage.palette.illuminate(colour, self.distance)

    def tint(self, colour: RGB) -> RGB:
        """Return a colour of the scene drawn towards the named colour, if there is one."""
        return (
            mix(shift_towards_hue(colour, self.colour, 0.85), self.colour, 0.3)
            if self.colour
            else colour
        )
