"""``docs/events.md``: every event, what it carries, and how it reaches those who subscribed."""

from __future__ import annotations

import json
from typing import Any, get_args, get_origin

from pydantic import BaseModel

from serving.engine.outbox import EventType, outbox_event
from serving.http.wire_events import EVENT_DATA, MEANINGS, CloudEvent
from serving.settings import StreamSettings
from serving.webhooks.policy import Outcome, SendingPolicy, Why

EXAMPLE_US = 1_772_455_320_000_000
EXAMPLE = {"stop_id": "S-17", "route_id": "R-3", "choice": "neighbour"}
_HEAD = """# Events

Everything that the engine decides leaves through its outbox, as [CloudEvents 1.0](https://cloudevents.io) in JSON. The
stream and webhooks give the same bodies with the same ids. Delivery is **at least once**: an event may come twice,
always with its `id` and its body, and is never lost; receivers drop ids that they know. Events about one subject may
overtake each other on their way: `time` tells which is newer.

```json
{example}
```

{envelope}

## The stream

`GET /v1/stream` gives events as they happen, as server-sent events: `id` is a position in the outbox, `event` the type,
`data` the CloudEvent. A client that comes back with `Last-Event-ID` (browsers send it by themselves) goes on exactly
where it was; `after=0` begins with the oldest event that is kept. `type` (`stop.delay.*` names several), `route_id` and
`subject` narrow it; each may be given several times. A heartbeat every {heartbeat_s:g} s also moves the position past
events that were not asked for. A stream ends after {longest_h:g} h, or with its key, and a client comes back by itself.
Where events that a client missed are no longer kept, `stream.gap` says so before anything else, with `reason`
(`FORGOTTEN`, or `UNKNOWN_POSITION` after the outbox was made anew), `asked_after` and `goes_on_after`.

```console
$ curl -N -H "Authorization: Bearer $KEY" "http://127.0.0.1:3000/v1/stream?type=stop.delay.*&after=0"
```

## Webhooks

`POST /v1/webhooks` or `punctual webhooks add URL` subscribes. Requests follow the
[Standard Webhooks](https://www.standardwebhooks.com) specification: `webhook-id` is the event's id, `webhook-timestamp`
the second of the attempt, and `webhook-signature` holds one `v1,` signature (HMAC-SHA256 over id, timestamp and body)
for each secret that is good; after `rotate` the earlier secrets sign beside the new one for {overlap_h:g} h. Any
library of the specification verifies them:

```python
from standardwebhooks import Webhook

# raises where no signature fits, or the request is over 5 minutes old
event = Webhook(secret).verify(body, headers)
```

- **An answer of 2xx within {timeout_s:g} s is a yes.** Anything else is tried again: {schedule}, each wait
  lengthened by up to {jitter:.0%} so that messages spread. After {tries} attempts a message is a dead letter.
- `Retry-After` lengthens a wait, up to {longest_retry_h:g} h; with 429 and 503 everything for that receiver waits.
- **410 disables** a webhook. `enable` sends to it again; what came meanwhile is not sent.
- Redirects are not followed. Of an answer the first 500 bytes are kept in the log of attempts.
- A body is under {payload_kb:g} kB: of a larger event the largest members of `data` are left out and named in
  `left_out`; the API gives them.
- `redeliver` sends events, or all dead letters, once more from the start of the schedule. `test` sends `webhook.test`.
- Only **public addresses** are connected to, checked on the very address that the connection is made to. An operator
  names others in `allowed_networks`, and allows http without TLS by `plain_http`.
- A webhook may name a **channel** instead of a URL: an [Apprise](https://github.com/caronc/apprise) URL (chat, mail,
  SMS) under `[serving.webhooks.channels]`, which only the workspace's own settings hold.

```toml
[serving.webhooks]
allowed_networks = ["10.20.0.0/16"]
[serving.webhooks.channels]
ops = "slack://TokenA/TokenB/TokenC"
```

`attempts` lists how each attempt ended: {outcomes}. `messages` says why a message stands as it does: {whys}, or
`REDELIVERY`.

Secrets are derived from `webhook.key` of the workspace (or `PUNCTUAL_WEBHOOK_KEY`, 64 hex digits) and are stored
nowhere ([decision 0023](decisions/0023-webhook-secrets-are-derived.md)). A receiver may bring its own as `secret`:
`whsec_` and 24 to 64 bytes in base64, stored under a mask
([decision 0037](decisions/0037-secrets-that-receivers-bring.md)).

## Types
"""


def events_page() -> str:
    """The whole page."""
    policy, stream = SendingPolicy(), StreamSettings()
    body = json.loads(outbox_event(EventType.CHANGE_REQUESTED, "S-17", EXAMPLE_US, EXAMPLE, "7").body)
    head = _HEAD.format(
        example=json.dumps(body, indent=2),
        envelope=_fields(CloudEvent),
        heartbeat_s=stream.heartbeat_s,
        longest_h=stream.longest_s / 3600,
        overlap_h=policy.secret_overlap_s / 3600,
        timeout_s=policy.timeout_s,
        schedule=", ".join(_wait(wait_s) for wait_s in policy.retry_s),
        jitter=policy.jitter,
        tries=len(policy.retry_s),
        longest_retry_h=policy.longest_retry_after_s / 3600,
        payload_kb=policy.payload_bytes / 1000,
        outcomes=", ".join(f"`{outcome}`" for outcome in Outcome),
        whys=", ".join(f"`{why}`" for why in Why),
    )
    return head + "".join(_type(event_type) for event_type in EventType) + _models()


def _type(event_type: EventType) -> str:
    name = EVENT_DATA[event_type].__name__
    return f"\n### `{event_type.value}`\n\n{MEANINGS[event_type]} Its data is [{name}](#{name.lower()}).\n"


def _models() -> str:
    """Every model of data, with those that it is made of, once."""
    found: dict[str, type[BaseModel]] = {}
    for model in EVENT_DATA.values():
        _gather(model, found)
    parts = [f"\n### {name}\n\n{_meaning(model)}{_fields(model)}\n" for name, model in found.items()]
    return "\n## Data\n" + "".join(parts)


def _gather(model: type[BaseModel], found: dict[str, type[BaseModel]]) -> None:
    if model.__name__ in found:
        return
    found[model.__name__] = model
    for field in model.model_fields.values():
        for part in _parts(field.annotation):
            _gather(part, found)


def _parts(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [part for inner in get_args(annotation) for part in _parts(inner)]


def _meaning(model: type[BaseModel]) -> str:
    text = (model.__doc__ or "").strip() if "__doc__" in model.__dict__ else ""
    return f"{' '.join(text.split())}\n\n" if text else ""


def _fields(model: type[BaseModel]) -> str:
    rows = ["| member | type | meaning |", "| --- | --- | --- |"]
    for name, field in model.model_fields.items():
        rows.append(f"| `{name}` | {_named(field.annotation)} | {field.description or ''} |")
    return "\n".join(rows)


def _named(annotation: Any) -> str:
    """A type as a reader of JSON knows it."""
    simple = {str: "text", int: "integer", float: "number", bool: "true or false", type(None): "null"}
    if annotation in simple:
        return simple[annotation]
    arguments, origin = get_args(annotation), get_origin(annotation)
    if origin is list:
        return f"list of {_named(arguments[0])}"
    if origin is dict:
        return "object"
    if isinstance(annotation, type):
        linked = f"[{annotation.__name__}](#{annotation.__name__.lower()})"
        return linked if issubclass(annotation, BaseModel) else "RFC 3339 time"
    if arguments and all(isinstance(each, str) for each in arguments):
        return " or ".join(f"`{each}`" for each in arguments)
    return " or ".join(dict.fromkeys(_named(each) for each in arguments)) if arguments else "any"


def _wait(wait_s: float) -> str:
    if wait_s == 0:
        return "at once"
    if wait_s < 60:
        return f"{wait_s:g} s"
    return f"{wait_s / 60:g} min" if wait_s < 3600 else f"{wait_s / 3600:g} h"
