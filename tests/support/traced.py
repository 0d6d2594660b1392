"""Calls with a trace."""

import math

import torch

import decoding
from decoding import (
    Trace,
)
from tests.support import tiny
from tests.support.judges import TOKENIZER
from tests.support.stub_parts import Mix, call


def run(model, prompts, *parts, n=9, trace=None, seed=3, **options):
    """The (P, T) sequences, and the trace."""
    trace = Trace(TOKENIZER) if trace is None else trace
    inputs = {**tiny.batch(prompts), "max_new_tokens": n, "generator": torch.Generator().manual_seed(seed), **options}
    return decoding.generate(model, **inputs, processors=parts, trace=trace), trace


def counted(model, decoder, trace):
    """Tokens, the generator's state afterwards, and the shape of every forward of any model."""
    shapes = []
    spy = lambda model, args, kwargs, out: shapes.append(kwargs["input_ids"].shape)
    others = [part.other for part in decoder.guides if isinstance(part, Mix)]
    hooks = [one.register_forward_hook(spy, with_kwargs=True) for one in (model, *others)]
    options = call(decoder)
    if decoder.picker is not None and decoder.picker.draws:
        options |= {"do_sample": True, "top_k": 0}
    options.setdefault("generator", torch.Generator().manual_seed(5))
    out = model.generate(**options, custom_generate=decoder, **({} if trace is None else {"trace": trace}))
    for hook in hooks:
        hook.remove()
    return out, options["generator"].get_state(), shapes


def plain(value):
    if type(value) is dict:
        return all(type(key) is str and plain(part) for key, part in value.items())
    if type(value) is list:
        return all(map(plain, value))
    return value is None or type(value) in (bool, int, str) or (type(value) is float and math.isfinite(value))
