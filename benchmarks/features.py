"""Benchmarks of the feature platform."""

from __future__ import annotations

from benchmarks import folding, online, pit_join

BENCHMARKS = (*pit_join.BENCHMARKS, *online.BENCHMARKS, *folding.BENCHMARKS)
