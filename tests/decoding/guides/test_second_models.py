"""Experts as adapters: one copy of the base, switched on for the expert's forwards alone."""

import copy
import threading

import pytest
import torch

import decoding
from decoding import Adapter, ContrastiveSearch, GuideProcessor, Steer
from tests.support import tiny
from tests.support.calls import PROMPTS
from tests.support.saved import save_adapter

NEGATIVES = [[30, 31, 32, 33, 34, 35], [9], [10, 11, 40]]
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft uses the old name


@pytest.fixture(scope="module")
def adapter(tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapter")
    return folder, save_adapter(folder)


def run(model, *parts, **options):
    return decoding.generate(model, **tiny.batch(PROMPTS), processors=parts, max_new_tokens=7, **options)


@pytest.mark.parametrize("picker", [None, ContrastiveSearch(4, 0.6)])
def test_an_adapter_is_the_expert_it_was_merged_to(adapter, picker):
    folder, merged = adapter
    base, parts = tiny.llama(), [picker] if picker else []
    by_folder = run(base, Steer(folder, gamma=0.4, eta=0.3, negatives=NEGATIVES), *parts)
    merged_expert = run(tiny.llama(), Steer(merged, gamma=0.4, eta=0.3, negatives=NEGATIVES), *parts)
    assert torch.equal(by_folder, merged_expert)
    assert not torch.equal(by_folder, run(tiny.llama(), *parts, do_sample=False))


def test_the_base_goes_on_as_it_was_and_is_in_memory_once(adapter):
    folder, _ = adapter
    base = tiny.llama()
    before, weights = run(base, do_sample=False), {p.data_ptr() for p in base.parameters()}
    expert = Adapter(base, folder)
    assert torch.equal(run(base, do_sample=False), before)
    run(base, Steer(expert, gamma=0.4))
    assert torch.equal(run(base, do_sample=False), before)
    assert weights <= {p.data_ptr() for p in base.parameters()}
    assert {p.data_ptr() for p in expert.parameters()} == {p.data_ptr() for p in base.parameters()}
    assert sum(p.numel() for p in base.parameters()) < 2 * sum(p.numel() for p in tiny.llama().parameters())


def test_switched_off_again_when_a_forward_fails(adapter):
    folder, _ = adapter
    base = tiny.llama()
    before, expert = run(base, do_sample=False), Adapter(base, folder)
    with pytest.raises(KeyboardInterrupt), expert.on():
        raise KeyboardInterrupt
    assert torch.equal(run(base, do_sample=False), before)


def test_loaded_once_and_again_when_it_was_trained_again(tmp_path):
    save_adapter(tmp_path / "a")
    base = tiny.llama()
    first = run(base, Steer(tmp_path / "a"))
    run(base, Steer(tmp_path / "a"))
    assert len(base.peft_config) == 1
    again = save_adapter(tmp_path / "a", seed=2)
    second = run(base, Steer(tmp_path / "a"))
    assert torch.equal(second, run(tiny.llama(), Steer(again)))
    assert not torch.equal(first, second)
    assert len(base.peft_config) == 2


def test_a_peft_model_as_it_is(adapter):
    from peft import PeftModel

    folder, merged = adapter
    tuned = PeftModel.from_pretrained(tiny.llama(), folder).eval()
    ours = run(tiny.llama(), Steer(tuned, gamma=0.4, eta=0.3, negatives=NEGATIVES))
    assert torch.equal(ours, run(tiny.llama(), Steer(merged, gamma=0.4, eta=0.3, negatives=NEGATIVES)))


def test_two_adapters_of_one_base(tmp_path):
    expert, anti = (save_adapter(tmp_path / name, seed) for name, seed in (("e", 1), ("a", 2)))
    base = tiny.llama()
    ours = run(base, decoding.DExperts(tmp_path / "e", tmp_path / "a", alpha=0.7))
    assert torch.equal(ours, run(tiny.llama(), decoding.DExperts(expert, anti, alpha=0.7)))


def test_in_transformers_own_loop_with_beams(adapter):
    folder, merged = adapter
    inputs, options = tiny.batch(PROMPTS), {"num_beams": 3, "max_new_tokens": 6, "do_sample": False}
    outs = []
    for expert, base in ((folder, tiny.llama()), (merged, tiny.llama())):
        processor = GuideProcessor(base, Steer(expert, gamma=0.4, eta=0.3, negatives=NEGATIVES), **inputs)
        outs.append(base.generate(**inputs, logits_processor=[processor], **options))
    assert torch.equal(*outs)


def test_refuses_what_is_no_adapter_and_a_model_with_another(adapter, tmp_path):
    folder, _ = adapter
    with pytest.raises(ValueError, match=r"no adapter in .*: there is no adapter_config.json"):
        Adapter(tiny.llama(), tmp_path)
    base = tiny.llama()
    base.load_adapter(str(folder), adapter_name="mine")
    with pytest.raises(ValueError, match="the model has another adapter, 'mine'"):
        run(base, Steer(folder))


def test_peft_missing_is_said_in_one_line(adapter, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "peft.tuners.tuners_utils", None)
    with pytest.raises(ImportError, match=r"an adapter needs peft: run pip install 'decoding-toolkit\[train\]'"):
        Adapter(tiny.llama(), adapter[0])


def test_another_thread_has_a_model_of_its_own(adapter):
    """A switch is the model's: copies do not share it."""
    folder, merged = adapter
    expected, found = run(tiny.llama(), Steer(merged, gamma=0.4)), []
    models = [tiny.llama(), copy.deepcopy(tiny.llama())]
    threads = [threading.Thread(target=lambda m=m: found.append(run(m, Steer(folder, gamma=0.4)))) for m in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(out, expected) for out in found)
    assert len(found) == 2
