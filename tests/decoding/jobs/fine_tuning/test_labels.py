"""What fine-tuning reads: prompts with completions, and chats; which of their tokens are learnt."""

import json

import pytest

from decoding import finetune as command
from decoding.jobs.fine_tuning.labels import IGNORED, encode
from tests.support import tiny

TEMPLATE = (
    "{% for turn in messages %}{{ turn.role[0] ~ ' ' ~ turn.content ~ (eos_token if turn.role == 'assistant') }}"
    "{% endfor %}{{ 'a ' if add_generation_prompt }}"
)
USER, ANSWER = {"role": "user", "content": "ab"}, {"role": "assistant", "content": "cd"}
MORE = [{"role": "user", "content": "e"}, {"role": "assistant", "content": "f"}]
PAIR = {"prompt": "a b", "completion": " c"}


@pytest.fixture
def words():
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def shown(tokenizer, row):
    """The text of all tokens, and of those that are learnt; `|` is the end of sequence, `^` the beginning."""
    text = tokenizer.convert_ids_to_tokens
    names = {tiny.EOS: "|", tiny.BOS: "^"}

    def join(ids):
        return "".join(names.get(i) or text(i).replace("\u0120", " ") for i in ids if i != IGNORED)

    return join(row["input_ids"]), join(row["labels"])


CASES = [
    ("abc", "", "^abc|", "abc|"),
    ("abc", "d ", "d abc|", "abc|"),
    (PAIR, "", "a b c|", " c|"),
    (PAIR, "d ", "d a b c|", " c|"),
    ({"prompt": "", "completion": "c"}, "", "^c|", "c|"),
    ({"messages": [USER, ANSWER]}, "", "u aba cd|", "cd|"),
    ({"messages": [USER, ANSWER, *MORE]}, "", "u aba cd|u ea f|", "cd|f|"),
    ({"messages": [USER, ANSWER, MORE[0]]}, "", "u aba cd|", "cd|"),  # nobody answers the last turn
    ({"prompt": [USER, ANSWER, MORE[0]], "completion": [MORE[1]]}, "", "u aba cd|u ea f|", "f|"),
]


@pytest.mark.parametrize(("example", "prompt", "text", "learnt"), CASES, ids=str)
def test_what_is_learnt(words, example, prompt, text, learnt):
    rows, cut = encode(tiny.llama().config, words, [example], prompt, 64)
    assert shown(words, rows[0]) == (text, learnt)
    assert cut == 0


def test_a_template_without_an_end_gets_one(words):
    words.chat_template = TEMPLATE.replace("eos_token", "'z'")
    rows, _ = encode(tiny.llama().config, words, [{"messages": [USER, ANSWER]}], "", 64)
    assert shown(words, rows[0]) == ("u aba cdz|", "cdz|")


def test_long_ones_are_cut_at_their_end(words):
    rows, cut = encode(tiny.llama().config, words, [{"messages": [USER, ANSWER, *MORE]}, PAIR], "", 8)
    assert [shown(words, row) for row in rows] == [("u aba cd|"[:8], "cd"), ("a b c|", " c|")]
    assert cut == 1


REFUSED = [
    ({"messages": [USER]}, "", "no turn of the role assistant to learn from, in the chat 'ab'"),
    ({"messages": [ANSWER]}, "x", "--prompt does not go with chats: give each a turn of the role system instead"),
    ({"prompt": "a" * 70, "completion": "b"}, "", "the prompt's 70 tokens leave no room for a text in --max-length 64"),
    ({"messages": [USER | {"content": "a" * 70}, ANSWER]}, "", "the prompt's 74 tokens leave no room for a text"),
    ({"prompt": "a", "completion": "\u2603"}, "", "the tokenizer makes no tokens of the example '\u2603'"),
    ({"prompt": "\udcff", "completion": "b"}, "", "not valid UTF-8"),
    ({"messages": [USER, ANSWER | {"content": "\udcff"}]}, "", "not valid UTF-8"),
]


@pytest.mark.parametrize(("example", "prompt", "message"), REFUSED, ids=str)
def test_refuses_what_cannot_be_learnt(words, example, prompt, message):
    with pytest.raises(ValueError, match=r"\w") as error:
        encode(tiny.llama().config, words, [example], prompt, 64)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (None, "the tokenizer has no chat template"),
        ("{{ raise_exception('Roles must alternate') }}", "the chat template refuses the chat"),
        ("{% for turn in messages %}{{ turn.nothing.at_all }}{% endfor %}", "the chat template refuses the chat"),
        (
            "{{ messages | length }}{{ messages[-1].content }}",
            "the chat template writes the turns before 'cd' differently",
        ),
    ],
)
def test_refuses_templates_that_do_not_fit(words, template, message):
    words.chat_template = template
    with pytest.raises(ValueError, match="chat") as error:
        encode(tiny.llama().config, words, [{"messages": [USER, ANSWER]}], "", 64)
    assert message in str(error.value)


@pytest.mark.parametrize("kind", ["chats", "pairs"])
def test_the_command_learns_from_them_and_writes_them_back(tmp_path, capsys, words, kind):
    pytest.importorskip("peft")
    letters = "abcdefghijkl"
    chats = [{"messages": [USER | {"content": a}, ANSWER | {"content": "xyz"}]} for a in letters]
    pairs = [{"prompt": a, "completion": "xyz"} for a in letters]
    examples = chats if kind == "chats" else pairs
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(example) + "\n" for example in examples))
    tiny.llama().float().save_pretrained(tmp_path / "model")
    words.save_pretrained(tmp_path / "model")
    call = [tmp_path / "in.jsonl", "--output", tmp_path / "out", "--model", tmp_path / "model", "--max-length", "64"]
    assert command.main([*map(str, call), "--learning-rate", "1e-2", "--epochs", "8"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1
    report = json.loads((tmp_path / "out" / "finetune.json").read_text())
    assert report["loss"]["after"] < 0.7 * report["loss"]["before"]
    assert report["tokens"] == {"train": 44, "held_out": 4}
    parts = [(tmp_path / "out" / f"{name}.jsonl").read_text().splitlines() for name in ("train", "held_out")]
    assert sorted(parts[0] + parts[1]) == sorted(json.dumps(example) for example in examples)
    assert (
        "chat_template" in (tmp_path / "out" / "tokenizer_config.json").read_text()
        or (tmp_path / "out" / "chat_template.jinja").is_file()
    )


@pytest.mark.parametrize(
    "example", [PAIR, {"prompt": [USER, ANSWER, MORE[0]], "completion": [MORE[1]]}], ids=["texts", "chat"]
)
def test_the_labels_are_those_of_trl(words, tmp_path, example):
    """Its own preparation of such data gives the same tokens a loss."""
    trl, datasets = pytest.importorskip("trl"), pytest.importorskip("datasets")
    arguments = trl.SFTConfig(str(tmp_path), bf16=False, gradient_checkpointing=None, report_to="none", use_cpu=True)
    data = datasets.Dataset.from_list([example])
    trainer = trl.SFTTrainer(tiny.llama().float(), arguments, train_dataset=data, processing_class=words)
    rows, _ = encode(tiny.llama().config, words, [example], "", 64)
    assert {name: trainer.train_dataset[0][name] for name in ("input_ids", "labels")} == rows[0]
