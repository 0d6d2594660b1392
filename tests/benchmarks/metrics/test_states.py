"""Hidden states of texts are those of each text alone."""

import pytest
import torch

from benchmarks.metrics.features import fingerprint
from benchmarks.metrics.states import read_states
from tests.support import tiny
from tests.support.text_models import MODELS, alone, ids

TEXTS = ["abc", "a longer one, with words", "Hm", "so on and on"]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("layers", ["all", (-1,), (0, 1), (-2, -1)], ids=str)
def test_states_are_those_of_each_text_alone(name, layers):
    rows = [ids(text) for text in TEXTS]
    found = [*read_states(MODELS[name], rows, layers=layers, starts=[0, 5, 1, 0], batch_size=3)]
    assert sorted(one.text for one in found) == [0, 1, 2, 3]
    assert [one.text for one in found] == [1, 3, 0, 2]  # longest first
    for one in found:
        expected = alone(name, rows[one.text])
        expected = expected if layers == "all" else expected[list(layers)]
        assert one.start == [0, 5, 1, 0][one.text]
        torch.testing.assert_close(one.states, expected[:, one.start :], rtol=0, atol=1e-10)


def test_no_logits_are_computed():
    model = tiny.llama()
    model.lm_head.forward = lambda *_: pytest.fail("the head was computed")
    assert len([*read_states(model, [[3, 4]], layers="all")]) == 1


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft uses the old name
def test_states_of_an_adapter_are_the_adapters():
    peft = pytest.importorskip("peft")
    base = next(read_states(MODELS["llama"], [[3, 4, 5]])).states
    model = peft.get_peft_model(tiny.llama(), peft.LoraConfig(target_modules=["q_proj"], init_lora_weights=False))
    model = model.double().eval()
    with torch.no_grad():
        expected = model(torch.tensor([[3, 4, 5]]), output_hidden_states=True).hidden_states[-1]
    found = next(read_states(model, [[3, 4, 5]])).states
    torch.testing.assert_close(found, expected)
    assert (found - base).abs().max() > 1e-3
    on = fingerprint(model)
    with model.disable_adapter():
        torch.testing.assert_close(next(read_states(model, [[3, 4, 5]])).states, base)
        assert fingerprint(model) != on
    assert fingerprint(model) == on


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tokens": [[1], []]}, "text 1 has no tokens"),
        ({"tokens": [[1, 2]], "starts": [2]}, "text 0 has no tokens to measure"),
        ({"tokens": [[1, 2]], "starts": [0, 0]}, "2 starts for 1 texts"),
        ({"tokens": [[1] * 129]}, "text 0 has 129 tokens and the model reads 128: pass a max_length"),
        ({"layers": (3,)}, r"layers must be among 0 \(embeddings\) to 2"),
        ({"layers": (-4,)}, "layers must be among"),
        ({"layers": ()}, "layers must be among"),
        ({"layers": "last"}, 'layers must be numbers or "all"'),
        ({"batch_size": 0}, "batch_size"),
    ],
)
def test_states_are_refused_before_any_forward(options, message):
    model = tiny.llama()
    model.forward = model.model.forward = lambda *_, **__: pytest.fail("a forward was run")
    with pytest.raises(ValueError, match=message):
        read_states(model, **{"tokens": [[1, 2]]} | options)
