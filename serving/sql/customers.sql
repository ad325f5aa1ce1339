-- name: schema
CREATE TABLE IF NOT EXISTS personal (
    customer_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    at_us INTEGER NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (customer_id, kind, key)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS erased (
    digest TEXT PRIMARY KEY,
    at_us INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS home_strengths (
    counts_for REAL PRIMARY KEY,
    loss REAL NOT NULL,
    visits INTEGER NOT NULL
);

-- name: put
INSERT INTO personal (customer_id, kind, key, at_us, body) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (customer_id, kind, key) DO UPDATE SET at_us = excluded.at_us, body = excluded.body
WHERE excluded.at_us >= personal.at_us

-- name: get
SELECT body FROM personal WHERE customer_id = ? AND kind = ? AND key = ''

-- name: known
SELECT 1 FROM personal WHERE customer_id = ? AND kind = ? AND key = ?

-- name: drop
DELETE FROM personal WHERE customer_id = ? AND kind = ?

-- name: of_customer
SELECT kind, key, at_us, body FROM personal WHERE customer_id = ? ORDER BY kind, at_us, key

-- name: visits
SELECT at_us, body FROM personal WHERE customer_id = ? AND kind = 'visit' ORDER BY at_us

-- name: tally
SELECT count(*), coalesce(sum(body = x'01'), 0) FROM personal WHERE kind = 'visit'

-- name: add_loss
INSERT INTO home_strengths (counts_for, loss, visits) VALUES (?, ?, 1)
ON CONFLICT (counts_for) DO UPDATE SET loss = loss + excluded.loss, visits = visits + 1

-- name: strengths
SELECT counts_for, loss, visits FROM home_strengths

-- name: erase
DELETE FROM personal WHERE customer_id = ?

-- name: note_erased
INSERT INTO erased (digest, at_us) VALUES (?, ?) ON CONFLICT (digest) DO UPDATE SET at_us = excluded.at_us

-- name: erased
SELECT at_us FROM erased WHERE digest = ?

-- name: forget_visits
DELETE FROM personal WHERE kind = 'visit' AND at_us < ?

-- name: forget_erased
DELETE FROM erased WHERE at_us < ?
