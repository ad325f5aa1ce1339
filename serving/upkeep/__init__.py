"""Keeping a workspace small, and keeping a copy of it."""
