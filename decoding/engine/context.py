"""A causal LM conditioned on a batch of prompts: one row per hypothesis, the cache inside.

Caches, masks and positions are touched in this folder alone. The bookkeeping itself is transformers' own
(see `transformers_api.py`), so every family that `model.generate`
serves is served here in the same way: encoder-decoders, state-space models, a caller's cache, chunked prefill.

There are two ways to feed tokens. The general one has a cache row for each row; it serves every model. Rows that begin
alike take a faster one where the model allows it: see `PrefixTree`, and `_probe_sharing`, which finds out whether it
does.
"""

import logging
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, GenerationConfig, PreTrainedModel
from transformers.utils import ModelOutput

from .caches import (
    can_be_copied,
    can_be_cropped,
    copy_cache,
    find_distinct_rows,
    last_states,
    refuse_lost_states,
    refuse_unforkable,
    shown_outputs,
)
from .forwards import forward_each_row, forward_sharing, keep_outputs, make_tree
from .hidden_states import HiddenStates, scaled_to_unit_length
from .lm_head import capture_last_hidden_states, project_to_logits
from .prepared_prompt import PreparedPrompt, content_of, is_text_alone, prepare_again, prepare_prompt
from .probe import (
    PROBED,
    REFUSALS,
    ProbeResult,
    circumstances_of,
    holds_text_alone,
    is_headless,
    is_same,
    report_refusal,
    rows_to_compare,
)
from .row_reader import RowReader
from .row_state import RowState
from .transformers_api import CACHE_NAMES, DEFAULT_CACHE_NAME, holds_cache_of_caller, read_prompt


class Context(RowReader):
    """p(next token | prompt, continuation) for R rows at once.

    Call it with the whole continuation: only the tokens it has not seen are fed. `select` forks, prunes or reorders
    rows at no cost; the cache is gathered when the next token is fed.

    Args:
        model: any model that `model.generate` serves.
        prompt: (R, T0) int64 token ids, left-padded; T0 is 0 where `inputs_embeds` carries the prompt.
        generation_config: as transformers prepared it; it says how the prompt is read (`prefill_chunk_size`).
        keep_states: keep the last layer's hidden states of everything fed, see `states`.
        raw: what the caller gave beside the tokens, such as `pixel_values`, an entry a prompt: transformers hands over
            images encoded by this model, and only with this another model can read them too. None: not known.
        model_kwargs: what transformers prepared for the model: `attention_mask`, `position_ids`, the cache,
            `use_cache`, `encoder_outputs`, `pixel_values` and the like.

    Raises:
        ValueError: `keep_states` with a cache that already holds tokens, or with chunked prefill (their states are
            gone), or with a caller's cache that cannot be cropped by a token.

    Example:
        >>> import decoding, torch
        >>> model, tokenizer = decoding.load()
        >>> context = decoding.Context.of(model, tokenizer("The night was", return_tensors="pt").input_ids)
        >>> context(torch.zeros(1, 0, dtype=torch.long)).argmax(-1)
        tensor([253])
    """

    def __init__(
        self,
        model: PreTrainedModel,
        prompt: Tensor,
        generation_config: GenerationConfig,
        *,
        keep_states: bool = False,
        raw: Mapping[str, Any] | None = None,
        **model_kwargs: Any,
    ) -> None:
        self.model: Any = model  # Any: transformers gives its models no type with `generate`
        self.generation_config, self.keep_states, self.raw, self.share = generation_config, keep_states, raw, None
        embedded = None if model.config.is_encoder_decoder else model_kwargs.get("inputs_embeds")
        self._width = (prompt if embedded is None else embedded).shape[1]  # in tokens or embeddings
        self._prompt, self._fed = prompt, -1
        self._shown = shown_outputs(model_kwargs, self.model.config.is_encoder_decoder)
        self._state = RowState(model_kwargs, len(prompt))
        self._probed: ProbeResult | None = None  # the result by which rows share their prefix or not
        self.borrowed = holds_cache_of_caller(model_kwargs)
        self._borrowed_cache: DynamicCache | None = None  # the caller's, unchanged; `close` brings it up to date
        if keep_states:
            caches = [model_kwargs[name] for name in CACHE_NAMES if name in model_kwargs]
            refuse_lost_states(next(iter(caches), None), self.borrowed, generation_config)
            self._state.inputs["output_hidden_states"] = True

    @classmethod
    def of(
        cls, model: Any, prompt: Tensor, mask: Tensor | None = None, *, keep_states: bool = False, **kwargs: Any
    ) -> "Context":
        """A context for any prompt of any model, prepared by transformers: what a guide reads beside the main one.

        Args:
            prompt: (R, T0) int64, left-padded. mask: (R, T0), 0 for padding; None where nothing is padded.
            keep_states: see above. kwargs: further inputs of the model, such as `pixel_values`.
        """
        return cls.of_prepared(prepare_prompt(model, prompt, mask, **kwargs), keep_states=keep_states)

    @classmethod
    def of_prepared(cls, prompt: PreparedPrompt, *, keep_states: bool = False) -> "Context":
        """A context for prompts that transformers has prepared."""
        made = cls(
            prompt.model,
            prompt.tokens,
            prompt.generation_config,
            keep_states=keep_states,
            raw=prompt.raw,
            **prompt.inputs,
        )
        if prompt.copies > 1:
            made.select(torch.arange(len(prompt.tokens)).repeat_interleave(prompt.copies))
        return made

    def again(self, model: Any = None, **changes: Any) -> "Context":
        """A new context on the same prompts: see `RowReader.again`."""
        return Context.of_prepared(prepare_again(self, model, **changes))

    @property
    def prompt(self) -> Tensor:
        """(R, T0) int64 token ids."""
        return self._prompt

    @property
    def fed(self) -> int:
        """Continuation tokens fed so far; -1: the prompt is still to be read."""
        return self._fed

    @property
    def content(self) -> dict[str, Any]:
        """What the prompt holds beside its tokens, as this model takes it; only before it is read."""
        return content_of(self._state.inputs)

    @property
    def is_plain(self) -> bool:
        """Whether the prompt is still to be read, and tokens and left padding are all there is to say of it."""
        unread = self.fed < 0 and not self.borrowed and not self._shown
        return unread and is_text_alone(self.model, self.mask, self._state.inputs)

    def read(self, continuation: Tensor) -> None:
        """Feed what of the (R, n) int64 tokens was not fed yet; logits that nobody asks for may cost nothing."""
        continuation = continuation.to(self._prompt.device)
        if self._fed < 0:
            self._read_prompt()
        if new := continuation.shape[1] - self._fed:
            self._feed(continuation, new)
            self._fed += new

    def select(self, rows: Tensor) -> None:
        """Continue with `rows` (R',) int64: repeats fork, omissions prune. The cache follows at the next forward.

        A prompt that was not read yet is read first: once, however many rows it forks to.

        Raises:
            ValueError: this model's state cannot be forked or reordered.
        """
        if self._fed < 0:
            self.read(self._prompt[:, :0])  # read each prompt once, before it is copied
        if self._state.inputs["use_cache"]:  # without a cache, all tokens are read anew
            refuse_unforkable(self.model, list(self._state.cache.values()))
        rows = rows.to(self._prompt.device)
        self._prompt = self._prompt[rows]
        self._state.choose(rows)

    @property
    def logits(self) -> Tensor:
        """(R, V) float32 next-token logits after everything fed."""
        state = self._state
        if state.logits is None:
            state.gather()  # only the rows that are left
            assert state.last_hidden is not None
            logits = project_to_logits(self.model, state.last_hidden)
            state.logits = logits.to(dtype=torch.float32, device=self._prompt.device)
        return state.at_present_rows(state.logits)

    @property
    def states(self) -> Tensor:
        """(R, T, D) last-layer hidden states of everything fed, scaled to unit length, float32 or wider."""
        return self._kept_states().all()

    @property
    def newest(self) -> Tensor:
        """(R, D) the unit state of the last token fed; after a fork, cheaper than `states[:, -1]`."""
        return self._kept_states().newest()

    @property
    def mask(self) -> Tensor:
        """(R, T) 1 for the real tokens fed, 0 for left padding."""
        name = "decoder_attention_mask" if self.model.config.is_encoder_decoder else "attention_mask"
        if (mask := self._state.inputs.get(name)) is not None:
            return self._state.at_present_rows(mask)
        kept = self._state.hidden_states is not None
        length = self.states.shape[1] if kept else self._width + max(self._fed, 0)
        return torch.ones(len(self._prompt), length, dtype=torch.long, device=self._prompt.device)

    @property
    def outputs(self) -> dict[str, Any]:
        """What `output_attentions` and `output_hidden_states` ask to see of the last forward, for the present rows."""
        return self._state.at_present_rows(self._state.outputs)

    @property
    def encoder_outputs(self) -> ModelOutput | None:
        """An encoder-decoder's encoder outputs, for the present rows; None for the others."""
        return self._state.at_present_rows(self._state.inputs.get("encoder_outputs"))

    def close(self, tokens: int) -> Any:
        """The cache, rows in order, holding all but the last of `tokens` continuation tokens: as `generate` leaves it.

        None where there is no cache, or where a look-ahead cannot be taken out of it again.
        """
        self._state.gather()
        if self._state.tree is not None:
            self._state.tree.to_plain_cache()
        cache: Any = next(iter(self._state.cache.values()), None)
        if cache is not None and self._fed >= tokens:
            if not can_be_cropped(cache):
                return None
            cache.crop(-1)
        if self._borrowed_cache is not None:
            self._borrowed_cache.layers = cache.layers
            return self._borrowed_cache
        return cache

    def _read_prompt(self) -> None:
        """Read each different prompt once, with one forward pass for all."""
        state, prompt, same = self._state, self._prompt, None
        if self.borrowed:
            self._copy_borrowed_cache()
        if not (self.borrowed or self._shown or self.content or self.model.config.is_encoder_decoder):
            same = find_distinct_rows(torch.cat([prompt, self.mask.to(prompt)], dim=1))
        if same is not None:
            prompt = prompt[same[0]]
            state.inputs, state.batch = state.inputs_at(same[0]), len(same[0])
        if self.keep_states and self.share is None and not self._shown and PROBED.knows_headless(self.model):
            inputs = {**state.inputs, "output_hidden_states": None}
            with capture_last_hidden_states(self.model) as captured:
                out = read_prompt(self.model, prompt, self.generation_config, inputs)
            self._take(out, keep_states=False)
            state.keep(captured[-1])
        else:
            self._take(read_prompt(self.model, prompt, self.generation_config, state.inputs), self.keep_states)
        if same is not None:
            state.choose(same[1])
        state.inputs.pop("inputs_embeds", None)  # they were the prompt, which is read now
        self._fed = 0

    def _copy_borrowed_cache(self) -> None:
        """Go on with a copy of a caller's cache, so that theirs is unchanged if the call is interrupted."""
        cache: Any = self._state.inputs.get(DEFAULT_CACHE_NAME)
        if can_be_copied(cache):
            self._borrowed_cache, self._state.inputs[DEFAULT_CACHE_NAME] = cache, copy_cache(cache)

    def _feed(self, continuation: Tensor, new: int) -> None:
        """Feed the last `new` tokens of every row. Rows with the same past and the same tokens are fed once."""
        state, tokens, same = self._state, torch.cat([self._prompt, continuation], dim=1), None
        if state.rows is not None and not state.outputs:
            same = find_distinct_rows(torch.cat([state.rows[:, None], continuation[:, -new:]], dim=1))
        if same is not None:
            tokens = tokens[same[0]]
            state.choose(same[0])
        result = self._choose_path()
        if result is None:
            result = self._probed = self._probe_sharing(tokens, new)
            if not result.shares:
                self._feed_each_row(tokens, new)
        elif result.shares:
            self._feed_shared(tokens, new, result.headless)
        else:
            self._feed_each_row(tokens, new)
        if same is not None:
            self._state.choose(same[1])

    def _feed_each_row(self, tokens: Tensor, new: int) -> None:
        self._take(forward_each_row(self.model, self._state, tokens, new), self.keep_states)

    def _take(self, out: Any, keep_states: bool) -> None:
        keep_outputs(self._state, out, self._shown, self._prompt.device)
        if keep_states:  # without a cache, the states of all tokens come again
            self._state.keep(last_states(out), anew=not self._state.inputs["use_cache"])

    def _feed_shared(self, tokens: Tensor, new: int, headless: bool) -> None:
        state = self._state
        if state.tree is None:
            state.tree = make_tree(self.model, state, self.generation_config.max_length)
        hidden = forward_sharing(
            self.model, state, tokens, new, keep_states=self.keep_states, headless=headless and self.keep_states
        )
        if hidden is not None:
            state.keep(hidden)

    def _choose_path(self) -> ProbeResult | None:
        """Whether the next tokens take the fast path, and how. None: this must still be probed."""
        state = self._state
        if state.tree is None:
            forks = state.rows is not None and len(state.rows) > len(state.rows.unique())
            lost = self.borrowed and self._borrowed_cache is None  # a cache that cannot be given back in its own layers
            if self.share is False or lost or self._shown or not (self.keep_states or forks):
                return ProbeResult(shares=False)
            if not holds_text_alone(self.model, state):
                return ProbeResult(shares=False)
            self._probed = PROBED.of_model(self.model).get(circumstances_of(self.model, state))
        return ProbeResult(shares=True) if self.share else self._probed

    def _probe_sharing(self, tokens: Tensor, new: int) -> ProbeResult:
        """Feed a copy by the fast path and some rows of another copy by the general one, and compare the results.

        If they agree, the first copy becomes the state of this context. If not, the state stays as it was.
        """
        circumstances, result = circumstances_of(self.model, self._state), ProbeResult(shares=False)
        rows = rows_to_compare(self._state).to(self._prompt.device)
        general = self._state.copy()
        general.choose(rows)
        out = forward_each_row(self.model, general, tokens[rows], new, output_hidden_states=True)
        expected, logits = last_states(out)[:, -1], out.logits[:, -1].to(dtype=torch.float32, device=rows.device)
        del general, out  # frees the copies of the cache too
        shared, hidden = self._state.copy(), None
        try:
            shared.tree = make_tree(self.model, shared, self.generation_config.max_length)
            with capture_last_hidden_states(self.model) as captured:
                hidden = forward_sharing(self.model, shared, tokens, new, keep_states=True, headless=False)
            assert hidden is not None
            if is_same(scaled_to_unit_length(hidden[rows, -1]), scaled_to_unit_length(expected), self.model.dtype):
                heard = bool(captured) and torch.equal(shared.tree.per_row(captured[-1]), hidden)
                result = ProbeResult(True, heard and is_headless(self.model, hidden[rows, -1], logits))
        except torch.OutOfMemoryError:  # a RuntimeError, and no answer
            raise
        except REFUSALS as error:
            report_refusal(self.model, "rows cannot share their prefix", error)
        PROBED.remember(self.model, circumstances, result)
        logging.getLogger(__name__).info("%s: %s", type(self.model).__name__, result)
        if result.shares:
            shared.hidden_states = self._state.hidden_states
            self._state = shared
            if self.keep_states and hidden is not None:
                shared.keep(hidden)
        return result

    def _kept_states(self) -> HiddenStates:
        if self._state.hidden_states is None:
            raise RuntimeError("no states here: make the context with keep_states=True and read the prompt first")
        return self._state.hidden_states
