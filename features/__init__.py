"""The only definition of every feature, and the stores that keep their versions."""
