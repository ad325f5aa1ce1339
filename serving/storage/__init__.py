"""What is on disk first: SQLite as a workspace uses it, the event log, and its archive."""
