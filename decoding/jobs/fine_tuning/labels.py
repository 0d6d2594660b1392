"""Encode training examples as token ids and labels, which say which tokens are context and which are learnt."""

from collections.abc import Mapping, Sequence
from typing import Any

from ..examples import Example
from ..prompts import Prompt
from ..synthesis import start_of

IGNORED = -100  # the label of a token without loss, in torch's cross entropy
Piece = tuple[list[int], bool]  # token ids, and whether they are learnt


def encode(
    config: Any, tokenizer: Any, examples: Sequence[Example], prompt: str, max_length: int
) -> tuple[list[dict[str, list[int]]], int]:
    """The `input_ids` and `labels` of each example, and how many examples were cut to `max_length` tokens.

    The context and the learnt part are tokenized separately, as they are when the trained model continues a prompt.
    Every example ends with the tokenizer's end of sequence, unless its last turn already has one, or it was cut.

    Args:
        config: the configuration of the model.
        tokenizer: the tokenizer of the model.
        examples: see `Example`.
        prompt: put before every text, and before every prompt that has a completion; not learnt.
        max_length: the largest number of tokens of an example, at least 2.

    Raises:
        ValueError: there is nothing to learn from, or this model cannot learn from it. The message is one line.
    """
    if config.is_encoder_decoder:
        raise ValueError("the model is an encoder-decoder, and an expert continues text: choose a decoder-only one")
    end = tokenizer.eos_token_id
    if end is None:
        raise ValueError("the tokenizer has no end-of-sequence token, and examples end with it")
    window = getattr(config.get_text_config(decoder=True), "max_position_embeddings", None) or max_length
    if max_length > window:
        raise ValueError(f"--max-length {max_length} is over the model's context window of {window} tokens")
    if not examples:
        raise ValueError("no examples: there must be some to train on, and others for the held-out loss")
    rows, cut = [], 0
    for example in examples:
        pieces = [*pieces_of(example, prompt, tokenizer)]
        if isinstance(example, str) or end not in pieces[-1][0]:
            pieces.append(([end], True))
        ids = [token for piece, _ in pieces for token in piece]
        labels = [token if learnt else IGNORED for piece, learnt in pieces for token in piece]
        if all(label == IGNORED for label in labels[:max_length]):
            head = len(pieces[0][0])
            raise ValueError(f"the prompt's {head} tokens leave no room for a text in --max-length {max_length}")
        cut += len(ids) > max_length
        rows.append({"input_ids": ids[:max_length], "labels": labels[:max_length]})
    return rows, cut


def pieces_of(example: Example, prompt: str, tokenizer: Any) -> list[Piece]:
    """The pieces of an example in their order, without the end of sequence."""
    if isinstance(example, str):
        return [(head_of(prompt, tokenizer), False), (ids_of(example, tokenizer), True)]
    if isinstance(example.get("completion"), str):
        head = head_of(prompt + example["prompt"], tokenizer)
        return [(head, False), (ids_of(example["completion"], tokenizer), True)]
    if prompt:
        raise ValueError("--prompt does not go with chats: give each a turn of the role system instead")
    given = example.get("prompt", [])
    pieces = render([*given, *example.get("messages", []), *example.get("completion", [])], len(given), tokenizer)
    return [(ids_of(text, tokenizer), learnt) for text, learnt in pieces]


def head_of(prompt: str, tokenizer: Any) -> list[int]:
    """The tokens of a prompt, or for an empty one the token that texts begin with."""
    Prompt(0, prompt).check(f"{prompt[:40]!r}")
    return start_of(prompt, tokenizer)


def ids_of(text: str, tokenizer: Any) -> list[int]:
    """The tokens of a text that follows other tokens. ValueError if there are none."""
    Prompt(0, text).check(f"{text[:40]!r}")
    ids: list[int] = tokenizer(text, add_special_tokens=False, verbose=False).input_ids
    if not ids:
        raise ValueError(f"the tokenizer makes no tokens of the example {text[:40]!r}")
    return ids


def render(chat: Sequence[Mapping[str, str]], first: int, tokenizer: Any) -> list[tuple[str, bool]]:
    """Render a chat with the tokenizer's chat template, as pieces of text, each with whether it is learnt.

    The turns of the assistant are learnt, from turn number `first` on, up to the end of each turn. What comes before
    such a turn is context. Turns after the last of them are left out.

    Raises:
        ValueError: there is no template, the assistant has no such turn, or the template writes a turn differently when
            others follow.
    """
    if not tokenizer.chat_template:
        raise ValueError('the tokenizer has no chat template: give texts as "prompt" and "completion" instead of chats')
    pieces, done = [], ""
    for number, turn in enumerate(chat):
        if number < first or turn["role"] != "assistant":
            continue
        given = write(chat[:number], tokenizer, add_generation_prompt=True)
        whole = write(chat[: number + 1], tokenizer)
        if not (given.startswith(done) and whole.startswith(given) and len(given) > len(done)):
            raise ValueError(
                f"the chat template writes the turns before {turn['content'][:40]!r} differently once that follows: "
                'begin with another role, and give each answer as an example of its own, as "prompt" and "completion"'
            )
        pieces += [(given[len(done) :], False), (whole[len(given) :], True)]
        done = whole
    if not pieces:
        raise ValueError(f"no turn of the role assistant to learn from, in the chat {chat[0]['content'][:40]!r}")
    return pieces


def write(chat: Sequence[Mapping[str, str]], tokenizer: Any, **options: bool) -> str:
    """Render a chat as one text."""
    from jinja2 import TemplateError

    try:
        return str(tokenizer.apply_chat_template([dict(turn) for turn in chat], tokenize=False, **options))
    except (TemplateError, TypeError) as error:  # a template refuses some orders of roles, and unknown roles
        raise ValueError(f"the chat template refuses the chat {chat[:1]}: {error}") from error
