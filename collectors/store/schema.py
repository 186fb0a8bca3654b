"""The database file: its tables, their version, how connections are opened. Readers and the writer meet only here.

Durability: WAL with synchronous=FULL, so that a commit is on disk (fsync of the log) when it returns. NORMAL would
keep the file whole but lose the last commits in a power cut, and with them records that were acknowledged.
"""

import os
import sqlite3
from pathlib import Path

from collectors.store.errors import StoreError, StoreMissing

VERSION = 7
"""`PRAGMA user_version` of the tables below. A change of the tables is a new version and a step in `_MIGRATIONS`."""

_V1 = """
CREATE TABLE logs (
  rowid INTEGER PRIMARY KEY AUTOINCREMENT,  -- order of arrival, never used twice: readers follow it
  id TEXT NOT NULL UNIQUE,
  time REAL NOT NULL,
  tag TEXT NOT NULL,
  workload TEXT NOT NULL,
  severity TEXT NOT NULL,
  message TEXT NOT NULL,
  trace_id TEXT,
  body BLOB NOT NULL                        -- msgpack, as collectors.store.bodies has it
);
CREATE INDEX logs_by_time ON logs (time, severity, tag);
CREATE INDEX logs_by_workload ON logs (workload, time, severity);
CREATE VIRTUAL TABLE logs_text USING fts5 (
  message, trace_id, workload, severity, content = 'logs', content_rowid = 'rowid'
);
-- Merging eight segments at once instead of four costs a seventh less per record, and searches nothing to notice.
INSERT INTO logs_text (logs_text, rank) VALUES ('automerge', 8);

CREATE TABLE spans (
  rowid INTEGER PRIMARY KEY AUTOINCREMENT,
  trace_id TEXT NOT NULL,
  span_id TEXT NOT NULL,
  parent_id TEXT,
  service TEXT NOT NULL,
  workload TEXT NOT NULL,
  name TEXT NOT NULL,
  kind TEXT NOT NULL,
  start REAL NOT NULL,
  duration_ms REAL NOT NULL,
  error INTEGER NOT NULL,
  values_text TEXT NOT NULL,                -- the attributes' values, for the full-text index
  attributes BLOB NOT NULL,                 -- msgpack map
  UNIQUE (trace_id, span_id)
);
CREATE INDEX spans_by_service ON spans (service, start, trace_id);
CREATE INDEX spans_by_start ON spans (start);
CREATE VIRTUAL TABLE spans_text USING fts5 (
  name, service, values_text, content = 'spans', content_rowid = 'rowid'
);
CREATE TABLE traces (
  trace_id TEXT PRIMARY KEY,
  start REAL NOT NULL,
  finish REAL NOT NULL,
  spans INTEGER NOT NULL,
  error INTEGER NOT NULL,
  root TEXT                                 -- 'SERVICE<US>NAME' of a span without parent
) WITHOUT ROWID;
CREATE INDEX traces_by_start ON traces (start);

CREATE TABLE series (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  name TEXT NOT NULL,
  labels TEXT NOT NULL,                     -- JSON object, keys sorted
  bounds TEXT NOT NULL,                     -- JSON list of a histogram's finite upper bounds; '' for others
  UNIQUE (name, labels, bounds)
);
CREATE TABLE samples (
  series_id INTEGER NOT NULL,
  time_ms INTEGER NOT NULL,
  value REAL,                               -- NULL: the series ended here; of a histogram: its count
  histogram BLOB,                           -- msgpack [sum, [cumulative counts]]
  PRIMARY KEY (series_id, time_ms)
) WITHOUT ROWID;
"""

_V2 = "ALTER TABLE spans ADD COLUMN detail BLOB;  -- msgpack map: resource, events, links and the like; NULL: nothing"

_V3 = """
CREATE TABLE error_groups (
  fingerprint TEXT PRIMARY KEY,
  kind TEXT NOT NULL,
  service TEXT NOT NULL,
  workload TEXT NOT NULL,                   -- of the last occurrence
  title TEXT NOT NULL,
  culprit TEXT NOT NULL,
  first_seen REAL NOT NULL,
  last_seen REAL NOT NULL,
  count INTEGER NOT NULL,
  first_release TEXT NOT NULL,              -- the version that it was first seen in; '' where nothing said
  last_release TEXT NOT NULL,
  trace_id TEXT,                            -- of the last occurrence that has one
  sample TEXT NOT NULL                      -- the last occurrence in full
) WITHOUT ROWID;
CREATE INDEX error_groups_by_last_seen ON error_groups (last_seen);
CREATE INDEX error_groups_by_service ON error_groups (service);
CREATE TABLE error_minutes (
  fingerprint TEXT NOT NULL,
  minute INTEGER NOT NULL,                  -- of the Unix epoch
  count INTEGER NOT NULL,
  PRIMARY KEY (fingerprint, minute)
) WITHOUT ROWID;
CREATE INDEX error_minutes_by_minute ON error_minutes (minute);
"""

_V4 = "INSERT INTO logs_text (logs_text, rank) VALUES ('automerge', 16);  -- a seventh less again"

_V5 = """
CREATE TABLE exemplars (
  series_id INTEGER NOT NULL,
  bucket INTEGER NOT NULL,                  -- of the histogram's, from the lowest
  slot INTEGER NOT NULL,                    -- of the few that are kept
  time_ms INTEGER NOT NULL,
  value REAL NOT NULL,
  trace_id TEXT NOT NULL,
  PRIMARY KEY (series_id, bucket, slot)
) WITHOUT ROWID;
"""

_V6 = """
-- At 64 segments a level, a million records are merged once and not twice. It is begun at 64 and goes on with every
-- flush; done at once, while senders wait for a second, it would be only at 160.
INSERT INTO logs_text (logs_text, rank) VALUES ('automerge', 64);
INSERT INTO logs_text (logs_text, rank) VALUES ('crisismerge', 160);

CREATE TABLE log_counts (
  minute INTEGER NOT NULL,                  -- of the Unix epoch
  tag TEXT NOT NULL,
  workload TEXT NOT NULL,
  severity TEXT NOT NULL,
  count INTEGER NOT NULL,
  PRIMARY KEY (minute, tag, workload, severity)
) WITHOUT ROWID;
-- CAST cuts towards zero, minutes are floors.
INSERT INTO log_counts (minute, tag, workload, severity, count)
SELECT CAST(time / 60 AS INTEGER) - (time < CAST(time / 60 AS INTEGER) * 60), tag, workload, severity, count(*)
FROM logs GROUP BY 1, 2, 3, 4;
"""

_V7 = """
CREATE TABLE log_kinds (
  id INTEGER PRIMARY KEY,
  tag TEXT NOT NULL,
  workload TEXT NOT NULL,
  severity TEXT NOT NULL,
  count INTEGER NOT NULL,                   -- of its records
  UNIQUE (tag, workload, severity)
);
INSERT INTO log_kinds (tag, workload, severity, count)
SELECT tag, workload, severity, sum(count) FROM log_counts GROUP BY 1, 2, 3;
CREATE TABLE log_keys (
  rowid INTEGER PRIMARY KEY,                -- that of its record
  time REAL NOT NULL,
  kind INTEGER NOT NULL
);
INSERT INTO log_keys (rowid, time, kind)
SELECT l.rowid, l.time, k.id FROM logs AS l CROSS JOIN log_kinds AS k
ON k.tag = l.tag AND k.workload = l.workload AND k.severity = l.severity;

-- With the tag, so that no record is read that has another.
DROP INDEX logs_by_workload;
CREATE INDEX logs_by_workload ON logs (workload, time, severity, tag);
"""

_MIGRATIONS: tuple[str, ...] = (_V1, _V2, _V3, _V4, _V5, _V6, _V7)
"""Step N brings a database of version N to N + 1."""


def open_writer(path: Path) -> sqlite3.Connection:
    """Open, create or migrate the database for its one writer.

    Raises sqlite3.DatabaseError for a file that is no database or broken, StoreError for one of a newer version,
    OSError for one that cannot be created.
    """
    # Created here and not by SQLite so that the mode is right from the start; -wal and -shm take it over.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=64)
    try:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # takes effect only before the first table
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA busy_timeout = 5000")
        connection.execute("PRAGMA cache_size = -16000")  # KiB
        connection.execute("PRAGMA journal_size_limit = 67108864")
        connection.execute("PRAGMA temp_store = MEMORY")
        _migrate(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _migrate(connection: sqlite3.Connection) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > VERSION:
        raise StoreError(f"the store has version {version}, this program knows {VERSION}: use a newer program")
    for step in range(version, VERSION):
        connection.executescript(f"BEGIN IMMEDIATE;\n{_MIGRATIONS[step]}\nPRAGMA user_version = {step + 1};\nCOMMIT;")


def open_reader(path: Path) -> sqlite3.Connection:
    """Open the database read-only. Raises StoreMissing where there is none, StoreError for another version or a file
    that cannot be read."""
    try:
        there = path.exists()
    except OSError as error:  # a directory above it is not ours to look into
        raise StoreError(f"cannot open {path}: {error.strerror}") from error
    if not there:
        raise StoreMissing(f"no telemetry store at {path}: nothing was collected there yet")
    try:
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, check_same_thread=False
        )
    except sqlite3.Error as error:
        raise StoreError(f"cannot open {path}: {error}") from error
    try:
        connection.execute("PRAGMA busy_timeout = 2000")
        connection.execute("PRAGMA query_only = ON")
        connection.execute("PRAGMA cache_size = -8000")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
    except sqlite3.Error as error:
        connection.close()
        raise StoreError(f"cannot read {path}: {error}") from error
    if version != VERSION:
        connection.close()
        if version == 0:
            raise StoreMissing(f"the telemetry store at {path} is empty")
        raise StoreError(f"{path} has version {version}, this program reads {VERSION}")
    return connection
