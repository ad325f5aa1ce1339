-- name: schema
CREATE TABLE IF NOT EXISTS checkpoint (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    seq INTEGER NOT NULL,
    as_of_us INTEGER NOT NULL,
    scored_us INTEGER NOT NULL,
    swept_us INTEGER NOT NULL,
    model_version TEXT
);
CREATE TABLE IF NOT EXISTS feature_state (
    view TEXT NOT NULL,
    key TEXT NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (view, key)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS route_state (
    route_id TEXT PRIMARY KEY,
    seq INTEGER NOT NULL,
    body BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS route_cadence (
    route_id TEXT PRIMARY KEY,
    live INTEGER NOT NULL,
    dirty INTEGER NOT NULL,
    touched_us INTEGER NOT NULL,
    scored_us INTEGER,
    whole_us INTEGER,
    whole_slip_s REAL
);
CREATE TABLE IF NOT EXISTS stop_route (
    stop_id TEXT PRIMARY KEY,
    route_id TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS stop_route_route ON stop_route (route_id);
CREATE TABLE IF NOT EXISTS forecast_latest (
    stop_id TEXT PRIMARY KEY,
    route_id TEXT NOT NULL,
    rank INTEGER NOT NULL,
    prediction_id TEXT NOT NULL,
    as_of_us INTEGER NOT NULL,
    body BLOB NOT NULL,
    vector BLOB NOT NULL,
    base_s REAL NOT NULL,
    made_with BLOB NOT NULL,
    kept_us INTEGER NOT NULL,
    kept_eta_us INTEGER NOT NULL,
    kept_late_probability REAL
);
CREATE INDEX IF NOT EXISTS forecast_latest_route ON forecast_latest (route_id);
CREATE TABLE IF NOT EXISTS promises (
    stop_id TEXT PRIMARY KEY,
    route_id TEXT NOT NULL,
    first_start_us INTEGER NOT NULL,
    first_end_us INTEGER NOT NULL,
    told_start_us INTEGER NOT NULL,
    told_end_us INTEGER NOT NULL,
    revisions INTEGER NOT NULL,
    told_us INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS alert_watch (
    slot TEXT NOT NULL,
    subject_id TEXT NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (slot, subject_id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS alerts (
    alert_id TEXT PRIMARY KEY,
    rule TEXT NOT NULL,
    stop_id TEXT,
    route_id TEXT,
    incident_id TEXT,
    state TEXT NOT NULL,
    opened_us INTEGER NOT NULL,
    updated_us INTEGER NOT NULL,
    resolved_us INTEGER,
    body BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS alerts_state ON alerts (state, opened_us);
CREATE INDEX IF NOT EXISTS alerts_incident ON alerts (incident_id);
CREATE TABLE IF NOT EXISTS incidents (
    incident_id TEXT PRIMARY KEY,
    cause TEXT NOT NULL,
    subject_id TEXT NOT NULL,
    area_id TEXT,
    state TEXT NOT NULL,
    opened_us INTEGER NOT NULL,
    updated_us INTEGER NOT NULL,
    muted_until_us INTEGER,
    body BLOB NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS incidents_of_one_cause ON incidents (cause, subject_id) WHERE state != 'resolved';
CREATE INDEX IF NOT EXISTS incidents_opened ON incidents (opened_us);
CREATE TABLE IF NOT EXISTS silences (
    silence_id TEXT PRIMARY KEY,
    until_us INTEGER,
    body BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS outbox (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    event_id TEXT NOT NULL UNIQUE,
    type TEXT NOT NULL,
    subject TEXT NOT NULL,
    route_id TEXT,
    at_us INTEGER NOT NULL,
    body BLOB NOT NULL
);

-- name: save_checkpoint
INSERT INTO checkpoint (id, seq, as_of_us, scored_us, swept_us, model_version) VALUES (1, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET seq = excluded.seq, as_of_us = excluded.as_of_us, scored_us = excluded.scored_us,
    swept_us = excluded.swept_us, model_version = excluded.model_version

-- name: checkpoint
SELECT seq, as_of_us, scored_us, swept_us, model_version FROM checkpoint

-- name: save_feature_state
INSERT INTO feature_state (view, key, body) VALUES (?, ?, ?)
ON CONFLICT (view, key) DO UPDATE SET body = excluded.body

-- name: feature_state
SELECT view, key, body FROM feature_state

-- name: save_route
INSERT INTO route_state (route_id, seq, body) VALUES (?, ?, ?)
ON CONFLICT (route_id) DO UPDATE SET seq = excluded.seq, body = excluded.body

-- name: routes
SELECT route_id, body FROM route_state ORDER BY rowid

-- name: route_heads
SELECT route_id, seq FROM route_state WHERE route_id IN (SELECT value FROM json_each(?))

-- name: route_bodies
SELECT route_id, seq, body FROM route_state WHERE route_id IN (SELECT value FROM json_each(?))

-- name: save_cadence
INSERT INTO route_cadence (route_id, live, dirty, touched_us, scored_us, whole_us, whole_slip_s)
VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (route_id) DO UPDATE SET live = excluded.live, dirty = excluded.dirty, touched_us = excluded.touched_us,
    scored_us = excluded.scored_us, whole_us = excluded.whole_us, whole_slip_s = excluded.whole_slip_s

-- name: cadences
SELECT route_id, live, dirty, touched_us, scored_us, whole_us, whole_slip_s FROM route_cadence ORDER BY rowid

-- name: index_stop
INSERT INTO stop_route (stop_id, route_id) VALUES (?, ?)
ON CONFLICT (stop_id) DO UPDATE SET route_id = excluded.route_id

-- name: routes_of_stops
SELECT stop_id, route_id FROM stop_route WHERE stop_id IN (SELECT value FROM json_each(?))

-- name: save_forecast
INSERT INTO forecast_latest (stop_id, route_id, rank, prediction_id, as_of_us, body, vector, base_s, made_with,
    kept_us, kept_eta_us, kept_late_probability)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (stop_id) DO UPDATE SET route_id = excluded.route_id, rank = excluded.rank,
    prediction_id = excluded.prediction_id, as_of_us = excluded.as_of_us, body = excluded.body,
    vector = excluded.vector, base_s = excluded.base_s, made_with = excluded.made_with, kept_us = excluded.kept_us,
    kept_eta_us = excluded.kept_eta_us, kept_late_probability = excluded.kept_late_probability

-- name: forecast
SELECT body FROM forecast_latest WHERE stop_id = ?

-- name: forecasts_of_stops
SELECT f.prediction_id, f.body, f.vector, f.base_s, f.made_with
FROM json_each(?) AS asked JOIN forecast_latest AS f ON f.stop_id = asked.value ORDER BY asked.key

-- name: forecast_by_id
SELECT body, vector, base_s, made_with FROM forecast_latest WHERE prediction_id = ?

-- name: history_tails
SELECT stop_id, kept_us, kept_eta_us, kept_late_probability FROM forecast_latest

-- name: latest
SELECT body, vector, base_s, made_with FROM forecast_latest

-- name: forget_outbox
DELETE FROM outbox WHERE at_us < ? AND position <= (SELECT max(position) FROM outbox) - ?

-- name: forget_alerts
DELETE FROM alerts WHERE state = 'resolved' AND resolved_us < ?

-- name: forget_incidents
DELETE FROM incidents WHERE state = 'resolved' AND updated_us < ?1 AND coalesce(muted_until_us, 0) < ?1

-- name: forget_silences
DELETE FROM silences WHERE until_us < ?

-- name: forget_routes
DELETE FROM route_state WHERE route_id = ?

-- name: forget_cadences
DELETE FROM route_cadence WHERE route_id = ?

-- name: forget_stops
DELETE FROM stop_route WHERE route_id = ?

-- name: forget_forecasts
DELETE FROM forecast_latest WHERE route_id = ?

-- name: forget_promises
DELETE FROM promises WHERE route_id = ?

-- name: forget_watch
DELETE FROM alert_watch WHERE slot = ? AND subject_id = ?

-- name: save_promise
INSERT INTO promises (stop_id, route_id, first_start_us, first_end_us, told_start_us, told_end_us, revisions, told_us)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (stop_id) DO UPDATE SET route_id = excluded.route_id, first_start_us = excluded.first_start_us,
    first_end_us = excluded.first_end_us, told_start_us = excluded.told_start_us,
    told_end_us = excluded.told_end_us, revisions = excluded.revisions, told_us = excluded.told_us

-- name: promises
SELECT stop_id, route_id, first_start_us, first_end_us, told_start_us, told_end_us, revisions, told_us FROM promises

-- name: promises_of
SELECT stop_id, route_id, first_start_us, first_end_us, told_start_us, told_end_us, revisions, told_us FROM promises
WHERE stop_id IN (SELECT value FROM json_each(?))

-- name: save_watch
INSERT INTO alert_watch (slot, subject_id, body) VALUES (?, ?, ?)
ON CONFLICT (slot, subject_id) DO UPDATE SET body = excluded.body

-- name: watches
SELECT body FROM alert_watch

-- name: save_alert
INSERT INTO alerts (alert_id, rule, stop_id, route_id, incident_id, state, opened_us, updated_us, resolved_us, body)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (alert_id) DO UPDATE SET rule = excluded.rule, incident_id = excluded.incident_id, state = excluded.state, updated_us = excluded.updated_us,
    resolved_us = excluded.resolved_us, body = excluded.body

-- name: open_alerts
SELECT body FROM alerts WHERE state = 'open'

-- name: alerts
SELECT opened_us, alert_id, body FROM alerts
WHERE (:state IS NULL OR state = :state) AND (:stop_id IS NULL OR stop_id = :stop_id)
    AND (:route_id IS NULL OR route_id = :route_id) AND (:incident_id IS NULL OR incident_id = :incident_id)
    AND (:rule IS NULL OR rule = :rule)
    AND (:before_us IS NULL OR opened_us < :before_us OR (opened_us = :before_us AND alert_id > :after_id))
ORDER BY opened_us DESC, alert_id LIMIT :limit

-- name: save_incident
INSERT INTO incidents (incident_id, cause, subject_id, area_id, state, opened_us, updated_us, muted_until_us, body)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (incident_id) DO UPDATE SET state = excluded.state, updated_us = excluded.updated_us,
    muted_until_us = excluded.muted_until_us, body = excluded.body

-- name: save_silence
INSERT INTO silences (silence_id, until_us, body) VALUES (?, ?, ?)
ON CONFLICT (silence_id) DO UPDATE SET until_us = excluded.until_us, body = excluded.body

-- name: silences
SELECT body FROM silences WHERE until_us IS NULL OR until_us > ? ORDER BY rowid

-- name: silence
SELECT body FROM silences WHERE silence_id = ?

-- name: live_incidents
SELECT body FROM incidents WHERE state != 'resolved' OR updated_us >= ? OR muted_until_us >= ?

-- name: incident
SELECT body FROM incidents WHERE incident_id = ?

-- name: incidents
SELECT opened_us, incident_id, body FROM incidents
WHERE (:state IS NULL OR state = :state) AND (:live IS NULL OR state != 'resolved')
    AND (:cause IS NULL OR cause = :cause) AND (:area_id IS NULL OR area_id = :area_id)
    AND (:subject_id IS NULL OR subject_id = :subject_id)
    AND (:before_us IS NULL OR opened_us < :before_us OR (opened_us = :before_us AND incident_id > :after_id))
ORDER BY opened_us DESC, incident_id LIMIT :limit

-- name: enqueue
INSERT INTO outbox (event_id, type, subject, route_id, at_us, body) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (event_id) DO NOTHING

-- name: outbox_after
SELECT position, event_id, type, subject, route_id, at_us, body FROM outbox
WHERE position > ? ORDER BY position LIMIT ?

-- name: outbox_span
SELECT coalesce(min(position) - 1, (SELECT seq FROM sqlite_sequence WHERE name = 'outbox'), 0),
    coalesce(max(position), (SELECT seq FROM sqlite_sequence WHERE name = 'outbox'), 0)
FROM outbox

-- name: route_overview
SELECT c.route_id, c.touched_us, c.scored_us, c.whole_slip_s,
    (SELECT count(*) FROM alerts AS a WHERE a.route_id = c.route_id AND a.state = 'open') AS open_alerts,
    (SELECT f.stop_id FROM forecast_latest AS f WHERE f.route_id = c.route_id AND f.as_of_us = c.scored_us
     ORDER BY f.rank LIMIT 1) AS next_stop_id
FROM route_cadence AS c WHERE c.live ORDER BY c.route_id LIMIT ?

-- name: counts
SELECT (SELECT count(*) FROM route_cadence WHERE live) AS live_routes, (SELECT count(*) FROM stop_route) AS stops,
    (SELECT count(*) FROM forecast_latest) AS forecasts,
    (SELECT count(*) FROM alerts WHERE state = 'open') AS open_alerts, (SELECT count(*) FROM alerts) AS alerts,
    (SELECT count(*) FROM incidents WHERE state != 'resolved') AS open_incidents,
    (SELECT count(*) FROM promises WHERE revisions > 0) AS revised_promises,
    (SELECT count(*) FROM outbox) AS outbox
