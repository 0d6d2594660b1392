"""Distances of sets, and MAUVE: by their definitions, with tests that hold, and never bootstrapped."""

import ast
import itertools
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import linalg, stats
from scipy.spatial.distance import cdist
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.naive_bayes import GaussianNB
from sklearn.preprocessing import StandardScaler

from benchmarks.metrics import distances, synthetic
from benchmarks.metrics import mauve as mauves
from benchmarks.metrics.distances import classifier_auroc, energy_distance, frechet_distance, halves
from benchmarks.metrics.features import Featurizer
from benchmarks.metrics.mauve import mauve, mauve_of_texts
from benchmarks.metrics.protocols import LAN2023, LI2022, PILLUTLA2021, RANKGEN, SU2022, SU2023, Protocol
from benchmarks.metrics.uncertainty import draws
from tests.support import tiny

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(40, 6)), RNG.normal(0.4, 1.3, size=(40, 6))
FOLDER = Path(__file__).parents[3] / "benchmarks" / "metrics"


def energy(x, y):
    return 2 * cdist(x, y).mean() - cdist(x, x).mean() - cdist(y, y).mean()


def frechet(x, y):
    a, b = np.cov(x.T), np.cov(y.T)
    return ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(a + b - 2 * linalg.sqrtm(a @ b).real)


def test_energy_distance_is_its_definition():
    found = energy_distance(X, Y)
    assert found.value == pytest.approx(energy(X, Y))
    assert energy_distance(X + 1e6, Y + 1e6).value == pytest.approx(energy(X, Y))
    assert energy_distance(X, X).value == pytest.approx(0, abs=1e-8)
    assert energy_distance(X, X).p == 1
    flat = energy_distance(X[:, :1], Y[:, :1]).value  # in one dimension scipy has its square root
    assert flat == pytest.approx(stats.energy_distance(X[:, 0], Y[:, 0]) ** 2)


def test_permutation_p_value_is_that_of_all_swaps():
    x, y = X[:8], Y[:8] + 0.3
    every = []
    for swap in itertools.product([False, True], repeat=8):
        choose = np.array(swap)[:, None]
        every.append(energy(np.where(choose, y, x), np.where(choose, x, y)))
    exact = np.mean(np.array(every) >= every[0] - 1e-12)
    assert 0.02 < exact < 0.9
    assert energy_distance(x, y, permutations=9999).p == pytest.approx(exact, abs=0.015)


def test_energy_p_values_are_uniform_for_one_distribution():
    rng = np.random.default_rng(1)
    p = [energy_distance(rng.normal(size=(30, 3)), rng.normal(size=(30, 3)), permutations=99).p for _ in range(150)]
    assert stats.kstest(p, "uniform").pvalue > 0.01
    assert energy_distance(X, Y + 1).p == 0.001


def test_rows_of_one_prompt_change_sides_together():
    x, y = np.repeat(X[:6], 10, 0), np.repeat(Y[:6], 10, 0)
    prompts = np.repeat(np.arange(6), 10).tolist()
    blind, known = energy_distance(x, y), energy_distance(x, y, prompts=prompts)
    assert known.value == pytest.approx(blind.value)
    assert known.p > 1 / 2**6 > blind.p
    assert known.n == 6
    assert known.high - known.low > blind.high - blind.low


@pytest.mark.parametrize("rows", [40, 5])
def test_frechet_distance_is_its_definition(rows):
    """Also with fewer rows than dimensions, where the root of the product is of a singular matrix."""
    x, y = X[:rows], Y[:rows]
    found = frechet_distance(x, y)
    assert found.value == pytest.approx(frechet(x, y), rel=1e-4 if rows == 5 else 1e-9)
    assert frechet_distance(x, x).value == pytest.approx(0, abs=1e-10)


def test_distances_without_a_block_are_those_of_the_rest():
    for measure, slow in ((energy_distance, energy), (frechet_distance, frechet)):
        found = measure(X[:30], Y[:30])  # a block a row
        expected = [slow(np.delete(X[:30], i, 0), np.delete(Y[:30], i, 0)) for i in range(30)]
        assert found.left_out == pytest.approx(expected)
        assert found.low < found.value < found.high


def test_jackknife_of_the_energy_distance_covers_it():
    rng = np.random.default_rng(2)
    found = [energy_distance(rng.normal(size=(60, 2)), rng.normal(0.8, 1, size=(60, 2)), permutations=9)
             for _ in range(120)]  # fmt: skip
    mean = np.mean([one.value for one in found])
    assert np.mean([one.low <= mean <= one.high for one in found]) > 0.88


def test_auroc_is_scikit_learns_of_each_fold(monkeypatch):
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(60, 4)), rng.normal(0.5, 1, (60, 4))
    x, y = x * [1, 30, 900, 0.01], y * [1, 30, 900, 0.01]  # dimensions differ in scale
    weights = [*draws(60, 100, 7)]
    monkeypatch.setattr(distances, "draws", lambda n, resamples, seed: weights)
    for classifier in (None, GaussianNB()):
        found = classifier_auroc(x, y, classifier, seed=7)
        fold = np.random.default_rng(7).permutation(60) % 5
        expected, resampled = [], []
        for held in range(5):
            train = np.concatenate([x[fold != held], y[fold != held]])
            labels, test = np.repeat([1, 0], 48), np.concatenate([x[fold == held], y[fold == held]])
            machine = classifier
            if machine is None:
                scale = StandardScaler().fit(train)
                machine, train, test = LogisticRegression(max_iter=2000), scale.transform(train), scale.transform(test)
            scores = machine.fit(train, labels).predict_proba(test)[:, 1]
            truth = np.repeat([1, 0], 12)
            expected.append(roc_auc_score(truth, scores))
            each = [np.tile(w[fold == held], 2) for w in weights[0]]
            resampled.append([roc_auc_score(truth, scores, sample_weight=w) for w in each])
        assert found.value == pytest.approx(np.mean(expected), abs=1e-9)
        interval = np.quantile(np.mean(resampled, axis=0), [0.025, 0.975])
        assert (found.low, found.high) == pytest.approx(tuple(interval), abs=1e-9)


def test_auroc_finds_a_half_between_equals_and_one_between_others():
    rng = np.random.default_rng(4)
    same = [classifier_auroc(rng.normal(size=(60, 3)), rng.normal(size=(60, 3))) for _ in range(30)]
    assert np.mean([one.value for one in same]) == pytest.approx(0.5, abs=0.05)
    assert classifier_auroc(X, Y + 9).value == 1
    assert classifier_auroc(X, X).value == pytest.approx(0.5)  # ties


def test_folds_do_not_part_a_prompt():
    """Each prompt has a place of its own, so that a classifier that saw the prompt would know nothing, and one that saw
    the same text would know all."""
    rng = np.random.default_rng(5)
    x = np.repeat(rng.normal(size=(20, 3)), 5, 0)
    y = np.repeat(rng.normal(size=(20, 3)), 5, 0)
    prompts = np.repeat(np.arange(20), 5).tolist()
    from sklearn.neighbors import KNeighborsClassifier

    leaking = classifier_auroc(x, y, KNeighborsClassifier(1))
    assert leaking.value == 1
    assert classifier_auroc(x, y, KNeighborsClassifier(1), prompts=prompts).value < 0.8


def test_authenticity_is_of_trees():
    rng = np.random.default_rng(6)
    ring = rng.normal(size=(150, 2))
    real = 3 * ring / np.linalg.norm(ring, axis=1, keepdims=True)
    made = rng.normal(size=(150, 2)) * 0.5  # one around the other: no line parts them
    assert synthetic.authenticity(real, made).value > 0.9
    assert synthetic.authenticity(real, made, LogisticRegression()).value < 0.7


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: energy_distance(X, Y[:9]), "of one size"),
        (lambda: frechet_distance(X[:, 0], Y[:, 0]), r"must be \(N, D\)"),
        (lambda: energy_distance(X[:1], Y[:1]), "N at least 2"),
        (lambda: energy_distance(X, Y * np.nan), "finite"),
        (lambda: classifier_auroc(X[:9], Y[:9]), "5 folds need at least 10 prompts, not 9"),
        (lambda: classifier_auroc(X, Y, folds=1), "folds need"),
        (lambda: mauve(X, Y, seeds=4), "at least 5 k-means seeds, not 4"),
        (lambda: mauve(X, Y, buckets=41), "between 2 and the 40"),
        (lambda: mauve(X, Y, buckets=1), "between 2 and the 40"),
        (lambda: mauve(X, Y[:3]), "of one size"),
    ],
)
def test_refused(call, message):
    with pytest.raises(ValueError, match=message) as error:
        call()
    assert "\n" not in str(error.value)


# MAUVE


SMALL = pytest.mark.filterwarnings("ignore:MAUVE of")


@SMALL
def test_mauve_is_the_packages_mean_over_seeds():
    compute = pytest.importorskip("mauve").compute_mauve
    rng = np.random.default_rng(7)
    p, q = rng.normal(size=(120, 5)), rng.normal(0.7, 1, (120, 5))
    found = mauve(p, q, about="x|y")
    each = [compute(p_features=p, q_features=q, seed=seed, verbose=False) for seed in range(5)]
    values = [one.mauve for one in each]
    assert found.values.tolist() == pytest.approx(values)
    assert np.std(values) > 0
    assert found.value == pytest.approx(np.mean(values))
    assert (found.low, found.high) == pytest.approx(stats.t.interval(0.95, 4, np.mean(values), stats.sem(values)))
    assert found.star.value == pytest.approx(np.mean([one.mauve_star for one in each]))
    assert found.frontier_integral.value == pytest.approx(np.mean([one.frontier_integral for one in each]))
    np.testing.assert_allclose(found.curves[2], each[2].divergence_curve)
    assert found.signature.startswith("mauve|x|y|n:120|k:12|c:5|kseeds:5|v:")
    other = mauve(p, q, buckets=7, scaling=2.0, seeds=6, ceiling=False)
    expected = [
        compute(p_features=p, q_features=q, seed=s, verbose=False, num_buckets=7, mauve_scaling_factor=2).mauve
        for s in range(6)
    ]
    assert other.value == pytest.approx(np.mean(expected))
    assert "k:7|c:2|kseeds:6" in other.signature
    assert other.ceiling is other.matched is None
    fewer = [
        compute(p_features=p[a], q_features=p[b], seed=seed, verbose=False, num_buckets=4).mauve
        for seed, (a, b) in enumerate(halves(120, 5))
    ]
    assert mauve(p, q, buckets=8).ceiling.value == pytest.approx(np.mean(fewer))
    json.dumps(found.as_dict(), allow_nan=False)
    assert found.as_dict()["ceiling"]["n"] == 60


@SMALL
def test_ceiling_and_matched_are_of_the_same_halves():
    compute = pytest.importorskip("mauve").compute_mauve
    rng = np.random.default_rng(8)
    p, q = rng.normal(size=(100, 3)), rng.normal(1.5, 1, (100, 3))
    found = mauve(p, q)
    top, low = [], []
    for seed, (a, b) in enumerate(halves(100, 5)):
        assert (len(a), len(b), set(a) & set(b)) == (50, 50, set())
        top.append(compute(p_features=p[a], q_features=p[b], seed=seed, verbose=False).mauve)
        low.append(compute(p_features=p[a], q_features=q[b], seed=seed, verbose=False).mauve)
    assert found.ceiling.value == pytest.approx(np.mean(top))
    assert found.matched.value == pytest.approx(np.mean(low))
    assert (found.ceiling.low, found.ceiling.high) == pytest.approx((min(top), max(top)))
    assert found.ceiling.value > 0.8 > 0.4 > found.matched.value


@SMALL
def test_nothing_is_printed_and_faiss_is_left_as_it_was(capfd):
    compute = pytest.importorskip("mauve").compute_mauve
    mauve(X, Y)
    assert capfd.readouterr() == ("", "")
    compute(p_features=X, q_features=Y, verbose=False)
    assert "provide at least" in capfd.readouterr().err


def test_intervals_end_where_numbers_do():
    """A t interval does not know that MAUVE is at most 1, and a distance at least 0."""
    assert mauves.over_seeds([0.9, 1, 1, 1, 1], 9).high == 1
    assert mauves.over_seeds([0, 0, 0, 0, 0.1], 9).low == 0
    assert energy_distance(X, np.roll(X, 1, 0)).low == 0
    assert frechet_distance(X, np.roll(X, 1, 0)).low == 0


@SMALL
def test_equal_histograms_are_one():
    """mauve-text gives 0.75 to two sets of two points each, one in each bucket."""
    p = np.repeat([[1.0, 0.0], [0.0, 1.0]], 20, 0)
    found = mauve(p, p, buckets=2)
    assert found.value == found.star.value == 1
    assert found.frontier_integral.value == pytest.approx(0)


CURVES = """
import json, warnings
import numpy as np
from benchmarks.metrics.mauve import mauve
warnings.simplefilter("ignore")
rng = np.random.default_rng(3)
one = np.ones((100, 2))
near = np.concatenate([rng.normal(size=(10, 4))] * 10)
found = {
    "one point": mauve(one, one, ceiling=False, buckets=2),
    "equal": mauve(near, near[::-1], ceiling=False),
    "steep": mauve(near, near + rng.normal(0, 0.5, near.shape), ceiling=False, scaling=500.0),
    "apart": mauve(near, near + 20, ceiling=False),
}
print(json.dumps({name: [one.value, one.star.value] for name, one in found.items()}))
"""


@pytest.mark.slow
def test_the_number_does_not_depend_on_the_processors_sort():
    """Run with and without the kernels that sort equal points in another order."""
    pytest.importorskip("mauve")
    kinds = np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])
    plain = {"NPY_DISABLE_CPU_FEATURES": " ".join(kinds)}
    known = {}
    for name, more in (("with", {}), ("without", plain)):
        call = [sys.executable, "-W", "ignore", "-c", CURVES]
        done = subprocess.run(
            call, capture_output=True, text=True, check=True, cwd=FOLDER.parents[1], env=os.environ | more
        )
        known[name] = json.loads(done.stdout)
    assert known["with"]["one point"] == pytest.approx([1.0, 1.0], abs=1e-12)  # 0.75 by mauve-text, with the kernels
    for name, values in known["with"].items():
        assert values == pytest.approx(known["without"][name], abs=1e-12), name


@pytest.mark.parametrize("scaling", [1.0, 5.0])
def test_area_of_the_frontier_is_mauve_texts_where_no_points_are_equal(scaling):
    from mauve import compute_mauve

    rng = np.random.default_rng(9)
    p, q = rng.normal(size=(80, 3)), rng.normal(0.5, 1, (80, 3))
    theirs = compute_mauve(p_features=p, q_features=q, seed=0, verbose=False, mauve_scaling_factor=scaling)
    ours = mauves.once(p, q, 0, None, scaling)
    assert (ours.mauve, ours.mauve_star) == pytest.approx((theirs.mauve, theirs.mauve_star), abs=1e-12)
    assert 0 < ours.mauve < 1


def test_few_texts_warn():
    with pytest.warns(UserWarning, match="MAUVE of 40 texts a side tells little"):
        mauve(X, Y)


def test_mauve_is_imported_by_one_file_and_inside_a_function():
    for file in FOLDER.glob("*.py"):
        tree = ast.parse(file.read_text())
        top = [n for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom)]
        named = {
            name for n in ast.walk(tree) if isinstance(n, ast.Import | ast.ImportFrom) and not getattr(n, "level", 0)
            for name in ([n.module] if isinstance(n, ast.ImportFrom) else [alias.name for alias in n.names])
        }  # fmt: skip
        assert not {"mauve", "faiss"} & named or file.stem == "mauve"
        assert not any(getattr(n, "module", None) == "mauve" and not n.level for n in top), file


@pytest.mark.slow
def test_nothing_of_the_package_loads_mauve():
    names = ", ".join(sorted(file.stem for file in FOLDER.glob("*.py") if file.stem != "__init__"))
    code = f"import sys; from benchmarks.metrics import {names}; assert not {{'faiss', 'xgboost'}} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=FOLDER.parents[1])


def test_the_text_metrics_load_no_torch():
    code = (
        "import sys; from benchmarks.metrics import self_bleu, copying, comparison; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=FOLDER.parents[1])


def test_without_mauve_the_message_has_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "mauve", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'mauve-text>=0.4' 'faiss-cpu>=1.14'"):
        mauves.once(X, Y, 0, None, 5.0)


# protocols


PREFIXES, HUMANS, MODELS = ["P ", "Q", "R"], ["abcdef", "ab", "abc"], ["xyz", "uvwx", " "]


@pytest.mark.parametrize(
    ("protocol", "humans", "models", "kept"),
    [
        (SU2023, ["abc", "ab"], ["xyz", "uv"], [0, 1]),
        (replace(SU2022, tokens=3), ["abc", "ab"], ["xyz", "uvw"], [0, 1]),
        (RANKGEN, ["P  abcdef", "Q ab", "R abc"], ["P  xyz", "Q uvwx", "R  "], [0, 1, 2]),
        (PILLUTLA2021, ["P abcdef", "Qab", "Rabc"], ["P xyz", "Quvwx", "R "], [0, 1, 2]),
        (replace(LI2022, tokens=3), ["abc"], ["xyz"], [0]),
        (replace(LI2022, tokens=2), ["ab", "ab"], ["xy", "uv"], [0, 1]),
        (LAN2023, ["abcdef", "ab"], ["xyz", "uvwx"], [0, 1]),
    ],
    ids=lambda value: value.name if isinstance(value, Protocol) else "",
)
def test_protocols_by_hand(protocol, humans, models, kept):
    assert protocol.prepare(tiny.tokenizer(), PREFIXES, HUMANS, MODELS) == (humans, models, kept)


def test_protocols_are_named_apart():
    protocols = [SU2023, SU2022, RANKGEN, PILLUTLA2021, LI2022, LAN2023]
    assert len({protocol.name for protocol in protocols}) == len(set(protocols)) == 6


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Protocol("x", "gpt2", 9, length="long"), "length must be"),
        (lambda: Protocol("x", "gpt2", 9, length="exact"), "tokens, at least 1, go with"),
        (lambda: Protocol("x", "gpt2", 9, tokens=4), "tokens, at least 1, go with"),
        (lambda: SU2023.prepare(tiny.tokenizer(), ["a"], ["b"], []), "must be as many, not 1, 1 and 0"),
        (lambda: SU2023.prepare(tiny.tokenizer(), ["a"], ["b"], [""]), "leaves none of 1 prompts"),
    ],
)
def test_protocols_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@SMALL
def test_mauve_of_texts_is_mauve_of_what_the_protocol_prepares():
    rng = np.random.default_rng(9)
    reader = Featurizer(tiny.llama().float(), tiny.tokenizer(), max_length=99)
    humans, models = (
        ["".join(rng.choice(letters, size=rng.integers(1, 9))) for _ in range(30)]
        for letters in (list("abc"), list("cde"))
    )
    models[4] = " "
    short = replace(LAN2023, max_length=3)
    found = mauve_of_texts(reader, [""] * 30, humans, models, protocol=short, ceiling=False)
    kept = [i for i in range(30) if i != 4]
    p, q = (replace(reader, max_length=3)([texts[i] for i in kept]) for texts in (humans, models))
    assert found.value == mauve(p, q, scaling=1.0, ceiling=False).value
    assert found.signature.startswith("mauve|lan2023|feat:LlamaForCausalLM@")
    assert "|max:3|len:free|of:30|n:29|" in found.signature
