"""The collector of cycles off for a while."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_collections() -> Iterator[None]:
    """Many small things are made and kept: looking for cycles among them again and again finds none.

    As a decorator it ends when what the function made is gone; before that, the first collection would go through
    all of it.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
