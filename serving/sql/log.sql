-- name: schema
CREATE TABLE IF NOT EXISTS log (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    received_us INTEGER NOT NULL,
    type TEXT NOT NULL,
    event_id TEXT,
    body BLOB NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS log_event_id ON log (event_id) WHERE event_id IS NOT NULL;
CREATE TABLE IF NOT EXISTS origin (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    seq INTEGER NOT NULL,
    received_us INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS cut (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    seq INTEGER NOT NULL,
    received_us INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS feeds (
    type TEXT PRIMARY KEY,
    records INTEGER NOT NULL,
    received_us INTEGER NOT NULL
) WITHOUT ROWID;

-- name: append
INSERT INTO log (received_us, type, event_id, body) VALUES (?, ?, ?, ?)
ON CONFLICT (event_id) WHERE event_id IS NOT NULL DO NOTHING

-- name: read_after
SELECT seq, received_us, type, body FROM log WHERE seq > ? ORDER BY seq LIMIT ?

-- name: head
SELECT seq, received_us, type FROM log ORDER BY seq DESC LIMIT 1

-- name: origin
SELECT seq, received_us FROM origin

-- name: save_origin
INSERT INTO origin (id, seq, received_us) SELECT 1, ?, ?
WHERE NOT EXISTS (SELECT 1 FROM log) AND NOT EXISTS (SELECT 1 FROM origin)

-- name: start_sequence
INSERT INTO sqlite_sequence (name, seq) SELECT 'log', ?
WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'log')

-- name: note_feed
INSERT INTO feeds (type, records, received_us) VALUES (?, ?, ?)
ON CONFLICT (type) DO UPDATE SET records = records + excluded.records, received_us = excluded.received_us

-- name: feeds
SELECT type, records, received_us FROM feeds ORDER BY type

-- name: cut
SELECT seq, received_us FROM cut

-- name: last_before
SELECT seq, received_us FROM log
WHERE seq <= ?1 AND received_us < ?2 AND seq < (SELECT max(seq) FROM log) ORDER BY seq DESC LIMIT 1

-- name: save_cut
INSERT INTO cut (id, seq, received_us) VALUES (1, ?, ?)
ON CONFLICT (id) DO UPDATE SET seq = excluded.seq, received_us = excluded.received_us
WHERE excluded.seq > cut.seq

-- name: drop_before_cut
DELETE FROM log WHERE seq IN (SELECT seq FROM log WHERE seq <= (SELECT seq FROM cut) ORDER BY seq LIMIT ?)

-- name: read_to_archive
SELECT seq, received_us, type, event_id, body FROM log WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?
