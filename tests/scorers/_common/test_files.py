"""Files that survive a kill: processes are really killed, in the middle of a write."""

import gzip
import json
import os
import signal
import subprocess
import sys

import pytest

import decoding.__main__ as command
from scorers._common import files
from scorers._common.files import (
    JsonLines,
    is_json_lines,
    read_json_lines,
    read_lines,
    read_text,
    replacing,
    to_line,
    write_json,
    write_whole,
)

RECORDS = [{"id": n, "text": f"né {n}\u2028" * (n + 1)} for n in range(4)]
WHOLE = "".join(map(to_line, RECORDS)).encode()
BEGIN = """
import resource, signal, sys
from pathlib import Path
from scorers._common.files import JsonLines, replacing
path, limit = Path(sys.argv[1]), int(sys.argv[2])
def die_at(size):  # the kernel kills who writes beyond it, and lets the bytes before it through
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
"""
APPEND = """
lines = JsonLines(path, "id", lambda row, place: row["id"])
die_at(limit)
for n in range(4):
    if n not in lines.rows:
        lines.append([{"id": n, "text": f"n\\u00e9 {n}\\u2028" * (n + 1)}])
"""
REPLACE = """
with replacing(path) as scratch:
    die_at(limit)
    scratch.write_bytes(b"new" * 1000)
"""
HOLD = """
lines = JsonLines(path, "id", lambda row, place: row)
print("held", flush=True)
sys.stdin.read()
"""


def keys(row, place):
    return row["id"]


def run(script, *arguments):
    return subprocess.run([sys.executable, "-c", BEGIN + script, *map(str, arguments)], capture_output=True, text=True)


@pytest.mark.parametrize("limit", [1, 9, len(to_line(RECORDS[0]).encode()), 40, 70, len(WHOLE) - 1, len(WHOLE)])
def test_a_run_that_is_killed_within_a_write_goes_on(tmp_path, limit):
    path = tmp_path / "rows.jsonl"
    killed = run(APPEND, path, limit)
    assert killed.returncode == (0 if limit == len(WHOLE) else -signal.SIGXFSZ), killed.stderr
    assert path.read_bytes() == WHOLE[:limit]
    there = WHOLE[:limit].count(b"\n")
    assert read_json_lines(path, keys)[:there] == list(range(there))
    with JsonLines(path, "id", keys) as lines:
        assert lines.rows == list(range(there))
        assert path.read_bytes() == WHOLE[:limit]  # nothing is written before it must be
        for record in RECORDS[there:]:
            lines.append([record])
    assert path.read_bytes() == WHOLE


@pytest.mark.parametrize("killed", range(len(WHOLE)))
def test_whatever_a_kill_has_left_is_gone_on_with(tmp_path, killed):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(WHOLE[:killed])
    with JsonLines(path, "id", keys) as lines:
        lines.append(record for record in RECORDS if record["id"] not in lines.rows)
    assert path.read_bytes() == WHOLE


def test_one_process_at_a_time(tmp_path, capsys):
    path = tmp_path / "rows.jsonl"
    script = [sys.executable, "-c", BEGIN + HOLD, str(path), "0"]
    holder = subprocess.Popen(script, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        for _ in range(2):  # who was refused has not changed what the next one is told
            with pytest.raises(ValueError, match=f"is being written by process {holder.pid} on "):
                JsonLines(path, "id", keys)
        assert command.main(["A prompt", "--output", str(path)]) == 2
        said = capsys.readouterr().err
        assert said.startswith(f"decoding: error: {path} is being written by process {holder.pid} on ")
        assert said.endswith(": wait until it ends, or give another --output\n")
        assert said.count("\n") == 1
    finally:
        holder.kill()
        holder.communicate()
    with JsonLines(path, "id", keys) as lines:  # the kill has lifted the lock
        lines.append(RECORDS)
    assert [file.name for file in tmp_path.iterdir()] == ["rows.jsonl"]


def test_a_process_may_open_its_own_file_again(tmp_path):
    first = JsonLines(tmp_path / "rows.jsonl", "id", keys)
    first.append(RECORDS[:1])
    with JsonLines(tmp_path / "rows.jsonl", "id", keys) as second:
        assert second.rows == [0]
    assert [file.name for file in sorted(tmp_path.iterdir())] == [".rows.jsonl.lock", "rows.jsonl"]
    del first
    assert [file.name for file in tmp_path.iterdir()] == ["rows.jsonl"]


def test_a_child_process_gives_up_no_lock(tmp_path):
    lines = JsonLines(tmp_path / "rows.jsonl", "id", keys)
    files.release(lines.close.peek()[2][0], os.getpid() + 1)
    assert (tmp_path / ".rows.jsonl.lock").exists()
    lines.close()
    lines.close()
    assert not (tmp_path / ".rows.jsonl.lock").exists()


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"dear diary", 1), (b"dear diary\n", 1), (b'{"id": 0}\n\n', 2), (b'{"id": 0}\nno\n{"id": 1}', 2),
        (b'{"name": 0}', 1), (b'{"id": 0}\n{"name', 2), (b"[1]\n", 1), (b"\xff\xfe\n", 1), (b'{"id": 0}\n3', 2),
        (b"[" * 100000, 1),
    ],
)  # fmt: skip
def test_a_foreign_file_is_refused_and_left_alone(tmp_path, content, line):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"rows.jsonl, line {line} is not ours$"):
        JsonLines(path, "id", keys, foreign=" is not ours")
    assert path.read_bytes() == content
    assert [file.name for file in tmp_path.iterdir()] == ["rows.jsonl"]


def test_a_check_has_messages_of_its_own(tmp_path):
    def check(row, place):
        raise ValueError(f"{place}: {row['id']} comes twice")

    path = tmp_path / "rows.jsonl"
    path.write_bytes(WHOLE)
    with pytest.raises(ValueError, match=r"rows.jsonl, line 1: 0 comes twice$"):
        JsonLines(path, "id", check)
    with pytest.raises(ValueError, match=r"rows.jsonl, line 1: 0 comes twice$"):
        read_json_lines(path, check)


def test_reading_leaves_out_what_is_torn_and_blank_lines(tmp_path):
    path = tmp_path / "rows.jsonl"
    assert read_json_lines(path, keys) == []
    path.write_bytes(b'{"id": 1}\n\n{"id": 2}')
    assert read_json_lines(path, keys) == [1, 2]
    path.write_bytes(b'{"id": 1}\n{"id": "\xc3')
    assert read_json_lines(path, keys) == [1]
    path.write_bytes(b'{"id": 1}\n{"name": 2}\n')
    with pytest.raises(ValueError, match="line 2 was not written by this command: give another --output"):
        read_json_lines(path, keys)


@pytest.mark.parametrize("limit", [0, 100])
def test_who_is_killed_leaves_the_file_as_it_was(tmp_path, limit):
    path = tmp_path / "scores.json"
    path.write_text("old")
    assert run(REPLACE, path, limit).returncode == -signal.SIGXFSZ
    assert path.read_text() == "old"
    assert run(REPLACE, path, 10**6).returncode == 0
    assert path.read_bytes() == b"new" * 1000


def test_a_write_that_fails_leaves_nothing(tmp_path, monkeypatch):
    def interrupted():
        with replacing(tmp_path / "a.svg") as scratch:
            assert (scratch.suffix, scratch.parent) == (".svg", tmp_path)
            scratch.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    monkeypatch.setattr(files.os, "replace", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        write_whole(tmp_path / "b.npy", b"abc", durable=False)
    assert [*tmp_path.iterdir()] == []


def test_writes_text_bytes_and_json(tmp_path):
    path = tmp_path / "out" / "a.txt"
    path.parent.mkdir()
    for content in ("né\r\n", "né".encode(), ""):
        assert write_whole(path, content, folder=tmp_path) == path
        assert path.read_bytes() == (content if isinstance(content, bytes) else content.encode())
    assert json.loads(write_json(path, {"a": ["\ud800", 1]}).read_text()) == {"a": ["\ud800", 1]}
    assert [file.name for file in tmp_path.iterdir()] == ["out"]
    assert [file.name for file in path.parent.iterdir()] == ["a.txt"]


def test_reads_texts_packed_or_not(tmp_path):
    text = "one\n\n two\u2028three\r\n"
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbf" + text.encode())
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(text.encode()))
    for path in (tmp_path / "a.txt", tmp_path / "a.txt.gz"):
        assert read_text(path) == text
        assert read_lines(path) == [(1, f"{path}, line 1", "one"), (3, f"{path}, line 3", " two\u2028three\r")]
    for content in (b"no gzip", gzip.compress(text.encode())[:-9], gzip.compress(text.encode())[:15] + b"x" * 30):
        (tmp_path / "a.txt.gz").write_bytes(content)
        with pytest.raises(ValueError, match=r"a.txt.gz: not a whole gzip file"):
            read_text(tmp_path / "a.txt.gz")
    (tmp_path / "a.txt").write_bytes(b"a\xff")
    with pytest.raises(ValueError, match=r"a.txt: not valid UTF-8 at byte 1"):
        read_lines(tmp_path / "a.txt")
    with pytest.raises(FileNotFoundError):
        read_text(tmp_path / "none")
    names = ("a.jsonl", "a.json.gz", "a.txt", "jsonl", "a.gz")
    assert [is_json_lines(tmp_path / name) for name in names] == [True, True, False, False, False]
