"""The Library tab: search, grid and viewer."""
