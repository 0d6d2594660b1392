"""What is copied from prompts and files is what is there."""

from benchmarks.metrics import copying


def test_copied_from_the_prompt_is_each_texts_own():
    found = copying.copied_from_prompt(["a b c d", "x y z"], ["b c d e", "b c d"], 2)
    assert found.value == 2 / 5
    assert found.per_text.tolist() == [2 / 3, 0]
    assert copying.copied_from_prompt(["a b"], ["b b c"], 1).value == 2 / 3


def test_copied_from_a_file_is_what_any_line_has(tmp_path):
    file = tmp_path / "train.txt"
    file.write_text("a b c d\ne f g\n")
    texts = ["b c d e f", "e f g", "short"]
    expected = 3 / 6  # b c d, c d e, d e f are no one line's but the first
    found = copying.copied_from(texts, file, 2)
    assert found.value == (2 + 1 + 2) / (4 + 2)
    assert copying.copied_from(texts, file.read_text().splitlines(), 2).value == found.value
    assert copying.copied_from(texts, iter(["a b c d"]), 3).value == 1 / 4
    assert expected != found.value
    assert found.per_text[:2].tolist() == [3 / 4, 1]
