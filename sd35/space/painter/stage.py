"""Context of a drawing function: the canvas, the light, and its own spot."""

from dataclasses import dataclass, field

from sd35.space.painter.canvas import Brush, Canvas
from sd35.space.painter.color import RGB, WHITE, mix, rgb, shift_towards_hue
from sd35.space.painter.palettes import Palette
from sd35.space.painter.shapes import Outline, height_at
from sd35.space.painter.streams import RandomStream

LAMP_COLOR = rgb("ffd98a")  # the light in windows


@dataclass(slots=True)
class Stage:
    """Image being painted; lengths are in units of its shorter side, y points down."""

    canvas: Canvas
    palette: Palette
    key: str  # of all its random streams
    known_words: frozenset[str]
    horizon: float
    light: tuple[float, float]  # where the sun or the moon is
    floor: Outline = field(default_factory=list)  # the line on which things in the foreground stand

    def stream(self, purpose: str) -> RandomStream:
        """Return the random stream for a purpose."""
        return RandomStream(self.key, purpose)

    def floor_at(self, x: float) -> float:
        """Return the y of the foreground's ground at x."""
        return height_at(self.floor, x) if self.floor else self.canvas.h * 0.86

    @property
    def w(self) -> float:
        """Width of the image."""
        return self.canvas.w

    @property
    def h(self) -> float:
        """Height of the image."""
        return self.canvas.h


def shadow(stage: Stage, brush: Brush, half: float, x: float = 0.0) -> None:
    """Paint a soft shadow at a subject's foot, `half` to each side, away from the light."""
    away = 0.2 * half if stage.light[0] < brush.x else -0.2 * half
    brush.oval(x + away, 0.0, half, half * 0.14, stage.palette.near, 0.38)


def eye(brush: Brush, x: float, y: float, size: float) -> None:
    """Draw an eye with a glint."""
    brush.oval(x, y, size, size * 1.15, rgb("1d1a22"))
    brush.oval(x + size * 0.3, y + size * 0.4, size * 0.33, size * 0.33, WHITE)


@dataclass(frozen=True, slots=True)
class Spot:
    """Place of a subject: its foot, or its middle if it flies, its size, and a requested color."""

    x: float
    y: float
    size: float
    random: RandomStream
    color: RGB | None = None
    distance: float = 0.0  # 0 … 1, how much haze lies before it

    def brush(self, stage: Stage, *, is_mirrored: bool = False) -> Brush:
        """Return a brush in the subject's coordinates."""
        return Brush(stage.canvas, self.x, self.y, self.size, is_mirrored)

    def tone(self, stage: Stage, default_color: RGB, *, use_spot_color: bool = True) -> RGB:
        """Return a color in the scene's light; by default, a requested color replaces it."""
        color = self.color if use_spot_color and self.color else default_color
        return stage.palette.illuminate(color, self.distance)

    def tint(self, color: RGB) -> RGB:
        """Return a color of the scene, moved towards a requested color."""
        return (
            mix(shift_towards_hue(color, self.color, 0.85), self.color, 0.3)
            if self.color
            else color
        )
