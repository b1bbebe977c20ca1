"""The demo painter: it stands in for Stable Diffusion 3.5 without a network, and says so.

A picture is read from the prompt's words (`vocabulary`), composed (`scene`, over the subjects'
modules), and reached by SD3's rectified flow (`flow`).
"""

from sd35.space.painter.flow import Painting, Step, paint
from sd35.space.painter.vocabulary import KNOWN_WORDS

__all__ = ["KNOWN_WORDS", "Painting", "Step", "paint"]
