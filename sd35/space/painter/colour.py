"""Colours as 8-bit RGB triples, and the few sums that painting needs on them."""

from __future__ import annotations

RGB = tuple[int, int, int]

WHITE: RGB = (255, 255, 255)
BLACK: RGB = (0, 0, 0)


def rgb(code: str) -> RGB:
    """Return the colour of six hexadecimal digits."""
    return int(code[0:2], 16), int(code[2:4], 16), int(code[4:6], 16)


def mix(first: RGB, second: RGB, share: float) -> RGB:
    """Return the colour that lies `share` (0 … 1) of the way from the first to the second."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


def lighter(colour: RGB, share: float) -> RGB:
    """Return the colour with that share of white in it."""
    return mix(colour, WHITE, share)


def darker(colour: RGB, share: float) -> RGB:
    """Return the colour with that share of black in it."""
    return mix(colour, BLACK, share)


def multiply(colour: RGB, light: RGB) -> RGB:
    """Return how a surface of this colour looks in that light."""
    red, green, blue = (round(a * b / 255) for a, b in zip(colour, light, strict=True))
    return red, green, blue


def luminance(colour: RGB) -> float:
    """Return how bright the colour looks, 0 … 1 (Rec. 601 weights)."""
    return (299 * colour[0] + 587 * colour[1] + 114 * colour[2]) / 255_000


def shift_towards_hue(colour: RGB, hue: RGB, share: float) -> RGB:
    """Return the colour drawn towards a shade or tint of `hue` that is as bright as itself."""
    target_luminance, hue_luminance = luminance(colour), luminance(hue)
    if target_luminance <= hue_luminance:
        shade = mix(BLACK, hue, target_luminance / max(hue_luminance, 0.01))
    else:
        shade = mix(hue, WHITE, (target_luminance - hue_luminance) / max(1.0 - hue_luminance, 0.01))
    return mix(colour, shade, share)
