"""The command line as a whole: usage errors, help, exit codes."""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.commands import run, wrong_usage

from minidl.cli.main import _parser


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["COMMAND"]),
        (["fly"], ["'fly'", "train"]),
        (["train"], ["DIR"]),
        (["predict", "model.h5"], ["IMAGE"]),
        (["train", "x", "--epochs", "0"], ["--epochs", "from 1", "'0'"]),
        (["train", "x", "--epochs", "many"], ["--epochs", "an integer", "'many'"]),
        (["train", "x", "--validation-split", "1.5"], ["--validation-split", "'1.5'"]),
        (["train", "x", "--learning-rate", "nan"], ["--learning-rate", "'nan'"]),
        (["train", "x", "--seed", "-1"], ["--seed", "'-1'"]),
        (["demo", "--color", "red"], ["--color"]),
    ],
)
def test_wrong_command_line_exits_with_2(arguments, words, capsys):
    message = wrong_usage(capsys, *arguments)
    assert "error" in message
    for word in words:
        assert word in message


@pytest.mark.parametrize("command", ["demo", "train", "evaluate", "predict", "check", "info"])
def test_each_command_has_help(command, capsys):
    with pytest.raises(SystemExit) as exit_:
        run(command, "--help")
    assert exit_.value.code == 0
    assert f"usage: minidl {command}" in capsys.readouterr().out


def test_each_option_has_help_with_its_default():
    (commands,) = (a for a in _parser()._actions if isinstance(a, argparse._SubParsersAction))
    for name, command in commands.choices.items():
        for action in command._actions:
            if isinstance(action, argparse._SubParsersAction):
                assert all(choice.help for choice in action._choices_actions)
                continue
            assert action.help, f"{name} {action.option_strings or action.dest}"
            takes_number = action.type is not None
            has_default = "default: " in (action.help or "") or action.dest == "name"
            assert not takes_number or has_default, f"{name} {action.dest}"
    text = " ".join(commands.choices["train"].format_help().split())
    for default in ("20", "32", "0.01", "0.2", "0", "5", "model.h5"):
        assert f"(default: {default}" in text


def test_python_m_minidl_prints_help():
    result = subprocess.run(
        [sys.executable, "-m", "minidl", "--help"], capture_output=True, text=True, check=True
    )
    for command in ("demo", "train", "evaluate", "predict", "info"):
        assert command in result.stdout


def test_console_script_predicts(trained, photo, tmp_path):
    script = Path(sys.executable).parent / ("minidl.exe" if os.name == "nt" else "minidl")
    if not script.exists():
        pytest.skip("minidl is not installed, only importable")
    result = subprocess.run(
        [script, "predict", trained, photo, tmp_path / "nowhere.png", "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert [sorted(item)[0] for item in json.loads(result.stdout)] == ["class", "error"]
    assert result.stderr.splitlines() == [
        f"minidl: {tmp_path / 'nowhere.png'}: cannot be opened (No such file or directory)"
    ]


def test_closed_pipe_prints_no_traceback():
    command = [sys.executable, "-m", "minidl", "info"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
