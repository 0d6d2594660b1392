"""Texts as they are read behind their prompts, and single tokens."""

from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    PreTrainedTokenizerFast,
)

from decoding.jobs.continuation import describe
from decoding.models.tokenization import Pieces, read_behind
from tests.support.tokenizers import bytes_tokenizer


def test_texts_are_read_behind_their_prompts():
    """A letter of several bytes is not judged by half, and the space between prompt and text is the text's."""
    bytewise = bytes_tokenizer()
    prompt, new = bytewise("é is")["input_ids"], bytewise(" né")["input_ids"]
    assert len(new) == 4
    assert [read_behind(bytewise, [prompt], [new[:n]])[0] for n in range(5)] == ["", " ", " n", " n", " né"]
    assert [describe(bytewise, prompt, new[:n], [])["continuation"] for n in range(5)] == ["", " ", " n", " n", " né"]
    assert describe(bytewise, prompt, new, [new[1]]) == {"continuation": " n", "tokens": 2, "finished": True}
    assert read_behind(bytewise, [prompt[:1]], [prompt[1:]]) == ["é is"]  # the prompt ends within a letter

    class Pieces:  # as SentencePiece: the first space is lost
        def batch_decode(self, rows, skip_special_tokens):
            return ["".join(row).replace("▁", " ").removeprefix(" ") for row in rows]

    assert read_behind(Pieces(), [["▁a"]], [["▁b", "▁c"]]) == [" b c"]


def bytes_with_an_end():
    """A token for every byte."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE({token: i for i, token in enumerate(["<end>", *alphabet])}, []))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<end>")


@settings(max_examples=50, deadline=None)
@given(text=st.text(min_size=1, max_size=12))
def test_pieces_add_up_to_the_text(text):
    tokenizer = bytes_with_an_end()
    ids = tokenizer.encode(text, add_special_tokens=False)
    pieces = Pieces(tokenizer)
    assert "".join(pieces.behind([ids[max(0, i - 16) : i] for i in range(len(ids))], ids)) == tokenizer.decode(ids)


def test_single_tokens_look_like_themselves():
    pieces = Pieces(bytes_with_an_end())
    ids = pieces.tokenizer.encode("a \n\u00e9")
    assert [pieces[id] for id in ids] == ["a", " ", "\n", "\\xc3", "\\xa9"]
    assert pieces[0] == "<end>"
    assert pieces[10**6] == "#1000000"
    assert Pieces()[7] == "#7"
