"""Fixtures of the tests of scorers: tiny encoders and models in folders, and the training command."""

import pytest

from scorers import train as command
from tests.support import tiny
from tests.support.chains import chain_file
from tests.support.rankers import bert, word_tokenizer


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bert")
    bert(layers=1).float().save_pretrained(folder)
    word_tokenizer().save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def language_model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lm")
    tiny.llama().float().save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    return str(folder)


@pytest.fixture
def chains(tmp_path):
    return chain_file(tmp_path)


@pytest.fixture
def run(encoder, capsys):
    """Run the command in this process: (exit status, lines of stdout, lines of stderr)."""

    def run(*arguments):
        given = [] if "--encoder" in arguments else ["--encoder", encoder]
        given += [] if "--prefix-length" in arguments else ["--prefix-length", "8"]
        given += [] if "--suffix-length" in arguments else ["--suffix-length", "8"]
        capsys.readouterr()
        try:
            status = command.main([*map(str, arguments), *given, "--device", "cpu"])
        except SystemExit as error:  # argparse's own
            status = error.code
        out, err = capsys.readouterr()
        return status, out.splitlines(), err.splitlines()

    return run
