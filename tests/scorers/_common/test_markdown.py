"""Tables in Markdown."""

from scorers._common.markdown import markdown_row, markdown_table


def test_a_table_of_no_rows_is_its_head():
    assert markdown_table(["a", "b"]) == ["| a | b |", "|---|---|"]


def test_columns_are_aligned_and_cells_may_be_anything():
    lines = markdown_table(["name", "n", "p"], [["x", 3, None], ["", 0.5, True]], right=iter([1, 2]))
    assert lines[1] == "|---|---:|---:|"
    assert lines[2:] == [markdown_row(["x", 3, None]), markdown_row(["", 0.5, True])]
    assert all(line.count("|") == 4 for line in lines)
