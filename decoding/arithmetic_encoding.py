"""The interval of a text: the inverse of arithmetic sampling. The code of a sentence: Celotti et al. 2020 (AriEL)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import torch
from transformers import PreTrainedModel

from .contracts import refuse_without_sampling
from .decoder import Decoder
from .hypotheses import Hypotheses
from .parts import Picker, Reranker
from .pickers.arithmetic_coding import Interval, shares
from .pickers.arithmetic_sampling import ArithmeticSample, narrow_intervals


def encode(
    model: PreTrainedModel, continuations: Sequence[Sequence[int]], *, processors: Sequence[Any] = (), **options: Any
) -> list[Interval]:
    """The interval of each continuation: the points for which `ArithmeticSample` gives it, or goes on from it.

    The inverse of decoding, under the same guides, processors and warpers. Its width is the probability of the text
    (with the end of sequence as its last token: of the text and no other), so `bits` is its surprise, and `shortest` a
    code that a compressor would write. One forward a token, all continuations in one batch.

    Args:
        continuations: token ids of what follows each prompt; they may differ in length.
        processors: guides and processors, as in the call that decodes; an `ArithmeticSample` may be among them.
        options: the prompts (`input_ids`, `attention_mask`, ...) and options of `model.generate`, as in that call:
            `temperature`, `top_p`, `max_new_tokens` where something depends on it, ...

    Raises:
        ValueError: another picker or a reranker, numbers that do not fit, a token that cannot come where it stands, or
            one behind the end.

    Example:
        >>> import decoding
        >>> model, tokenizer = decoding.load()
        >>> inputs = tokenizer("Once upon a", return_tensors="pt")
        >>> [interval] = decoding.encode(model, [tokenizer.encode(" time")], **inputs)
        >>> at = decoding.ArithmeticSample(points=[interval.shortest()])
        >>> tokenizer.decode(decoding.generate(model, **inputs, processors=[at], max_new_tokens=1)[0])
        'Once upon a time'
    """
    parts = [part for part in processors if not isinstance(part, ArithmeticSample)]
    for part in parts:
        if isinstance(part, (Picker, Reranker)):
            raise ValueError(f"encode is the inverse of ArithmeticSample, not of {type(part).__name__}: leave it out")
    texts = [list(map(int, continuation)) for continuation in continuations]
    length = max(map(len, texts), default=0)
    if not length:
        return [Interval() for _ in texts]
    if (options.get("max_new_tokens") or length) < length:
        raise ValueError(f"a continuation of {length} tokens is over max_new_tokens={options['max_new_tokens']}")
    if (options.get("num_return_sequences") or 1) != 1:
        raise ValueError("num_return_sequences repeats prompts: give encode each prompt once for each continuation")
    refuse_without_sampling("encode", options.get("do_sample", True))
    limit = {} if options.get("max_length") else {"max_new_tokens": length}
    forced = ForcedText(texts=texts, intervals=[Interval() for _ in texts])
    steps = Decoder(*parts, forced).stream(model, **({"do_sample": True, "num_return_sequences": 1} | limit | options))
    made = sum(1 for _ in islice(steps, length))
    if made < length:  # every row has ended
        raise forced.impossible_token(next(i for i, text in enumerate(texts) if len(text) > made), made)
    return forced.intervals


@dataclass(frozen=True)
class ForcedText(ArithmeticSample):
    """A picker that takes the tokens of given texts, and keeps the texts' intervals. It serves one call of `encode`.

    Attributes:
        texts: the tokens of each row's continuation.
        intervals: of what each row has so far; brought up to date with every token.
    """

    texts: list[list[int]] = field(default_factory=list)
    intervals: list[Interval] = field(default_factory=list)

    def __call__(self, hypotheses: Hypotheses) -> None:
        """Append the next token of each text; any token to a text that is at its end, while longer ones go on."""
        if len(self.texts) != hypotheses.prompts:
            raise ValueError(f"{len(self.texts)} continuations for {hypotheses.prompts} prompts: give one for each")
        ends, place = shares(hypotheses.logits()).cumsum(-1), hypotheses.continuation.shape[1]
        forced = [text[place] if place < len(text) else None for text in self.texts]
        for i, (token, done) in enumerate(zip(forced, hypotheses.done.tolist(), strict=True)):
            if token is not None and (done or not 0 <= token < ends.shape[1]):
                raise self.impossible_token(i, place)
        tokens = torch.tensor([token or 0 for token in forced], device=ends.device)[:, None]  # (R, 1)
        self.intervals[:] = narrow_intervals(self.intervals, ends, tokens, [token is None for token in forced])
        for i, interval in enumerate(self.intervals):
            if not interval.width:
                raise self.impossible_token(i, place)
        hypotheses.append(tokens.squeeze(-1))

    def impossible_token(self, i: int, place: int) -> ValueError:
        """The error for a token that cannot come where text i has it."""
        return ValueError(
            f"continuation {i} cannot have token {self.texts[i][place]} at place {place}: it is forbidden there, it is "
            "none of the model's, or the end was before it"
        )
