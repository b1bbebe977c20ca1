"""The terminal program: `generate`, `space` and `doctor`."""
