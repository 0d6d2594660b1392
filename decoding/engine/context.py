"""A causal LM conditioned on a batch of prompts: one row per hypothesis, the cache inside.

The only file that touches caches, masks and positions. The bookkeeping itself is transformers' own
(`prepare_inputs_for_generation` and `_update_model_kwargs_for_generation`), so every family that `model.generate`
serves is served here in the same way: encoder-decoders, state-space models, a caller's cache, chunked prefill.

Rows that begin alike take a faster path where the model allows it: see `PrefixTree`, and `_probe_sharing`, which
finds out whether it does.
"""

import copy
import logging
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import Cache, DynamicCache, GenerationConfig, PreTrainedModel, StaticCache
from transformers.generation.utils import ALL_CACHE_NAMES, MULTIMODAL_INPUTS_TO_DROP_OUTSIDE_PREFILL
from transformers.utils import ModelOutput

from .caches import (
    can_be_copied,
    can_be_cropped,
    copy_cache,
    find_distinct_rows,
    gather_rows,
    holds_tokens,
    last_states,
    shown_outputs,
)
from .grouped_attention import grouped
from .hidden_states import HiddenStates, is_identity, scaled_to_unit_length
from .lm_head import capture_last_hidden_states, no_logits, project_to_logits
from .prefix_sharing import PrefixTree, holds_keys_and_values_alone
from .probe import PROBED, ProbeResult, is_headless, is_same
from .prompt_checks import refuse_tokens

# what transformers prepares for every call; anything else in a call's inputs is content, such as an image
BOOKKEEPING = {
    *ALL_CACHE_NAMES, "attention_mask", "position_ids", "use_cache", "logits_to_keep", "output_attentions",
    "output_hidden_states", "encoder_outputs", "decoder_attention_mask", "synced_gpus",
}  # fmt: skip
TEXT = BOOKKEEPING | {"input_ids", "inputs_embeds", "decoder_input_ids"}  # what says which tokens there are
# what a configuration calls the reach of attention; where the cache knows of none, the model sees to it by itself
REACHES = ("window_size", "attention_window", "attention_window_size", "sliding_window", "attention_chunk_size")
LOOK_AHEAD = 16  # slots beyond the longest text: room for the candidates after its last token
ATTENTION = {"full_attention", "sliding_attention"}  # the kinds of layers whose masks a PrefixTree knows how to make


class Context:
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
        model_kwargs: what transformers prepared for the model: `attention_mask`, `position_ids`, `past_key_values`,
            `use_cache`, `encoder_outputs`, `pixel_values` and the like.

    Raises:
        ValueError: `keep_states` with a cache that already holds tokens, or with chunked prefill (their states are
            gone), or with a caller's cache that cannot be cropped by a token.
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
        self.raw = raw
        self.model: Any = model  # Any: transformers gives its models no type with `generate`
        self.prompt, self.generation_config = prompt, generation_config
        embedded = None if model.config.is_encoder_decoder else model_kwargs.get("inputs_embeds")
        self._width = (prompt if embedded is None else embedded).shape[1]  # of the prompt, of tokens or not
        self.fed = -1  # continuation tokens fed so far; -1: the prompt is still to be read
        self.keep_states = keep_states
        self._shown = shown_outputs(model_kwargs, self.model.config.is_encoder_decoder)
        self._inputs = model_kwargs
        self._carry = ModelOutput()  # the cache, under the name this family gives it
        self._outputs: dict[str, Any] = {}  # what the caller asked to see of the last forward
        self._batch = len(prompt)  # rows of the last forward
        self._logits: Tensor | None = None  # of those; None: still to be made of ...
        self._hidden: Tensor | None = None  # ... their last tokens' hidden states
        self._states: HiddenStates | None = None
        self._rows: Tensor | None = None  # rows selected since the last forward, still to be gathered
        self._tree: PrefixTree | None = None  # where the rows share their prefix
        self._probed: ProbeResult | None = None  # because of which they do
        self.share: bool | None = None  # rows share their prefix; see `Decoder`
        self.borrowed = any(getattr(model_kwargs.get(name), "_is_user_defined", False) for name in ALL_CACHE_NAMES)
        self._borrowed_cache: DynamicCache | None = (
            None  # the caller's cache, as it was: it is brought up to date by `close`
        )
        if keep_states:
            self._refuse_lost_states()
            self._inputs["output_hidden_states"] = True

    @classmethod
    def of(
        cls, model: Any, prompt: Tensor, mask: Tensor | None = None, *, keep_states: bool = False, **kwargs: Any
    ) -> "Context":
        """A context for any prompt of any model, prepared by transformers: what a guide reads beside the main one.

        Args:
            prompt: (R, T0) int64, left-padded. mask: (R, T0), 0 for padding; None where nothing is padded.
            keep_states: see above. kwargs: further inputs of the model, such as `pixel_values`.
        """

        def take(
            _: Any,
            input_ids: Tensor,
            logits_processor: Any,
            stopping_criteria: Any,
            generation_config: GenerationConfig,
            **prepared: Any,
        ) -> Context:
            return cls(model, input_ids, generation_config, keep_states=keep_states, raw=kwargs, **prepared)

        prompt = prompt.to(model.device)
        mask = torch.ones_like(prompt) if mask is None else mask.to(model.device)
        config = GenerationConfig(max_new_tokens=1, num_beams=1, num_return_sequences=1, use_cache=True)
        return model.generate(prompt, attention_mask=mask, generation_config=config, custom_generate=take, **kwargs)

    def again(self, model: Any = None, **changes: Any) -> "Context":
        """A fresh context on the same prompt: of another model, of this one, or with `changes` to its `raw` content.

        Raises:
            ValueError: the prompt, or the images in it, are not there to be read again; `model` lacks its tokens.
        """
        if self.model.config.is_encoder_decoder or "inputs_embeds" in self._inputs:
            raise ValueError(
                "the prompt cannot be read a second time (it is an encoder's, or came as inputs_embeds): "
                "use a guide that is given its other prompt, or a decoder-only model with input_ids"
            )
        if model in (None, self.model) and not changes:
            return Context.of(self.model, self.prompt, self.mask, **self.content)
        if self.content and self.raw is None:
            raise ValueError("the images of this prompt came encoded: call decoding.generate, which still has them")
        copies = self.generation_config.num_return_sequences or 1 if self.content else 1
        prompt, mask, content = self.prompt[::copies], self.mask[::copies], {**(self.raw or {}), **changes}
        model = self.model if model is None else model
        if not content:  # images have ids of their own
            refuse_tokens(model, prompt, f"the prompt of {model.config.name_or_path or type(model).__name__}")
        context = Context.of(model, prompt, mask, **content)
        if copies > 1:
            context.select(torch.arange(len(prompt)).repeat_interleave(copies))
        return context

    @property
    def content(self) -> dict[str, Any]:
        """What the prompt holds beside its tokens, as this model takes it; only before it is read."""
        return {name: value for name, value in self._inputs.items() if name not in BOOKKEEPING and value is not None}

    @property
    def is_plain(self) -> bool:
        """Whether tokens and left padding are all there is to say of what is to be read, and how."""
        if self.fed >= 0 or self.borrowed or self._shown or self.content:
            return False
        caches = [self._inputs[name] for name in ALL_CACHE_NAMES if self._inputs.get(name) is not None]
        if self.model.config.is_encoder_decoder or any(type(cache) is not DynamicCache for cache in caches):
            return False
        mask, position = self.mask, self._inputs.get("position_ids")
        usual = (mask.cumsum(-1) - 1).clamp(min=0)
        known = position is None or (position.shape == usual.shape and bool(((position == usual) | (mask == 0)).all()))
        return bool(self._inputs.get("use_cache")) and mask.dim() == 2 and known

    def __call__(self, continuation: Tensor) -> Tensor:
        """(R, n) int64 tokens after the prompt -> (R, V) float32 logits of token n."""
        self.read(continuation)
        return self.logits

    def read(self, continuation: Tensor) -> None:
        """Feed what of the (R, n) int64 tokens was not fed yet; logits that nobody asks for may cost nothing."""
        continuation = continuation.to(self.prompt.device)
        if self.fed < 0:
            self._read_prompt()
        if new := continuation.shape[1] - self.fed:
            self._feed(continuation, new)
            self.fed += new

    def select(self, rows: Tensor) -> None:
        """Continue with `rows` (R',) int64: repeats fork, omissions prune. The cache follows at the next forward.

        A prompt that was not read yet is read first: once, however many rows it forks to.

        Raises:
            ValueError: this model's state cannot be forked or reordered.
        """
        if self.fed < 0:
            self.read(self.prompt[:, :0])  # each prompt is read once, and only then its copies
        self._refuse_unforkable()
        rows = rows.to(self.prompt.device)
        self.prompt = self.prompt[rows]
        self._choose_rows(rows)

    @property
    def logits(self) -> Tensor:
        """(R, V) float32 next-token logits after everything fed."""
        if self._logits is None:
            self._gather_rows()  # of the rows that are left
            assert self._hidden is not None
            self._logits = project_to_logits(self.model, self._hidden).to(
                dtype=torch.float32, device=self.prompt.device
            )
        return self._at_present_rows(self._logits)

    @property
    def states(self) -> Tensor:
        """(R, T, D) last-layer hidden states of everything fed, scaled to unit length, float32 or wider."""
        return self._hidden_states().all()

    @property
    def newest(self) -> Tensor:
        """(R, D) the unit state of the last token fed; after a fork, cheaper than `states[:, -1]`."""
        return self._hidden_states().newest()

    @property
    def mask(self) -> Tensor:
        """(R, T) 1 for the real tokens fed, 0 for left padding."""
        name = "decoder_attention_mask" if self.model.config.is_encoder_decoder else "attention_mask"
        if (mask := self._inputs.get(name)) is not None:
            return self._at_present_rows(mask)
        length = self._width + max(self.fed, 0) if self._states is None else self.states.shape[1]
        return torch.ones(len(self.prompt), length, dtype=torch.long, device=self.prompt.device)

    @property
    def outputs(self) -> dict[str, Any]:
        """What `output_attentions` and `output_hidden_states` ask to see of the last forward, for the present rows."""
        return self._at_present_rows(self._outputs)

    @property
    def encoder_outputs(self) -> ModelOutput | None:
        """An encoder-decoder's encoder outputs, for the present rows; None for the others."""
        return self._at_present_rows(self._inputs.get("encoder_outputs"))

    def close(self, tokens: int) -> Any:
        """The cache, rows in order, holding all but the last of `tokens` continuation tokens: as `generate` leaves it.

        None where there is no cache, or where a look-ahead cannot be taken out of it again.
        """
        self._gather_rows()
        if self._tree is not None:
            self._tree.to_plain_cache()
        cache: Any = next((self._carry[name] for name in ALL_CACHE_NAMES if name in self._carry), None)
        if cache is not None and self.fed >= tokens:
            if not can_be_cropped(cache):
                return None
            cache.crop(-1)
        if self._borrowed_cache is not None:
            self._borrowed_cache.__dict__.update(cache.__dict__)
            return self._borrowed_cache
        return cache

    def _read_prompt(self) -> None:
        """Each different prompt once, with one forward for all."""
        same = None
        if self.borrowed:
            self._borrow()
        if not (self.borrowed or self._shown or self.content or self.model.config.is_encoder_decoder):
            same = find_distinct_rows(torch.cat([self.prompt, self.mask.to(self.prompt)], dim=1))
        prompt = self.prompt
        if same is not None:
            prompt = prompt[same[0]]
            self._inputs, self._batch = self._inputs_at(same[0]), len(same[0])
        if self.keep_states and self.share is None and not self._shown and PROBED.knows_headless(self.model):
            inputs = {**self._inputs, "output_hidden_states": None}
            with capture_last_hidden_states(self.model) as captured:
                out = self.model._prefill(prompt, self.generation_config, inputs)
            self._take(out, states=False)
            self._keep(captured[-1])
        else:
            self._take(self.model._prefill(prompt, self.generation_config, self._inputs), self.keep_states)
        if same is not None:
            self._choose_rows(same[1])
        self._inputs.pop("inputs_embeds", None)  # they were the prompt, and it is read
        self.fed = 0

    def _borrow(self) -> None:
        """Go on with a twin of a caller's cache, so that whatever interrupts us, theirs holds what it held."""
        cache: Any = self._inputs.get("past_key_values")
        if can_be_copied(cache):
            self._borrowed_cache, self._inputs["past_key_values"] = cache, copy_cache(cache)

    def _feed(self, continuation: Tensor, new: int) -> None:
        """Feed the last `new` tokens of every row; rows that are the same, past and tokens, once."""
        tokens, same = torch.cat([self.prompt, continuation], dim=1), None
        if self._rows is not None and not self._outputs:
            same = find_distinct_rows(torch.cat([self._rows[:, None], continuation[:, -new:]], dim=1))
        if same is not None:
            tokens = tokens[same[0]]
            self._choose_rows(same[0])
        result = self._choose_path()
        if result is None:
            self._probe_sharing(tokens, new)
        elif result.shares:
            hidden = self._feed_shared(tokens, new, headless=result.headless and self.keep_states)
            if self.keep_states and hidden is not None:
                self._keep(hidden)
        else:
            self._take(self._forward(tokens, new), self.keep_states)
        if same is not None:
            self._choose_rows(same[1])

    def _forward(self, tokens: Tensor, new: int, **flags: Any) -> Any:
        """The general path: the cache has a row for each row, and transformers' own functions say what is fed."""
        self._gather_rows()
        self._inputs = self.model._update_model_kwargs_for_generation(
            self._carry, self._inputs, is_encoder_decoder=self.model.config.is_encoder_decoder, num_new_tokens=new
        )
        length = new if self._inputs["use_cache"] else None
        inputs = self.model.prepare_inputs_for_generation(tokens, next_sequence_length=length, **self._inputs)
        return self.model(**{**inputs, **flags}, return_dict=True)

    def _take(self, out: Any, states: bool) -> None:
        """Keep of a forward's outputs what is needed, so that the rest is freed."""
        self._carry = type(out)(**{name: out[name] for name in ALL_CACHE_NAMES if name in out})
        for name in self._carry:
            self._inputs.pop(name, None)
        self._outputs = {name: out[name] for name in self._shown if name in out}
        self._logits = out.logits[:, -1].to(copy=True, dtype=torch.float32, device=self.prompt.device)
        self._batch = len(self._logits)
        if states:
            self._keep(last_states(out), anew=not self._inputs["use_cache"])

    def _keep(self, hidden: Tensor, anew: bool = False) -> None:
        if self._states is None or anew:  # without a cache all states come again
            self._states = HiddenStates(hidden)
        else:
            self._states.append(hidden)

    @torch.no_grad()
    def _feed_shared(self, tokens: Tensor, new: int, headless: bool, states: bool | None = None) -> Tensor | None:
        """The fast path: rows share the past that they have in common, and the head runs for those that are left.

        Returns the (R, new, D) hidden states if they are asked for, or needed to make logits of.
        """
        states = headless or (self.keep_states if states is None else states)
        if self._tree is None:
            self._tree = self._make_tree()
        self._gather_rows()
        self._inputs = self.model._update_model_kwargs_for_generation(self._carry, self._inputs, num_new_tokens=new)
        for name in self._carry:
            self._inputs.pop(name, None)
        positions, device = self._inputs.get("position_ids"), self.model.device
        if positions is not None:
            positions = positions[:, -new:].to(device)
        inputs = self._tree.model_inputs(tokens[:, -new:].to(device), positions, self.model.dtype)
        inputs |= {"use_cache": True, "return_dict": True}
        self._batch, self._logits, self._hidden = len(tokens), None, None
        hidden: Tensor | None = None
        if headless:
            with grouped(self.model), capture_last_hidden_states(self.model) as captured:
                self.model(**inputs, logits_to_keep=no_logits(device))
            hidden = self._tree.per_row(captured[-1])
            self._hidden = hidden[:, -1]
        else:
            with grouped(self.model):
                out = self.model(**inputs, output_hidden_states=states)
            hidden = self._tree.per_row(last_states(out)) if states else None
            self._logits = self._tree.per_row(out.logits)[:, -1].to(dtype=torch.float32, device=self.prompt.device)
        return hidden

    def _make_tree(self) -> PrefixTree:
        cache, config = self._carry["past_key_values"], self.model.config.get_text_config(decoder=True)
        limit = (self.generation_config.max_length or 0) + LOOK_AHEAD
        mask = self._inputs.get("attention_mask")
        return PrefixTree(cache, mask, limit, getattr(config, "layer_types", None))

    def _choose_path(self) -> ProbeResult | None:
        """Which path the next tokens take; None: that is still to be proven."""
        if self._tree is None:
            forks = self._rows is not None and len(self._rows) > len(self._rows.unique())
            if self.share is False or not (self.keep_states or forks) or not self._may_share():
                return ProbeResult(shares=False)
            self._probed = PROBED.of_model(self.model).get(self._circumstances())
        return ProbeResult(shares=True) if self.share else self._probed

    def _may_share(self) -> bool:
        """Whether there is nothing but text, in a cache of keys and values of our own, that takes a mask."""
        positions, mask = self._inputs.get("position_ids"), self._inputs.get("attention_mask")
        lost = self.borrowed and self._borrowed_cache is None  # a cache that cannot be given back in its own layers
        if lost or self._shown or self.model.config.is_encoder_decoder or not self._inputs["use_cache"]:
            return False
        if any(value is not None and value.dim() != 2 for value in (positions, mask)):
            return False
        if any(name not in MULTIMODAL_INPUTS_TO_DROP_OUTSIDE_PREFILL for name in self.content):
            return False
        cache: Any = self._carry.get("past_key_values")
        config = self.model.config.get_text_config(decoder=True)
        if not holds_keys_and_values_alone(cache) or not set(getattr(config, "layer_types", None) or ()) <= ATTENTION:
            return False
        return any(cache.is_sliding) or not any(getattr(config, name, None) for name in REACHES)

    def _circumstances(self) -> tuple:
        """What a result may depend on, beside the model."""
        config, mask = self.model.config.get_text_config(decoder=True), self._inputs.get("attention_mask")
        padded = mask is not None and not bool(mask.all())
        layers = self._carry["past_key_values"].layers
        full = any(layer.get_seq_length() >= getattr(layer, "sliding_window", torch.inf) for layer in layers)
        return config._attn_implementation, self.model.dtype, self.model.device, padded, full

    def _probe_sharing(self, tokens: Tensor, new: int) -> None:
        """Feed by the fast path, and some rows by the general one too; remember whether both say the same.

        Some models are wrong without an error when siblings share a forward (they see to positions or reach by
        themselves), so no list of names decides, but a step on the prompt in hand. A few rows are enough, and a copy of
        the cache for each row would be what the fast path is there to spare.
        """
        circumstances, result = self._circumstances(), ProbeResult(shares=False)
        rows = self._probe_rows()
        general = self._copy()
        general._states = None
        general._choose_rows(rows)
        out = general._forward(tokens[rows], new, output_hidden_states=True)
        general._take(out, states=False)
        hidden, logits = last_states(out)[:, -1], general.logits
        del general, out  # and with them the copies of the cache
        before, found = self._copy(), None
        try:
            with capture_last_hidden_states(self.model) as captured:
                found = self._feed_shared(tokens, new, headless=False, states=True)
            assert found is not None
            assert self._tree is not None
            if is_same(scaled_to_unit_length(found[rows, -1]), scaled_to_unit_length(hidden), self.model.dtype):
                is_what_the_head_gets = bool(captured) and torch.equal(self._tree.per_row(captured[-1]), found)
                result = ProbeResult(True, is_what_the_head_gets and is_headless(self.model, found[rows, -1], logits))
        except Exception as error:  # whatever a model says to masks and positions that it does not expect
            logging.getLogger(__name__).debug("%s: siblings in one forward: %r", type(self.model).__name__, error)
        self._probed = before._probed = result
        PROBED.remember(self.model, circumstances, result)
        logging.getLogger(__name__).info("%s: %s", type(self.model).__name__, result)
        if not result.shares:
            self.__dict__.update(before.__dict__)
            self._take(self._forward(tokens, new), self.keep_states)
        elif self.keep_states and found is not None:
            self._keep(found)

    def _probe_rows(self) -> Tensor:
        """Which rows a proof is made on: a sibling, the last one, and one of the prompt with the most padding."""
        count = self._batch if self._rows is None else len(self._rows)
        mask = self._at_present_rows(self._inputs.get("attention_mask"))
        padded = 0 if mask is None else int(mask.sum(-1).argmin())
        return torch.tensor(sorted({min(1, count - 1), count - 1, padded}), device=self.prompt.device)

    def _copy(self) -> "Context":
        """This context once more, to be fed in another way: what is fed to one is not seen by the other."""
        other = copy.copy(self)
        other._inputs = dict(self._inputs)
        other._carry = type(self._carry)(past_key_values=copy_cache(self._carry["past_key_values"]))
        return other

    def _choose_rows(self, rows: Tensor) -> None:
        """Compose a choice of rows with those before it."""
        self._rows = rows if self._rows is None else self._rows[rows]
        if self._states is not None:
            self._states.select(rows)

    def _hidden_states(self) -> HiddenStates:
        if self._states is None:
            raise RuntimeError("no states here: make the context with keep_states=True and read the prompt first")
        return self._states

    def _at_present_rows(self, value: Any) -> Any:
        return value if self._rows is None else gather_rows(value, self._rows, self._batch)

    def _inputs_at(self, rows: Tensor) -> dict[str, Any]:
        inputs = {name: gather_rows(value, rows, self._batch) for name, value in self._inputs.items()}
        position = self._inputs.get("position_ids")
        if position is not None and position.dim() == 3:  # of multimodal models: (3, R, T)
            inputs["position_ids"] = position[:, rows]
        return inputs

    def _gather_rows(self) -> None:
        """Bring everything row-shaped to the rows selected since the last forward."""
        if self._rows is not None and not is_identity(self._rows, self._batch):
            self._inputs = self._inputs_at(self._rows)
            if self._tree is None:
                self._carry = self._at_present_rows(self._carry)
            else:
                self._tree.select_rows(self._rows)
            self._outputs = self._at_present_rows(self._outputs)
            self._logits, self._hidden = self._at_present_rows(self._logits), self._at_present_rows(self._hidden)
            self._batch = len(self._rows)
        self._rows = None

    def _refuse_lost_states(self) -> None:
        cache = next((self._inputs[name] for name in ALL_CACHE_NAMES if name in self._inputs), None)
        if self.borrowed and not can_be_cropped(cache):
            raise ValueError(
                f"a look-ahead could not be taken out of your {type(cache).__name__} again: leave past_key_values out"
            )
        if isinstance(cache, Cache) and holds_tokens(cache):
            raise ValueError(
                "past_key_values already holds tokens, and their hidden states are gone: pass the whole prompt "
                "without past_key_values, or use a picker that needs no states (Greedy, Sample)"
            )
        own = getattr(cache, "self_attention_cache", cache)
        room = own.get_max_length() if isinstance(own, StaticCache) else None
        if room is not None and room < self.generation_config.max_length:
            raise ValueError(
                f"the static cache has {room} places and no room for a look-ahead: "
                f"pass max_cache_len={self.generation_config.max_length}"
            )
        if self.generation_config.prefill_chunk_size is not None:
            raise ValueError("prefill_chunk_size drops hidden states that this picker needs: leave it out")

    def _refuse_unforkable(self) -> None:
        if not self._inputs["use_cache"]:
            return  # without a cache everything is read anew from the tokens, so rows can be anything
        caches = [self._carry[name] for name in ALL_CACHE_NAMES if name in self._carry]
        if not caches or not all(isinstance(cache, Cache) for cache in caches):
            raise ValueError(
                f"{type(self.model).__name__} keeps its state where rows cannot be forked or reordered: "
                "use Greedy or Sample without a reranker, or pass use_cache=False (slow)"
            )
