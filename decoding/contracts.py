"""Checks of parts, of their combinations and of the options of a call. Each raises an error that says what to do."""

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList
from transformers.generation import GenerationMode

from scorers._common.checks import require_count

from .hypotheses import Hypotheses, members_of
from .parts import Guide, Picker, Reranker, Search

# processors of transformers that keep something for each row, and why they cannot be used with a reranker
BOUND = {
    "UnbatchedClassifierFreeGuidanceLogitsProcessor": "(guidance_scale) keeps a cache that cannot follow",
    "PrefixConstrainedLogitsProcessor": "(prefix_allowed_tokens_fn) takes a row's number for its prompt's, beside",
    "EncoderNoRepeatNGramLogitsProcessor": "(encoder_no_repeat_ngram_size) takes the rows for the call's, beside",
    "EncoderRepetitionPenaltyLogitsProcessor": "(encoder_repetition_penalty) takes the rows for the call's, beside",
    "SynthIDTextWatermarkLogitsProcessor": "keeps what it saw of each row, which cannot follow",
    "GuideProcessor": "(give its guides themselves as parts) does not follow",
}


def refuse_non_part(part: Any) -> None:
    """Raise TypeError for an object that cannot be a part of a decoder."""
    if isinstance(part, type):
        raise TypeError(f"{part.__name__} is a class: make a part of it, {part.__name__}(...)")
    if not isinstance(part, (Guide, LogitsProcessor, LogitsProcessorList)) and not inspect.isroutine(part):
        raise TypeError(
            f"{part!r} is no part of a decoder: give guides (decoding.Guide, transformers.LogitsProcessor or a "
            "function of tokens and logits), a picker (decoding.Picker) or a reranker (decoding.Reranker)"
        )


def refuse_mode(config: GenerationConfig) -> None:
    """Raise ValueError if the call's options ask for an algorithm of transformers."""
    mode = config.get_generation_mode()
    if mode == GenerationMode.CONTRASTIVE_SEARCH:
        raise ValueError(
            f"penalty_alpha is not an option of a Decoder: give it ContrastiveSearch(k={config.top_k}, "
            f"alpha={config.penalty_alpha}), or call decoding.generate, which takes penalty_alpha and top_k"
        )
    if mode not in (GenerationMode.GREEDY_SEARCH, GenerationMode.SAMPLE):
        raise ValueError(
            f"a Decoder is the algorithm, so it cannot do {mode.value.replace('_', ' ')} as well: "
            "drop num_beams, prompt_lookup_num_tokens, dola_layers and the like, or call model.generate without it"
        )


def refuse_bound_processors(processors: Sequence[Any]) -> None:
    """Raise ValueError for processors that know rows by their number: a reranker copies, drops and reorders them."""
    for processor in members_of(list(processors)):
        name = type(processor).__name__
        if name in BOUND:
            raise ValueError(f"{name} {BOUND[name]} a reranker: drop one of them")


def refuse_width(reranker: Reranker) -> None:
    """Raise ValueError for a reranker whose `width` is not a whole number of at least 1."""
    require_count(f"{type(reranker).__name__}.width", reranker.width)


def start_search(reranker: Reranker, hypotheses: Hypotheses, tokenizer: Any) -> Search:
    """Start the search of a call. TypeError if the reranker starts something else."""
    search = reranker.start(hypotheses, tokenizer)
    if not isinstance(search, Search):
        raise TypeError(f"{type(reranker).__name__}.start must return a decoding.Search, not {search!r}")
    return search


def refuse_without_sampling(name: str, do_sample: bool | None) -> None:
    """Raise ValueError if a part draws in a call that does not sample: the warpers would be left out."""
    if not do_sample:
        raise ValueError(f"{name} needs do_sample=True: without it temperature, top_k and top_p are left out")


def refuse_bad_tokens(picker: Picker, hypotheses: Hypotheses, shape: torch.Size) -> None:
    """Raise ValueError if a picker did not append exactly one token of the vocabulary to each row."""
    rows, length = hypotheses.tokens.shape
    if (rows, length) != (shape[0], shape[1] + 1):
        raise ValueError(
            f"{picker!r} must append one token to each of {shape[0]} rows: "
            f"it left {rows} rows, {length - shape[1]} tokens longer"
        )
    embedding = hypotheses.contexts[0].model.get_input_embeddings()
    newest = hypotheses.tokens[:, -1].masked_fill(hypotheses.done, 0)
    if isinstance(embedding, nn.Embedding) and not ((newest >= 0) & (newest < embedding.num_embeddings)).all():
        raise ValueError(f"{picker!r} took tokens {newest.tolist()}, and there are 0 to {embedding.num_embeddings - 1}")


def pads_outside_vocabulary(hypotheses: Hypotheses) -> bool:
    """Whether the padding token is outside the vocabulary. Called once a call, since it waits for the device."""
    embedding, pad = hypotheses.contexts[0].model.get_input_embeddings(), hypotheses.pad
    return isinstance(embedding, nn.Embedding) and pad is not None and not 0 <= int(pad) < embedding.num_embeddings


def refuse_padding(hypotheses: Hypotheses) -> None:
    """Raise ValueError if the model would read padding outside its vocabulary: some rows have ended, others not."""
    done, pad = hypotheses.done, hypotheses.pad
    if pad is not None and not done.all() and (hypotheses.tokens[:, -1][done] == pad).any():
        most = hypotheses.contexts[0].model.get_input_embeddings().num_embeddings - 1
        raise ValueError(
            f"a text has ended before the others, and pad_token_id={int(pad)} is none of the model's "
            f"tokens 0 to {most}: pass another pad_token_id, or resize the embedding"
        )


def checked_rows(name: str, rows: Any, hypotheses: Hypotheses, ended: bool) -> Tensor:
    """Check the rows that the reranker of this name gave, and return them.

    Raises:
        ValueError: the rows are not in the order of the prompts, or a prompt has no row. At the end of a call: a prompt
            has not exactly one row.
    """
    count, wanted = len(hypotheses.tokens), "exactly one of each prompt" if ended else "at least one of each prompt"
    fits = isinstance(rows, Tensor) and rows.dtype == torch.int64 and rows.dim() == 1
    if fits and ((rows >= 0) & (rows < count)).all():
        owners = hypotheses.owners[rows]
        counts = torch.bincount(owners, minlength=hypotheses.prompts)
        if bool((owners.diff() >= 0).all()) and bool(((counts == 1) if ended else (counts >= 1)).all()):
            return rows
    found = rows.tolist() if isinstance(rows, Tensor) else rows
    raise ValueError(f"{name} must give rows 0 to {count - 1}, int64, prompt by prompt, {wanted}, not {found}")
