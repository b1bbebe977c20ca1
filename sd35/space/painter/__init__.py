"""Demo painter: stands in for Stable Diffusion 3.5 without a network or GPU, and says so.

`vocabulary` reads the prompt, `scene` composes an image from the modules of its subjects, and
`flow` approaches the image with SD3's arithmetic.
"""

from sd35.space.painter.flow import Step, paint
from sd35.space.painter.painter import DemoPainter

__all__ = ["DemoPainter", "Step", "paint"]
