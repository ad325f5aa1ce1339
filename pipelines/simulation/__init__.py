"""The reference city: a seeded, steppable world whose truth is known, for demos, tests and benchmarks."""
