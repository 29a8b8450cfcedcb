"""What all commands share: overrides checked before Hydra runs, errors in one line."""

import argparse
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import NoReturn

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from guidance.errors import InputError, StoppedError, unknown_name
from guidance.experiments import experiment_names, register_experiments
from guidance.overrides import parse_overrides, sweep_values
from guidance.printable import print_logs_safely, printable
from guidance.run_directory import register_resolvers

CONFIG_DIR = Path(__file__).resolve().parent.parent / "conf"

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


class PlainParser(argparse.ArgumentParser):
    """Parses commands whose arguments are files and folders; what is wrong is an :class:`InputError`."""

    def error(self, message: str) -> NoReturn:
        """Refuse the command line.

        Raises:
            InputError: Always.
        """
        raise InputError(f"{message} (see --help)")


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn an error in what the user gave into one line on stderr and exit status 2.

    A training that a signal stopped ends with one line too, and exit status 128 and the signal's number.
    """
    try:
        yield
    except StoppedError as stopped:
        from pytorch_lightning.utilities import rank_zero_only

        if getattr(rank_zero_only, "rank", 0):
            sys.exit(0)  # Lightning would take another status for a crash, and kill rank 0
        how = "the same command goes on" if _sweeps() else "go on with the same command and ckpt_path=last"
        print(f"{stopped}; {how}", file=sys.stderr)
        sys.exit(128 + stopped.signal)
    except Exception as error:
        cause = input_error(error)
        if cause is None:
            raise
        print(f"Error: {printable(cause)}", file=sys.stderr)
        sys.exit(2)


def input_error(error: BaseException | None) -> str | None:
    """Return the message of the :class:`InputError` that an error is or was caused by, if any.

    What is said of processes that died, of loaders or of other devices, counts as one.
    """
    while error is not None:
        if isinstance(error, InputError):
            # A data loader's worker prefixes the message with its traceback.
            return str(error).strip().rpartition("InputError: ")[2]
        if isinstance(error, RuntimeError) and (died := _of_dead_process(str(error))):
            return died
        error = error.__cause__ or error.__context__
    return None


def _of_dead_process(message: str) -> str | None:
    """Say what a loader's or torch.distributed's message about another process means."""
    if re.match(r"DataLoader worker .*(killed by signal|exited unexpectedly)", message):
        what = message.split(". ")[0].split(", ")[0]
        if "Bus error" in message or "shared memory" in message:
            return (
                f"a loader process died ({what}), for /dev/shm is full: enlarge it, as by docker run "
                "--shm-size=8g, or set data.num_workers=0"
            )
        return (
            f"a loader process died ({what}), most often because memory ran out: lower data.num_workers or "
            "data.batch_size"
        )
    if "Connection closed by peer" in message or "Connection reset by peer" in message:
        return (
            "another process of this run died. Its own message says why; if there is none, the system killed "
            "it, most often because memory ran out"
        )
    return None


def run(config: DictConfig, job: Callable[[DictConfig], object]) -> None:
    """Run one job under Hydra.

    Args:
        config: Composed by Hydra.
        job: E.g. :func:`guidance.run.train` or :func:`guidance.run.evaluate`.

    An error in what the user gave, a sweep whose jobs would start processes of their own among them, ends
    the program with one line and exit status 2.
    """
    print_logs_safely()
    with one_line_errors():
        if in_sweep():
            refuse_own_processes(config)
        job(config)


def _sweeps() -> bool:
    """Whether the command goes on by itself: sweeps do, and searches."""
    return not HydraConfig.initialized() or in_sweep()


def in_sweep() -> bool:
    """Whether Hydra runs a sweep."""
    return bool(HydraConfig.get().mode == RunMode.MULTIRUN)


def refuse_own_processes(config: DictConfig) -> None:
    """Refuse a sweep's job that would start processes of its own.

    Raises:
        InputError: Saying what to do instead.
    """
    if OmegaConf.select(config, "trainer.strategy") not in (None, "auto"):
        raise InputError(
            "a sweep cannot start several processes per job: each of them would run the whole sweep. Use one "
            "device per job (trainer=cpu or trainer=gpu), one command per run, or SLURM (docs/studies.md)"
        )
