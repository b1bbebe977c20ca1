"""The terminal program: `generate`, `space`, `doctor`, `space-files` and `user`."""
