"""The terminal program: `generate`, `space`, `doctor`, `space-files`, `library` and `user`."""
