"""The benchmark of speed: its peers give our tokens, its counts are right, its command runs and goes on."""

import json
from functools import partial
from pathlib import Path

import pytest
import torch

import decoding
from benchmarks import __main__ as command
from benchmarks.speed import cases as speed
from benchmarks.speed import report as speed_report
from benchmarks.speed import timing as turns
from benchmarks.speed.peers import RepeatedCache
from decoding.engine.transformers_api import DEFAULT_CACHE_NAME as CACHE
from tests.support import tiny

FILE = Path(__file__).parents[2] / "support" / "golden" / "contrastive_transformers_4.55.4.json"
PROMPTS = [[5, 6, 7, 8, 9, 10], [11, 12, 13], [14, 15, 16, 17]]


@pytest.mark.parametrize("case", json.loads(FILE.read_text())["cases"][::6], ids=lambda case: str(case["arguments"]))
def test_the_peer_gives_what_transformers_4_gave(case):
    model = getattr(tiny, case["model"])(case["seed"])
    options = dict(case["arguments"])
    peer = RepeatedCache(options.pop("top_k"), options.pop("penalty_alpha"))
    assert model.generate(**tiny.batch(case["prompts"]), custom_generate=peer, **options).tolist() == case["sequences"]


@pytest.mark.parametrize("make", [tiny.gpt2, tiny.llama])
@pytest.mark.parametrize(("k", "alpha"), [(1, 0.6), (4, 0.6), (8, 0.3), (5, 1.0)])
def test_the_peer_gives_our_tokens(make, k, alpha):
    model = make(seed=3)
    inputs, options = tiny.batch(PROMPTS), {"max_new_tokens": 20, "repetition_penalty": 1.1}
    theirs = model.generate(**inputs, custom_generate=RepeatedCache(k, alpha), **options)
    ours = decoding.generate(model, **inputs, processors=[decoding.ContrastiveSearch(k, alpha)], **options)
    assert torch.equal(theirs, ours)


def test_two_forwards_of_transformers_give_the_tokens_of_a_negative_prompt():
    model, (ids, second) = tiny.llama(), torch.tensor([[[5, 6, 7]], [[8, 9, 10]]])
    options = {"max_new_tokens": 12, "do_sample": False}
    theirs = model.generate(ids, guidance_scale=1.5, negative_prompt_ids=second, **options)
    ours = decoding.generate(model, ids, processors=[decoding.NegativePrompt(second, gamma=1.5)], **options)
    assert torch.equal(theirs, ours)


def way(model, call, rows=1, new=6):
    ids = torch.arange(5, 17).repeat(rows, 1)
    options = {"attention_mask": torch.ones_like(ids), "max_new_tokens": new, "do_sample": False}
    return turns.Way(lambda criteria: call(ids, stopping_criteria=criteria, **options), (model,))


@pytest.fixture
def model():
    model = tiny.llama().float()
    model.generation_config.eos_token_id = None
    return model


def test_counts_of_greedy_search_by_hand(model):
    cost = turns.count(way(model, model.generate, rows=3))
    assert (cost.forwards, cost.positions) == (6, 3 * (12 + 5))
    assert cost.cache == 2 * 2 * 3 * (12 + 5) * 16 * 4  # layers, keys and values, rows, tokens, a head's width, bytes
    assert cost.peak > cost.cache


def test_the_old_way_holds_the_cache_k_times(model):
    call = partial(model.generate, custom_generate=RepeatedCache(k=4))
    greedy, old = turns.count(way(model, model.generate)), turns.count(way(model, call))
    assert old.positions == 12 + 4 * 6
    assert old.cache == greedy.cache // 17 * 18 * 4
    assert old.forwards == 7


def test_held_counts_shared_bytes_once(model):
    cache = model(torch.arange(5, 17)[None], use_cache=True)[CACHE]
    assert turns.held([cache]) == turns.held([cache, cache]) == 2 * 2 * 12 * 16 * 4
    cache.layers[1].keys = cache.layers[0].keys
    assert turns.held([cache]) == 3 * 2 * 12 * 16 * 4 // 2


def test_a_tally_sees_what_is_made_and_what_is_freed():
    with turns.Tally([]) as tally:
        first = torch.zeros(1000)
        assert tally.now == 4000
        view = first[10:]
        del first
        assert tally.now == 4000
        second = view + 1
        del view
        assert tally.now == second.untyped_storage().nbytes()
    assert tally.peak == 4000 + 990 * 4


def test_ratios_are_within_a_round_and_intervals_hold_the_median():
    seconds = {"a": [1.0, 10.0, 2.0], "b": [2.0, 30.0, 3.0], "c": [1.0, 5.0, 1.0]}
    assert turns.ratios(seconds, "b", ["a"]) == [2.0, 3.0, 1.5]
    assert turns.ratios(seconds, "b", ["a", "c"]) == [1.0, 2.0, 1.0]
    assert turns.interval([3.0, 1.0, 2.0]) == (1.0, 3.0)
    low, high = turns.interval([float(i) for i in range(30)])
    assert (low, high) == (9.0, 20.0)  # ranks 10 and 21 of 30, by the binomial distribution


def test_every_round_has_every_way_once_in_changing_order():
    seen = []
    ways = {name: turns.Way(lambda criteria, name=name: seen.append(name), whole=True) for name in "abcd"}
    ticks = iter(range(100))
    seconds = turns.measure(ways, 8, tick=lambda: next(ticks))
    assert next(ticks) == 32  # one after each call
    rounds = ["".join(seen[i : i + 4]) for i in range(0, 32, 4)]
    assert all(sorted(order) == list("abcd") for order in rounds)
    assert len(set(rounds)) > 3
    assert all(len(values) == 8 for values in seconds.values())


def test_a_step_leaves_out_the_prompt(monkeypatch):
    times = iter([100.0, 107.0, 109.0, 110.0, 113.0, 113.5])
    monkeypatch.setattr(turns, "clock", lambda: next(times))

    def call(criteria):
        for _ in range(4):
            criteria(torch.zeros(1, 1), None)

    assert turns.Way(call).seconds() == 2.0  # from 107 to 113, three tokens


def results(context=1500, **ways):
    case = {"batch": 1, "context": context, "load": [0.0, 0.0], "read_seconds": [0.02, 0.02, 0.02], "ways": {}}
    for name, (seconds, cache) in ways.items():
        costs = {"forwards": 3, "positions": 9, "cache": cache, "peak": 7, "same_tokens": None}
        case["ways"][name.replace("_", " ").replace("greedy", "model.generate, greedy")] = {"seconds": seconds, **costs}
    settings = {
        "model": "m", "dtype": "float32", "threads": 2, "clock": "real time", "processor": "p", "versions": {"v": "1"},
        "new_tokens": 4, "rounds": 3, "weights_bytes": 10**9,
    }  # fmt: skip
    return {"settings": settings, "cases": {f"batch 1, context {context}": case}}


def test_bars_are_judged():
    found = results(greedy=([1.0, 2.0, 4.0], 1000))
    ways = found["cases"]["batch 1, context 1500"]["ways"]
    ways["ours, contrastive k=5"] = {**ways["model.generate, greedy"], "seconds": [1.1, 2.3, 6.0], "cache": 1019}
    lines = speed_report.bar_table(found)
    assert len(lines) == 2 + len(list(speed_report.bars()))
    row = next(line for line in lines if "time, ours, contrastive k=5 / model.generate" in line and "1500" in line)
    assert row.endswith("| 1.2 | 1.150 | 1.100 to 1.500 | reached |")
    row = next(line for line in lines if "cache" in line)
    assert row.endswith("| 0.02 | 0.019 | counted | reached |")
    ways["ours, contrastive k=5"] |= {"seconds": [1.3, 2.5, 4.0], "cache": 1021}
    assert sum("missed" in line for line in speed_report.bar_table(found)) == 2
    assert sum("not measured" in line for line in speed_report.bar_table(found)) == len(lines) - 2 - 2
    assert "| model.generate, greedy | 2000.0 | 1.00 |" in speed_report.markdown(found)
    assert "(50.0 GB/s)" in speed_report.markdown(found)


@pytest.fixture
def folder(tmp_path):
    model = tiny.llama().float()
    model.config.max_position_embeddings = 512
    model.save_pretrained(tmp_path / "model")
    tiny.tokenizer().save_pretrained(tmp_path / "model")
    return tmp_path


def test_the_command_measures_writes_and_goes_on(folder, capsys, monkeypatch):
    pytest.importorskip("matplotlib").use("agg")
    monkeypatch.setattr(decoding, "pack", partial(decoding.pack, small=0))
    monkeypatch.setattr(speed, "RERANKED", {"prefix": 20, "every": 2, "samples": 2, "beams": 2, "new_tokens": 4})
    call = ["speed", "--model", str(folder / "model"), "--output", str(folder / "out"), "--rounds", "2"]
    call += ["--new-tokens", "3", "--k", "3", "--contexts", "9", "--batches"]
    assert command.main([*call, "2"]) == 0
    first = json.loads((folder / "out" / "speed.json").read_text())
    assert list(first["cases"]) == ["batch 2, context 9", "reranking, prefix 20"]
    ways = first["cases"]["batch 2, context 9"]["ways"]
    assert len(ways) == 2 * 8 + 3
    assert all(len(way["seconds"]) == 2 and min(way["seconds"]) > 0 for way in ways.values())
    peered = {name: way["same_tokens"] for name, way in ways.items() if way["same_tokens"] is not None}
    assert len(peered) == 2 * 4 + 4  # ours, and what the packed peers give
    assert all(peered.values()), peered
    assert ways["ours, contrastive k=3"]["positions"] == ways["transformers 4.55, contrastive k=3"]["positions"]
    assert (folder / "out" / "speed.svg").stat().st_size > 1000
    out = capsys.readouterr().out
    assert out == (folder / "out" / "speed.md").read_text()
    assert "### Batch 2, context 9" in out
    assert command.main([*call, "2", "1"]) == 0
    second = json.loads((folder / "out" / "speed.json").read_text())
    assert len(second["cases"]) == 3
    assert {name: second["cases"][name] for name in first["cases"]} == first["cases"]
    assert command.main([*call, "1", "--rounds", "3"]) == 2
    assert "speed.json is of another rounds" in capsys.readouterr().err


WRONG = {
    "a context without room": (["--contexts", "600"], "room for 512 tokens"),
    "no rounds": (["--rounds", "0"], "--rounds must be at least 1"),
    "one token": (["--new-tokens", "1"], "--new-tokens must be at least 2"),
    "k": (["--k", "5", "0"], "--k must be at least 1, not 0"),
    "too small to pack": ([], "to measure without: --plain"),
}


@pytest.mark.parametrize(("options", "message"), WRONG.values(), ids=WRONG)
def test_bad_input_is_one_line(folder, capsys, options, message):
    packed = [] if message.endswith("--plain") else ["--plain"]
    call = ["speed", "--model", str(folder / "model"), "--output", str(folder / "out"), *packed, *options]
    assert command.main(call) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_damaged_results_are_one_line(folder, capsys):
    (folder / "speed.json").write_text("{")
    call = ["speed", "--model", str(folder / "model"), "--output", str(folder), "--plain", "--quick"]
    assert command.main(call) == 2
    assert "no result of this command" in capsys.readouterr().err
