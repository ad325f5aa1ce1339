-- name: schema
CREATE TABLE IF NOT EXISTS seen_route (
    route_id TEXT PRIMARY KEY,
    vehicle_id TEXT,
    courier_id TEXT,
    depot_id TEXT,
    area_id TEXT NOT NULL,
    timezone TEXT NOT NULL,
    service_date TEXT NOT NULL,
    origin_lat REAL,
    origin_lon REAL,
    planned_departure_us INTEGER,
    has_departed INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS seen_stop (
    stop_id TEXT PRIMARY KEY,
    route_id TEXT NOT NULL,
    plan_version INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    zone_id TEXT NOT NULL,
    site_id TEXT,
    customer_id TEXT,
    service_level TEXT,
    parcels INTEGER,
    lat REAL,
    lon REAL,
    promised_start_us INTEGER,
    promised_end_us INTEGER,
    planned_arrival_us INTEGER,
    state TEXT NOT NULL,
    reached_us INTEGER,
    eta_us INTEGER,
    late_probability REAL
);
CREATE INDEX IF NOT EXISTS seen_stop_route ON seen_stop (route_id);
CREATE INDEX IF NOT EXISTS seen_stop_place ON seen_stop (state, lat, lon);
CREATE TABLE IF NOT EXISTS seen_vehicle (
    vehicle_id TEXT PRIMARY KEY,
    route_id TEXT,
    lat REAL NOT NULL,
    lon REAL NOT NULL,
    speed_mps REAL,
    status TEXT,
    occurred_us INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS seen_zone (
    zone_id TEXT PRIMARY KEY,
    speed_mps REAL NOT NULL,
    free_flow_mps REAL NOT NULL,
    incidents INTEGER,
    occurred_us INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS seen_weather (
    area_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    temperature_c REAL,
    precipitation_mm REAL,
    snow_cm REAL,
    wind_mps REAL,
    valid_us INTEGER NOT NULL,
    issued_us INTEGER NOT NULL,
    PRIMARY KEY (area_id, kind, valid_us)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS seen_feed (
    feed TEXT PRIMARY KEY,
    received_us INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS timeline (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    route_id TEXT NOT NULL,
    stop_id TEXT,
    kind TEXT NOT NULL,
    occurred_us INTEGER NOT NULL,
    known_us INTEGER NOT NULL,
    body BLOB
);
CREATE INDEX IF NOT EXISTS timeline_route ON timeline (route_id, known_us);
CREATE INDEX IF NOT EXISTS timeline_stop ON timeline (stop_id, known_us);
CREATE INDEX IF NOT EXISTS timeline_known ON timeline (known_us);
CREATE TABLE IF NOT EXISTS window_outcome (
    stop_id TEXT NOT NULL,
    ahead_min INTEGER NOT NULL,
    reached_us INTEGER NOT NULL,
    is_covered INTEGER NOT NULL,
    coverage REAL NOT NULL,
    width_s REAL NOT NULL,
    PRIMARY KEY (stop_id, ahead_min)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS window_outcome_reached ON window_outcome (reached_us);

-- name: save_route
INSERT INTO seen_route (route_id, vehicle_id, courier_id, depot_id, area_id, timezone, service_date, origin_lat,
    origin_lon, planned_departure_us, has_departed)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (route_id) DO UPDATE SET vehicle_id = excluded.vehicle_id, courier_id = excluded.courier_id,
    depot_id = excluded.depot_id, area_id = excluded.area_id, timezone = excluded.timezone,
    service_date = excluded.service_date, origin_lat = excluded.origin_lat, origin_lon = excluded.origin_lon,
    planned_departure_us = excluded.planned_departure_us, has_departed = excluded.has_departed

-- name: save_stop
INSERT INTO seen_stop (stop_id, route_id, plan_version, sequence, zone_id, site_id, customer_id, service_level,
    parcels, lat, lon, promised_start_us, promised_end_us, planned_arrival_us, state, reached_us)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (stop_id) DO UPDATE SET route_id = excluded.route_id, plan_version = excluded.plan_version,
    sequence = excluded.sequence, zone_id = excluded.zone_id, site_id = excluded.site_id,
    customer_id = excluded.customer_id, service_level = excluded.service_level, parcels = excluded.parcels,
    lat = excluded.lat, lon = excluded.lon, promised_start_us = excluded.promised_start_us,
    promised_end_us = excluded.promised_end_us, planned_arrival_us = excluded.planned_arrival_us,
    state = excluded.state, reached_us = excluded.reached_us

-- name: save_risk
UPDATE seen_stop SET eta_us = ?, late_probability = ? WHERE stop_id = ?

-- name: save_vehicle
INSERT INTO seen_vehicle (vehicle_id, route_id, lat, lon, speed_mps, status, occurred_us) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (vehicle_id) DO UPDATE SET route_id = excluded.route_id, lat = excluded.lat, lon = excluded.lon,
    speed_mps = excluded.speed_mps, status = excluded.status, occurred_us = excluded.occurred_us
WHERE excluded.occurred_us >= occurred_us

-- name: save_zone
INSERT INTO seen_zone (zone_id, speed_mps, free_flow_mps, incidents, occurred_us) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (zone_id) DO UPDATE SET speed_mps = excluded.speed_mps, free_flow_mps = excluded.free_flow_mps,
    incidents = excluded.incidents, occurred_us = excluded.occurred_us
WHERE excluded.occurred_us >= occurred_us

-- name: save_weather
INSERT INTO seen_weather (area_id, kind, temperature_c, precipitation_mm, snow_cm, wind_mps, valid_us, issued_us)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (area_id, kind, valid_us) DO UPDATE SET temperature_c = excluded.temperature_c,
    precipitation_mm = excluded.precipitation_mm, snow_cm = excluded.snow_cm, wind_mps = excluded.wind_mps,
    issued_us = excluded.issued_us
WHERE excluded.issued_us >= issued_us

-- name: save_feed
INSERT INTO seen_feed (feed, received_us) VALUES (?, ?)
ON CONFLICT (feed) DO UPDATE SET received_us = excluded.received_us

-- name: save_timeline
INSERT INTO timeline (route_id, stop_id, kind, occurred_us, known_us, body) VALUES (?, ?, ?, ?, ?, ?)

-- name: save_outcome
INSERT OR IGNORE INTO window_outcome (stop_id, ahead_min, reached_us, is_covered, coverage, width_s)
SELECT p.stop_id, ?2, ?3, ?3 BETWEEN p.start_us AND p.end_us, b.coverage, (p.end_us - p.start_us) / 1e6
FROM forecast_place AS p JOIN forecast_block AS b USING (block)
WHERE p.stop_id = ?1 AND p.as_of_us <= ?3 - ?2 * 60000000 ORDER BY p.as_of_us DESC LIMIT 1

-- name: forget_route
DELETE FROM seen_route WHERE route_id = ?

-- name: forget_stops
DELETE FROM seen_stop WHERE route_id = ?

-- name: forget_timeline
DELETE FROM timeline WHERE known_us < ?

-- name: forget_outcomes
DELETE FROM window_outcome WHERE reached_us < ?

-- name: withdraw_outcomes
DELETE FROM window_outcome WHERE stop_id = ?

-- name: forget_weather
DELETE FROM seen_weather WHERE valid_us < ?

-- name: stops_in
SELECT stop_id, route_id, sequence, zone_id, state, late_probability, eta_us, lat, lon FROM seen_stop
WHERE (?5 = 'all' OR state IN ('ahead', 'at_door'))
    AND (?1 IS NULL OR (lat BETWEEN ?2 AND ?4 AND lon BETWEEN ?1 AND ?3))
ORDER BY late_probability DESC, stop_id LIMIT ?6

-- name: count_in
SELECT count(*) FROM seen_stop
WHERE (?5 = 'all' OR state IN ('ahead', 'at_door'))
    AND (?1 IS NULL OR (lat BETWEEN ?2 AND ?4 AND lon BETWEEN ?1 AND ?3))

-- name: vehicles_in
WITH ahead AS (
    SELECT route_id, count(*) AS remaining, max(late_probability) AS late_probability,
        sum(late_probability >= 0.5) AS at_risk
    FROM seen_stop WHERE state = 'ahead' GROUP BY route_id
)
SELECT v.vehicle_id, v.route_id, v.status, v.speed_mps, v.occurred_us, v.lat, v.lon,
    coalesce(a.remaining, 0) AS remaining, a.late_probability, coalesce(a.at_risk, 0) AS at_risk
FROM seen_vehicle AS v LEFT JOIN ahead AS a USING (route_id)
WHERE v.lat BETWEEN ?2 AND ?4 AND v.lon BETWEEN ?1 AND ?3 AND v.occurred_us >= ?6
ORDER BY v.vehicle_id LIMIT ?5

-- name: zone_places
SELECT zone_id, avg(lat), avg(lon), count(*) FROM seen_stop WHERE lat IS NOT NULL AND lon IS NOT NULL GROUP BY zone_id

-- name: zone_edges
SELECT min(lat), max(lat), min(lon), max(lon) FROM seen_stop

-- name: zone_pairs
SELECT a.zone_id, b.zone_id, count(*) FROM seen_stop AS a JOIN seen_stop AS b
    ON b.route_id = a.route_id AND b.sequence = a.sequence + 1
WHERE a.zone_id <> b.zone_id GROUP BY min(a.zone_id, b.zone_id), max(a.zone_id, b.zone_id)

-- name: zones
WITH ahead AS (
    SELECT zone_id, count(*) AS ahead, coalesce(sum(late_probability >= 0.5), 0) AS at_risk
    FROM seen_stop WHERE state = 'ahead' GROUP BY zone_id
), known AS (SELECT zone_id FROM seen_stop UNION SELECT zone_id FROM seen_zone)
SELECT zone_id, z.speed_mps, z.free_flow_mps, z.incidents, z.occurred_us,
    coalesce(a.ahead, 0) AS ahead, coalesce(a.at_risk, 0) AS at_risk
FROM known LEFT JOIN seen_zone AS z USING (zone_id) LEFT JOIN ahead AS a USING (zone_id) ORDER BY zone_id

-- name: depots
SELECT depot_id, min(origin_lat) AS lat, min(origin_lon) AS lon, count(*) AS routes FROM seen_route
WHERE depot_id IS NOT NULL AND origin_lat IS NOT NULL GROUP BY depot_id ORDER BY depot_id

-- name: weather
SELECT area_id, kind, temperature_c, precipitation_mm, snow_cm, wind_mps, valid_us, issued_us FROM seen_weather
WHERE valid_us BETWEEN ?1 AND ?2 ORDER BY area_id, valid_us, kind

-- name: feeds
SELECT feed, received_us FROM seen_feed ORDER BY feed

-- name: route
SELECT r.*, c.touched_us, c.scored_us, c.whole_slip_s AS slip_s FROM seen_route AS r
LEFT JOIN route_cadence AS c USING (route_id) WHERE r.route_id = ?

-- name: stops_of_route
SELECT s.*, p.first_start_us, p.first_end_us, p.told_start_us, p.told_end_us, p.revisions, p.told_us
FROM seen_stop AS s LEFT JOIN promises AS p USING (stop_id) WHERE s.route_id = ? ORDER BY s.sequence, s.stop_id

-- name: stop
SELECT s.*, p.first_start_us, p.first_end_us, p.told_start_us, p.told_end_us, p.revisions, p.told_us, r.timezone,
    (SELECT count(*) FROM seen_stop AS o WHERE o.route_id = s.route_id AND o.sequence < s.sequence
     AND o.state IN ('ahead', 'at_door')) AS stops_before
FROM seen_stop AS s LEFT JOIN promises AS p USING (stop_id) LEFT JOIN seen_route AS r ON r.route_id = s.route_id
WHERE s.stop_id = ?

-- name: timeline_of_route
SELECT id, route_id, stop_id, kind, occurred_us, known_us, body FROM timeline WHERE route_id = ?
ORDER BY known_us DESC, id DESC LIMIT ?

-- name: timeline_of_stop
SELECT id, route_id, stop_id, kind, occurred_us, known_us, body FROM timeline WHERE stop_id = ?
ORDER BY known_us DESC, id DESC LIMIT ?

-- name: service_days
SELECT timezone, service_date, count(*) FROM seen_route GROUP BY timezone, service_date ORDER BY 3 DESC

-- name: day_counts
WITH day AS (
    SELECT s.state, s.reached_us, s.late_probability, coalesce(p.first_end_us, s.promised_end_us) AS end_us
    FROM seen_stop AS s JOIN seen_route AS r USING (route_id) LEFT JOIN promises AS p ON p.stop_id = s.stop_id
    WHERE r.service_date = ?1
)
SELECT count(*) AS stops, count(end_us) AS promised,
    coalesce(sum(end_us IS NOT NULL AND reached_us <= end_us), 0) AS on_time,
    coalesce(sum(end_us IS NOT NULL AND reached_us > end_us), 0) AS late,
    coalesce(sum(end_us IS NOT NULL AND reached_us IS NULL AND state IN ('failed', 'skipped')), 0) AS missed,
    coalesce(sum(end_us IS NOT NULL AND reached_us IS NULL AND state = 'ahead'), 0) AS ahead,
    coalesce(sum(CASE WHEN end_us IS NOT NULL AND reached_us IS NULL AND state = 'ahead'
        THEN late_probability END), 0.0) AS ahead_late,
    coalesce(sum(state = 'ahead' AND late_probability >= 0.5), 0) AS at_risk
FROM day

-- name: window_outcomes
SELECT ahead_min, count(*) AS windows, avg(is_covered) AS covered, avg(coverage) AS promised,
    avg(width_s) / 60.0 AS width_min
FROM window_outcome WHERE reached_us >= ? GROUP BY ahead_min ORDER BY ahead_min

-- name: alert_outcomes
WITH raised AS (
    SELECT a.alert_id, a.opened_us, a.resolved_us, s.state, s.reached_us,
        coalesce(p.first_end_us, s.promised_end_us) AS end_us
    FROM alerts AS a JOIN seen_stop AS s USING (stop_id) LEFT JOIN promises AS p ON p.stop_id = s.stop_id
    WHERE a.opened_us >= ?
)
SELECT count(*) AS raised, coalesce(sum(reached_us IS NOT NULL OR state IN ('failed', 'skipped')), 0) AS decided,
    coalesce(sum(CASE WHEN reached_us IS NULL THEN state IN ('failed', 'skipped') ELSE reached_us > end_us END), 0)
        AS came_true,
    avg(CASE WHEN reached_us > end_us THEN (end_us - opened_us) / 60000000.0 END) AS mean_lead_min
FROM raised

-- name: visits
SELECT customer_id, stop_id, state, reached_us FROM seen_stop
WHERE customer_id IS NOT NULL AND reached_us IS NOT NULL AND state IN ('completed', 'failed')
