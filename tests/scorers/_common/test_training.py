"""The bar of a training prints no dictionaries."""

import pytest

from scorers._common.training import Bar


@pytest.mark.parametrize("logs", [{"loss": 1.0}, {}])
def test_the_bar_prints_no_dictionaries(logs, capsys):
    Bar().on_log(None, None, None, logs=logs)
    assert capsys.readouterr() == ("", "")
