"""The attributions that are compared, from their names: with options, and lists of values as several."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from guidance.attribution import Attributor
from guidance.command_line import CONFIG_DIR
from guidance.errors import InputError, unknown_name
from guidance.runs.building import build_part

Entry = str | Mapping[str, Mapping[str, Any] | None]
"""``ixg``, or ``{smoothed_ixg: {kernel_size: [9, 17]}}``."""


@dataclass(frozen=True)
class NamedAttributor:
    """One of the attributions that a protocol compares.

    Attributes:
        method: The name of its configuration, e.g. ``smoothed_ixg``.
        setting: The options that were given, e.g. ``kernel_size=9``; empty without any.
        attributor: Makes the maps, at all its layers at once.
        options: Its whole configuration, plain: what decides the maps.
    """

    method: str
    setting: str
    attributor: Attributor
    options: Mapping[str, Any]

    @property
    def label(self) -> str:
        """What it is called in tables and figures."""
        return f"{self.method} {self.setting}".strip()


def read_attributors(entries: Sequence[Entry], layers: Sequence[str] | None) -> list[NamedAttributor]:
    """Build attributions from entries of a list such as ``[ixg, {smoothed_ixg: {kernel_size: [9, 17]}}]``.

    Args:
        entries: Names of options of the group ``attributor``, alone or with options. An option with a list
            of values makes one attribution per value; several of them, one per combination.
        layers: Where all maps are taken, unless an entry says ``layer``; None is each method's own layer.

    Raises:
        InputError: If a name or option is wrong, or the same is there twice.
    """
    named: list[NamedAttributor] = []
    for entry in entries:
        for method, given in [(entry, None)] if isinstance(entry, str) else entry.items():
            named += _variants(method, dict(given or {}), layers)
    if not named:
        raise InputError("protocol.attributors names no attribution, e.g. protocol.attributors=[ixg,gradcam]")
    labels = [one.label for one in named]
    twice = next((label for label in labels if labels.count(label) > 1), None)
    if twice is not None:
        raise InputError(f"protocol.attributors: '{twice}' is there twice")
    return named


def _variants(method: str, given: dict[str, Any], layers: Sequence[str] | None) -> list[NamedAttributor]:
    folder = CONFIG_DIR / "attributor"
    known = {path.stem for path in folder.glob("*.yaml")}
    if method not in known:
        raise unknown_name("attribution in protocol.attributors:", method, known)
    config = cast(DictConfig, OmegaConf.load(folder / f"{method}.yaml"))
    at = given.pop("layer", layers)
    if at is not None:
        OmegaConf.update(config, "layer", at)
    keys = {_path(config, method, key): value for key, value in given.items()}
    values = [value if isinstance(value, list | tuple) else [value] for value in keys.values()]
    variants = []
    for combination in itertools.product(*values):
        own = config.copy()
        for key, value in zip(keys, combination, strict=True):
            OmegaConf.update(own, key, value)
        setting = ", ".join(f"{key}={value}" for key, value in zip(given, combination, strict=True))
        attributor = build_part(own, f"protocol.attributors: {method}")
        options = cast("dict[str, Any]", OmegaConf.to_container(own, resolve=True))
        variants.append(NamedAttributor(method, setting, attributor, options))
    return variants


def _path(config: DictConfig, method: str, key: str) -> str:
    """Return where an option stands: at the top, or in the attribution that another one changes."""
    nested = config.get("attributor") or {}
    top = {str(name) for name in config} - {"_target_", "attributor"}
    within = {str(name) for name in nested} - {"_target_"}
    if key in top:
        return key
    if key in within:
        return f"attributor.{key}"
    raise unknown_name(f"option of {method} in protocol.attributors:", key, (top | within) - {"layer"})
