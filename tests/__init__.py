"""Tests: pure code by tables and properties, the rest on real servers and in a real browser."""
