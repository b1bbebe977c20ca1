"""Vocabulary that every package speaks: requests, events, errors, pictures. No I/O but atomic files."""
