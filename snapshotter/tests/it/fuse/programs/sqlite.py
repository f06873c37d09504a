"""Fills a database with a write-ahead log and maps (make), and goes on with it on top (change)."""

import os
import sqlite3
import subprocess
import sys

WRITERS = 3
ROWS = 40


def connect():
    db = sqlite3.connect("db", timeout=60, isolation_level=None)
    assert db.execute("pragma journal_mode = wal").fetchone() == ("wal",)
    assert db.execute("pragma mmap_size = 67108864").fetchone() == (67108864,)
    return db


def check(rows):
    db = connect()
    assert db.execute("pragma integrity_check").fetchone() == ("ok",)
    found = db.execute("select count(*), sum(length(text)) from t").fetchone()
    assert found == (rows, 5000 * rows), (found, rows)
    db.close()


def write():
    """A process of its own: commits row by row, and ends in the middle of a transaction."""
    db = connect()
    for number in range(ROWS):
        db.execute("insert into t (text) values (?)", (str(number % 10) * 5000,))
        assert db.execute("pragma quick_check(1)").fetchone() == ("ok",)
    db.execute("begin immediate")
    db.execute("update t set text = 'lost'")
    os._exit(0)


def writers():
    command = [sys.executable, __file__, "write"]
    for process in [subprocess.Popen(command) for _ in range(WRITERS)]:
        assert process.wait() == 0


if sys.argv[1] == "write":
    write()
elif sys.argv[1] == "make":
    db = connect()
    db.execute("create table t (id integer primary key, text)")
    writers()
    check(WRITERS * ROWS)
    db.close()
elif sys.argv[1] == "change":
    check(WRITERS * ROWS)
    writers()
    check(2 * WRITERS * ROWS)
    db = connect()
    db.execute("delete from t where id % 2 = 0")
    db.execute("vacuum")
    db.close()
    check(WRITERS * ROWS)
