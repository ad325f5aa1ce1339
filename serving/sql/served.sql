-- name: schema
CREATE TABLE IF NOT EXISTS calls (
    number INTEGER PRIMARY KEY,
    head BLOB NOT NULL,
    numbers BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS blocks (
    block INTEGER PRIMARY KEY,
    packed BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS forecasts (
    prediction_id TEXT PRIMARY KEY,
    block INTEGER NOT NULL,
    place INTEGER NOT NULL
) WITHOUT ROWID;

-- name: save_call
INSERT INTO calls (number, head, numbers) VALUES (?, ?, ?)

-- name: call
SELECT head, numbers FROM calls WHERE number = ?

-- name: save_block
INSERT INTO blocks (packed) VALUES (?)

-- name: save_forecast
INSERT INTO forecasts (prediction_id, block, place) VALUES (?, ?, ?) ON CONFLICT (prediction_id) DO NOTHING

-- name: forecast
SELECT b.packed, f.place FROM forecasts AS f JOIN blocks AS b USING (block) WHERE f.prediction_id = ?
