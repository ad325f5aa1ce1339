"""One adapter a file: each maps a source to the canonical tables and does nothing else."""
