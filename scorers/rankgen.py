"""RankGen: the dot product of two encodings says how well a continuation suits its prefix. Krishna et al. 2022.

arXiv 2205.09726. The published checkpoints are read as they are, and by this module alone: no code comes from a hub.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import T5EncoderModel, T5PreTrainedModel
from transformers.utils.hub import has_file

from ._common.checks import require_count, require_one_of
from ._common.loading import load_config, load_model, load_tokenizer
from .encoding import batches, distinct, evaluating, pad, wide
from .scorer import Scorer

PREFIX, SUFFIX = "pre", "suffi"  # "suffix" would be two pieces of T5's vocabulary
TOKENIZERS = {768: "google/t5-v1_1-base", 1024: "google/t5-v1_1-large", 2048: "google/t5-v1_1-xl"}
TOKENIZER_FILES = ("tokenizer.json", "spiece.model", "tokenizer_config.json")
PACKAGES = {"sentencepiece": "sentencepiece", "protobuf": "google.protobuf"}
INSTALL = "pip install 'decoding-toolkit[rankgen]'"


class T5EncoderWithProjection(T5PreTrainedModel):
    """A T5 v1.1 encoder with a projection of the state at the first position.

    Names and layout are those of the checkpoints.

    Example:
        >>> from transformers import T5Config
        >>> config = T5Config(d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2, vocab_size=9)
        >>> T5EncoderWithProjection(config)(torch.tensor([[1, 2, 3]])).shape
        torch.Size([1, 8])
    """

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.t5_encoder = T5EncoderModel(config)
        self.projection = nn.Linear(config.d_model, config.d_model, bias=False)
        self.post_init()

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, **options: Any) -> Tensor:
        """(B, T) int64 tokens and their mask -> (B, d_model) vectors."""
        states = self.t5_encoder(input_ids=input_ids, attention_mask=attention_mask, **options).last_hidden_state
        return self.projection(states[:, 0])


@dataclass(frozen=True, eq=False)
class RankGen(Scorer):
    """The dot product of the vectors of a prefix and a continuation, by one encoder: Krishna et al. 2022, section 2.

    A prefix is read as "pre " and its text, a continuation as "suffi " and its text. An empty text is read as its
    marker alone. The vector of a text is the projected state at the first position. There is no norm and no
    temperature, so only differences between continuations of one prefix have a meaning. After a softmax they are the
    probabilities that training fits. The vector of a prefix is computed once.

    A continuation is read up to its 128th token, the marker included. A warning, once a call, says that a continuation
    is longer.

    Args:
        model: see `from_pretrained`.
        tokenizer: the tokenizer of T5, with "pre" and "suffi" as single pieces.
        truncation: how long prefixes are cut. "left" keeps the last tokens and the end of text. "paper" keeps the first
            512 tokens, as the released code does.
        batch_size: texts in a forward pass, at least 1.
        prefix_tokens: how many tokens of a prefix are read, marker and end of text included; at least 3.
        continuation_tokens: how many tokens of a continuation are read, marker and end of text included; at least 3.

    Raises:
        ValueError: an option is out of range, or the markers are not single pieces of the vocabulary.
    """

    model: Any = field(repr=False)
    tokenizer: Any = field(repr=False)
    truncation: str = "left"
    batch_size: int = 32
    prefix_tokens: int = 512
    continuation_tokens: int = 128

    def __post_init__(self) -> None:
        require_one_of("truncation", self.truncation, ("left", "paper"))
        require_count("batch_size", self.batch_size)
        for name in ("prefix_tokens", "continuation_tokens"):
            require_count(name, getattr(self, name))
            if getattr(self, name) < 3:
                raise ValueError(f"{name} must be at least 3: a marker, a token, the end of text")
        refuse_other_vocabularies(self.tokenizer)

    @classmethod
    def from_pretrained(
        cls, source: str | Path, tokenizer: Any = None, *, device: Any = None, dtype: Any = None, **options: Any
    ) -> "RankGen":
        """Load a published checkpoint, such as "kalpeshk2011/rankgen-t5-xl-all", or a folder of that layout.

        Args:
            source: a hub id, or a folder with config.json and pytorch_model.bin or model.safetensors.
            tokenizer: a tokenizer, or its hub id or folder. None: the one beside the weights; if there is none, that of
                the encoder's size, google/t5-v1_1-base, -large or -xl, which needs the extra `rankgen`.
            device: where the model goes. None: the accelerator if there is one, else the CPU.
            dtype: the type of the weights. None: that of the checkpoint. Do not use float16, in which T5 overflows.
            options: more arguments of the class.

        Raises:
            ValueError: there is no such checkpoint or no tokenizer, or the weights are not exactly those of this model.
            ModuleNotFoundError: the tokenizer needs `sentencepiece` or `protobuf`, and it is not installed.
        """
        config = load_config(source, "no RankGen in {!r}")
        if config.model_type != "t5":
            raise ValueError(f"{str(source)!r} is a {config.model_type} model, and RankGen is a t5: use Embedding")
        tokenizer = load_t5_tokenizer(find_tokenizer(source, config) if tokenizer is None else tokenizer)
        cls(None, tokenizer, **options)  # refuses wrong options before up to 4.9 GB are read
        model = load_model(T5EncoderWithProjection, source, device=device, dtype=dtype, exact=True)
        return cls(model, tokenizer, **options)

    def read(self, prefixes: Sequence[str]) -> Any:
        """(P, D) vectors of the prefixes."""
        return self.encode_prefixes(prefixes)

    def score(self, state: Any, owners: Sequence[int], continuations: Sequence[str]) -> Tensor:
        """(N,) dot products."""
        vectors = self.encode_continuations(continuations)
        return (state[list(owners)] * vectors).sum(-1).to("cpu", torch.float32)

    def encode_prefixes(self, texts: Sequence[str]) -> Tensor:
        """(P, D) on the model's device, float32 or wider. Equal texts are read once."""
        return self._encode(texts, PREFIX, self.prefix_tokens, self.truncation == "left")

    def encode_continuations(self, texts: Sequence[str]) -> Tensor:
        """(N, D) on the model's device, float32 or wider. Equal texts are read once."""
        return self._encode(texts, SUFFIX, self.continuation_tokens, False)

    def _encode(self, texts: Sequence[str], marker: str, length: int, keep_end: bool) -> Tensor:
        different, places = distinct(texts)
        rows = self.tokenizer([f"{marker} {text}" for text in different], verbose=False)["input_ids"] if texts else []
        if marker == SUFFIX and any(len(row) > length for row in rows):
            warnings.warn(
                f"RankGen sees the first {length} tokens of a continuation, and some are longer: what follows has no "
                "influence; score shorter ones",
                stacklevel=4,
            )
        rows = [[row[0], *row[1:][1 - length :]] if keep_end else row[:length] for row in rows]
        vectors = wide(
            torch.zeros(len(rows), self.model.config.d_model, device=self.model.device, dtype=self.model.dtype)
        )
        with evaluating(self.model):
            for batch in batches(list(map(len, rows)), self.batch_size):
                inputs = pad([{"input_ids": rows[i]} for i in batch], self.model.config.pad_token_id, self.model.device)
                vectors[batch] = wide(self.model(**inputs))
        return vectors[places]


def find_tokenizer(source: str | Path, config: Any) -> str:
    """The source of a checkpoint's tokenizer: the checkpoint itself, or T5 of the same size.

    Raises:
        ValueError: there is neither.
    """
    if any(has_file(str(source), name) for name in TOKENIZER_FILES):
        return str(source)
    if config.d_model in TOKENIZERS:
        return TOKENIZERS[config.d_model]
    raise ValueError(f"{str(source)!r} has no tokenizer, and its size is not a published one: pass tokenizer=")


def load_t5_tokenizer(source: Any) -> Any:
    """Load a tokenizer. If it needs a package that is missing, the error names that package.

    The error of transformers names another one.

    Raises:
        ModuleNotFoundError: `sentencepiece` or `protobuf` is missing.
        ValueError: there is no tokenizer.
    """
    missing = [name for name, module in PACKAGES.items() if not is_installed(module)]
    said = f"its vocabulary is a sentencepiece model, and {' and '.join(missing)} not installed: run `{INSTALL}`"
    if missing and isinstance(source, (str, Path)) and not has_file(str(source), "tokenizer.json"):
        # without these packages it may also be read as another vocabulary, without an error
        raise ModuleNotFoundError(f"{str(source)!r} has no tokenizer.json, {said}, or pass another tokenizer=")
    return load_tokenizer(source)


def is_installed(module: str) -> bool:
    """Whether a module, such as a.b, can be imported."""
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # there is no package a
        return False


def refuse_other_vocabularies(tokenizer: Any) -> None:
    """Raise ValueError unless the two markers are two known single pieces, and texts end as T5's do."""
    rows = tokenizer([PREFIX, SUFFIX])["input_ids"]
    first = [row[0] for row in rows]
    if [len(row) for row in rows] != [2, 2] or first[0] == first[1] or tokenizer.unk_token_id in first:
        pieces = " and ".join(str(tokenizer.convert_ids_to_tokens(row)) for row in rows)
        raise ValueError(
            f'RankGen needs the vocabulary of T5 v1.1, where "{PREFIX}" and "{SUFFIX}" are single pieces before the '
            f"end of text, and not {pieces}: pass such a tokenizer="
        )
    if [row[1] for row in rows] != [tokenizer.eos_token_id] * 2:
        raise ValueError("RankGen needs a tokenizer that ends texts with the end of text, as T5's does")
