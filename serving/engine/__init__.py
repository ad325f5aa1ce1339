"""The engine: one consumer of the log, what it keeps, and what it makes of a tick."""
