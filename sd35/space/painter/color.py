"""Colors as 8-bit RGB triples, and the arithmetic that painting needs."""

RGB = tuple[int, int, int]

WHITE: RGB = (255, 255, 255)
BLACK: RGB = (0, 0, 0)


def rgb(code: str) -> RGB:
    """Return the color of six hexadecimal digits."""
    return int(code[0:2], 16), int(code[2:4], 16), int(code[4:6], 16)


def mix(first: RGB, second: RGB, share: float) -> RGB:
    """Return the color at `share` (0 to 1) of the way from the first to the second."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


def lighter(color: RGB, share: float) -> RGB:
    """Return the color mixed with this share of white."""
    return mix(color, WHITE, share)


def darker(color: RGB, share: float) -> RGB:
    """Return the color mixed with this share of black."""
    return mix(color, BLACK, share)


def multiply(color: RGB, light: RGB) -> RGB:
    """Return the color of a surface in colored light."""
    red, green, blue = (round(a * b / 255) for a, b in zip(color, light, strict=True))
    return red, green, blue


def luminance(color: RGB) -> float:
    """Return the perceived brightness, from 0 to 1 (Rec. 601 weights)."""
    return (299 * color[0] + 587 * color[1] + 114 * color[2]) / 255_000


def shift_towards_hue(color: RGB, hue: RGB, share: float) -> RGB:
    """Return the color moved towards a shade of `hue` with the same brightness."""
    target_luminance = luminance(color)
    hue_luminance = luminance(hue)
    if target_luminance <= hue_luminance:
        shade = mix(BLACK, hue, target_luminance / max(hue_luminance, 0.01))
    else:
        shade = mix(hue, WHITE, (target_luminance - hue_luminance) / max(1.0 - hue_luminance, 0.01))
    return mix(color, shade, share)
