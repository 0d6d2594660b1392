"""The decoding loop, and what is set up for it.

Refusals are in `contracts`; what is left stands together, for each step of a call leads to the next.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessorList, PreTrainedModel
from transformers.generation import StoppingCriteriaList
from transformers.generation.streamers import BaseStreamer

from .contracts import (
    checked_rows,
    pads_outside_vocabulary,
    refuse_bad_tokens,
    refuse_bound_processors,
    refuse_mode,
    refuse_non_part,
    refuse_padding,
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
from .outputs import OutputCollector, stream_settled
from .parts import Guide, Part, Picker, Reranker, Search
from .pickers.sampling import Greedy, Sample
from .trace.recorder import TraceRecorder
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
            refuse_non_part(guide)
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
            share: whether rows share the past that they have in common. None: where it pays, and a trial has shown that
                this model gives the same; False: never; True: without a trial, for finding faults.
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
        asked = {"generator": generator, "raw": raw, "tokenizer": tokenizer, "trace": trace, "share": share}
        asked["padding_limit"] = padding_limit
        run = self._start(PreparedCall.of(model, input_ids, {**prepared, **asked}))
        steps = self._steps(run)
        if streamer is None:
            for _ in steps:
                pass
        else:
            try:
                stream_settled(steps, run.hypotheses.prompts, streamer)
            finally:  # whoever waits at the other end must not wait for ever
                streamer.end()
        return run.collector.make_output(run.hypotheses)

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
            call = PreparedCall.of(model, input_ids, {**kwargs, "generator": generator, "trace": trace})
            return self._steps(self._start(call))
        kwargs |= {name: value for name, value in (("generator", generator), ("trace", trace)) if value is not None}
        return model.generate(input_ids, custom_generate=self.stream, **kwargs)

    def _start(self, call: "PreparedCall") -> "Run":
        """Refuse what cannot be served, and set up the rows; nothing is read yet."""
        config = call.generation_config
        picker = self.picker or (Sample() if config.do_sample else Greedy())
        self._refuse(call, picker)
        main = Context(call.model, call.input_ids, config, keep_states=picker.keep_states, **call.inputs)
        if not call.model.config.is_encoder_decoder:
            refuse_prompts(call.model, call.input_ids, call.inputs, main.mask, whole=not main.borrowed)
        mask = main.mask if call.trace is not None else None
        # an output object shows the main prompt's state and no other
        context, guides = self._share_forwards(main, -1.0 if config.return_dict_in_generate else call.padding_limit)
        ends = any(hasattr(criterion, "eos_token_id") for criterion in call.stopping_criteria)
        hypotheses = Hypotheses(
            context,
            call.input_ids,
            [*guides, *((processor, ()) for processor in call.logits_processor)],
            pad=pad_token_of(config) if ends else None,
            generator=call.generator,
            traced=call.trace is not None,
        )
        new = config.max_length - call.input_ids.shape[1]
        for each in hypotheses.contexts:
            each.share = call.share
            refuse_training(each.model)  # the last token is fed for a look-ahead alone
            refuse_overrun(each.model, int(each.mask.sum(-1).max()) + new - 1 + each.keep_states)
        search = start_search(self.reranker, hypotheses, call.tokenizer) if self.reranker else None
        recorder = None
        if call.trace is not None and mask is not None:
            recorder = TraceRecorder(call.trace, hypotheses, mask, search, call.tokenizer)
            recorder.name_parts([*self.guides, picker, *([self.reranker] if self.reranker else [])], picker)
        return Run(hypotheses, picker, search, call.stopping_criteria, OutputCollector(config, search), recorder)

    def _refuse(self, call: "PreparedCall", picker: Picker) -> None:
        """Raise ValueError for what is seen to be impossible without looking at a prompt."""
        refuse_mode(call.generation_config)
        if self.reranker:
            refuse_bound_processors([*self.guides, *call.logits_processor])
            refuse_width(self.reranker)
        if picker.draws:
            refuse_without_sampling(type(picker).__name__, call.generation_config.do_sample)
        for part in (*self.guides, picker, self.reranker):
            if isinstance(part, Part):
                part.check(call.model, call.generation_config)

    def _share_forwards(
        self, main: Context, padding_limit: float
    ) -> tuple[RowReader, list[tuple[Any, Sequence[RowReader]]]]:
        """The main context, and each guide with the contexts it reads; those of one model share forwards.

        padding_limit: see `__call__`.
        """
        guides = [(guide, guide.contexts(main) if isinstance(guide, Guide) else ()) for guide in self.guides]
        every = [main, *(second for _, contexts in guides for second in contexts)]
        joined = join_contexts(every, padding_limit=padding_limit) if padding_limit >= 0 else {}
        return joined.get(main, main), [
            (guide, [joined.get(second, second) for second in contexts]) for guide, contexts in guides
        ]

    @torch.no_grad()
    def _steps(self, run: "Run") -> Iterator[Step]:
        """The loop."""
        hypotheses, search, recorder = run.hypotheses, run.search, run.recorder
        context = hypotheses.read()  # each prompt once ...
        hypotheses.fork(self.reranker.width if self.reranker else 1)  # ... and only then its copies
        reranker = type(self.reranker).__name__
        odd_padding = pads_outside_vocabulary(hypotheses)
        while not hypotheses.done.all():
            shape = hypotheses.tokens.shape
            run.picker(hypotheses)
            refuse_bad_tokens(run.picker, hypotheses, shape)
            run.collector.add_choices(hypotheses)
            if recorder:
                recorder.add_choices(hypotheses)
            hypotheses.stop(run.criteria, run.collector.scores)
            if odd_padding:
                refuse_padding(hypotheses)
            if search:
                ended = bool(hypotheses.done.all())
                rows = search.best(hypotheses) if ended else search(hypotheses)
                if rows is not None or ended:
                    hypotheses.select(checked_rows(reranker, rows, hypotheses, ended))
                    if not ended and hypotheses.done.all():  # all that are left
                        hypotheses.select(checked_rows(reranker, search.best(hypotheses), hypotheses, True))
            step = hypotheses.step()
            run.collector.add_parents(step)
            if recorder:
                recorder.add_rows(hypotheses)
            try:
                yield step
            except GeneratorExit:  # who asked for the steps has enough of them
                break
        if context.borrowed:
            context.close(hypotheses.continuation.shape[1])


@dataclass(frozen=True)
class PreparedCall:
    """What one call of a decoder is given: by transformers, which prepares it, and by the caller.

    Attributes:
        model: that generates.
        input_ids: (P, T0) int64, the prompts; of an encoder-decoder, what starts its decoder.
        logits_processor, stopping_criteria, generation_config: transformers' own, of this call.
        generator, tokenizer, trace, share, padding_limit: see `Decoder.__call__`.
        inputs: everything else, for the model: mask, cache, encoder outputs, images.
    """

    model: Any
    input_ids: Any
    logits_processor: LogitsProcessorList
    stopping_criteria: StoppingCriteriaList
    generation_config: GenerationConfig
    generator: torch.Generator | Sequence[torch.Generator] | None = None
    tokenizer: Any = None
    trace: Trace | None = None
    share: bool | None = None
    padding_limit: float = PADDING_LIMIT
    inputs: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, model: Any, input_ids: Any, given: Mapping[str, Any]) -> "PreparedCall":
        """The call of keyword arguments: those that are no attribute are the model's inputs."""
        own = {one.name for one in fields(cls)} - {"inputs"}
        inputs = {name: value for name, value in given.items() if name not in own}
        return cls(model, input_ids, **{name: given[name] for name in own & given.keys()}, inputs=inputs)


@dataclass(frozen=True)
class Run:
    """What works on one call, from its first token to its last.

    Attributes:
        hypotheses: the rows.
        picker: the decoder's, or the one that `do_sample` stands for.
        search: of the decoder's reranker, if it has one.
        criteria: that end rows.
        collector: keeps what the output object shows.
        recorder: fills the call's trace, if it has one.
    """

    hypotheses: Hypotheses
    picker: Picker
    search: Search | None
    criteria: StoppingCriteriaList
    collector: OutputCollector
    recorder: TraceRecorder | None
