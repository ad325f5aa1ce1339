"""The calls about alerts and incidents: lists, one incident, and the steps that operators ask for."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from serving.api.commanding import IDEMPOTENCY_KEY, asked_of, command_id_of, is_applied, until_us_of
from serving.api.runtime import Runtime
from serving.decisions.incidents import Cause, Incident, Refused, State, Step
from serving.engine.commands import IncidentCommand
from serving.engine.incident_documents import incident_document
from serving.http import wire
from serving.http.access import caller_of
from serving.http.asking import runtime_of
from serving.http.endpoint import LIMIT, Body, Described, Endpoint, Handler
from serving.http.keys import Scope
from serving.http.paging import cut, page_of
from serving.http.problems import ProblemError, unknown, unprocessable
from serving.http.responses import JSON, joined
from serving.http.wire import IncidentStep, Snooze

ALERT_STATES = ("open", "resolved")
#: ``live`` stands for every state but resolved.
INCIDENT_STATES = (*(state.value for state in State), "live")


def alerts(request: Request) -> Response:
    """Alerts, the newest first; ``state``, ``rule``, ``stop_id``, ``route_id`` and ``incident_id`` narrow them."""
    asked = request.query_params
    _known("state", asked.get("state"), ALERT_STATES)
    names = ("state", "rule", "stop_id", "route_id", "incident_id")
    page = page_of(request)
    found = runtime_of(request).ops.alerts(page, **{name: asked.get(name) for name in names})
    rows, cursor = cut(found, page)
    return joined("alerts", [body for *_, body in rows], next_cursor=cursor)


def incidents(request: Request) -> Response:
    """Incidents, the newest first; ``state``, ``cause``, ``area_id`` and ``subject_id`` narrow them."""
    asked, runtime, page = request.query_params, runtime_of(request), page_of(request)
    state = asked.get("state")
    _known("state", state, INCIDENT_STATES)
    _known("cause", asked.get("cause"), tuple(cause.value for cause in Cause))
    wanted = {name: asked.get(name) for name in ("cause", "area_id", "subject_id")}
    is_live = state == "live"
    found = runtime.ops.incidents(page, live=is_live, state=None if is_live else state, **wanted)
    rows, cursor = cut(found, page)
    told = [_document(runtime, Incident.load(body)) for *_, body in rows]
    return JSON({"incidents": told, "next_cursor": cursor})


def incident(request: Request) -> Response:
    """One incident."""
    runtime = runtime_of(request)
    return JSON(_document(runtime, _found(runtime, request.path_params["incident_id"])))


async def acknowledge(request: Request) -> Response:
    """Somebody looks after it."""
    return await _step(request, Step.ACKNOWLEDGE)


async def snooze(request: Request) -> Response:
    """Not now: quiet until an instant, or for some minutes."""
    return await _step(request, Step.SNOOZE)


async def resolve(request: Request) -> Response:
    """It is over, or it is none; its cause opens no new one for a while."""
    return await _step(request, Step.RESOLVE)


async def _step(request: Request, step: Step) -> Response:
    runtime, incident_id = runtime_of(request), request.path_params["incident_id"]
    asked = await asked_of(request, Snooze if step is Step.SNOOZE else IncidentStep)
    now_us = await run_in_threadpool(runtime.now_us)
    command = IncidentCommand(
        incident_id=incident_id,
        step=step,
        who=caller_of(request).name,
        why=asked.why,
        until_us=until_us_of(asked, now_us) if isinstance(asked, Snooze) else None,
    )
    command_id = command_id_of(request)
    seq = await run_in_threadpool(_append, runtime, command, command_id, now_us)
    applied = await is_applied(runtime, seq)
    now = await run_in_threadpool(_found, runtime, incident_id)
    answer = {"command_id": command_id, "applied": applied, "incident": _document(runtime, now)}
    return JSON(answer, HTTPStatus.ACCEPTED)


def _append(runtime: Runtime, command: IncidentCommand, command_id: str, now_us: int) -> int:
    """Put a command on disk, if it makes sense as things stand; give where the log then ends."""
    now = _found(runtime, command.incident_id)
    tried = now.take(command.step, now_us, command.who, command.why, command.until_us)
    if isinstance(tried, Refused):
        detail = f"incident {command.incident_id!r} is {now.state.value}: {tried.value}"
        raise ProblemError(HTTPStatus.CONFLICT, tried.value.lower().replace("_", "-"), detail)
    runtime.log.append([command.event(command_id)])
    return runtime.log.last().seq


def _found(runtime: Runtime, incident_id: str) -> Incident:
    body = runtime.ops.incident(incident_id)
    if body is None:
        raise unknown("incident", incident_id)
    return Incident.load(body)


def _document(runtime: Runtime, found: Incident) -> dict[str, Any]:
    return incident_document(found, runtime.settings.engine.alerts)


def _known(name: str, value: str | None, words: tuple[str, ...]) -> None:
    if value is not None and value not in words:
        raise unprocessable(f"{name}: {value[:40]!r} is unknown; give one of {', '.join(words)}")


def _filters(states: tuple[str, ...], *names: str) -> tuple[Described, ...]:
    texts = [{"name": name, "in": "query", "schema": {"type": "string"}} for name in (*names, "cursor")]
    return ({"name": "state", "in": "query", "schema": {"enum": list(states)}}, *texts, LIMIT)


def _step_call(step: Step, handle: Handler, summary: str, asked: type[IncidentStep]) -> Endpoint:
    return Endpoint(
        method="POST",
        path=f"/v1/incidents/{{incident_id}}/{step.value}",
        scope=Scope.OPERATE,
        handle=handle,
        name=f"{step.value}Incident",
        summary=summary,
        answer=wire.StepAnswer,
        status=202,
        meaning="On disk; `applied` says whether the engine has done it already.",
        refusals=(400, 404, 408, 409, 413, 415, 422, 503),
        query=(IDEMPOTENCY_KEY,),
        body=Body(content={"application/json": asked}),
    )


INCIDENT_CALLS = (
    Endpoint(
        method="GET",
        path="/v1/alerts",
        scope=Scope.READ,
        handle=alerts,
        name="alerts",
        summary="Alerts, the newest first",
        answer=wire.AlertList,
        refusals=(422,),
        query=_filters(ALERT_STATES, "rule", "stop_id", "route_id", "incident_id"),
    ),
    Endpoint(
        method="GET",
        path="/v1/incidents",
        scope=Scope.READ,
        handle=incidents,
        name="incidents",
        summary="Incidents, the newest first",
        answer=wire.IncidentList,
        refusals=(422,),
        query=_filters(INCIDENT_STATES, "cause", "area_id", "subject_id"),
    ),
    Endpoint(
        method="GET",
        path="/v1/incidents/{incident_id}",
        scope=Scope.READ,
        handle=incident,
        name="incident",
        summary="One incident",
        answer=wire.Incident,
        refusals=(404,),
    ),
    _step_call(Step.ACKNOWLEDGE, acknowledge, "Somebody looks after an incident", IncidentStep),
    _step_call(Step.SNOOZE, snooze, "Put an incident off", Snooze),
    _step_call(Step.RESOLVE, resolve, "Say that an incident is over", IncidentStep),
)
