"""Registry of motifs: for each word its drawing function, its zone and its size."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from sd35.space.painter import (
    buildings,
    cities,
    creatures,
    deserts,
    land,
    people,
    plants,
    sealife,
    skies,
    vehicles,
    water,
)
from sd35.space.painter.stage import Spot, Stage

Draw = Callable[[Stage, Spot], None]


class Zone(Enum):
    """Zone of the scene, in the order of painting."""

    SKY = auto()  # behind everything
    FAR = auto()  # on the horizon
    WATER = auto()  # a surface below the horizon
    AFLOAT = auto()
    GROUND = auto()  # the surface in the foreground
    TRACK = auto()  # on that surface, from the horizon to the foot
    STANDING = auto()
    AIR = auto()  # before the sky and the land


@dataclass(frozen=True, slots=True)
class Motif:
    """Drawing function of a subject; its size is in units of the image's shorter side."""

    zone: Zone
    draw: Draw
    size: float
    required_surface: str = ""  # the surface that it needs around itself


MOTIFS: dict[str, Motif] = {
    "galaxy": Motif(Zone.SKY, skies.galaxy, 1.0),
    "stars": Motif(Zone.SKY, skies.stars, 1.0),
    "aurora": Motif(Zone.SKY, skies.aurora, 1.0),
    "sun": Motif(Zone.SKY, skies.sun, 0.125),
    "moon": Motif(Zone.SKY, skies.moon, 0.12),
    "planet": Motif(Zone.SKY, skies.planet, 0.17),
    "comet": Motif(Zone.SKY, skies.comet, 0.13),
    "rainbow": Motif(Zone.SKY, skies.rainbow, 1.0),
    "clouds": Motif(Zone.SKY, skies.clouds, 0.20),
    "lightning": Motif(Zone.SKY, skies.lightning, 1.0),
    "mountain": Motif(Zone.FAR, land.mountains, 0.50),
    "hill": Motif(Zone.FAR, land.rolling_hills, 0.26),
    "volcano": Motif(Zone.FAR, land.volcano, 0.42),
    "pyramid": Motif(Zone.FAR, deserts.pyramids, 0.26, required_surface="desert"),
    "city": Motif(Zone.FAR, cities.city, 0.42, required_surface="lake"),
    "forest": Motif(Zone.FAR, plants.forest, 0.30),
    "train": Motif(Zone.FAR, vehicles.train, 0.15),
    "waterfall": Motif(Zone.FAR, water.waterfall, 0.40, required_surface="lake"),
    "reef": Motif(Zone.WATER, water.reef, 1.0),
    "sea": Motif(Zone.WATER, water.sea, 1.0),
    "lake": Motif(Zone.WATER, water.lake, 1.0),
    "island": Motif(Zone.AFLOAT, land.island, 0.26, required_surface="sea"),
    "bridge": Motif(Zone.AFLOAT, cities.bridge, 1.0, required_surface="sea"),
    "lighthouse": Motif(Zone.AFLOAT, buildings.lighthouse, 0.50, required_surface="sea"),
    "ship": Motif(Zone.AFLOAT, vehicles.ship, 0.29, required_surface="sea"),
    "whale": Motif(Zone.AFLOAT, sealife.whale, 0.29, required_surface="sea"),
    "boat": Motif(Zone.AFLOAT, vehicles.boat, 0.32, required_surface="sea"),
    "fish": Motif(Zone.AFLOAT, sealife.leaping_fish, 0.24, required_surface="sea"),
    "meadow": Motif(Zone.GROUND, land.meadow, 1.0),
    "desert": Motif(Zone.GROUND, deserts.desert, 1.0),
    "beach": Motif(Zone.GROUND, water.beach, 1.0, required_surface="sea"),
    "river": Motif(Zone.TRACK, land.river, 1.0),
    "road": Motif(Zone.TRACK, land.road, 1.0),
    "castle": Motif(Zone.STANDING, buildings.castle, 0.46),
    "pagoda": Motif(Zone.STANDING, buildings.pagoda, 0.48),
    "windmill": Motif(Zone.STANDING, buildings.windmill, 0.44),
    "house": Motif(Zone.STANDING, buildings.house, 0.30),
    "tree": Motif(Zone.STANDING, plants.tree, 0.48),
    "cherry": Motif(Zone.STANDING, plants.cherry, 0.50),
    "pine": Motif(Zone.STANDING, plants.pine, 0.46),
    "palm": Motif(Zone.STANDING, plants.palm, 0.54, required_surface="beach"),
    "cactus": Motif(Zone.STANDING, plants.cactus, 0.38, required_surface="desert"),
    "tent": Motif(Zone.STANDING, buildings.tent, 0.24),
    "car": Motif(Zone.STANDING, vehicles.car, 0.26),
    "snowman": Motif(Zone.STANDING, people.snowman, 0.36),
    "sunflower": Motif(Zone.STANDING, plants.sunflower, 0.42),
    "tulip": Motif(Zone.STANDING, plants.tulip, 0.36),
    "flower": Motif(Zone.STANDING, plants.flower, 0.38),
    "mushroom": Motif(Zone.STANDING, plants.mushroom, 0.28),
    "apple": Motif(Zone.STANDING, plants.apple, 0.28),
    "person": Motif(Zone.STANDING, people.person, 0.36),
    "astronaut": Motif(Zone.STANDING, people.astronaut, 0.42),
    "owl": Motif(Zone.STANDING, creatures.owl, 0.36),
    "dog": Motif(Zone.STANDING, creatures.dog, 0.34),
    "rabbit": Motif(Zone.STANDING, creatures.rabbit, 0.30),
    "fox": Motif(Zone.STANDING, creatures.fox, 0.36),
    "cat": Motif(Zone.STANDING, creatures.cat, 0.36),
    "bird": Motif(Zone.AIR, creatures.birds, 0.18),
    "airplane": Motif(Zone.AIR, vehicles.airplane, 0.24),
    "balloon": Motif(Zone.AIR, vehicles.balloon, 0.34),
    "rocket": Motif(Zone.AIR, vehicles.rocket, 0.28),
    "lantern": Motif(Zone.AIR, buildings.lantern, 0.16),
    "butterfly": Motif(Zone.AIR, creatures.butterfly, 0.26),
}
"""Within a zone the motifs are painted in this order."""
