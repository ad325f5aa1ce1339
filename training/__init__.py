"""Models, calibration, evaluation and the registry."""
