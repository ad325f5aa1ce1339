-- name: schema
CREATE TABLE IF NOT EXISTS calibration (
    model_version TEXT NOT NULL,
    part TEXT NOT NULL,
    number INTEGER NOT NULL,
    as_of_us INTEGER NOT NULL,
    numbers BLOB NOT NULL,
    PRIMARY KEY (model_version, part, number)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS calibration_states ON calibration (model_version, number);
CREATE TABLE IF NOT EXISTS stakes (
    stop_id TEXT NOT NULL,
    horizon INTEGER NOT NULL,
    as_of_us INTEGER NOT NULL,
    model_version TEXT NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (stop_id, horizon)
) WITHOUT ROWID;

-- name: save_part
INSERT INTO calibration (model_version, as_of_us, part, number, numbers) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (model_version, part, number) DO NOTHING

-- name: all_parts
SELECT model_version, part, max(number), numbers FROM calibration GROUP BY model_version, part

-- name: parts
SELECT part, max(number), numbers FROM calibration WHERE model_version = ? AND number > ? AND number <= ?
GROUP BY part

-- name: forget_parts
DELETE FROM calibration WHERE as_of_us < ?
    AND EXISTS (SELECT 1 FROM calibration AS later WHERE later.model_version = calibration.model_version
                AND later.part = calibration.part AND later.number > calibration.number AND later.as_of_us < ?)

-- name: save_stake
INSERT INTO stakes (stop_id, horizon, as_of_us, model_version, body) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (stop_id, horizon) DO UPDATE SET as_of_us = excluded.as_of_us, model_version = excluded.model_version,
    body = excluded.body

-- name: stakes
SELECT stop_id, horizon, as_of_us, model_version, body FROM stakes

-- name: forget_stakes
DELETE FROM stakes WHERE stop_id = ?
