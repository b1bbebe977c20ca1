"""Stable Diffusion 3.5 with live previews, as a Space. The variable SD35_MODEL names the model."""

import os

from sd35.space.hosted import HostedSpace

# At the top level: Hugging Face's ZeroGPU wants the model on the GPU before the page is there.
space = HostedSpace(os.environ.get("SD35_MODEL") or "large-turbo")
demo = space.demo

if __name__ == "__main__":
    space.run()
