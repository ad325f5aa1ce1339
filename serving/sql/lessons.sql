-- name: schema
CREATE TABLE IF NOT EXISTS calibration (
    model_version TEXT PRIMARY KEY,
    body BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS calibration_shift (
    model_version TEXT NOT NULL,
    number INTEGER NOT NULL,
    as_of_us INTEGER NOT NULL,
    shift BLOB NOT NULL,
    PRIMARY KEY (model_version, number)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS stakes (
    stop_id TEXT NOT NULL,
    horizon INTEGER NOT NULL,
    as_of_us INTEGER NOT NULL,
    model_version TEXT NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (stop_id, horizon)
) WITHOUT ROWID;

-- name: save_calibration
INSERT INTO calibration (model_version, body) VALUES (?, ?)
ON CONFLICT (model_version) DO UPDATE SET body = excluded.body

-- name: calibrations
SELECT model_version, body FROM calibration

-- name: calibration
SELECT body FROM calibration WHERE model_version = ?

-- name: save_shift
INSERT INTO calibration_shift (model_version, number, as_of_us, shift) VALUES (?, ?, ?, ?)
ON CONFLICT (model_version, number) DO NOTHING

-- name: shift
SELECT shift FROM calibration_shift WHERE model_version = ? AND number = ?

-- name: forget_shifts
DELETE FROM calibration_shift WHERE as_of_us < ?
    AND EXISTS (SELECT 1 FROM calibration_shift AS later WHERE later.model_version = calibration_shift.model_version
                AND later.number > calibration_shift.number)

-- name: save_stake
INSERT INTO stakes (stop_id, horizon, as_of_us, model_version, body) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (stop_id, horizon) DO UPDATE SET as_of_us = excluded.as_of_us, model_version = excluded.model_version,
    body = excluded.body

-- name: stakes
SELECT stop_id, horizon, as_of_us, model_version, body FROM stakes

-- name: forget_stakes
DELETE FROM stakes WHERE stop_id = ?
