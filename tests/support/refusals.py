"""What a command says when it refuses."""


def refusal(command, call, capsys):
    """The one line that a command ends with."""
    try:
        status = command(call)
    except SystemExit as error:
        status = error.code
    assert status == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("benchmarks: error: ")
    return line
