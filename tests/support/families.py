"""One tiny random model of every causal-LM family that the installed transformers builds offline.

`python -m tests.support.families` prints what each of them does under contrastive search, as a Markdown table.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, AutoModelForSeq2SeqLM, PreTrainedModel

import decoding
from tests.support import tiny
from tests.support.oracles import methods as oracles

PROMPTS = [[5, 9, 11, 30, 7, 21, 13, 44, 52, 3, 18, 26], [8, 8, 3, 60, 41]]
WINDOW = 8  # shorter than the longest prompt, so that it matters
K, ALPHA, NEW = 4, 0.6, 8

COMMON = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
    "intermediate_size": 64, "max_position_embeddings": 128,
}  # fmt: skip
IDS = {"vocab_size": tiny.VOCABULARY, "pad_token_id": tiny.PAD, "bos_token_id": tiny.BOS, "eos_token_id": tiny.EOS}
GPT = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128}
STATE = {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 8}
EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2, "num_experts": 4, "moe_intermediate_size": 32}
CODER = {"encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4, "decoder_attention_heads": 4}
LATENT = {
    "q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8,
    "n_routed_experts": 4, "num_experts_per_tok": 2, "n_group": 2, "topk_group": 1, "moe_intermediate_size": 32,
    "num_key_value_heads": 4,
}  # fmt: skip


@dataclass(frozen=True)
class Family:
    """A model type, the arguments of its tiny configuration, and what is known of it."""

    kind: str
    name: str = ""
    arguments: dict[str, Any] = field(default_factory=dict)
    common: bool = True
    pads: bool = True  # whether transformers itself reads a left-padded row as it reads the row alone
    dtype: torch.dtype = torch.float64  # float32 where transformers' own code fails in float64
    std: float = 0.3
    refused: str = ""  # what the error says where rows cannot be forked

    def __str__(self) -> str:
        return self.name or self.kind

    def model(self) -> PreTrainedModel:
        arguments = {**IDS, **(COMMON if self.common else {}), **self.arguments}
        config = CONFIG_MAPPING[self.kind](**{name: value for name, value in arguments.items() if value != "drop"})
        torch.manual_seed(0)
        kind = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
        return tiny.seeded(kind.from_config(config), std=self.std).to(self.dtype)


FAMILIES = [
    Family("gpt2", arguments=GPT, common=False),
    Family("gpt_neo", "gpt_neo (local layers)", {
        "hidden_size": 32, "num_layers": 2, "num_heads": 4, "attention_types": [[["global", "local"], 1]],
        "window_size": WINDOW, "max_position_embeddings": 128,
    }, common=False),
    Family("gptj", arguments={**GPT, "rotary_dim": 4}, common=False),
    Family("gpt_neox"),
    Family("gpt_bigcode", "gpt_bigcode (multi-query)", {**GPT, "multi_query": True}, common=False),
    Family("codegen", arguments={**GPT, "rotary_dim": 4}, common=False),
    Family("opt", arguments={"ffn_dim": 64, "word_embed_proj_dim": 32}),
    Family("xglm", arguments={"d_model": 32, "num_layers": 2, "ffn_dim": 64, "attention_heads": 4}, common=False,
           dtype=torch.float32),
    Family("biogpt"),
    Family("llama"),
    Family("smollm3"),
    Family("qwen2"),
    Family("qwen3"),
    Family("olmo"),
    Family("olmo2"),
    Family("cohere"),
    Family("granite"),
    Family("stablelm"),
    Family("nemotron"),
    Family("glm"),
    Family("ernie4_5"),
    Family("mistral", "mistral (no window)", {"sliding_window": None}),
    Family("mistral", "mistral (window)", {"sliding_window": WINDOW}),
    Family("starcoder2", "starcoder2 (window)", {"sliding_window": WINDOW}),
    Family("phi"),
    Family("phi3", "phi3 (window)", {"sliding_window": WINDOW}),
    Family("gemma"),
    Family("gemma2", "gemma2 (hybrid window)", {"sliding_window": WINDOW, "query_pre_attn_scalar": 8},
           dtype=torch.float32),
    Family("gemma3_text", "gemma3 (hybrid window)", {
        "sliding_window": WINDOW, "query_pre_attn_scalar": 8, "layer_types": ["sliding_attention", "full_attention"],
    }),
    Family("gpt_oss", "gpt_oss (sinks, hybrid window)", {"sliding_window": WINDOW, **EXPERTS}, dtype=torch.float32),
    Family("llama4_text", "llama4 (chunks)", {
        "attention_chunk_size": WINDOW, "intermediate_size_mlp": 64, "num_local_experts": 4, "num_experts_per_tok": 1,
        "interleave_moe_layer_step": 2, "no_rope_layers": [1, 0],
    }),
    Family("mixtral", arguments=EXPERTS, dtype=torch.float32),
    Family("qwen2_moe", arguments={**EXPERTS, "shared_expert_intermediate_size": 32}, dtype=torch.float32),
    Family("qwen3_moe", arguments=EXPERTS, dtype=torch.float32),
    Family("olmoe", arguments=EXPERTS, dtype=torch.float32),
    Family("deepseek_v3", "deepseek_v3 (latent attention)", {**LATENT, "head_dim": "drop"}),
    Family("bloom", "bloom (ALiBi)", {"hidden_size": 32, "n_layer": 2, "n_head": 4}, common=False, dtype=torch.float32),
    Family("mpt", "mpt (ALiBi)", {"d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": 128}, common=False,
           dtype=torch.float32),
    Family("falcon", "falcon (rotary)", {"alibi": False, "num_key_value_heads": "drop", "head_dim": "drop"}),
    Family("falcon", "falcon (ALiBi)", {
        "alibi": True, "new_decoder_architecture": False, "num_key_value_heads": "drop", "head_dim": "drop",
    }, dtype=torch.float32),
    Family("mamba", arguments=STATE, common=False, std=0.1),
    Family("mamba2", arguments={
        **STATE, "num_heads": 8, "head_dim": 8, "n_groups": 1,
        "expand": 2, "chunk_size": 16,
    }, common=False, std=0.1),
    Family("falcon_mamba", arguments=STATE, common=False, std=0.1),
    Family("jamba", "jamba (hybrid)", {
        "attn_layer_period": 2, "attn_layer_offset": 1, "expert_layer_period": 2, "expert_layer_offset": 1,
        "num_experts": 2, "num_experts_per_tok": 1, "mamba_d_state": 8, "mamba_dt_rank": 4,
    }, dtype=torch.float32, std=0.1),
    Family("qwen3_next", "qwen3_next (linear attention)", {
        "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 8, "linear_value_head_dim": 8,
        "layer_types": ["linear_attention", "full_attention"], "shared_expert_intermediate_size": 32, **EXPERTS,
    }, dtype=torch.float32, std=0.1),
    Family("lfm2", "lfm2 (convolutions)", {"layer_types": ["conv", "full_attention"]}),
    Family("rwkv", arguments={
        "hidden_size": 32, "num_hidden_layers": 2, "context_length": 128, "attention_hidden_size": 32,
    }, common=False, pads=False, refused="keeps its state where rows cannot be forked"),
    Family("recurrent_gemma", arguments={
        "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "lru_width": 32,
        "attention_window_size": WINDOW, "intermediate_size": 64,
    }, common=False, pads=False, std=0.1, refused="keeps its state where rows cannot be forked"),
    Family("t5", "t5 (encoder-decoder)", {
        "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4, "decoder_start_token_id": 0,
    }, common=False),
    Family("bart", "bart (encoder-decoder)", {
        "d_model": 32, **CODER, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "max_position_embeddings": 128,
        "decoder_start_token_id": 2, "forced_eos_token_id": None,
    }, common=False),
    Family("marian", "marian (encoder-decoder)", {
        "d_model": 32, **CODER, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "max_position_embeddings": 128,
        "decoder_start_token_id": 0, "decoder_vocab_size": tiny.VOCABULARY, "forced_eos_token_id": None,
    }, common=False),
]  # fmt: skip


def batches(family: Family) -> list[list[list[int]]]:
    """The prompts in one padded batch, or each alone where the family itself cannot read padding."""
    return [PROMPTS] if family.pads else [[prompt] for prompt in PROMPTS]


def search(family: Family, model: PreTrainedModel, *parts: Any, **options: Any) -> list[list[int]]:
    """The continuations of the prompts, up to and including the end."""
    rows = []
    for batch in batches(family):
        inputs = tiny.batch(batch)
        if not family.pads:
            del inputs["attention_mask"]
        if model.config.is_encoder_decoder:  # an encoder's padding stands on the right
            inputs = {name: rows_right(name, batch) for name in inputs}
        start = 1 if model.config.is_encoder_decoder else inputs["input_ids"].shape[1]
        options = {"max_new_tokens": NEW, "do_sample": False, **options}
        rows += decoding.generate(model, **inputs, processors=parts, **options)[:, start:].tolist()
    return [row[: row.index(tiny.EOS) + 1] if tiny.EOS in row else row for row in rows]


def rows_right(name: str, prompts: list[list[int]]) -> torch.Tensor:
    """`input_ids` or `attention_mask` of a batch padded on the right."""
    rows = [prompt if name == "input_ids" else [1] * len(prompt) for prompt in prompts]
    return torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True)


def expected(model: PreTrainedModel, oracle: Any, *arguments: Any) -> list[list[int]]:
    """What an oracle says, prompt by prompt."""
    if not model.config.is_encoder_decoder:
        return [oracle(model, prompt, NEW, *arguments) for prompt in PROMPTS]
    start = [model.config.decoder_start_token_id]
    return [oracle(model, start, NEW, *arguments, input_ids=torch.tensor([prompt])) for prompt in PROMPTS]


def outcome(family: Family) -> str:
    """One line on what contrastive search does on this family."""
    model = family.model()
    try:
        found = search(family, model, decoding.ContrastiveSearch(K, ALPHA))
    except ValueError as error:
        return f"refused: {error}"
    if found != expected(model, oracles.contrastive_search, K, ALPHA):
        return "WRONG"
    return "equals the oracle, " + ("padded batch" if family.pads else "unpadded (the model itself reads no padding)")


def table() -> Iterator[str]:
    yield "| family | contrastive search |"
    yield "|---|---|"
    for family in FAMILIES:
        yield f"| {family} | {outcome(family)} |"


if __name__ == "__main__":
    for line in table():
        print(line, flush=True)
    sys.exit()
