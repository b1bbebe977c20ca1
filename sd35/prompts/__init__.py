"""Prompts: templates with wildcards, styles, and what the text encoders read of a prompt.

Everything is seeded and deterministic. Only the files of wildcards and styles are read from disk.
"""
