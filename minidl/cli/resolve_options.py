"""Resolution of the options of ``minidl train``: the base, defaults, and those to resume.

>>> import argparse
>>> from minidl.cli.resolve_options import is_cats_and_dogs
>>> is_cats_and_dogs(["Cat", "dogs"]), is_cats_and_dogs(["cats", "birds"])
(True, False)
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from minidl.applications.catalog import DEFAULT, NETWORKS
from minidl.cli.options import option_name
from minidl.cli.train_options import NO_BASE, SCRATCH, TRANSFER
from minidl.data.listing import find_classes
from minidl.models.model import Model

__all__ = ["choose_base", "is_cats_and_dogs", "resolve_options"]

# Options that a file of an earlier version lacks.
ADDED = ("class_weight", "early_stopping", "fine_tune", "fine_tune_epochs")
EXTENDABLE = ("epochs", "fine_tune_epochs")  # a resumed training may have more


def resolve_options(options: argparse.Namespace, model: Model | None) -> None:
    """Set omitted options: to those of the training to resume, else to the defaults.

    Parameters
    ----------
    options : argparse.Namespace
        Changed in place. Omitted options are None.
    model : Model or None
        The model whose training is resumed.

    Raises
    ------
    ValueError
        If options contradict each other or the training to resume.
    """
    if model is None:
        _set(options, _defaults(options))
    else:
        _resume(options, model)
    if options.early_stopping and not options.validation_split:
        raise ValueError(
            "--early-stopping: expected validation photos, received --validation-split 0. Choose "
            "a share above 0."
        )
    if options.fine_tune and options.base == NO_BASE:
        raise ValueError(
            "--fine-tune: expected a training with a base, received one from scratch. Choose a "
            "--base of `minidl bases`."
        )


def _set(options: argparse.Namespace, values: dict[str, Any]) -> None:
    for name, value in values.items():
        if getattr(options, name) is None:
            setattr(options, name, value)


def _resume(options: argparse.Namespace, model: Model) -> None:
    """Set the options to those of the training to resume; raise if other ones are given."""
    stored = model.metadata.get("training")
    if not isinstance(stored, dict) or not stored.keys() >= SCRATCH.keys() - set(ADDED):
        raise ValueError(
            f"{options.output}: was not created by `minidl train`. To resume it, call load_model "
            "and fit(resume=True) in Python."
        )
    stored = {**SCRATCH, **stored, "base": stored["base"] or NO_BASE}  # None before 0.3
    for name in SCRATCH:
        given, value = getattr(options, name), stored[name]
        is_added = name == "fine_tune" and value is None
        if given in (None, value) or name in EXTENDABLE or is_added:
            continue
        option = option_name(name)
        began = f"without {option}" if value is None or value is False else f"with {option} {value}"
        raise ValueError(
            f"{options.output}: the training began {began}. Omit {option} to resume it, or "
            "omit --resume to train anew."
        )
    _set(options, stored)
    if "fine_tuning" in model.metadata and options.epochs != stored["epochs"]:
        raise ValueError(
            f"{options.output}: --epochs: expected {stored['epochs']}, received {options.epochs}, "
            "but fine-tuning has begun. Choose a higher --fine-tune-epochs."
        )


def _defaults(options: argparse.Namespace) -> dict[str, Any]:
    """Choose the base; return the defaults of omitted options.

    Raise for options that need or exclude a base.
    """
    if options.weights == "":
        raise ValueError("--weights: expected the name of a file, received none")
    for name in ("weights", "until"):
        if options.base in (None, NO_BASE) and getattr(options, name) is not None:
            raise ValueError(f"{option_name(name)}: only valid with --base NETWORK")
    if options.base is None:
        options.base, reason = choose_base(options)
        print(f"Base: {options.base}, because {reason}", flush=True)
    if options.base == NO_BASE:
        for name in ("augmented_passes", "fine_tune", "fine_tune_epochs"):
            if getattr(options, name) is not None:
                raise ValueError(
                    f"{option_name(name)}: only valid with a base. Choose a --base of `minidl "
                    "bases`."
                )
        return SCRATCH
    if options.no_augmentation:
        raise ValueError("--no-augmentation: not needed with --base, which augments no photos")
    network = NETWORKS[options.base]
    if network.weights is None and options.weights is None:
        raise ValueError(
            f"--base {options.base}: expected --weights FILE, received none. No official file is "
            "registered for this network."
        )
    return {**TRANSFER, "image_size": network.image_size, "weights": network.weights}


def choose_base(options: argparse.Namespace) -> tuple[str, str]:
    """Return the base of a training without ``--base``, and the reason for it.

    Parameters
    ----------
    options : argparse.Namespace
        ``folder`` and ``no_augmentation``.

    Returns
    -------
    base : str
        A key of :data:`minidl.applications.catalog.NETWORKS`, or "none".
    reason : str
        The end of a sentence.

    Raises
    ------
    DataError
        If the folder has no classes.
    """
    names = list(find_classes(options.folder))
    if options.no_augmentation:
        return NO_BASE, "--no-augmentation is for training from scratch"
    default = NETWORKS[DEFAULT]
    if default.local_file() is not None:
        return DEFAULT, "it is installed; --base none trains from scratch"
    missing = f"{DEFAULT} is not installed ({default.where_to_get()})"
    if is_cats_and_dogs(names):
        return "pets_net", f"the photos show cats and dogs, and {missing}"
    return NO_BASE, f"{missing}; training starts from scratch"


def is_cats_and_dogs(class_names: Sequence[str]) -> bool:
    """Return whether the classes are those of PetsNet, in singular or plural."""
    singular = sorted(name.lower().removesuffix("s") for name in class_names)
    return singular == ["cat", "dog"]
