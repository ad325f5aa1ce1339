-- name: schema
CREATE TABLE IF NOT EXISTS forecast_block (
    block INTEGER PRIMARY KEY,
    is_told INTEGER NOT NULL,
    as_of_us INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    coverage REAL NOT NULL,
    shifts BLOB,
    packed BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS forecast_block_age ON forecast_block (is_told, as_of_us, bytes);
CREATE TABLE IF NOT EXISTS forecast_place (
    stop_id TEXT NOT NULL,
    as_of_us INTEGER NOT NULL,
    block INTEGER NOT NULL,
    place INTEGER NOT NULL,
    start_us INTEGER NOT NULL,
    end_us INTEGER NOT NULL,
    PRIMARY KEY (stop_id, as_of_us)
) WITHOUT ROWID;

-- name: save_block
INSERT INTO forecast_block (is_told, as_of_us, bytes, coverage, shifts, packed) VALUES (?, ?, ?, ?, ?, ?)

-- name: save_place
INSERT OR REPLACE INTO forecast_place (stop_id, as_of_us, block, place, start_us, end_us) VALUES (?, ?, ?, ?, ?, ?)

-- name: totals
SELECT is_told, sum(bytes) FROM forecast_block GROUP BY is_told

-- name: spans
SELECT is_told, min(as_of_us), sum(bytes) FROM forecast_block GROUP BY is_told

-- name: oldest
SELECT block, as_of_us, bytes, packed FROM forecast_block WHERE is_told = ? ORDER BY as_of_us, block LIMIT ?

-- name: forget_block
DELETE FROM forecast_block WHERE block = ?

-- name: forget_place
DELETE FROM forecast_place WHERE stop_id = ? AND as_of_us = ?

-- name: of_stop
SELECT b.packed, p.place FROM forecast_place AS p JOIN forecast_block AS b USING (block)
WHERE p.stop_id = ? ORDER BY p.as_of_us DESC LIMIT ?

-- name: of_instant
SELECT packed, shifts FROM forecast_block WHERE is_told IN (0, 1) AND as_of_us = ?

-- name: everything
SELECT packed FROM forecast_block ORDER BY block
