"""The function `generate`, to call instead of `model.generate`."""

import copy
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.generation import StoppingCriteriaList, StopStringCriteria
from transformers.generation.streamers import BaseStreamer

from .decoder import Decoder
from .engine.prepared_prompt import TEXT
from .engine.prompt_checks import refuse_mask, refuse_shape
from .engine.transformers_api import GIVEN_CACHE_NAMES
from .pickers.contrastive_search import ContrastiveSearch
from .trace.records import Trace


def generate(
    model: PreTrainedModel,
    inputs: Tensor | None = None,
    *,
    processors: Sequence[Any] = (),
    streamer: BaseStreamer | None = None,
    generator: torch.Generator | Sequence[torch.Generator] | None = None,
    trace: Trace | None = None,
    share: bool | None = None,
    **generate_kwargs: Any,
) -> Any:
    """`model.generate(inputs, **generate_kwargs)`, with parts.

    Without parts it is `model.generate` itself. The options `penalty_alpha` and `top_k`, by which transformers 4 asked
    for contrastive search, give the same tokens as there.

    Args:
        model: any model that has `generate`.
        inputs: (P, T0) int64 token ids, left-padded; usually given by name instead, `**tokenizer(...)`.
        processors: the parts, in one flat list: guides in the order they apply, at most one picker and one reranker;
            see `Decoder`. With a picker that draws, such as `Sample()`, or a `Rerank` and no picker, `do_sample`
            is True unless the call says otherwise.
        streamer: gets each token when no reranker can change it any more.
        generator: the source of random numbers, one for the call, or one for each prompt (and each of its
            `num_return_sequences`): then a text does not depend on the rest of its batch. None: torch's global one.
        trace: records what was chosen in every step, from what and why; it does not change the tokens. See `Trace`.
        share: whether rows may share the past that they have in common, which is faster; see `Decoder`.
        generate_kwargs: everything `model.generate` takes: `attention_mask`, `max_new_tokens`, `temperature`,
            `stop_strings` with `tokenizer` (which `Rerank` uses too), `num_return_sequences`, `cache`
            (before transformers 5.24 `past_key_values`), `return_dict_in_generate`, ...

    Returns:
        what `model.generate` returns: (P, T) int64, or its output object under `return_dict_in_generate`.

    Raises:
        TypeError, ValueError: parts and options do not go together. The message is one line, before any forward pass.

    Example:
        >>> import decoding
        >>> model, tokenizer = decoding.load()
        >>> inputs = tokenizer(["The night was", "Once"], return_tensors="pt", padding=True)
        >>> search = decoding.ContrastiveSearch(k=4, alpha=0.6)
        >>> decoding.generate(model, **inputs, processors=[search], max_new_tokens=8).shape
        torch.Size([2, 11])
    """
    if not isinstance(processors, Sequence):
        raise TypeError(f"processors must be a list of parts: write processors=[{processors!r}]")
    options = Options(model, generate_kwargs)
    refuse_inputs(model, inputs, generate_kwargs)
    parts = [*processors, *legacy_contrastive_search(options)]
    if not parts and generator is None and trace is None:
        return options.model.generate(inputs, streamer=streamer, **generate_kwargs)
    decoder = Decoder(*parts)
    for name in ("assistant_model", "custom_generate", "token_healing", "synced_gpus"):
        if options.get(name):
            raise ValueError(f"{name} does not go together with processors: drop one of them")
    set_defaults(options, decoder)
    tokenizer = options.kwargs.pop("tokenizer", None)
    stop_on_strings(options, tokenizer)
    kwargs = options.kwargs if generator is None else {**options.kwargs, "generator": generator}
    raw = {name: value for name, value in kwargs.items() if isinstance(value, Tensor) and name not in TEXT}
    if streamer is not None and decoder.reranker and not decoder.reranker.streams:
        name = type(decoder.reranker).__name__
        raise ValueError(f"this {name} cuts what a streamer would have had: leave out streamer= or the {name}")
    # transformers does not pass these arguments to a callable
    call = partial(decoder, streamer=streamer, raw=raw, tokenizer=tokenizer, trace=trace, share=share)
    return options.model.generate(inputs, custom_generate=call, streamer=streamer, **kwargs)


def refuse_inputs(model: Any, inputs: Any, kwargs: dict[str, Any]) -> None:
    """Raise an error for prompts that are not (P, T) token ids, if the model reads token ids."""
    if getattr(model, "main_input_name", "input_ids") != "input_ids" or kwargs.get("inputs_embeds") is not None:
        return
    for given in (inputs, kwargs.get("input_ids")):
        if given is not None:
            refuse_shape(given)
            if all(kwargs.get(name) is None for name in GIVEN_CACHE_NAMES):  # a mask may cover cached tokens too
                refuse_mask(given, kwargs.get("attention_mask"))


class Options:
    """The options of one call, wherever they stand: the call itself, its `generation_config`, or the model's."""

    def __init__(self, model: Any, kwargs: dict[str, Any]) -> None:
        self.model, self.kwargs = model, dict(kwargs)
        if self.kwargs.get("generation_config") is not None:
            self.kwargs["generation_config"] = copy.deepcopy(self.kwargs["generation_config"])

    def given(self, name: str) -> Any:
        """The value that the call gives, or None."""
        if self.kwargs.get(name) is not None:
            return self.kwargs[name]
        return getattr(self.kwargs.get("generation_config"), name, None)

    def get(self, name: str) -> Any:
        """The value in effect: the call's, else the model's own default, else None."""
        given = self.given(name)
        return getattr(self.model.generation_config, name, None) if given is None else given

    def set(self, name: str, value: Any) -> None:
        """Set an option for this call only."""
        config = self.kwargs.get("generation_config")
        if config is not None:
            setattr(config, name, value)
        if config is None or (value is None and getattr(self.model.generation_config, name, None) is not None):
            self.kwargs[name] = value


def legacy_contrastive_search(options: Options) -> list[ContrastiveSearch]:
    """The picker that transformers 4 made of `penalty_alpha` and `top_k` (50 where it is not given), if they are there.

    As there, `top_k=1` or `penalty_alpha=0` is greedy search. A model's own default of `do_sample=True` gives way.
    """
    alpha, k = options.get("penalty_alpha"), options.get("top_k") or 50
    if not alpha or k == 1:
        return []
    if options.given("do_sample"):
        raise ValueError("penalty_alpha is contrastive search, which does not sample: drop penalty_alpha or do_sample")
    for name, value in (("penalty_alpha", None), ("top_k", None), ("do_sample", False)):
        if options.get(name) is not None:
            options.set(name, value)
    return [ContrastiveSearch(k=k, alpha=alpha)]


def set_defaults(options: Options, decoder: Decoder) -> None:
    """Set the options that the parts need and the call does not give: sampling, and a reranker's options."""
    picker, reranker = decoder.picker, decoder.reranker
    wanted = dict(reranker.options) if reranker else {}
    if picker and not picker.draws and not picker.warped:
        if options.given("do_sample"):
            raise ValueError(f"{picker!r} draws nothing, and do_sample=True asks for it: drop one of them")
        wanted["do_sample"] = False
    if picker.draws if picker else reranker and reranker.needs_draws:
        wanted["do_sample"] = True
    if options.given("max_length") is not None:
        wanted.pop("max_new_tokens", None)
    for name, value in wanted.items():
        if options.given(name) is None:
            options.set(name, value)


def stop_on_strings(options: Options, tokenizer: Any) -> None:
    """Turn `stop_strings` into a stopping criterion, since transformers does not pass `tokenizer` to a callable."""
    if (strings := options.get("stop_strings")) is None:
        return
    if tokenizer is None:
        raise ValueError("stop_strings needs the tokenizer: pass tokenizer=")
    criteria = StoppingCriteriaList(options.kwargs.get("stopping_criteria") or [])
    criteria.append(StopStringCriteria(stop_strings=strings, tokenizer=tokenizer))
    options.kwargs["stopping_criteria"] = criteria
    options.set("stop_strings", None)
