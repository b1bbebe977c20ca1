"""Composes a scene from what was read in a prompt: which things, where, in which light."""

from __future__ import annotations

from dataclasses import dataclass, replace

from PIL import Image

from sd35.space.painter import land, plants, skies
from sd35.space.painter.abstract import abstract
from sd35.space.painter.canvas import Canvas
from sd35.space.painter.motifs import MOTIFS, Draw, Motif, Zone
from sd35.space.painter.palettes import COLOURS, SPACE, TIMES, UNNAMED, Palette, recoloured, snowed
from sd35.space.painter.stage import Spot, Stage
from sd35.space.painter.streams import Stream
from sd35.space.painter.styles import STYLING
from sd35.space.painter.vocabulary import Mention, Reading
from sd35.space.painter.weather import EFFECTS

_WATERS = frozenset({"sea", "lake", "reef"})
_GROUNDS = frozenset({"meadow", "desert", "beach"})
_SINGLE = frozenset({Zone.SKY, Zone.FAR, Zone.WATER, Zone.GROUND, Zone.TRACK})
_HEAVENLY = frozenset({"planet", "galaxy", "comet", "rocket", "astronaut"})
_SNOWY = frozenset({"snow", "winter", "snowman"})
_HERO = 1.28  # how much larger a subject is that is alone
_TALL = frozenset({"mountain", "city", "volcano", "forest"})  # they would hide a low sun
_SIZES = (1.0, 0.72, 0.86, 0.6, 0.78)  # of several of one kind
_LOW_SUN = frozenset({"dawn", "sunrise", "sunset", "dusk"})


@dataclass(frozen=True, slots=True)
class Composition:
    """A painted scene, RGB, and how it looked on the way."""

    backdrop: Image.Image
    masses: Image.Image
    finished: Image.Image


def compose(reading: Reading, negative: Reading, key: str, size: tuple[int, int]) -> Composition:
    """Paint what was read less what the negative prompt names; `key` seeds every choice."""
    wanted = reading.without(negative)
    return Director(wanted, negative.words, key, size).painted()


class Director:
    """Arranges one scene and has it painted, from the sky to the foreground."""

    def __init__(
        self, reading: Reading, banned: frozenset[str], key: str, size: tuple[int, int]
    ) -> None:
        self._reading = reading
        self._banned = banned
        self._mentions = {m.word: m for m in reading.mentions if m.word in MOTIFS}
        self._mentions |= {word: Mention(word) for word in reading.manners if word in MOTIFS}
        self._random = Stream(key, "arrangement")
        self.in_space = self._is_in_space()
        self._require()
        canvas = Canvas(*size, relief="papercut" in reading.words)
        horizon = canvas.h * (
            1.0 if self.in_space else self._random.between(0.58, 0.66) + 0.12 * self._sky_counts()
        )
        light = self._light_place(canvas, horizon)
        words = reading.words | self._mentions.keys()
        self.stage = Stage(canvas, self._palette(), key, words, horizon, light)

    def painted(self) -> Composition:
        """Paint everything and return the result with two earlier states of it."""
        stage, image = self.stage, self.stage.canvas.image
        if not self._reading.words:
            abstract(stage.canvas, stage.stream("abstract"))
            state = image.reduce(4)
            return Composition(state, state, image)
        skies.air(stage)
        self._zone(Zone.SKY)
        backdrop = image.reduce(4)
        for zone in (Zone.FAR, Zone.WATER, Zone.GROUND, Zone.TRACK):
            self._zone(zone)
        masses = image.reduce(4)
        for zone in (Zone.AFLOAT, Zone.STANDING, Zone.AIR):
            self._zone(zone)
        for word in (word for word in EFFECTS if word in self._reading.manners):
            EFFECTS[word](stage, stage.stream(word))
        for word in (word for word in STYLING if word in self._reading.manners):
            STYLING[word](stage, stage.stream(word))
        return Composition(backdrop, masses, image)

    def _sky_counts(self) -> bool:
        return any(mention.word == "sky" for mention in self._reading.mentions)

    def _is_in_space(self) -> bool:
        earthly = {word for word in self._mentions if MOTIFS[word].zone not in (Zone.SKY, Zone.AIR)}
        return (
            bool(_HEAVENLY & self._mentions.keys())
            and earthly <= {"astronaut"}
            and not self._reading.times
        )

    def _require(self) -> None:
        """Add the surfaces that the subjects need, and those that these need."""
        if self._mentions.keys() == {"fish"}:
            self._mentions["reef"] = Mention("reef")
        waiting = list(self._mentions)
        while waiting:
            surface = MOTIFS[waiting.pop()].needs
            kind = _GROUNDS if surface in _GROUNDS else _WATERS
            if surface and not kind & self._mentions.keys():
                self._mentions[surface] = Mention(surface)
                waiting.append(surface)

    def _palette(self) -> Palette:
        unnamed = self._random.pick(UNNAMED)
        times = self._reading.times
        palette = TIMES[times[0]] if times else unnamed
        if not times and {"moon", "stars", "galaxy", "aurora", "comet"} & self._mentions.keys():
            palette = TIMES["night"]
        if self.in_space:
            palette = SPACE
        if _SNOWY & self._reading.words:
            palette = snowed(palette)
        for mention in self._reading.mentions:
            if mention.word == "sky" and mention.colour:
                palette = replace(palette, sky=recoloured(palette, [COLOURS[mention.colour]]).sky)
        return recoloured(palette, [COLOURS[name] for name in self._reading.colours])

    def _light_place(self, canvas: Canvas, horizon: float) -> tuple[float, float]:
        x = canvas.w * self._random.pick([0.3, 0.36, 0.5, 0.64, 0.7])
        low = bool(_LOW_SUN & set(self._reading.times))
        height = self._random.between(0.10, 0.20) if low else self._random.between(0.26, 0.40)
        height += 0.15 if _TALL & self._mentions.keys() else 0.0
        return x, horizon - height * min(horizon, 0.9)

    def _zone(self, zone: Zone) -> None:
        chosen = [self._mentions[word] for word in MOTIFS if word in self._mentions]
        chosen = [mention for mention in chosen if MOTIFS[mention.word].zone is zone]
        if zone in DRESSING:
            DRESSING[zone](self, chosen)
        total = sum(mention.count for mention in chosen)
        places = self._places(total)
        for mention in chosen:
            motif = MOTIFS[mention.word]
            for index in range(1 if motif.zone in _SINGLE else mention.count):
                spot = self._spot(mention, motif, places.pop(0), total)
                motif.draw(self.stage, replace(spot, size=spot.size * _SIZES[index % len(_SIZES)]))

    def _places(self, count: int) -> list[float]:
        """Return where things stand side by side, as shares of the width, the first the most prominent."""
        if count <= 1:
            return [self._random.pick([0.36, 0.5, 0.64])]
        step = 0.84 / count
        places = [
            0.08 + step * (i + 0.5) + self._random.between(-0.15, 0.15) * step for i in range(count)
        ]
        return sorted(places, key=lambda place: abs(place - 0.4))

    def _spot(self, mention: Mention, motif: Motif, place: float, total: int) -> Spot:
        stage = self.stage
        random = stage.stream(f"{mention.word} {place}")
        x, size = stage.w * place, motif.size * (_HERO if total == 1 else 1.15 - 0.15 * total**0.7)
        if mention.word in ("sun", "moon"):
            x, y, size = *stage.light, motif.size
        elif motif.zone is Zone.SKY:
            size = motif.size
            x, y = stage.w - stage.light[0], stage.horizon * random.between(0.22, 0.42)
        elif motif.zone is Zone.FAR:
            y, size = stage.horizon, motif.size * min(stage.h, 1.6) ** 0.7
        elif motif.zone is Zone.AFLOAT:
            y = stage.horizon + (stage.h - stage.horizon) * random.between(0.14, 0.32)
        elif motif.zone is Zone.AIR:
            y = min(stage.horizon, stage.h * 0.75) * random.between(0.38, 0.62)
        else:
            y = stage.floor_at(x) + random.between(0.02, 0.06)
        colour = COLOURS[mention.colour] if mention.colour else None
        return Spot(x, y, size, random, colour)

    def allowed(self, *words: str) -> bool:
        """Return whether none of these words is in the scene already, nor unwanted."""
        return not self._banned.intersection(words) and not self._mentions.keys() & set(words)

    @property
    def has_water(self) -> bool:
        """Whether there is a surface of water in the scene."""
        return bool(_WATERS & self._mentions.keys())

    @property
    def has_standing(self) -> bool:
        """Whether anything stands in the foreground."""
        return any(MOTIFS[word].zone is Zone.STANDING for word in self._mentions)

    def dress(self, name: str, draw: Draw, size: float) -> None:
        """Paint something that no word asked for."""
        stage = self.stage
        draw(stage, Spot(*stage.light, size, stage.stream(f"dressing {name}")))


def _dress_sky(director: Director, _: list[Mention]) -> None:
    stage = director.stage
    if director.in_space:
        director.dress("galaxy", skies.galaxy, 1.0)
    if stage.palette.dark and director.allowed("stars"):
        director.dress("stars", skies.sprinkle, 1.0)
    if director.allowed("sun", "moon", "planet") and not director.in_space:
        director.dress("disc", skies.disc, 0.085)
    if not stage.palette.dark and director.allowed("clouds"):
        director.dress("clouds", skies.dressing, 1.0)


def _dress_distance(director: Director, chosen: list[Mention]) -> None:
    if (
        not chosen
        and director.allowed("hill", "mountain")
        and not director.has_water
        and not director.in_space
    ):
        director.dress("hills", land.hills, 0.24)


def _dress_ground(director: Director, chosen: list[Mention]) -> None:
    if chosen:
        return
    if director.in_space:
        if "astronaut" in director.stage.words:
            director.dress("moonscape", land.moonscape, 1.0)
    elif not director.has_water:
        director.dress("ground", land.ground, 1.0)
        if director.allowed("tree", "forest", "pine", "desert"):
            director.dress("grove", plants.grove, 0.10)
    elif director.has_standing and "reef" not in director.stage.words:
        director.dress("shore", land.shore, 1.0)


DRESSING = {Zone.SKY: _dress_sky, Zone.FAR: _dress_distance, Zone.GROUND: _dress_ground}
