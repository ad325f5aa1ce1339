"""Alerts and incidents without a server, and what they would have been worth."""
