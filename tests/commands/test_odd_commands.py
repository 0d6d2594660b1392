"""Odd files for the commands: right, or one line on standard error and status 2."""

import json

import pytest

import decoding.__main__ as decoding_command
from benchmarks import __main__ as benchmarks_command
from tests.support.odd_files import FILES


@pytest.mark.filterwarnings("ignore:.*left out.*:UserWarning")
@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.command} {file.name}")
def test_odd_file(file, tmp_path, capsys):
    place = tmp_path / file.name
    place.write_bytes(file.content)
    if file.command == "decoding":
        status = decoding_command.main(["--input", str(place)])
    else:
        status = benchmarks_command.main(["score", str(place), "--json", "--metrics", "gen_length,rep_2"])
    out, err = capsys.readouterr()
    assert status == file.status, err
    if file.status:
        assert out == ""
        assert file.says in err
        assert err.count("\n") == 1
        assert err.startswith(f"{file.command}: error: ")
    else:
        assert json.loads(out)["signature"]["texts"] in (1, 2)


@pytest.mark.parametrize("command", ["decoding", "benchmarks"])
@pytest.mark.parametrize("kind", ["missing", "folder"])
def test_odd_place(command, kind, tmp_path, capsys):
    place = tmp_path / "nothing" if kind == "missing" else tmp_path
    main = decoding_command.main if command == "decoding" else benchmarks_command.main
    assert main(["--input", str(place)] if command == "decoding" else ["score", str(place), "--json"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert str(place) in err
