"""THE decoding loop."""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, PreTrainedModel
from transformers.generation import GenerationMode, StoppingCriteriaList
from transformers.generation.streamers import BaseStreamer

from .contracts import (
    checked_rows,
    has_strange_padding,
    refuse_bound_processors,
    refuse_padding,
    refuse_strays,
    refuse_width,
    refuse_without_sampling,
    start_search,
)
from .engine.batched_contexts import PADDING_LIMIT, join_contexts
from .engine.context import Context
from .engine.prompt_checks import refuse_overrun, refuse_prompts, refuse_training
from .engine.row_reader import RowReader
from .engine.transformers_api import is_prepared, pad_token_of
from .hypotheses import Hypotheses, Step
from .outputs import Record, stream_settled
from .parts import Guide, Part, Picker, Reranker, Search
from .pickers.sampling import Greedy, Sample
from .trace.recorder import Witness
from .trace.records import Trace


@dataclass(frozen=True, init=False, repr=False)
class Decoder:
    """Guides shape the distribution, the picker adds one token a row, the reranker says which rows go on.

    A decoder is what `model.generate(custom_generate=...)` calls, so it inherits every option of `generate`. It holds
    no state of a call: one object serves any number of calls.

    Args:
        parts: in any number `Guide`s, `transformers.LogitsProcessor`s and functions (tokens (R, T), logits (R, V)) ->
            logits (R, V), applied in this order and before the processors that the call's own options build; at most
            one `Picker` (without one: greedy or sampling, as `do_sample` says); at most one `Reranker`.

    Raises:
        TypeError: a part that is none of these.
        ValueError: two pickers, or two rerankers.

    Example:
        >>> import decoding
        >>> model, tokenizer = decoding.load()
        >>> inputs = tokenizer("The night was", return_tensors="pt")
        >>> decoder = decoding.Decoder(decoding.ContrastiveSearch(k=4, alpha=0.6))
        >>> sequences = model.generate(**inputs, custom_generate=decoder, max_new_tokens=8)
        >>> sequences.shape
        torch.Size([1, 11])
    """

    guides: tuple[Callable[..., Tensor], ...]
    picker: Picker | None
    reranker: Reranker | None

    def __init__(self, *parts: Any) -> None:
        pickers = [part for part in parts if isinstance(part, Picker)]
        rerankers = [part for part in parts if isinstance(part, Reranker)]
        guides = [part for part in parts if not isinstance(part, (Picker, Reranker))]
        for guide in guides:
            refuse_stranger(guide)
        for kind, found in (("picker", pickers), ("reranker", rerankers)):
            if len(found) > 1:
                raise ValueError(f"at most one {kind} at a time, not {' and '.join(map(repr, found))}")
        object.__setattr__(self, "guides", tuple(guides))
        object.__setattr__(self, "picker", pickers[0] if pickers else None)
        object.__setattr__(self, "reranker", rerankers[0] if rerankers else None)

    def __repr__(self) -> str:
        parts = [*self.guides, self.picker, self.reranker]
        return f"Decoder({', '.join(repr(part) for part in parts if part is not None)})"

    def __call__(
        self,
        model: PreTrainedModel,
        input_ids: Tensor,
        *,
        streamer: BaseStreamer | None = None,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        raw: Mapping[str, Any] | None = None,
        tokenizer: Any = None,
        trace: Trace | None = None,
        share: bool | None = None,
        padding_limit: float = PADDING_LIMIT,
        **prepared: Any,
    ) -> Any:
        """What transformers calls.

        Args:
            streamer: gets each column of tokens once it is settled. `decoding.generate` hands it over; through
                `model.generate` it is lost, so give that `functools.partial(decoder, streamer=streamer)` instead.
            generator: the randomness of `Sample`, one or one for each row of `input_ids`; `model.generate` takes it by
                this name. None: torch's global one.
            raw: the call's images and the like, see `Context`; from `decoding.generate`.
            tokenizer: for rerankers that read texts; from `decoding.generate`.
            trace: is told of every choice, and changes none; `model.generate` takes it by this name.
            share: whether rows share the past that they have in common. None: where this model was seen to get the same
                from it, and it pays; False: never; True: without asking, for finding faults.
            padding_limit: prompts of one model are read in one batch while at most so much of it is padding that makes
                them equally wide, from 0 to 1; below 0: never. `model.generate` takes it by this name.
            prepared: what transformers makes of the call: processors, stopping criteria, configuration, model inputs.

        Returns:
            (P, T) int64 prompts and continuations, finished rows padded; or transformers' own output object where
            `return_dict_in_generate` is set.

        Raises:
            ValueError: options, prompts or models that this decoder cannot serve, before the first forward; logits that
                are NaN or leave no token, a picker or reranker that breaks its contract, when it happens.
        """
        hypotheses, record, steps = self._start(
            model,
            input_ids,
            generator=generator,
            raw=raw,
            tokenizer=tokenizer,
            trace=trace,
            share=share,
            padding_limit=padding_limit,
            **prepared,
        )
        if streamer is None:
            for _ in steps:
                pass
        else:
            try:
                stream_settled(steps, hypotheses.prompts, streamer)
            finally:  # whoever waits at the other end must not wait for ever
                streamer.end()
        return record.output(hypotheses)

    def stream(
        self,
        model: Any,
        input_ids: Tensor | None = None,
        *,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        trace: Trace | None = None,
        **kwargs: Any,
    ) -> Iterator[Step]:
        """Steps as they come, each computed when it is asked for.

        Call it as `decoder.stream(model, **inputs, max_new_tokens=20)`, with the options of `model.generate`, or hand
        it over as `model.generate(**inputs, max_new_tokens=20, custom_generate=decoder.stream)`. A `trace` grows with
        every step.

        Returns:
            an iterator of `Step`; following `parents` back from the last step rebuilds every row.

        Raises:
            ValueError: as calling the decoder does, and as early.
        """
        if is_prepared(kwargs.get("generation_config")):  # it is transformers that calls
            return self._start(model, input_ids, generator=generator, trace=trace, **kwargs)[-1]
        kwargs |= {name: value for name, value in (("generator", generator), ("trace", trace)) if value is not None}
        return model.generate(input_ids, custom_generate=self.stream, **kwargs)

    @torch.no_grad()
    def _steps(
        self,
        hypotheses: Hypotheses,
        picker: Picker,
        search: Search | None,
        criteria: StoppingCriteriaList,
        record: Record,
        witness: Witness | None,
    ) -> Iterator[Step]:
        context = hypotheses.read()  # each prompt once ...
        hypotheses.fork(self.reranker.width if self.reranker else 1)  # ... and only then its copies
        name = type(self.reranker).__name__
        strange = has_strange_padding(hypotheses)
        while not hypotheses.done.all():
            shape = hypotheses.tokens.shape
            picker(hypotheses)
            refuse_strays(picker, hypotheses, shape)
            record.see(hypotheses)
            if witness:
                witness.see(hypotheses)
            hypotheses.stop(criteria, record.scores)
            if strange:
                refuse_padding(hypotheses)
            if search:
                ended = bool(hypotheses.done.all())
                rows = search.best(hypotheses) if ended else search(hypotheses)
                if rows is not None or ended:
                    hypotheses.select(checked_rows(name, rows, hypotheses, ended))
                    if not ended and hypotheses.done.all():  # all that are left
                        hypotheses.select(checked_rows(name, search.best(hypotheses), hypotheses, True))
            step = hypotheses.step()
            record.follow(step)
            if witness:
                witness.follow(hypotheses)
            try:
                yield step
            except GeneratorExit:  # who asked for the steps has enough of them
                break
        if context.borrowed:
            context.close(hypotheses.continuation.shape[1])

    def _start(
        self,
        model: Any,
        input_ids: Any,
        *,
        logits_processor: LogitsProcessorList,
        stopping_criteria: StoppingCriteriaList,
        generation_config: GenerationConfig,
        generator: torch.Generator | Sequence[torch.Generator] | None,
        tokenizer: Any = None,
        trace: Trace | None = None,
        share: bool | None = None,
        padding_limit: float = PADDING_LIMIT,
        **model_kwargs: Any,
    ) -> tuple[Hypotheses, Record, Iterator[Step]]:
        """Refuse what cannot be served; then the rows, and the loop over them. The arguments are transformers' own."""
        refuse_mode(generation_config)
        if self.reranker:
            refuse_bound_processors([*self.guides, *logits_processor])
            refuse_width(self.reranker)
        picker = self.picker or (Sample() if generation_config.do_sample else Greedy())
        if picker.draws:
            refuse_without_sampling(type(picker).__name__, generation_config.do_sample)
        for part in (*self.guides, picker, self.reranker):
            if isinstance(part, Part):
                part.check(model, generation_config)
        main = Context(model, input_ids, generation_config, keep_states=picker.keep_states, **model_kwargs)
        if not model.config.is_encoder_decoder:
            refuse_prompts(model, input_ids, model_kwargs, main.mask, whole=not main.borrowed)
        mask = main.mask if trace is not None else None
        declared = [(guide, guide.contexts(main) if isinstance(guide, Guide) else ()) for guide in self.guides]
        joined: Mapping[Context, RowReader] = {}
        if not generation_config.return_dict_in_generate:  # which shows the main prompt's state alone
            every = [main, *(auxiliary for _, contexts in declared for auxiliary in contexts)]
            joined = join_contexts(every, padding_limit=padding_limit)
        guides: list[tuple[Any, Sequence[RowReader]]] = [
            (guide, [joined.get(auxiliary, auxiliary) for auxiliary in contexts]) for guide, contexts in declared
        ]
        guides += [(processor, ()) for processor in logits_processor]
        ends = any(hasattr(criterion, "eos_token_id") for criterion in stopping_criteria)
        pad = pad_token_of(generation_config) if ends else None
        context = joined.get(main, main)
        hypotheses = Hypotheses(context, input_ids, guides, pad=pad, generator=generator, traced=trace is not None)
        new = generation_config.max_length - input_ids.shape[1]
        for each in hypotheses.contexts:
            each.share = share
            refuse_training(each.model)  # the last token is fed for a look-ahead alone
            refuse_overrun(each.model, int(each.mask.sum(-1).max()) + new - 1 + each.keep_states)
        search = start_search(self.reranker, hypotheses, tokenizer) if self.reranker else None
        record = Record(generation_config, search)
        witness = None
        if trace is not None and mask is not None:
            witness = Witness(trace, hypotheses, mask, search, tokenizer)
            witness.introduce([*self.guides, picker, *([self.reranker] if self.reranker else [])], picker)
        return hypotheses, record, self._steps(hypotheses, picker, search, stopping_criteria, record, witness)


def refuse_stranger(part: Any) -> None:
    """Raise TypeError for what is no part."""
    if isinstance(part, type):
        raise TypeError(f"{part.__name__} is a class: make a part of it, {part.__name__}(...)")
    if not isinstance(part, (Guide, LogitsProcessor, LogitsProcessorList)) and not inspect.isroutine(part):
        raise TypeError(
            f"{part!r} is no part of a decoder: give guides (decoding.Guide, transformers.LogitsProcessor or a "
            "function of tokens and logits), a picker (decoding.Picker) or a reranker (decoding.Reranker)"
        )


def refuse_mode(config: GenerationConfig) -> None:
    """Raise ValueError where the call's options ask for an algorithm of transformers' own."""
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
