"""Writes what the package IsoScore finds, by the authors of the measure, in clouds of points that numpy draws.

Run it where that package is installed (pip install IsoScore==2.0.1):
PYTHONPATH=. python tests/support/golden/make_isoscore.py
"""

import json
from importlib.metadata import version
from pathlib import Path

import numpy as np

SHAPES = [(40, 3), (200, 8), (300, 64), (30, 50), (500, 16)]


def clouds():
    """(name, (n, d) float64 points): isotropic, with a few strong dimensions, and turned and moved."""
    for number, (n, d) in enumerate(SHAPES):
        rng = np.random.default_rng(number)
        points = rng.standard_normal((n, d))
        yield f"isotropic {n} {d}", points
        yield f"cone {n} {d}", points * np.geomspace(1, 30, d) + 5
        yield f"turned {n} {d}", (points * np.linspace(0.1, 2, d)) @ np.linalg.qr(rng.standard_normal((d, d)))[0]


def main() -> None:
    from IsoScore.IsoScore import IsoScore

    found = {name: float(IsoScore(points)) for name, points in clouds()}
    file = Path(__file__).with_name(f"isoscore_{version('IsoScore')}.json")
    file.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
