"""The command that times second prompts."""

from benchmarks import guides
from tests.support import tiny


def test_guides_prints_a_row_for_every_pair_of_lengths(tmp_path, capsys):
    tiny.llama().float().save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    call = ["--model", str(tmp_path), "--lengths", "9", "9", "--lengths", "9", "4", "--batch", "2"]
    assert guides.main([*call, "--new-tokens", "3", "--rounds", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert lines[3].startswith("| 2 | 9 | 4 | 28% | ")
