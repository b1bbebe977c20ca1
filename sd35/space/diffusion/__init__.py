"""Stable Diffusion 3.5 as an engine, by diffusers. Only this package imports torch.

`weights` finds the model, `download` fetches it, `pipeline` loads it as planned by
`sd35.space.fit`, and `engine` runs it with previews.
"""
