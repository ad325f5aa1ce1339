-- name: schema
CREATE TABLE IF NOT EXISTS progress (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    position INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS webhooks (
    webhook_id TEXT PRIMARY KEY,
    url TEXT,
    channel TEXT,
    description TEXT NOT NULL,
    types TEXT NOT NULL,
    state TEXT NOT NULL,
    reason TEXT,
    created_us INTEGER NOT NULL,
    changed_us INTEGER NOT NULL,
    after_position INTEGER NOT NULL,
    rests_until_us INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS generations (
    webhook_id TEXT NOT NULL,
    generation INTEGER NOT NULL,
    created_us INTEGER NOT NULL,
    expires_us INTEGER,
    masked BLOB,
    PRIMARY KEY (webhook_id, generation)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS events (
    event_id TEXT PRIMARY KEY,
    position INTEGER NOT NULL,
    type TEXT NOT NULL,
    subject TEXT NOT NULL,
    taken_us INTEGER NOT NULL,
    payload BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS messages (
    webhook_id TEXT NOT NULL,
    event_id TEXT NOT NULL,
    position INTEGER NOT NULL,
    state TEXT NOT NULL,
    why TEXT,
    tries INTEGER NOT NULL,
    due_us INTEGER NOT NULL,
    created_us INTEGER NOT NULL,
    done_us INTEGER,
    PRIMARY KEY (webhook_id, event_id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS messages_due ON messages (webhook_id, state, due_us, position);
CREATE INDEX IF NOT EXISTS messages_event ON messages (event_id);
CREATE TABLE IF NOT EXISTS attempts (
    attempt INTEGER PRIMARY KEY AUTOINCREMENT,
    webhook_id TEXT NOT NULL,
    event_id TEXT NOT NULL,
    at_us INTEGER NOT NULL,
    took_ms INTEGER NOT NULL,
    outcome TEXT NOT NULL,
    status INTEGER,
    detail TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS attempts_of ON attempts (webhook_id, attempt);

-- name: position
SELECT position FROM progress

-- name: save_position
INSERT INTO progress (id, position) VALUES (1, ?) ON CONFLICT (id) DO UPDATE SET position = excluded.position

-- name: step_back
UPDATE webhooks SET after_position = min(after_position, ?)

-- name: webhooks
SELECT webhook_id, url, channel, description, types, state, reason, created_us, changed_us, after_position,
    rests_until_us
FROM webhooks ORDER BY created_us, webhook_id

-- name: webhook
SELECT webhook_id, url, channel, description, types, state, reason, created_us, changed_us, after_position,
    rests_until_us
FROM webhooks WHERE webhook_id = ?

-- name: add_webhook
INSERT INTO webhooks (webhook_id, url, channel, description, types, state, reason, created_us, changed_us,
    after_position, rests_until_us)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- name: count_webhooks
SELECT count(*) FROM webhooks

-- name: remove_webhook
DELETE FROM webhooks WHERE webhook_id = ?

-- name: remove_messages
DELETE FROM messages WHERE webhook_id = ?

-- name: remove_attempts
DELETE FROM attempts WHERE webhook_id = ?

-- name: remove_generations
DELETE FROM generations WHERE webhook_id = ?

-- name: disable
UPDATE webhooks SET state = 'disabled', reason = ?, changed_us = ? WHERE webhook_id = ?

-- name: enable
UPDATE webhooks SET state = 'active', reason = NULL, changed_us = ?, after_position = ?, rests_until_us = 0
WHERE webhook_id = ?

-- name: rest
UPDATE webhooks SET rests_until_us = max(rests_until_us, ?) WHERE webhook_id = ?

-- name: add_generation
INSERT INTO generations (webhook_id, generation, created_us, masked)
SELECT ?1, coalesce(max(generation), 0) + 1, ?2, ?3 FROM generations WHERE webhook_id = ?1

-- name: expire_generations
UPDATE generations SET expires_us = ?2
WHERE webhook_id = ?1 AND expires_us IS NULL

-- name: generations
SELECT generation, masked FROM generations WHERE webhook_id = ? AND (expires_us IS NULL OR expires_us > ?)
ORDER BY generation DESC

-- name: add_event
INSERT INTO events (event_id, position, type, subject, taken_us, payload) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (event_id) DO NOTHING

-- name: add_message
INSERT INTO messages (webhook_id, event_id, position, state, tries, due_us, created_us)
VALUES (?, ?, ?, 'pending', 0, ?, ?)
ON CONFLICT (webhook_id, event_id) DO NOTHING

-- name: due
SELECT m.event_id, m.tries, e.payload FROM messages AS m JOIN events AS e ON e.event_id = m.event_id
WHERE m.webhook_id = ? AND m.state = 'pending' AND m.due_us <= ?
ORDER BY m.due_us, m.position LIMIT ?

-- name: add_attempt
INSERT INTO attempts (webhook_id, event_id, at_us, took_ms, outcome, status, detail)
SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7 WHERE EXISTS (SELECT 1 FROM webhooks WHERE webhook_id = ?1)

-- name: settle
UPDATE messages SET state = ?, why = ?, tries = ?, due_us = coalesce(?, due_us), done_us = ?
WHERE webhook_id = ? AND event_id = ? AND state = 'pending'

-- name: redeliver
UPDATE messages SET state = 'pending', why = 'REDELIVERY', tries = 0, due_us = ?2, done_us = NULL
WHERE webhook_id = ?1 AND event_id IN (SELECT value FROM json_each(?3))

-- name: redeliver_dead
UPDATE messages SET state = 'pending', why = 'REDELIVERY', tries = 0, due_us = ?2, done_us = NULL
WHERE webhook_id = ?1 AND state = 'dead'

-- name: messages
SELECT m.event_id, e.type, e.subject, m.position, m.state, m.why, m.tries, m.due_us, m.created_us, m.done_us
FROM messages AS m JOIN events AS e ON e.event_id = m.event_id
WHERE m.webhook_id = ?1 AND (?2 IS NULL OR m.state = ?2)
ORDER BY m.position DESC LIMIT ?3

-- name: attempts
SELECT attempt, event_id, at_us, took_ms, outcome, status, detail FROM attempts
WHERE webhook_id = ?1 AND (?2 IS NULL OR event_id = ?2)
ORDER BY attempt DESC LIMIT ?3

-- name: counts
SELECT state, count(*) FROM messages WHERE webhook_id = ? GROUP BY state

-- name: figures
SELECT (SELECT count(*) FROM webhooks WHERE state = 'active') AS active_webhooks,
    (SELECT count(*) FROM webhooks WHERE state = 'disabled') AS disabled_webhooks,
    (SELECT count(*) FROM webhooks AS w JOIN messages AS m
     ON m.webhook_id = w.webhook_id AND m.state = 'pending') AS pending_messages,
    (SELECT count(*) FROM webhooks AS w JOIN messages AS m
     ON m.webhook_id = w.webhook_id AND m.state = 'dead') AS dead_messages,
    coalesce((SELECT max(attempt) FROM attempts), 0) AS attempts,
    coalesce((SELECT position FROM progress), 0) AS position,
    (SELECT min(m.created_us) FROM messages AS m JOIN webhooks AS w ON w.webhook_id = m.webhook_id
     WHERE m.state = 'pending' AND w.state = 'active') AS oldest_pending_us

-- name: forget_attempts
DELETE FROM attempts WHERE at_us < ?

-- name: forget_messages
DELETE FROM messages WHERE state <> 'pending' AND done_us < ?

-- name: forget_events
DELETE FROM events WHERE taken_us < ? AND NOT EXISTS (SELECT 1 FROM messages AS m WHERE m.event_id = events.event_id)

-- name: forget_generations
DELETE FROM generations WHERE expires_us < ?
