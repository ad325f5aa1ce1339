"""Forecasts with what they were made of, packed: what a row repeats of its neighbours costs next to nothing.

A row by itself is about 1,400 bytes; 32 of one tick take about 220 each, one alone about 480. The layout is written
down in the first byte, since files that hold it outlive the code that wrote them.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

import numpy as np

#: A forecast of the engine: id, document, vector, prior, what it was made with.
EngineRow = tuple[str, bytes, bytes, float, bytes]
#: The same without its id, which stands in the document.
KeptRow = tuple[bytes, bytes, float, bytes]

LAYOUT = 1
LEVEL = 6
_HEAD = struct.Struct("<BHI")
#: What documents of this layout have in common; another dictionary is another layout.
_WORDS = (
    b'STALE_TRAFFICSTALE_WEATHERSTALE_TELEMETRYNEW_ZONENEW_COURIER"medium","reasons":["low"'
    b'{"code":"ROAD_CONDITIONS","minutes":1.5},{"code":"DENSE_ROUTE","minutes":0.7}'
    b'{"prediction_id":"p-0","stop_id":"S-1","route_id":"R-1","as_of":"2026-03-02T12:00:00.000000Z",'
    b'"eta":"2026-03-02T12:00:00.000Z","window":{"start":"2026-03-02T12:00:00.000Z",'
    b'"end":"2026-03-02T12:00:00.000Z","coverage":0.8},"quantiles":{"p05":"2026-03-02T12:00:00.000Z",'
    b'"p10":"2026-03-02T12:00:00.000Z","p25":"2026-03-02T12:00:00.000Z","p50":"2026-03-02T12:00:00.000Z",'
    b'"p75":"2026-03-02T12:00:00.000Z","p90":"2026-03-02T12:00:00.000Z","p95":"2026-03-02T12:00:00.000Z"},'
    b'"mean":"2026-03-02T12:00:00.000Z","completion":{"eta":"2026-03-02T12:00:00.000Z",'
    b'"window":{"start":"2026-03-02T12:00:00.000Z","end":"2026-03-02T12:00:00.000Z","coverage":0.8}},'
    b'"promise":null,"promise":{"start":"2026-03-02T12:00:00.000000Z","end":"2026-03-02T12:00:00.000000Z"},'
    b'"late":null,"late":{"probability":0.0,"expected_minutes":0.0},'
    b'"confidence":{"level":"high","reasons":[]},"reasons":[],"freshness":{"telemetry_s":null,'
    b'"traffic_s":60.0,"weather_s":null},"degraded":["traffic","weather"],"degraded":[],'
    b'"model":{"name":"eta","version":"1","alias":"champion"}}'
)


def pack(rows: Sequence[KeptRow]) -> bytes:
    """Rows whose vectors are equally long, as one blob."""
    text = b"\n".join([*(row[0] for row in rows), *(row[3] for row in rows)])
    planes = np.frombuffer(b"".join(row[1] for row in rows), np.uint8).reshape(len(rows), -1, 4)
    base_s = np.array([row[2] for row in rows], "<f8").tobytes()
    squeezer = zlib.compressobj(LEVEL, zdict=_WORDS)
    squeezed = squeezer.compress(text) + squeezer.flush()
    numbers = zlib.compress(planes.transpose(1, 2, 0).tobytes() + base_s, LEVEL)
    return _HEAD.pack(LAYOUT, len(rows), len(squeezed)) + squeezed + numbers


def unpack(packed: bytes) -> list[KeptRow]:
    """The rows as they were packed, to the last bit."""
    layout, count, length = _HEAD.unpack_from(packed)
    if layout != LAYOUT:
        raise ValueError(f"packed in layout {layout}; this code knows {LAYOUT}")
    start = _HEAD.size + length
    lines = zlib.decompressobj(zdict=_WORDS).decompress(packed[_HEAD.size : start]).split(b"\n")
    numbers = zlib.decompress(packed[start:])
    cut = len(numbers) - 8 * count
    planes = np.frombuffer(numbers[:cut], np.uint8).reshape(-1, 4, count).transpose(2, 0, 1)
    base_s = np.frombuffer(numbers[cut:], "<f8").tolist()
    return [(lines[row], planes[row].tobytes(), base_s[row], lines[count + row]) for row in range(count)]
