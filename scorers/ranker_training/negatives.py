"""Negatives that a language model makes: a continuation of a prefix, by nucleus sampling, kept in a file of JSON lines.

The file goes on where a killed run left it. transformers' own loop generates: scorers know nothing of decoding.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm
from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoModelForCausalLM

from .._common.files import JsonLines, read_json_lines
from .._common.loading import load_config, load_model, load_tokenizer
from .pairs import Window

STRANGER = ': needs "prompt" and "continuation", two texts'


@dataclass(frozen=True)
class Generator:
    """A causal language model, and how it continues prefixes.

    name: hub id or folder. new_tokens: of a continuation, at most; at least 1. context: tokens of the prefix's end that
    the model reads; at least 1. top_p: of the nucleus, in (0, 1]. batch_size: at least 1. seed: of sampling. dtype: of
    the weights, "float32" or "bfloat16". device: where the model goes.

    Raises:
        ValueError: a number is out of range.
    """

    name: str
    new_tokens: int = 48
    context: int = 128
    top_p: float = 0.9
    batch_size: int = 32
    seed: int = 0
    dtype: str = "float32"
    device: str = "cpu"

    def __post_init__(self) -> None:
        if min(self.new_tokens, self.context, self.batch_size) < 1:
            raise ValueError("--generated-tokens, --generator-context and the batch size must be at least 1")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"--top-p must be above 0 and at most 1, not {self.top_p}")

    def check(self) -> None:
        """Raise ValueError if there is no such model, or none that continues text; loads no weights."""
        try:
            config, tokenizer = load_config(self.name), load_tokenizer(self.name)
        except ValueError as error:
            raise ValueError(f"no language model {self.name!r}: give a hub id or a folder") from error
        if config.is_encoder_decoder or type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
            raise ValueError(f"{self.name!r} is no causal language model")
        window = getattr(config.get_text_config(decoder=True), "max_position_embeddings", None)
        if window and self.context + self.new_tokens > window:
            raise ValueError(f"--generator-context and --generated-tokens outgrow the model's window of {window}")
        if tokenizer.eos_token_id is None and tokenizer.pad_token_id is None:
            raise ValueError(f"the tokenizer of {self.name!r} has no token to pad with")

    def batches(self, prefixes: Sequence[str], done: Iterable[str] = ()) -> Iterator[list[dict[str, Any]]]:
        """The records of each batch of prefixes that is not all done: `prompt`, `continuation` and how it was made.

        Batches are runs of the complete list with random numbers of their own, so that an interruption changes nothing.
        """
        there, loaded = set(done), None
        for start in range(0, len(prefixes), self.batch_size):
            batch = prefixes[start : start + self.batch_size]
            if there.issuperset(batch):
                continue
            loaded = loaded or self._load()
            # torch's generator on the CPU keeps 32 bits of a seed
            seed = int.from_bytes(hashlib.sha256(f"{self.seed}/{start}".encode()).digest()[:4])
            texts = self._continue(*loaded, batch, seed)
            yield [{"prompt": prompt, "continuation": text, **self.origin}
                   for prompt, text in zip(batch, texts, strict=True) if prompt not in there]  # fmt: skip

    @property
    def origin(self) -> dict[str, Any]:
        """What every record says of how it was made; batch size and precision belong to it, for they change draws."""
        names = ("new_tokens", "context", "top_p", "batch_size", "seed", "dtype")
        return {"model": Path(self.name).name, **{name: getattr(self, name) for name in names}}

    def _load(self) -> tuple[Any, Any]:
        tokenizer = load_tokenizer(self.name)
        tokenizer.padding_side = tokenizer.truncation_side = "left"
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        dtype = getattr(torch, self.dtype)
        return load_model(AutoModelForCausalLM, self.name, device=self.device, dtype=dtype), tokenizer

    def _continue(self, model: Any, tokenizer: Any, prefixes: Sequence[str], seed: int) -> list[str]:
        inputs = tokenizer(list(prefixes), return_tensors="pt", padding=True, truncation=True, max_length=self.context)
        devices = [model.device] if model.device.type == "cuda" else []
        with torch.random.fork_rng(devices), torch.inference_mode():
            torch.manual_seed(seed)
            ids = model.generate(
                inputs["input_ids"].to(model.device), attention_mask=inputs["attention_mask"].to(model.device),
                do_sample=True, top_p=self.top_p, top_k=0, temperature=1.0, repetition_penalty=1.0, num_beams=1,
                max_new_tokens=self.new_tokens, pad_token_id=tokenizer.pad_token_id,
            )  # fmt: skip
        return tokenizer.batch_decode(ids[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


def choose(windows: Sequence[Window], number: int) -> list[str]:
    """The prefixes of `number` windows, or of all if they are fewer: a first one of every document, a second, ..."""
    owned: dict[int, list[Window]] = {}
    for window in windows:
        owned.setdefault(window.document, []).append(window)
    rounds = chain.from_iterable(zip_longest(*owned.values()))
    return list(dict.fromkeys(window.prefix for window in rounds if window))[:number]


def read_generated(path: Path) -> dict[str, str]:
    """The made continuation of each prefix in a file of JSON lines with `prompt` and `continuation`; the first counts.

    These are the lines that `generate_into` writes, and `python -m decoding --output`. A last line that was cut short
    is left out.

    Raises:
        OSError: the file cannot be read. ValueError: another line is none of this kind; it says which.
    """
    path.stat()  # a file that is not there has nothing, but who names one means one
    found: dict[str, str] = {}
    for prompt, continuation in read_json_lines(path, pair_of, stranger=STRANGER):
        found.setdefault(prompt, continuation)
    return found


def pair_of(entry: Any, place: str) -> tuple[str, str]:
    """The prompt and the continuation of a line."""
    prompt, continuation = entry["prompt"], entry["continuation"]
    if not (isinstance(prompt, str) and isinstance(continuation, str)):
        raise TypeError
    return prompt, continuation


def generate_into(path: Path, generator: Generator, prefixes: Sequence[str]) -> dict[str, str]:
    """The continuation of every prefix; those that the file lacks are made now and appended batch by batch.

    Raises:
        ValueError: the file was made with other settings, or another process writes to it.
    """

    def check(entry: Any, place: str) -> tuple[str, str]:
        pair = pair_of(entry, place)
        if {name: entry.get(name) for name in generator.origin} != generator.origin:
            raise ValueError(f"{path} was made with other settings: give another --output")
        return pair

    lines = JsonLines(path, "prompt", check, stranger=STRANGER)
    done: dict[str, str] = {}
    for prompt, continuation in lines.rows:
        done.setdefault(prompt, continuation)
    wanted = set(prefixes)
    with tqdm(
        total=len(wanted), initial=len(wanted & done.keys()), unit="text", desc="generating", disable=None, leave=False
    ) as bar:
        for records in generator.batches(prefixes, done):
            lines.append(records)
            done |= {record["prompt"]: record["continuation"] for record in records}
            bar.update(len(records))
    return {prefix: done[prefix] for prefix in prefixes}
