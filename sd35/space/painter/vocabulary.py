"""Known words, and the parsing of prompts."""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from sd35.space.painter.palettes import NAMED_COLORS, TIME_PALETTES

MAX_WORDS = 256  # the model's text encoder, too, reads only so many tokens
_MAX_CHARACTERS = 4096


def _word_set(text: str) -> frozenset[str]:
    return frozenset(text.split())


SUBJECTS = _word_set("""
    sun moon stars planet comet galaxy clouds sky bird balloon rocket airplane butterfly
    mountain hill volcano city forest island pyramid waterfall
    sea lake river reef beach desert meadow road
    tree pine palm cherry flower tulip sunflower cactus mushroom
    house castle lighthouse bridge windmill pagoda tent
    cat dog fox rabbit owl fish whale
    boat ship car train person astronaut apple snowman lantern
    """)
WEATHER = _word_set("rain snow fog storm lightning wind rainbow aurora sunny")
SEASONS = _word_set("spring summer autumn winter")
STYLES = _word_set("""
    watercolor lineart sketch pixel poster mosaic oil monochrome vintage neon minimal papercut
    pointillism blueprint popart
    """)
MOODS = _word_set("calm dark bright warm cold dreamy dramatic vivid pastel")
CANONICAL = (
    SUBJECTS
    | WEATHER
    | SEASONS
    | STYLES
    | MOODS
    | frozenset(TIME_PALETTES)
    | frozenset(NAMED_COLORS)
)

_SYNONYMS = {
    "sunshine": "sunny",
    "crescent": "moon",
    "moonlight": "moon",
    "starry": "stars",
    "cosmos": "galaxy",
    "nebula": "galaxy",
    "saturn": "planet",
    "cloudy": "clouds",
    "eagle": "bird",
    "seagull": "bird",
    "plane": "airplane",
    "spaceship": "rocket",
    "space": "galaxy",
    "valley": "hill",
    "alps": "mountain",
    "peak": "mountain",
    "skyline": "city",
    "town": "city",
    "skyscraper": "city",
    "woods": "forest",
    "jungle": "forest",
    "ocean": "sea",
    "pond": "lake",
    "underwater": "reef",
    "coral": "reef",
    "aquarium": "reef",
    "stream": "river",
    "coast": "beach",
    "shore": "beach",
    "dune": "desert",
    "sahara": "desert",
    "field": "meadow",
    "grass": "meadow",
    "path": "road",
    "fir": "pine",
    "spruce": "pine",
    "oak": "tree",
    "sakura": "cherry",
    "blossom": "cherry",
    "daisy": "flower",
    "rose": "flower",
    "poppy": "flower",
    "cabin": "house",
    "cottage": "house",
    "hut": "house",
    "palace": "castle",
    "mill": "windmill",
    "temple": "pagoda",
    "camping": "tent",
    "kitten": "cat",
    "puppy": "dog",
    "bunny": "rabbit",
    "hare": "rabbit",
    "sailboat": "boat",
    "yacht": "boat",
    "steamer": "ship",
    "locomotive": "train",
    "man": "person",
    "woman": "person",
    "traveller": "person",
    "spaceman": "astronaut",
    "rainy": "rain",
    "snowy": "snow",
    "snowfall": "snow",
    "mist": "fog",
    "misty": "fog",
    "foggy": "fog",
    "stormy": "storm",
    "thunder": "lightning",
    "windy": "wind",
    "fall": "autumn",
    "autumnal": "autumn",
    "wintry": "winter",
    "day": "noon",
    "midday": "noon",
    "evening": "dusk",
    "twilight": "dusk",
    "nighttime": "night",
    "daybreak": "dawn",
    "golden": "gold",
    "scarlet": "crimson",
    "cyan": "turquoise",
    "violet": "purple",
    "gray": "grey",
    "watercolour": "watercolor",
    "drawing": "sketch",
    "pencil": "sketch",
    "painting": "oil",
    "impressionist": "oil",
    "stainedglass": "mosaic",
    "blackandwhite": "monochrome",
    "sepia": "vintage",
    "retro": "vintage",
    "synthwave": "neon",
    "cyberpunk": "neon",
    "minimalist": "minimal",
    "papercraft": "papercut",
    "peaceful": "calm",
    "serene": "calm",
    "gloomy": "dark",
    "cozy": "warm",
    "dreamlike": "dreamy",
    "epic": "dramatic",
    "vibrant": "vivid",
    "colorful": "vivid",
    "soft": "pastel",
}

_PHRASES = {
    "line art": "lineart",
    "pixel art": "pixel",
    "pop art": "popart",
    "paper cut": "papercut",
    "stained glass": "stainedglass",
    "black and white": "blackandwhite",
    "northern lights": "aurora",
    "hot air balloon": "balloon",
    "golden hour": "afternoon",
    "cherry blossom": "cherry",
    "milky way": "galaxy",
    "shooting star": "comet",
    "palm tree": "palm",
    "pine tree": "pine",
    "pine forest": "forest",
    "cherry tree": "cherry",
    "oil painting": "oil",
    "snow man": "snowman",
}

KNOWN_WORDS: frozenset[str] = CANONICAL | frozenset(_SYNONYMS) | frozenset(_PHRASES)
"""Every word (and phrase) that changes the image; simple plurals count as well."""

_COUNT_WORDS = {
    "two": 2,
    "three": 3,
    "four": 4,
    "five": 5,
    "many": 5,
    "several": 4,
    "some": 3,
    "few": 3,
}
_PHRASE = re.compile("|".join(sorted(_PHRASES, key=len, reverse=True)))
_WORD = re.compile("[a-z]+")


@dataclass(frozen=True, slots=True)
class Mention:
    """Subject in a prompt, with the color word before it, if any."""

    word: str
    color: str | None = None
    count: int = 1


@dataclass(frozen=True, slots=True)
class ParsedPrompt:
    """Known words of a prompt, each kind in the order of the prompt."""

    mentions: tuple[Mention, ...] = ()
    colors: tuple[str, ...] = ()  # of the whole image
    times: tuple[str, ...] = ()
    modifiers: tuple[str, ...] = ()  # weather, seasons, styles and moods

    @property
    def known_words(self) -> frozenset[str]:
        """All known words, in their canonical forms."""
        subjects = {mention.word for mention in self.mentions}
        return frozenset(subjects | {*self.colors, *self.times, *self.modifiers})

    def without(self, excluded: Self) -> Self:
        """Return the prompt without the words of another one."""
        excluded_words = excluded.known_words
        return type(self)(
            tuple(m for m in self.mentions if m.word not in excluded_words),
            tuple(word for word in self.colors if word not in excluded_words),
            tuple(word for word in self.times if word not in excluded_words),
            tuple(word for word in self.modifiers if word not in excluded_words),
        )


def canonical_form(word: str) -> tuple[str, bool] | None:
    """Return a word's canonical form, and whether it was a plural; None if unknown."""
    for form, is_plural in _word_forms(word):
        canonical = _SYNONYMS.get(form, form)
        if canonical in CANONICAL:
            return canonical, is_plural
    return None


def _word_forms(word: str) -> Iterator[tuple[str, bool]]:
    yield word, False
    if word.endswith("s"):
        yield word[:-1], True
    else:
        yield word + "s", False
    if word.endswith("ies"):
        yield word[:-3] + "y", True
    if word.endswith("es"):
        yield word[:-2], True
    if word.endswith("y"):
        yield word[:-1], False


def parse_prompt(prompt: str) -> ParsedPrompt:
    """Return the known words of any text."""
    # Only the beginning, as crafted prompts may have megabytes.
    text = prompt[:_MAX_CHARACTERS].casefold().replace("-", " ")
    tokens = _WORD.findall(_PHRASE.sub(lambda match: _PHRASES[match.group()], text))[:MAX_WORDS]
    mentions: dict[str, Mention] = {}
    colors: list[str] = []
    other_words: list[str] = []
    color: str | None = None
    count = 1
    for token in tokens:
        match = canonical_form(token)
        if match is None:
            count = _COUNT_WORDS.get(token, count)
            continue
        word, is_plural = match
        if word in NAMED_COLORS:
            if color:
                colors.append(color)
            color = word
        elif word in SUBJECTS:
            # A plural without a number means some.
            mention_count = max(count, 3) if is_plural and count == 1 else count
            mentions.setdefault(word, Mention(word, color, mention_count))
            color = None
            count = 1
        else:
            other_words.append(word)
    if color:
        colors.append(color)
    return ParsedPrompt(
        tuple(mentions.values()),
        tuple(dict.fromkeys(colors)),
        tuple(dict.fromkeys(word for word in other_words if word in TIME_PALETTES)),
        tuple(dict.fromkeys(word for word in other_words if word not in TIME_PALETTES)),
    )


def fingerprint(prompt: str) -> str:
    """Return a hash of any text."""
    return hashlib.sha256(prompt.encode(errors="backslashreplace")).hexdigest()
