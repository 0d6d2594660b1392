"""RankGen: the published layout, read by our own module; equal to a T5 written from its state dict."""

import json
import sys
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import T5Config, T5EncoderModel

from scorers import RankGen, T5EncoderWithProjection
from scorers.rankgen import TOKENIZERS, find_tokenizer
from tests.support import tiny
from tests.support.oracles import scorers as oracles
from tests.support.rankgen import MODEL, PIECES, TOKENIZER, config, vocabulary

PAPER = {"prefix_tokens": 12, "continuation_tokens": 8}


PREFIXES = ["The night was", "Hm", "", "It is warm here, and so it goes on and on"]
CONTINUATIONS = [" cold. So", "m!", " far", " Say so, said he to her"]


def ids(text):
    """Marker and letters, as T5's vocabulary has them, and the end of text."""
    pieces = {piece: i for i, (piece, _) in enumerate(PIECES)}
    marker, *words = text.split()
    found = [pieces[f"▁{marker}"]]
    for word in words:
        found += [pieces["▁"], *[pieces.get(letter, 2) for letter in word]]
    return [*found, 1]


def oracle(prefix, continuation, truncation="left", prefix_tokens=512, continuation_tokens=128, model=MODEL):
    before, after = ids(f"pre {prefix}"), ids(f"suffi {continuation}")[:continuation_tokens]
    if len(before) > prefix_tokens:
        rest = before[1:]
        cut = [before[0], *rest[len(rest) - prefix_tokens + 1 :]]
        before = cut if truncation == "left" else before[:prefix_tokens]
    weights = {name: value.double() for name, value in model.state_dict().items()}
    vectors = [oracles.rankgen_vector(weights, model.config, tokens) for tokens in (before, after)]
    return float(vectors[0] @ vectors[1])


def save(folder, weights=None, **changes):
    """A checkpoint as it is published: config.json, pytorch_model.bin, no tokenizer."""
    weights = {name: value.float() for name, value in MODEL.state_dict().items()} if weights is None else weights
    described = config().to_dict() | {
        "architectures": ["T5EncoderWithProjection"],
        "auto_map": {"AutoModel": "modeling_rankgen.T5EncoderWithProjection"},
        "torch_dtype": "float32", "transformers_version": "4.20.1", **changes,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(described))
    torch.save(weights, folder / "pytorch_model.bin")
    return folder


def float_weights():
    return {name: value.float() for name, value in MODEL.state_dict().items()}


# scores


@pytest.mark.parametrize("batch_size", [1, 2, 32])
@pytest.mark.parametrize("truncation", ["left", "paper"])
def test_scores_equal_an_encoder_written_from_its_weights(truncation, batch_size):
    scorer = RankGen(MODEL, TOKENIZER, truncation, batch_size, **PAPER)
    with pytest.warns(UserWarning, match="first 8 tokens"):
        scores = scorer(PREFIXES, CONTINUATIONS)
    expected = [oracle(p, c, truncation, 12, 8) for p, c in zip(PREFIXES, CONTINUATIONS, strict=True)]
    torch.testing.assert_close(scores, torch.tensor(expected), rtol=1e-5, atol=1e-5)


TEXTS = st.text("abcXYZ. ", max_size=30)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=5), st.sampled_from(["left", "paper"]))
def test_any_texts_equal_it(pairs, truncation):
    scorer = RankGen(MODEL, TOKENIZER, truncation, batch_size=2, prefix_tokens=14)
    scores = scorer([prefix for prefix, _ in pairs], [text for _, text in pairs])
    expected = [oracle(prefix, text, truncation, 14) for prefix, text in pairs]
    torch.testing.assert_close(scores, torch.tensor(expected), rtol=1e-5, atol=1e-5)


def test_truncation_keeps_the_end_or_the_start():
    long, end = "x" * 40, "abcdefghij"
    left, paper = RankGen(MODEL, TOKENIZER, "left", **PAPER), RankGen(MODEL, TOKENIZER, "paper", **PAPER)
    assert torch.equal(left([long + end], ["a"]), left(["y" * 30 + end], ["a"]))
    assert torch.equal(paper([long + end], ["a"]), paper([long + "z" * 10], ["a"]))
    assert not torch.equal(left([long + end], ["a"]), paper([long + end], ["a"]))


def test_the_defaults_are_the_papers_lengths():
    scorer = RankGen(MODEL, TOKENIZER)
    seen = []
    hook = MODEL.register_forward_pre_hook(lambda _, args, inputs: seen.append(inputs), with_kwargs=True)
    with pytest.warns(UserWarning, match="sees the first 128 tokens of a continuation"):
        scorer(["x" * 600], ["y" * 126])  # a marker, a space, and the end of text
    hook.remove()
    assert [tuple(inputs["input_ids"].shape) for inputs in seen] == [(1, 512), (1, 128)]


def test_only_a_text_that_is_cut_warns():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        RankGen(MODEL, TOKENIZER)(["x" * 600], ["y" * 125])


def test_a_prefix_is_encoded_once():
    scorer, seen = RankGen(MODEL, TOKENIZER), []
    state = scorer.read(["One", "Two", "One"])
    expected = scorer(["One", "Two", "One", "One"], [" a", " b", " b", " a"])
    hook = MODEL.register_forward_pre_hook(lambda _, args, inputs: seen.append(inputs), with_kwargs=True)
    found = scorer.score(state, [0, 1, 2, 2], [" a", " b", " b", " a"])
    hook.remove()
    torch.testing.assert_close(found, expected)
    assert [len(inputs["input_ids"]) for inputs in seen] == [2]  # two different continuations, no prefix


# loading


@pytest.mark.parametrize("left_out", [None, "t5_encoder.encoder.embed_tokens.weight", "t5_encoder.shared.weight"])
def test_a_published_checkpoint_is_read(tmp_path, left_out):
    """With the tied embedding under both names, or under either, as safetensors leave it."""
    weights = float_weights()
    assert {name.split(".")[0] for name in weights} == {"t5_encoder", "projection"}
    weights.pop(left_out, None)
    scorer = RankGen.from_pretrained(save(tmp_path, weights), TOKENIZER, device="cpu")
    assert not scorer.model.training
    expected = [oracle(p, c) for p, c in zip(PREFIXES, CONTINUATIONS, strict=True)]
    torch.testing.assert_close(scorer(PREFIXES, CONTINUATIONS), torch.tensor(expected), rtol=1e-4, atol=1e-3)


def test_state_dict_names_are_the_published_ones():
    layers = [f"t5_encoder.encoder.block.{i}.layer." for i in range(2)]
    names = {"t5_encoder.shared.weight", "t5_encoder.encoder.embed_tokens.weight", "projection.weight"}
    names |= {"t5_encoder.encoder.final_layer_norm.weight"}
    names |= {f"{layer}0.SelfAttention.{x}.weight" for layer in layers for x in "qkvo"}
    names |= {f"{layers[0]}0.SelfAttention.relative_attention_bias.weight"}
    names |= {f"{layer}{i}.layer_norm.weight" for layer in layers for i in range(2)}
    names |= {f"{layer}1.DenseReluDense.{x}.weight" for layer in layers for x in ("wi_0", "wi_1", "wo")}
    assert MODEL.state_dict().keys() == names


@pytest.mark.parametrize(("d_model", "d_ff", "layers", "heads", "parameters"), [
    (768, 2048, 12, 12, 110_218_368), (1024, 2816, 24, 16, 342_279_680), (2048, 5120, 24, 32, 1_227_721_728),
])  # fmt: skip
def test_sizes_are_the_published_ones(d_model, d_ff, layers, heads, parameters):
    shape = {"d_model": d_model, "d_ff": d_ff, "num_layers": layers, "num_heads": heads, "d_kv": 64}
    with torch.device("meta"):
        model = T5EncoderWithProjection(T5Config(vocab_size=32128, feed_forward_proj="gated-gelu", **shape))
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    assert d_model in TOKENIZERS


def test_saving_and_reading_again(tmp_path):
    MODEL.save_pretrained(tmp_path)
    TOKENIZER.save_pretrained(tmp_path)
    scorer = RankGen.from_pretrained(str(tmp_path), batch_size=2, truncation="paper")  # the tokenizer beside it
    assert (scorer.batch_size, scorer.truncation) == (2, "paper")
    torch.testing.assert_close(scorer(PREFIXES, CONTINUATIONS), RankGen(MODEL, TOKENIZER)(PREFIXES, CONTINUATIONS))


def test_dtype_is_an_option(tmp_path):
    scorer = RankGen.from_pretrained(save(tmp_path), TOKENIZER, dtype=torch.bfloat16)
    assert scorer.model.projection.weight.dtype == torch.bfloat16
    assert scorer(["a"], ["b"]).dtype == torch.float32


def changed(kind):
    weights = float_weights()
    if kind == "missing":
        del weights["projection.weight"]
    elif kind == "more":
        weights["lm_head.weight"] = torch.zeros(2, 2)
    else:
        weights["projection.weight"] = torch.zeros(3, 3)
    return weights


@pytest.mark.parametrize(("kind", "says"), [
    ("missing", "weights are missing, 1, such as projection.weight"),
    ("more", "weights have no place in it, 1, such as lm_head.weight"),
    ("shape", "weights have other shapes than config.json says, 1, such as projection.weight"),
])  # fmt: skip
def test_other_weights_are_refused(tmp_path, kind, says):
    with pytest.raises(ValueError, match=says):
        RankGen.from_pretrained(save(tmp_path, changed(kind)), TOKENIZER)


class Malicious:
    def __reduce__(self):
        return (print, ("unpickled",))


def test_nothing_is_unpickled_but_tensors(tmp_path, capsys):
    with pytest.raises(Exception, match=r"(?i)weights.only|Unsupported|cannot load"):
        RankGen.from_pretrained(save(tmp_path, float_weights() | {"x": Malicious()}), TOKENIZER)
    assert "unpickled" not in capsys.readouterr().out


def test_no_code_of_the_folder_runs(tmp_path):
    (save(tmp_path) / "modeling_rankgen.py").write_text("raise SystemExit('code of a checkpoint ran')")
    RankGen.from_pretrained(tmp_path, TOKENIZER)


def test_a_plain_t5_is_no_rankgen(tmp_path):
    T5EncoderModel(config()).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="weights are missing"):
        RankGen.from_pretrained(tmp_path, TOKENIZER)


def test_other_sources_are_refused(tmp_path):
    with pytest.raises(ValueError, match="there is no such folder"):
        RankGen.from_pretrained(tmp_path / "none", TOKENIZER)
    with pytest.raises(ValueError, match="no RankGen in"):
        RankGen.from_pretrained(tmp_path, TOKENIZER)
    tiny.gpt2().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="is a gpt2 model, and RankGen is a t5"):
        RankGen.from_pretrained(tmp_path, TOKENIZER)


# the tokenizer


def test_the_tokenizer_of_the_size_is_taken_where_none_lies_beside(tmp_path):
    save(tmp_path)
    for size, name in TOKENIZERS.items():
        assert find_tokenizer(tmp_path, sized(size)) == name
    with pytest.raises(ValueError, match="its size is not a published one: pass tokenizer="):
        RankGen.from_pretrained(tmp_path)
    TOKENIZER.save_pretrained(tmp_path)
    assert find_tokenizer(tmp_path, sized(768)) == str(tmp_path)


def sized(d_model):
    found = config()
    found.d_model = d_model
    return found


def sentencepiece_model(folder):
    """The vocabulary as T5 ships it: spiece.model alone."""
    from sentencepiece import sentencepiece_model_pb2

    model = sentencepiece_model_pb2.ModelProto()
    model.trainer_spec.model_type = model.trainer_spec.UNIGRAM
    model.trainer_spec.pad_id, model.trainer_spec.eos_id, model.trainer_spec.unk_id = 0, 1, 2
    model.trainer_spec.bos_id = -1
    for i, (piece, score) in enumerate(PIECES):
        kind = {0: model.SentencePiece.CONTROL, 1: model.SentencePiece.CONTROL, 2: model.SentencePiece.UNKNOWN}
        model.pieces.add(piece=piece, score=score, type=kind.get(i, model.SentencePiece.NORMAL))
    (folder / "spiece.model").write_bytes(model.SerializeToString())
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "T5Tokenizer", "extra_ids": 0}))


def test_sentencepiece_vocabularies_are_read(tmp_path):
    sentencepiece = pytest.importorskip("sentencepiece")
    sentencepiece_model(save(tmp_path))
    scorer = RankGen.from_pretrained(tmp_path)
    own = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "spiece.model"))
    for text in ("pre the\n  cat ", "suffi  Zebra?", "suffi"):
        assert scorer.tokenizer(text)["input_ids"] == [*own.encode(text.replace("\n", " ")), 1]
    expected = [oracle(p, c) for p, c in zip(PREFIXES, CONTINUATIONS, strict=True)]
    torch.testing.assert_close(scorer(PREFIXES, CONTINUATIONS), torch.tensor(expected), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("missing", ["sentencepiece", "google.protobuf", "google"])
def test_the_extra_is_named_where_it_is_missing(tmp_path, monkeypatch, missing):
    pytest.importorskip("sentencepiece")
    sentencepiece_model(save(tmp_path))
    if missing == "google":  # other tests may have imported what is in it
        monkeypatch.delitem(sys.modules, "google.protobuf", raising=False)
    monkeypatch.setitem(sys.modules, missing, None)
    name = "sentencepiece" if missing == "sentencepiece" else "protobuf"
    with pytest.raises(ModuleNotFoundError, match=rf"{name} not installed: run `pip install 'decoding-toolkit\[rank"):
        RankGen.from_pretrained(tmp_path)
    RankGen.from_pretrained(tmp_path, TOKENIZER)  # which needs neither


def test_a_tokenizer_json_needs_no_extra(tmp_path, monkeypatch):
    TOKENIZER.save_pretrained(save(tmp_path))
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    assert RankGen.from_pretrained(tmp_path)(["a"], ["b"]).isfinite().all()


@pytest.mark.parametrize("pieces", [
    [piece for piece in PIECES if piece[0] != "▁suffi"],  # it would be five letters
    [piece for piece in PIECES if piece[0] != "▁pre"],
])  # fmt: skip
def test_markers_must_be_single_pieces(pieces):
    with pytest.raises(ValueError, match="single pieces before the end of text, and not"):
        RankGen(MODEL, vocabulary(pieces))


def test_other_tokenizers_are_refused():
    with pytest.raises(ValueError, match="vocabulary of T5"):
        RankGen(MODEL, tiny.tokenizer())


class Vocabulary:
    """Reads the two markers as it is told."""

    unk_token_id, eos_token_id = 2, 1

    def __init__(self, *rows):
        self.rows = rows

    def __call__(self, texts):
        return {"input_ids": self.rows}

    def convert_ids_to_tokens(self, ids):
        return ids


@pytest.mark.parametrize(("rows", "says"), [
    (([2, 1], [2, 1]), "single pieces"), (([2, 1], [4, 1]), "single pieces"), (([3, 1], [2, 1]), "single pieces"),
    (([3, 1], [3, 1]), "single pieces"), (([3, 9], [4, 9]), "ends texts with the end of text"),
])  # fmt: skip
def test_markers_must_be_known_and_apart_and_texts_must_end(rows, says):
    with pytest.raises(ValueError, match=says):
        RankGen(MODEL, Vocabulary(*rows))


@pytest.mark.parametrize(("options", "says"), [
    ({"truncation": "right"}, "truncation must be 'left' or 'paper'"),
    ({"batch_size": 0}, "batch_size must be a whole number of at least 1"),
    ({"prefix_tokens": 2}, "prefix_tokens must be at least 3"),
    ({"continuation_tokens": True}, "continuation_tokens must be a whole number"),
])  # fmt: skip
def test_options_are_checked_before_weights_are_read(tmp_path, options, says):
    save(tmp_path, changed("missing"))
    with pytest.raises(ValueError, match=says):
        RankGen.from_pretrained(tmp_path, TOKENIZER, **options)
