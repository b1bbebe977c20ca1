"""Composition of a scene from a parsed prompt: subjects, their places, and the light."""

from dataclasses import dataclass, replace

from PIL import Image

from sd35.space.painter import land, plants, skies
from sd35.space.painter.abstract import abstract
from sd35.space.painter.canvas import Canvas
from sd35.space.painter.motifs import MOTIFS, Draw, Motif, Zone
from sd35.space.painter.palettes import (
    DEFAULT_PALETTES,
    NAMED_COLORS,
    SPACE_PALETTE,
    TIME_PALETTES,
    Palette,
    recolor,
    with_snow,
)
from sd35.space.painter.stage import Spot, Stage
from sd35.space.painter.streams import RandomStream
from sd35.space.painter.styles import STYLE_EFFECTS
from sd35.space.painter.vocabulary import Mention, ParsedPrompt
from sd35.space.painter.weather import EFFECTS

_WATER_SURFACES = frozenset({"sea", "lake", "reef"})
_GROUND_SURFACES = frozenset({"meadow", "desert", "beach"})
_SINGLE_ZONES = frozenset({Zone.SKY, Zone.FAR, Zone.WATER, Zone.GROUND, Zone.TRACK})
_SPACE_SUBJECTS = frozenset({"planet", "galaxy", "comet", "rocket", "astronaut"})
_SNOW_WORDS = frozenset({"snow", "winter", "snowman"})
_LONE_SUBJECT_SCALE = 1.28  # how much larger a subject is that is alone
_TALL_SUBJECTS = frozenset({"mountain", "city", "volcano", "forest"})  # they would hide a low sun
_SIZE_FACTORS = (1.0, 0.72, 0.86, 0.6, 0.78)  # of several of one kind
_LOW_SUN_TIMES = frozenset({"dawn", "sunrise", "sunset", "dusk"})


@dataclass(frozen=True, slots=True)
class Composition:
    """Painted scene, RGB, with two earlier states."""

    backdrop: Image.Image
    masses: Image.Image
    image: Image.Image


def compose(
    prompt: ParsedPrompt, negative: ParsedPrompt, key: str, size: tuple[int, int]
) -> Composition:
    """Paint the prompt without what the negative prompt names; `key` seeds every choice."""
    effective_prompt = prompt.without(negative)
    return Director(effective_prompt, negative.known_words, key, size).paint()


class Director:
    """Arrangement of one scene, painted from the sky to the foreground."""

    def __init__(
        self, prompt: ParsedPrompt, excluded_words: frozenset[str], key: str, size: tuple[int, int]
    ) -> None:
        self._prompt = prompt
        self._excluded_words = excluded_words
        self._mentions = {m.word: m for m in prompt.mentions if m.word in MOTIFS}
        self._mentions |= {word: Mention(word) for word in prompt.modifiers if word in MOTIFS}
        self._random = RandomStream(key, "arrangement")
        self.in_space = self._is_in_space()
        self._add_required_surfaces()
        canvas = Canvas(*size, has_relief="papercut" in prompt.known_words)
        horizon = canvas.h
        if not self.in_space:
            lowering = 0.12 if self._mentions_sky() else 0.0
            horizon *= self._random.uniform(0.58, 0.66) + lowering
        light = self._light_position(canvas, horizon)
        scene_words = prompt.known_words | self._mentions.keys()
        self.stage = Stage(canvas, self._palette(), key, scene_words, horizon, light)

    def paint(self) -> Composition:
        """Paint everything, and return the result with two earlier states."""
        stage = self.stage
        image = self.stage.canvas.image
        if not self._prompt.known_words:
            abstract(stage.canvas, stage.stream("abstract"))
            state = image.reduce(4)
            return Composition(state, state, image)
        skies.sky_gradient(stage)
        self._paint_zone(Zone.SKY)
        # A quarter of the size is enough for what previews show blurred.
        backdrop = image.reduce(4)
        for zone in (Zone.FAR, Zone.WATER, Zone.GROUND, Zone.TRACK):
            self._paint_zone(zone)
        masses = image.reduce(4)
        for zone in (Zone.AFLOAT, Zone.STANDING, Zone.AIR):
            self._paint_zone(zone)
        for word in (word for word in EFFECTS if word in self._prompt.modifiers):
            EFFECTS[word](stage, stage.stream(word))
        for word in (word for word in STYLE_EFFECTS if word in self._prompt.modifiers):
            STYLE_EFFECTS[word](stage, stage.stream(word))
        return Composition(backdrop, masses, image)

    def _mentions_sky(self) -> bool:
        return any(mention.word == "sky" for mention in self._prompt.mentions)

    def _is_in_space(self) -> bool:
        earthly = {word for word in self._mentions if MOTIFS[word].zone not in (Zone.SKY, Zone.AIR)}
        return (
            bool(_SPACE_SUBJECTS & self._mentions.keys())
            and earthly <= {"astronaut"}
            and not self._prompt.times
        )

    def _add_required_surfaces(self) -> None:
        """Add the surfaces that subjects need, and those that these need."""
        # A fish alone is seen under water; one among other things leaps out of it.
        if self._mentions.keys() == {"fish"}:
            self._mentions["reef"] = Mention("reef")
        pending = list(self._mentions)
        while pending:
            surface = MOTIFS[pending.pop()].required_surface
            alternatives = _GROUND_SURFACES if surface in _GROUND_SURFACES else _WATER_SURFACES
            if surface and not alternatives & self._mentions.keys():
                self._mentions[surface] = Mention(surface)
                pending.append(surface)

    def _palette(self) -> Palette:
        unnamed = self._random.choice(DEFAULT_PALETTES)
        times = self._prompt.times
        palette = TIME_PALETTES[times[0]] if times else unnamed
        if not times and {"moon", "stars", "galaxy", "aurora", "comet"} & self._mentions.keys():
            palette = TIME_PALETTES["night"]
        if self.in_space:
            palette = SPACE_PALETTE
        if _SNOW_WORDS & self._prompt.known_words:
            palette = with_snow(palette)
        # `red sky` colors the sky alone, while a color without a subject is for the whole image.
        for mention in self._prompt.mentions:
            if mention.word == "sky" and mention.color:
                palette = replace(palette, sky=recolor(palette, [NAMED_COLORS[mention.color]]).sky)
        return recolor(palette, [NAMED_COLORS[name] for name in self._prompt.colors])

    def _light_position(self, canvas: Canvas, horizon: float) -> tuple[float, float]:
        x = canvas.w * self._random.choice([0.3, 0.36, 0.5, 0.64, 0.7])
        low = bool(_LOW_SUN_TIMES & set(self._prompt.times))
        height = self._random.uniform(0.10, 0.20) if low else self._random.uniform(0.26, 0.40)
        if _TALL_SUBJECTS & self._mentions.keys():
            height += 0.15
        return x, horizon - height * min(horizon, 0.9)

    def _paint_zone(self, zone: Zone) -> None:
        mentions = [self._mentions[word] for word in MOTIFS if word in self._mentions]
        mentions = [mention for mention in mentions if MOTIFS[mention.word].zone is zone]
        if zone in ZONE_DECORATORS:
            ZONE_DECORATORS[zone](self, mentions)
        total = sum(mention.count for mention in mentions)
        positions = self._positions(total)
        for mention in mentions:
            motif = MOTIFS[mention.word]
            for index in range(1 if motif.zone in _SINGLE_ZONES else mention.count):
                spot = self._build_spot(mention, motif, positions.pop(0), total)
                motif.draw(
                    self.stage,
                    replace(spot, size=spot.size * _SIZE_FACTORS[index % len(_SIZE_FACTORS)]),
                )

    def _positions(self, count: int) -> list[float]:
        """Return places side by side, as shares of the width, the most prominent first."""
        if count <= 1:
            return [self._random.choice([0.36, 0.5, 0.64])]
        step = 0.84 / count
        positions = [
            0.08 + step * (i + 0.5) + self._random.uniform(-0.15, 0.15) * step for i in range(count)
        ]
        return sorted(positions, key=lambda position: abs(position - 0.4))

    def _build_spot(self, mention: Mention, motif: Motif, position: float, total: int) -> Spot:
        stage = self.stage
        random = stage.stream(f"{mention.word} {position}")
        x = stage.w * position
        size = motif.size * (_LONE_SUBJECT_SCALE if total == 1 else 1.15 - 0.15 * total**0.7)
        if mention.word in ("sun", "moon"):
            x, y, size = *stage.light, motif.size
        elif motif.zone is Zone.SKY:
            size = motif.size
            x = stage.w - stage.light[0]
            y = stage.horizon * random.uniform(0.22, 0.42)
        elif motif.zone is Zone.FAR:
            y = stage.horizon
            size = motif.size * min(stage.h, 1.6) ** 0.7
        elif motif.zone is Zone.AFLOAT:
            y = stage.horizon + (stage.h - stage.horizon) * random.uniform(0.14, 0.32)
        elif motif.zone is Zone.AIR:
            y = min(stage.horizon, stage.h * 0.75) * random.uniform(0.38, 0.62)
        else:
            y = stage.floor_at(x) + random.uniform(0.02, 0.06)
        color = NAMED_COLORS[mention.color] if mention.color else None
        return Spot(x, y, size, random, color)

    def may_add(self, *subjects: str) -> bool:
        """Return whether none of these words is in the scene, or excluded."""
        return not self._excluded_words.intersection(subjects) and not self._mentions.keys() & set(
            subjects
        )

    @property
    def has_water(self) -> bool:
        """Return whether the scene has a water surface."""
        return bool(_WATER_SURFACES & self._mentions.keys())

    @property
    def has_standing(self) -> bool:
        """Return whether anything stands in the foreground."""
        return any(MOTIFS[word].zone is Zone.STANDING for word in self._mentions)

    def decorate(self, name: str, draw: Draw, size: float) -> None:
        """Paint something that no word asked for."""
        stage = self.stage
        draw(stage, Spot(*stage.light, size, stage.stream(f"dressing {name}")))


def _decorate_sky(director: Director, _: list[Mention]) -> None:
    stage = director.stage
    if director.in_space:
        director.decorate("galaxy", skies.galaxy, 1.0)
    if stage.palette.is_dark and director.may_add("stars"):
        director.decorate("stars", skies.faint_stars, 1.0)
    if director.may_add("sun", "moon", "planet") and not director.in_space:
        director.decorate("disc", skies.sun_disc, 0.085)
    if not stage.palette.is_dark and director.may_add("clouds"):
        director.decorate("clouds", skies.thin_clouds, 1.0)


def _decorate_distance(director: Director, mentions: list[Mention]) -> None:
    if (
        not mentions
        and director.may_add("hill", "mountain")
        and not director.has_water
        and not director.in_space
    ):
        director.decorate("hills", land.hills, 0.24)


def _decorate_ground(director: Director, mentions: list[Mention]) -> None:
    if mentions:
        return
    if director.in_space:
        if "astronaut" in director.stage.known_words:
            director.decorate("moonscape", land.moonscape, 1.0)
    elif not director.has_water:
        director.decorate("ground", land.ground, 1.0)
        if director.may_add("tree", "forest", "pine", "desert"):
            director.decorate("grove", plants.grove, 0.10)
    elif director.has_standing and "reef" not in director.stage.known_words:
        director.decorate("shore", land.shore, 1.0)


ZONE_DECORATORS = {
    Zone.SKY: _decorate_sky,
    Zone.FAR: _decorate_distance,
    Zone.GROUND: _decorate_ground,
}
