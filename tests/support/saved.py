"""Tiny models and adapters as folders on the disk."""

import torch
from peft import LoraConfig, get_peft_model

from tests.support import tiny


def saved(model, folder, tokens=None):
    model.config.name_or_path = ""
    model.save_pretrained(folder)
    tokenizer = tiny.tokenizer()
    if tokens:
        tokenizer.add_tokens(tokens)
    tokenizer.save_pretrained(folder)
    return str(folder)


def save_adapter(folder, seed=1):
    """A LoRA adapter of the tiny Llama that changes it a lot; and the same model with the adapter merged into it."""
    config = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False)
    torch.manual_seed(seed)
    tuned = get_peft_model(tiny.llama(), config)
    for name, parameter in tuned.named_parameters():
        if "lora_" in name:
            parameter.data = torch.randn_like(parameter) * 0.3
    tuned.save_pretrained(folder, save_embedding_layers=False)
    return tuned.merge_and_unload().eval()


def save(model, folder, **tokenizer):
    model.save_pretrained(folder)
    words = tiny.tokenizer()
    for name, value in tokenizer.items():
        setattr(words, name, value)
    words.save_pretrained(folder)
