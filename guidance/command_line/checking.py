"""Overrides and folders of a command line, checked before Hydra runs."""

import os
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from guidance.command_line.experiments import experiment_names, register_experiments
from guidance.command_line.overrides import parse_overrides, sweep_values
from guidance.errors import InputError, unknown_name
from guidance.run_directory import register_resolvers

CONFIG_DIR = Path(__file__).resolve().parents[2] / "conf"

_NOTHING_RUNS = ("--help", "-h", "--hydra-help", "--version")


def check_overrides(config_name: str, arguments: list[str], config_dir: Path = CONFIG_DIR) -> None:
    """Compose the configuration once, so that a wrong name is answered with the right ones.

    Args:
        config_name: ``train``, ``evaluate`` or ``check``.
        arguments: The command line without the program's name.
        config_dir: The folder of the configuration files.

    Raises:
        InputError: Naming the override that is wrong, the nearest right name and all right ones.
    """
    register_resolvers()
    register_experiments(arguments)
    if any(argument in _NOTHING_RUNS for argument in arguments):
        return
    overrides = [argument for argument in arguments if "=" in argument and not argument.startswith("-")]
    for argument in arguments:
        if "=" not in argument and not argument.startswith(("-", "~")):
            raise InputError(f"'{argument}' is no override: write key=value, e.g. loss=energy (see --help)")
    parsed = parse_overrides(overrides)
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_dir), version_base="1.3"):
        groups = [_of_one_job(o) for o in parsed if (config_dir / o.key_or_group).is_dir()]
        for override in parsed:
            if (config_dir / override.key_or_group).is_dir():
                _check_option(config_dir, override)
        try:
            base = compose(config_name, groups)
        except (HydraException, OmegaConfBaseException, ValueError) as error:
            raise InputError(str(error).splitlines()[0]) from error
        for override in parsed:
            _check_key(override, base, config_dir)
        try:
            compose(config_name, [_of_one_job(override) for override in parsed])
        except (HydraException, OmegaConfBaseException, ValueError) as error:
            raise InputError(str(error).splitlines()[0]) from error


def check_writable_folder(arguments: list[str]) -> None:
    """Refuse a folder for runs that Hydra could not make or write to: it would say so with a traceback.

    Args:
        arguments: The command line without the program's name, as :func:`check_overrides` accepts it.

    Raises:
        InputError: Naming the folder that may not be written to.
    """
    if any(argument in (*_NOTHING_RUNS, "--cfg", "-c", "--info", "-i") for argument in arguments):
        return
    key = "hydra.sweep.dir" if {"-m", "--multirun"} & set(arguments) else "hydra.run.dir"
    given = {"paths.runs_dir": OmegaConf.load(CONFIG_DIR / "paths" / "default.yaml").runs_dir}
    for argument in arguments:
        if argument.partition("=")[0] in (key, "paths.runs_dir"):
            (override,) = parse_overrides([argument])
            given[override.key_or_group] = override.value()
    folder = Path(str(given.get(key, given["paths.runs_dir"])))
    nearest = next(path for path in [folder, *folder.absolute().parents] if path.exists())
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise InputError(
            f"cannot write to {folder}: {nearest} may not be written to; name another folder with "
            "paths.runs_dir=FOLDER, or this run's own with hydra.run.dir=FOLDER"
        )


def _of_one_job(override: Override) -> str:
    """The override as one job of a sweep sees it."""
    text = override.input_line or ""
    if override.is_sweep_override():
        return f"{text.partition('=')[0]}={sweep_values(override)[0]}"
    return text


def _check_option(config_dir: Path, override: Override) -> None:
    group = override.key_or_group
    folder = config_dir / group
    # Elsewhere what lies in a sub-folder is a part of options, and none itself.
    files = folder.rglob("*.yaml") if group == "experiment" else folder.glob("*.yaml")
    options = {path.relative_to(folder).with_suffix("").as_posix() for path in files}
    options |= set(experiment_names()) if group == "experiment" else set()
    values = sweep_values(override) if override.is_sweep_override() else [override.value()]
    for value in values:
        if isinstance(value, str) and value not in options and value != "null":
            raise unknown_name(f"option of {group}:", value, options)
        if (value is None and not override.is_delete()) or isinstance(value, int | float):
            raise unknown_name(f"option of {group}:", override.get_value_element_as_str(), options)


def _check_key(override: Override, config: DictConfig, config_dir: Path) -> None:
    key = override.key_or_group
    if (
        override.is_add()
        or override.is_force_add()
        or key.startswith(("hydra.", "hydra/"))
        or override.package
    ):
        return
    if (config_dir / key).is_dir():
        return
    node = config
    parts = key.split(".")
    for depth, part in enumerate(parts):
        if not isinstance(node, DictConfig):
            raise InputError(f"override '{key}': '{'.'.join(parts[:depth])}' holds a value, no keys")
        if part not in node.keys():  # noqa: SIM118 - `in` alone denies keys whose value is missing (???)
            raise _unknown_key(key, config, node, ".".join(parts[:depth]))
        if depth < len(parts) - 1:
            node = node._get_node(part)  # type: ignore[assignment]


def _unknown_key(key: str, config: DictConfig, node: DictConfig, parent: str) -> InputError:
    prefix = f"{parent}." if parent else ""
    siblings = [f"{prefix}{name!s}" for name in node]
    everywhere = list(_all_keys(config))
    near = get_close_matches(key, everywhere, n=1, cutoff=0.6)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    return InputError(f"unknown key '{key}'.{hint} Known: {', '.join(sorted(siblings))}")


def _all_keys(node: DictConfig, prefix: str = "") -> Iterator[str]:
    for name in node:
        key = f"{prefix}{name!s}"
        yield key
        child = node._get_node(name)
        if isinstance(child, DictConfig) and not child._is_none() and not child._is_interpolation():
            yield from _all_keys(child, f"{key}.")
