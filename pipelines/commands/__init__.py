"""The commands of ``punctual``, a file for each part of the work."""
