"""Prompts: plans of images, templates with wildcards, styles, and what the encoders read.

Everything is seeded and deterministic. Only the files of wildcards and styles are read from disk.
"""
