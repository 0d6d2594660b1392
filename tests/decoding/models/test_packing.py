"""Packed layers give the plain ones' outputs, and give back the plain ones; what cannot work is refused in one line."""

import copy
import os
import subprocess
import sys

import pytest
import torch
from torch import nn
from transformers import (
    MixtralConfig,
    MixtralForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

import decoding
from decoding.models import packing
from tests.support import tiny

PROMPTS = tiny.batch([[5, 6, 7, 8, 9], [10, 11, 12], [13, 14]])


def tied_llama():
    model = tiny.llama().float()
    model.config.tie_word_embeddings = True
    model.tie_weights()
    return model


def mixtral():
    config = MixtralConfig(
        vocab_size=61, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, num_local_experts=4, bos_token_id=1, eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    return tiny.seeded(MixtralForCausalLM(config)).float()


MODELS = {"llama": lambda: tiny.llama().float(), "tied llama": tied_llama, "gpt2": lambda: tiny.gpt2().float()}
MODELS["mixture of experts"] = mixtral


def logits(model):
    with torch.no_grad():
        return model(**PROMPTS).logits


def weights(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def identical(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(params=MODELS.values(), ids=MODELS)
def model(request):
    return request.param()


def count(model):
    return sum(isinstance(layer, packing.PackedLinear) for layer in model.modules())


def test_same_outputs_and_back_bit_for_bit(model):
    before, exact, names = weights(model), logits(model), [(n, p.shape) for n, p in model.named_parameters()]
    linear = sum(packing.can_be_packed(layer) for layer in model.modules())
    assert decoding.pack(model, small=0) is model
    assert count(model) == linear > 4
    torch.testing.assert_close(logits(model), exact, atol=1e-4, rtol=1e-4)
    assert identical(weights(model), before)  # what is saved is the plain model
    assert decoding.unpack(model) is model
    assert count(model) == 0
    assert torch.equal(logits(model), exact)
    assert identical(weights(model), before)
    assert sorted((n, p.shape) for n, p in model.named_parameters()) == sorted(names)
    assert all(parameter.requires_grad for parameter in model.parameters())
    decoding.unpack(model)  # once more changes nothing
    model.train()
    model(**PROMPTS, labels=PROMPTS["input_ids"]).loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_same_texts_by_every_method(model):
    options = {"max_new_tokens": 12, "min_new_tokens": 12}
    for part in (decoding.Greedy(), decoding.ContrastiveSearch(k=4, alpha=0.6)):
        plain = decoding.generate(model, **PROMPTS, processors=[part], **options)
        packed = decoding.generate(decoding.pack(model, small=0), **PROMPTS, processors=[part], **options)
        decoding.unpack(model)
        assert torch.equal(plain, packed)


def test_a_tied_output_layer_stays_tied(tmp_path):
    model = tied_llama()
    embedding = model.get_input_embeddings().weight
    decoding.pack(model, small=0)
    assert isinstance(model.lm_head, packing.PackedLinear)
    assert model.get_input_embeddings().weight is model.lm_head.weight is embedding
    decoding.unpack(model)
    assert model.lm_head.weight is embedding
    decoding.pack(model, tied=False, small=0)
    assert type(model.lm_head) is nn.Linear
    assert count(model) == 14
    assert count(copy.deepcopy(decoding.pack(decoding.unpack(model), small=0))) == 15


def test_small_layers_are_left_alone():
    model = decoding.pack(tiny.llama().float(), small=32 * 64)
    assert count(model) == 2 * 3  # of each layer's seven, the three of the feed-forward part


def test_a_packed_model_is_saved_as_the_plain_one(tmp_path, model):
    before, exact = weights(model), logits(model)
    decoding.pack(model, small=0).save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    read, _ = decoding.load(tmp_path, device="cpu")
    assert identical(weights(read), before)
    assert torch.equal(logits(read), exact)


def test_a_copy_is_packed_and_its_own(model):
    decoding.pack(model, small=0)
    twin = copy.deepcopy(model)
    assert count(twin) == count(model)
    assert torch.equal(logits(twin), logits(model))
    decoding.unpack(twin)
    assert count(model) > 0
    pointers = {parameter.data_ptr() for parameter in model.parameters()}
    assert not pointers & {parameter.data_ptr() for parameter in twin.parameters()}


def test_an_encoder_decoder():
    config = T5Config(
        vocab_size=61, d_model=32, d_kv=8, d_ff=32, num_layers=2, num_heads=2, decoder_start_token_id=0,
        pad_token_id=0, eos_token_id=2, feed_forward_proj="gated-gelu", tie_word_embeddings=False,
    )  # fmt: skip
    model = tiny.seeded(T5ForConditionalGeneration(config)).float()
    part = decoding.ContrastiveSearch(k=3)
    plain = decoding.generate(model, **PROMPTS, processors=[part], max_new_tokens=8)
    packed = decoding.generate(decoding.pack(model, small=0), **PROMPTS, processors=[part], max_new_tokens=8)
    assert torch.equal(plain, packed)


@pytest.mark.parametrize("rows", [(0,), (1,), (2, 3), (2, 0), (40,), ()])
@pytest.mark.parametrize("bias", [True, False])
def test_any_number_of_rows_in_any_layout(rows, bias):
    layer = nn.Linear(33, 70, bias=bias).eval()
    packed = packing.PackedLinear(layer, shared=False)
    x = torch.randn(33, *rows).movedim(0, -1)
    torch.testing.assert_close(packed(x), layer(x))
    assert packed(x).shape == (*rows, 70)


REFUSED = {
    "float64": (lambda: tiny.llama(), "not in float64"),
    "elsewhere": (lambda: tiny.llama().float().to("meta"), "on the CPU"),
    "packed already": (lambda: decoding.pack(tiny.llama().float(), small=0), "packed already"),
}


@pytest.mark.parametrize(("make", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_packed_is_one_line_and_untouched(make, message):
    model = make()
    before = count(model)
    with pytest.raises(ValueError, match=message) as error:
        decoding.pack(model, small=0)
    assert "\n" not in str(error.value)
    assert count(model) == before


def test_nothing_to_pack():
    with pytest.raises(ValueError, match="no linear layer of 262144"):
        decoding.pack(tiny.llama().float())


def test_quantised_models_are_refused():
    model = tiny.llama().float()
    model.hf_quantizer = object()
    with pytest.raises(ValueError, match="quantised"):
        decoding.pack(model, small=0)


def test_a_dtype_without_instructions_is_refused(monkeypatch):
    def reorder(weight, rows):
        raise RuntimeError("needs avx512\nin line 3")

    monkeypatch.setattr(torch.ops.mkldnn, "_reorder_linear_weight", reorder)
    with pytest.raises(ValueError, match=r"weights in bfloat16 cannot be packed on this processor \(needs avx512\)"):
        decoding.pack(tiny.llama().bfloat16(), small=0)


def test_a_pytorch_without_the_layout_is_refused_before_anything_is_read(monkeypatch):
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    with pytest.raises(ValueError, match="no oneDNN layout"):
        decoding.load("no/such-model", pack=True)
    with pytest.raises(ValueError, match="on the CPU"):
        decoding.load("no/such-model", pack=True, device="cuda")
    monkeypatch.undo()
    with pytest.raises(ValueError, match="not in float64"):
        decoding.load("no/such-model", pack=True, dtype="float64")


def test_layers_that_are_more_than_linear_are_left_alone():
    model = tiny.llama().float()
    seen = []
    model.model.layers[0].mlp.up_proj.register_forward_hook(lambda *_: seen.append(1))
    nn.utils.parametrizations.weight_norm(model.model.layers[1].mlp.up_proj)
    exact = logits(model)
    decoding.pack(model, small=0)
    assert count(model) == 15 - 2
    torch.testing.assert_close(logits(model), exact, atol=1e-4, rtol=1e-4)
    assert len(seen) == 2


def test_what_a_packed_model_cannot_do_says_so():
    model = tiny.llama().float()
    state = weights(model)
    decoding.pack(model, small=0)
    for call in (
        lambda: model.train(),
        lambda: model.to(torch.float64),
        lambda: model.half(),
        lambda: model.load_state_dict(state),
    ):
        with pytest.raises(RuntimeError, match=r"decoding\.unpack\(model\) first"):
            call()
    model.eval().to("cpu").to(torch.float32)  # these change nothing


@pytest.mark.skipif(not hasattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported"), reason="an older PyTorch")
def test_bfloat16_where_the_processor_has_it():
    model = tiny.llama().bfloat16()
    exact = logits(model)
    try:
        packing.refuse_unsupported("cpu", torch.bfloat16)
    except ValueError as error:
        pytest.skip(str(error))
    torch.testing.assert_close(logits(decoding.pack(model, small=0)), exact, atol=0.5, rtol=0.1)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft uses the old name
def test_adapters_go_into_a_packed_model_and_under_packing(tmp_path):
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(r=2, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
    peft.get_peft_model(tiny.llama().float(), config).save_pretrained(tmp_path)
    plain = tiny.llama().float()
    expert = decoding.Adapter(plain, tmp_path)
    with torch.no_grad():
        exact = logits(plain), expert(**PROMPTS).logits
    assert not torch.allclose(*exact, atol=1e-2)
    packed = decoding.pack(tiny.llama().float(), small=0)
    adapter = decoding.Adapter(packed, tmp_path)
    assert count(packed) == 15
    decoding.pack(plain, small=0)
    for model, other in ((packed, adapter), (plain, expert)):
        with torch.no_grad():
            torch.testing.assert_close(logits(model), exact[0], atol=1e-4, rtol=1e-4)
            torch.testing.assert_close(other(**PROMPTS).logits, exact[1], atol=1e-4, rtol=1e-4)
    decoding.unpack(packed)
    assert torch.equal(logits(packed), exact[0])


MEMORY = """
import gc, sys
import torch
from transformers import LlamaConfig, LlamaForCausalLM
import decoding

def resident():
    gc.collect()
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 2**20

config = LlamaConfig(vocab_size=64, hidden_size=1024, intermediate_size=4096, num_hidden_layers=4)
model = LlamaForCausalLM(config).eval()
size, before = sum(p.numel() for p in model.parameters()) * 4 / 2**20, resident()
decoding.pack(model)
packed = resident()
decoding.unpack(model)
print(size, packed - before, resident() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_plain_weights_are_freed():
    tidy = os.environ | {"MALLOC_MMAP_THRESHOLD_": "1000000"}  # what is freed goes back at once, so that it can be seen
    out = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True, env=tidy).stdout
    size, packed, after = map(float, out.split())
    assert size > 250  # MB
    assert packed < 0.1 * size
    assert after < 0.1 * size


def test_loading_packed(tmp_path, monkeypatch):
    monkeypatch.setattr(packing, "SMALL", 0)
    monkeypatch.setattr(packing.pack, "__kwdefaults__", {"tied": True, "small": 0})
    tied_llama().save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    model, _ = decoding.load(tmp_path, pack=True)
    assert count(model) == 15
    assert not model.training
    assert torch.equal(
        decoding.unpack(model).state_dict()["lm_head.weight"], tied_llama().state_dict()["lm_head.weight"]
    )


@pytest.mark.slow
def test_the_embedded_model_writes_the_same_text_packed(default_model):
    model, tokenizer = default_model
    inputs = tokenizer(["The night was", "In the deep sea there live"], return_tensors="pt", padding=True)
    part = decoding.ContrastiveSearch()
    plain = decoding.generate(model, **inputs, processors=[part], max_new_tokens=16)
    packed, _ = decoding.load(pack=True)
    assert torch.equal(decoding.generate(packed, **inputs, processors=[part], max_new_tokens=16), plain)
