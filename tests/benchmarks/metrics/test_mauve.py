"""Distances of sets, and MAUVE: by their definitions, with tests that hold, and never bootstrapped."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from benchmarks.metrics import mauve as mauves
from benchmarks.metrics.distances import classifier_auroc, energy_distance, frechet_distance, halves
from benchmarks.metrics.mauve import mauve

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(40, 6)), RNG.normal(0.4, 1.3, size=(40, 6))
FOLDER = Path(__file__).parents[3] / "benchmarks" / "metrics"


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
