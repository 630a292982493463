"""``minidl info``: versions and settings."""

import json

from support.commands import run

import minidl


def test_info_prints_versions_as_text_and_json(capsys):
    assert run("info") == 0
    text = capsys.readouterr().out
    assert run("info", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["minidl"] == minidl.__version__
    assert facts["threads"] == minidl.get_num_threads()
    for name, value in facts.items():
        assert f"{name:13} {value}" in text
