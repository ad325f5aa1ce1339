"""Orchestration: the command, the sources, and the chains from events to forecasts."""
