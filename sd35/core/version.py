"""The version, in a module that imports nothing: setup tools read it without the dependencies."""

__all__ = ["__version__"]

__version__ = "0.1.0"
