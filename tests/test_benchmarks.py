"""Every benchmark runs."""

from benchmarks import loop

from . import tiny


def test_loop_prints_a_row_for_every_peer(tmp_path, capsys):
    tiny.llama().float().save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    loop.main(["--model", str(tmp_path), "--context", "9", "--batch", "2", "--new-tokens", "4", "--rounds", "2"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5
    assert lines[2].endswith("| 1.00 |")


def test_ratios_are_medians_within_a_round():
    seconds = {"a": [1.0, 10.0, 2.0], "b": [2.0, 30.0, 3.0]}
    assert loop.report(seconds, 8)[2:] == ["| a | 4.0 | 1.00 |", "| b | 2.7 | 2.00 |"]
