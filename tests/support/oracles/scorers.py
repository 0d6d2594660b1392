"""Slow, obvious transcriptions of what the scorers compute: one text at a time, no padding, no cache."""

import math
import re
from collections import Counter

import torch
from torch import Tensor


def overlap(prefix: str, continuation: str, stop_words: set[str], weights: dict[str, float] | None = None) -> float:
    """Σ_w min(n_w(c), n_w(x)) i_w / Σ_w n_w(c) i_w; `weights` of every word, None: 1."""
    words = lambda text: [w for w in re.findall(r"\w+(?:'\w+)*", text.lower()) if w not in stop_words]
    left, shared, total = Counter(words(prefix)), 0.0, 0.0
    for word in words(continuation):
        weight = 1.0 if weights is None else weights[word]
        total += weight
        if left[word]:
            left[word] -= 1
            shared += weight
    return shared / total if total else 0.0


def idf(word: str, texts: list[str]) -> float:
    """1 + log((1 + D) / (1 + D_w))."""
    having = sum(word in re.findall(r"\w+(?:'\w+)*", text.lower()) for text in texts)
    return 1 + math.log((1 + len(texts)) / (1 + having))


def t5_bucket(distance: int, buckets: int, farthest: int) -> int:
    """The bucket of key minus query, of a bidirectional encoder: Raffel et al. 2020, as in Mesh TensorFlow."""
    half = buckets // 2
    offset, distance = (half if distance > 0 else 0), abs(distance)
    if distance < half // 2:
        return offset + distance
    exact = half // 2
    log = exact + int(math.log(distance / exact) / math.log(farthest / exact) * (half - exact))
    return offset + min(log, half - 1)


def rankgen_vector(weights: dict[str, Tensor], config, ids: list[int]) -> Tensor:
    """The projected state of the first position of a T5 v1.1 encoder, from its state dict alone."""
    norm = lambda x, w: x / (x.pow(2).mean(-1, keepdim=True) + config.layer_norm_epsilon).sqrt() * w
    gelu = lambda x: 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    block = lambda i, name: weights[f"t5_encoder.encoder.block.{i}.layer.{name}.weight"]
    n, heads, size = len(ids), config.num_heads, config.d_kv
    table = block(0, "0.SelfAttention.relative_attention_bias")
    bias = torch.zeros(heads, n, n, dtype=torch.float64)
    for i in range(n):
        for j in range(n):
            bucket = t5_bucket(j - i, config.relative_attention_num_buckets, config.relative_attention_max_distance)
            bias[:, i, j] = table[bucket]
    x = torch.stack([weights["t5_encoder.shared.weight"][token] for token in ids])
    for layer in range(config.num_layers):
        h = norm(x, block(layer, "0.layer_norm"))
        q, k, v = ((h @ block(layer, f"0.SelfAttention.{name}").T).view(n, heads, size) for name in "qkv")
        out = torch.zeros(n, heads, size, dtype=torch.float64)
        for head in range(heads):
            attention = (q[:, head] @ k[:, head].T + bias[head]).softmax(-1)  # T5 does not scale
            out[:, head] = attention @ v[:, head]
        x = x + out.view(n, heads * size) @ block(layer, "0.SelfAttention.o").T
        h = norm(x, block(layer, "1.layer_norm"))
        gate = gelu(h @ block(layer, "1.DenseReluDense.wi_0").T) * (h @ block(layer, "1.DenseReluDense.wi_1").T)
        x = x + gate @ block(layer, "1.DenseReluDense.wo").T
    x = norm(x, weights["t5_encoder.encoder.final_layer_norm.weight"])
    kernel = weights["projection.weight"].T  # of the JAX checkpoint: hidden @ kernel
    return x[0] @ kernel


@torch.no_grad()
def log_p(model, given: list[int], said: list[int]) -> float:
    """Σ_t log p(said_t | given, said_<t), the whole text read anew for every token."""
    total, text = 0.0, list(given)
    for token in said:
        logits = model(input_ids=torch.tensor([text]), use_cache=False).logits[0, -1].double()
        total += float(logits.log_softmax(-1)[token])
        text.append(token)
    return total


def win_rates(texts: list[str], probability) -> list[float]:
    """Each text's mean win over all other entries, of both orders; equal texts draw."""
    scores = []
    for i, a in enumerate(texts):
        wins = []
        for j, b in enumerate(texts):
            if i != j:
                forth, back = (0.5, 0.5) if a == b else (probability(a, b), probability(b, a))
                wins.append((forth + (1 - back)) / 2)
        scores.append(sum(wins) / len(wins) if wins else 0.5)
    return scores
