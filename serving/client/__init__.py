"""What users of the API take along: one file that imports nothing of the platform."""
