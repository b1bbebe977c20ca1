"""Preparing a Space for Hugging Face: its card, its requirements, and the files to upload."""
