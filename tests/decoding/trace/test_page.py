"""The page of a trace: every text for readers without scripts, and a frame around it for notebooks."""

import re

import pytest

from decoding import Greedy, Trace
from decoding.trace.page import make_frame, make_page, texts_of
from tests.support import tiny
from tests.support.calls import PROMPTS
from tests.support.judges import TOKENIZER, as_text
from tests.support.traced import run


@pytest.fixture(scope="module")
def traced():
    return run(tiny.gpt2(), PROMPTS, Greedy(), n=5, trace=Trace(TOKENIZER))


def test_every_row_is_a_text_behind_its_prompt(traced):
    out, trace = traced
    found = list(texts_of(trace.to_dict()))
    assert [index for *_, index in found] == [0, 1, 2]
    for (_, head, text, _), prompt, row in zip(found, PROMPTS, out[:, 9:].tolist(), strict=True):
        assert head == as_text(prompt)
        assert text == as_text(row)


def test_the_title_is_no_markup_and_the_data_end_no_element(traced):
    shown = make_page(traced[1].to_dict(), "<i>&</i>")
    assert "<i>" not in shown
    assert "&lt;i&gt;&amp;&lt;/i&gt;" in shown
    assert shown.count("</script>") == len(re.findall("<script", shown))


def test_a_frame_holds_the_page_as_text_and_each_has_a_name_of_its_own():
    first, second = make_frame('<p>"it" & that</p>'), make_frame("<p></p>")
    assert "&lt;p&gt;" in first
    assert "sandbox" in first
    names = [re.search("trace-[0-9a-f]{32}", one)[0] for one in (first, second)]
    assert names[0] != names[1]
