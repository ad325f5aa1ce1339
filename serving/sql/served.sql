-- name: schema
CREATE TABLE IF NOT EXISTS calls (
    number INTEGER PRIMARY KEY,
    head BLOB NOT NULL,
    numbers BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS forecasts (
    prediction_id TEXT PRIMARY KEY,
    body BLOB NOT NULL,
    vector BLOB NOT NULL,
    base_s REAL NOT NULL,
    made_with BLOB NOT NULL
) WITHOUT ROWID;

-- name: save_call
INSERT INTO calls (number, head, numbers) VALUES (?, ?, ?)

-- name: call
SELECT head, numbers FROM calls WHERE number = ?

-- name: save_forecast
INSERT INTO forecasts (prediction_id, body, vector, base_s, made_with) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (prediction_id) DO NOTHING

-- name: forecast
SELECT body, vector, base_s, made_with FROM forecasts WHERE prediction_id = ?
