"""Run commands of minidl within the test process."""

import pytest

from minidl.cli.main import main
from minidl.training.trainer import Trainer

SMALL = ["--base", "none", "--image-size", "32", "--batch-size", "8"]  # from scratch, fast


def run(*arguments):
    """Run a command and return its exit code."""
    return main([str(argument) for argument in arguments])


def refused(capsys, *arguments):
    """Run a command that fails because of its data; return its error message of one line."""
    assert run(*arguments) == 1
    out, err = capsys.readouterr()
    lines = [line for line in err.splitlines() if "warning" not in line]
    assert len(lines) == 1
    assert lines[0].startswith("minidl: ")
    assert "Traceback" not in out + err
    return lines[0]


def wrong_usage(capsys, *arguments):
    """Run an invalid command line; return the error message."""
    with pytest.raises(SystemExit) as exit_:
        run(*arguments)
    assert exit_.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


def interrupt_at(monkeypatch, step):
    """Interrupt the next training at a step, as Ctrl-C does."""
    train_step = Trainer.train_step

    def interrupted(self, *arguments):
        if self.optimizer.iterations == step:
            raise KeyboardInterrupt
        return train_step(self, *arguments)

    monkeypatch.setattr(Trainer, "train_step", interrupted)
