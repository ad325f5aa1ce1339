"""An example of every body in the OpenAPI document, made from its schema and from words of one made-up afternoon.

Made rather than written down, an example cannot fall behind its schema.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Schema = Mapping[str, Any]

_REF = "#/components/schemas/"
_DAY = "2026-03-02"
#: Instants of the afternoon by the name of their field, hour and minute UTC.
_MOMENTS = {
    "as_of": "12:00:00",
    "occurred_at": "11:59:58",
    "received_at": "12:00:00",
    "eta": "12:24:10",
    "mean": "12:25:02",
    "start": "12:15:00",
    "end": "12:40:00",
    "p05": "12:12:40",
    "p10": "12:15:00",
    "p25": "12:19:30",
    "p50": "12:24:10",
    "p75": "12:30:20",
    "p90": "12:40:00",
    "p95": "12:47:30",
    "promised_start_at": "11:45:00",
    "promised_end_at": "12:30:00",
    "planned_arrival_at": "12:10:00",
    "planned_departure_at": "08:00:00",
    "valid_at": "13:00:00",
    "issued_at": "11:00:00",
    "opened_at": "11:48:00",
    "updated_at": "12:00:00",
}
#: Words by the name of their field, wherever their schema allows them.
_WORDS: dict[str, Any] = {
    "stop_id": "S-17",
    "stop_ids": ["S-17", "S-18"],
    "next_stop_id": "S-17",
    "route_id": "R-3",
    "vehicle_id": "V-3",
    "courier_id": "C-8",
    "depot_id": "D-1",
    "zone_id": "Z-12",
    "origin_zone_id": "Z-1",
    "area_id": "A-1",
    "site_id": "B-204",
    "customer_id": "K-5521",
    "event_id": "01J9ZK3W8R",
    "prediction_id": "p-64c09f2f66000-4be2c19a83d0f17e",
    "alert_id": "late_risk:S-17:1772452800000000",
    "timezone": "Europe/Brussels",
    "service_date": _DAY,
    "service_level": "standard",
    "lat": 50.8466,
    "lon": 4.3528,
    "origin_lat": 50.8792,
    "origin_lon": 4.3801,
    "coordinates": [4.3528, 50.8466],
    "speed_mps": 7.4,
    "free_flow_mps": 11.1,
    "coverage": 0.8,
    "probability": 0.34,
    "expected_minutes": 6.2,
    "minutes": 7.1,
    "telemetry_s": 12.0,
    "traffic_s": 95.0,
    "weather_s": 600.0,
    "slip_s": 412.0,
    "code": "ROAD_CONDITIONS",
    "features": {"travel_slip_s": 412.0},
    "then": "0.1.0+4be2c19a83d0",
    "now": "0.1.0+4be2c19a83d0",
    "name": "city-a",
    "version": "7",
    "alias": "champion",
    "status": 404,
    "title": "Not Found",
    "detail": "stop 'S-99' is not known",
    "url": "https://hooks.example.com/punctual",
    "degraded": ["STALE_TRAFFIC"],
    "reasons": ["STALE_TRAFFIC"],
    "level": "medium",
}
_PROBLEM = "/problems/unknown-stop"


def example_of(schema: Schema, schemas: Schema, name: str = "") -> Any:
    """A value that a schema takes; ``schemas`` are those that it may refer to."""
    if "$ref" in schema:
        return _referred(schema["$ref"].removeprefix(_REF), schemas)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return _WORDS[name] if _WORDS.get(name) in schema["enum"] else schema["enum"][0]
    for choice in ("anyOf", "oneOf"):
        if choice in schema:
            return example_of(_first(schema[choice]), schemas, name)
    return _of_type(schema, schemas, name)


def _referred(model: str, schemas: Schema) -> Any:
    found = example_of(schemas[model], schemas)
    return found | {"type": _PROBLEM} if model == "Problem" else found


def _of_type(schema: Schema, schemas: Schema, name: str) -> Any:
    kind = schema.get("type")
    if kind == "object" and "properties" in schema:
        return _object(schema, schemas)
    if kind == "array":
        return _array(schema, schemas, name)
    if name in _WORDS and _is_kind(_WORDS[name], kind):
        return _WORDS[name]
    if kind == "string":
        return _text(schema, name)
    if kind in ("integer", "number"):
        return _number(schema, kind)
    return {"object": {}, "boolean": True}.get(str(kind))


def _object(schema: Schema, schemas: Schema) -> dict[str, Any]:
    """Every field, but what an event need not say; an exclusive choice of fields takes the first."""
    fields = {
        name: example_of(field, schemas, name)
        for name, field in schema["properties"].items()
        if name in schema.get("required", ()) or field.get("default", ...) is not None
    }
    if not fields:
        first = next(iter(schema["properties"]))
        fields[first] = example_of(schema["properties"][first], schemas, first)
    return fields


def _array(schema: Schema, schemas: Schema, name: str) -> list[Any]:
    """One item of each kind that the array holds."""
    if "prefixItems" in schema:
        return [example_of(item, schemas) for item in schema["prefixItems"]]
    items = schema.get("items", {})
    words = _WORDS.get(name)
    if isinstance(words, list) and all(_is_kind(word, items.get("type")) for word in words):
        return list(words)
    kinds = [kind for kind in items.get("anyOf", [items]) if kind.get("type") != "null"]
    found = [example_of(kind, schemas, name) for kind in kinds]
    return found * max(1, schema.get("minItems", 1))


def _text(schema: Schema, name: str) -> str:
    form = schema.get("format")
    if form == "date-time":
        return f"{_DAY}T{_MOMENTS.get(name, '12:00:00')}Z"
    if form in ("uri", "url"):
        return "https://hooks.example.com/punctual"
    return _DAY if form == "date" else (name or "text").upper()


def _number(schema: Schema, kind: str) -> float:
    low = schema.get("minimum", schema.get("exclusiveMinimum", 0) + ("exclusiveMinimum" in schema))
    high = schema.get("maximum", schema.get("exclusiveMaximum"))
    value = max(low, 1) if high is None else min(max(low, 1), high)
    return int(value) if kind == "integer" else float(value)


def _first(choices: list[Schema]) -> Schema:
    return next((choice for choice in choices if choice.get("type") != "null"), choices[0])


def _is_kind(value: Any, kind: str | None) -> bool:
    kinds = {"string": str, "integer": int, "number": (int, float), "array": list}
    return kind in kinds and isinstance(value, kinds[kind])  # type: ignore[arg-type]
