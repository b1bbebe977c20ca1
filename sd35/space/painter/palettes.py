"""Palettes for each time of day, and how color words change them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sd35.space.painter.color import RGB, mix, multiply, rgb, shift_towards_hue


@dataclass(frozen=True, slots=True)
class Palette:
    """Colors of the light, and of sky, land and water in it."""

    sky: tuple[RGB, RGB, RGB, RGB]  # zenith … horizon
    haze: RGB  # what distant things dissolve into
    far: RGB
    near: RGB  # land ramps from far to near
    ground: RGB
    water: RGB
    light: RGB  # the disc of sun or moon
    cloud: RGB
    ambient: RGB  # the light on things that have a color of their own
    is_dark: bool = False

    def land(self, nearness: float) -> RGB:
        """Return the color of land at this nearness: 0 at the horizon, 1 at the viewer."""
        return mix(self.far, self.near, nearness)

    def illuminate(self, color: RGB, distance: float = 0.0) -> RGB:
        """Return the look of a colored thing in this light, behind this share of haze."""
        return mix(multiply(color, self.ambient), self.haze, 0.06 + 0.94 * distance)


def _palette(codes: str, *, is_dark: bool = False) -> Palette:
    a, b, c, d, *other_colors = (rgb(code) for code in codes.split())
    haze, far, near, ground, water, light, cloud, ambient = other_colors
    return Palette(
        (a, b, c, d), haze, far, near, ground, water, light, cloud, ambient, is_dark=is_dark
    )


TIME_PALETTES: dict[str, Palette] = {
    "dawn": _palette(
        "51649f 9a8dbd e4abb5 ffd9b8 f1c8bd a08fb5 2f2f55 6b6f86 7686b5 ffe9c4 f7cfc9 ded0e6"
    ),
    "sunrise": _palette(
        "3f6aa8 90a6c9 f7b98b ffe2a3 fbcf9f b88f98 3d2c50 8f7d52 5b7cab fff2bf ffd9b0 ffdcc0"
    ),
    "morning": _palette(
        "5b93cf 93bfe3 cfe0e8 fff0d6 e3e4e0 9fb6cc 2f4a63 83a866 4f8fb4 fff3c4 fff8ee fff6e2"
    ),
    "noon": _palette(
        "1673c9 3f9be3 8accf2 d6f1f7 c3e7f2 7fb9d6 0f5564 52a84f 1286b8 ffffff ffffff ffffff"
    ),
    "afternoon": _palette(
        "6aa3b5 b9c7ae f2d795 ffe9b0 f5dca6 c2a97f 4f3f2e a2914f 6d9a9c fff6d0 fff0cf ffedc9"
    ),
    "sunset": _palette(
        "2b2a62 863f83 ec6a5e ffbe6b f78f66 a8487a 20163a 4a2f4e 5a3a80 fff0b8 f58a78 e8a898"
    ),
    "dusk": _palette(
        "181c4a 43397f 95598f e8998c b5708f 6a4d8a 110f2b 2e2a4e 3b3a78 ffe0c8 7d5690 a88db5"
    ),
    "night": _palette(
        "060a24 0f1c48 23397a 48649c 3c5790 26407a 050a1c 15263f 122655 f6f1d8 33487f 7484b8",
        is_dark=True,
    ),
    "midnight": _palette(
        "02030d 070b26 101a45 1f2d63 1a2858 142250 02040e 0b152b 0a1438 eef2ff 1d2a55 6f7cba",
        is_dark=True,
    ),
}

# What a prompt that names no time gets, by the seed; none of them is one of the above.
DEFAULT_PALETTES: tuple[Palette, ...] = (
    _palette("17566b 4f9a98 b9d8b5 fcecc0 e2e2b8 6fa9a0 0d3540 3f7a62 2b7c84 fff8d8 fdf6df fff4da"),
    _palette("40508f a583b0 f0a79b ffe0b8 f3bda5 b07f9f 2e2350 6f5674 7470a8 fff4d0 ffd9c6 ffe0d4"),
    _palette("2468a8 5ea8d4 b5dfe0 fdf3d4 d8e8d8 7fb3c0 123f57 4f9470 2a84a8 fffbe0 ffffff fffaf0"),
    _palette("2f6f8f 8bb8b0 f6cf9c ffb48a f8c29a b7868a 33284a 77704f 4a7f94 fff3cc ffe6cc ffe8d0"),
)

SPACE_PALETTE = _palette(
    "0a0820 1a1145 33206b 4a2f86 3a2a78 3a3478 0a0a24 2a2a52 1a2a66 fff2d8 4a4690 c8c8ec",
    is_dark=True,
)

NAMED_COLORS: dict[str, RGB] = {
    "red": rgb("d62f35"),
    "crimson": rgb("a5152f"),
    "orange": rgb("f07d22"),
    "yellow": rgb("f6cf2f"),
    "gold": rgb("d9a21f"),
    "green": rgb("3a9b4a"),
    "olive": rgb("7d8429"),
    "teal": rgb("128a8a"),
    "turquoise": rgb("3ccdc4"),
    "blue": rgb("2b64c8"),
    "navy": rgb("1b2a6b"),
    "purple": rgb("7a3ab0"),
    "lavender": rgb("a99be0"),
    "magenta": rgb("d42a9c"),
    "pink": rgb("f48fb5"),
    "brown": rgb("855233"),
    "beige": rgb("dcc7a0"),
    "white": rgb("f7f5ef"),
    "silver": rgb("b8c1cc"),
    "grey": rgb("85888c"),
    "black": rgb("1b1b20"),
}


def with_snow(palette: Palette) -> Palette:
    """Return the palette of the same hour with snow on the land."""
    white = mix(multiply(rgb("f6faff"), palette.ambient), palette.haze, 0.12)
    return replace(
        palette,
        ground=white,
        far=mix(palette.far, white, 0.35),
        near=mix(palette.near, white, 0.16),
    )


def recolor(palette: Palette, hues: Sequence[RGB]) -> Palette:
    """Return the palette moved towards hues: the first for the sky, the last for land and water."""
    if not hues:
        return palette
    first = hues[0]
    last = hues[-1]
    a, b, c, d = (
        shift_towards_hue(mix(stop, first, share), first, 0.72)
        for stop, share in _with_hue_shares(palette.sky)
    )
    return replace(
        palette,
        sky=(a, b, c, d),
        haze=shift_towards_hue(mix(palette.haze, first, 0.14), first, 0.7),
        far=shift_towards_hue(mix(palette.far, last, 0.2), last, 0.7),
        near=shift_towards_hue(mix(palette.near, last, 0.12), last, 0.7),
        ground=shift_towards_hue(mix(palette.ground, last, 0.25), last, 0.7),
        water=shift_towards_hue(mix(palette.water, last, 0.25), last, 0.7),
        cloud=mix(palette.cloud, first, 0.15),
        ambient=mix(palette.ambient, last, 0.18),
    )


def _with_hue_shares(sky: Sequence[RGB]) -> list[tuple[RGB, float]]:
    return list(zip(sky, (0.35, 0.28, 0.18, 0.1), strict=True))
