"""Checkpoints of this project: read safely, and as configurations that evaluation starts from."""

import pickle
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from hydra import compose
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from guidance.errors import InputError
from guidance.run_directory import resolve_checkpoint

if TYPE_CHECKING:
    from guidance.module import GuidedClassifier

_WITHIN_GROUP = re.compile(r"\$\{\.+[^{}]*\}")


def portable_config(config: DictConfig) -> dict[str, Any]:
    """Return a configuration as plain types that stays right when parts of it are replaced.

    References to other places become values, so that the configuration needs nothing around it; references
    within a group (``${..image_size}``) stay, so that overriding the key still changes what refers to it.
    """

    def merge(raw: Any, resolved: Any) -> Any:
        if isinstance(raw, dict):
            return {key: merge(value, resolved[key]) for key, value in raw.items()}
        if isinstance(raw, list):
            return [merge(*pair) for pair in zip(raw, resolved, strict=True)]
        return raw if isinstance(raw, str) and _WITHIN_GROUP.fullmatch(raw) else resolved

    raw = OmegaConf.to_container(config, resolve=False)
    return cast("dict[str, Any]", merge(raw, OmegaConf.to_container(config, resolve=True)))


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint of this project, weights-only.

    Raises:
        InputError: If the file is broken, or from another project or a newer version.
    """
    import torch  # here, as the next: a command that prints its help needs neither

    from guidance.module import FORMAT_VERSION

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, LookupError, OSError) as error:
        # A LookupError: the first bytes happened to name something that was never stored.
        raise InputError(f"ckpt_path: {path} is not a readable checkpoint: {error}") from error
    own = content.get("guidance") if isinstance(content, Mapping) else None
    if own is None:
        raise InputError(f"ckpt_path: {path} was not written by this project (key 'guidance' is missing)")
    if own["format_version"] > FORMAT_VERSION:
        raise InputError(
            f"ckpt_path: {path} has format {own['format_version']}, this version reads up to {FORMAT_VERSION}"
        )
    return dict(content)


def load_weights(module: "GuidedClassifier", content: dict[str, Any]) -> None:
    """Put a checkpoint's weights and IoU threshold into a module.

    Raises:
        InputError: If it has other classes or belongs to another model.
    """
    module.on_load_checkpoint(content)
    try:
        module.load_state_dict(content["state_dict"])
    except RuntimeError as error:
        raise InputError(f"the checkpoint belongs to another model: {str(error).splitlines()[1]}") from error


def named_checkpoints(arguments: Iterable[str]) -> list[str]:
    """Return the files that ``ckpt_path=FILE`` or ``ckpt_path=[FILE,FILE]`` names on a command line.

    Raises:
        InputError: If it cannot be read.
    """
    given = [argument for argument in arguments if argument.startswith("ckpt_path=")]
    if not given:
        return []
    try:
        override = OverridesParser.create().parse_override(given[-1])
    except HydraException as error:
        raise InputError(
            f"cannot read {given[-1]}: a name with '=' or another sign of Hydra's needs quotes of its own, "
            f"\"ckpt_path='a=b.ckpt'\""
        ) from error
    if override.is_sweep_override():
        raise InputError(f"cannot read {given[-1]}: no sweep over checkpoints; run one command for each")
    value = override.value()
    return [str(name) for name in (value if isinstance(value, list) else [value]) if name is not None]


def checkpoint_paths(names: str | Sequence[str], program: str = "evaluate.py") -> list[Path]:
    """Return the files of one checkpoint or of several.

    Args:
        names: A path, or several.
        program: What runs, for messages.

    Raises:
        InputError: If a file does not exist, is named twice, or none is named.
    """
    names = [names] if isinstance(names, str) else list(names)
    if not names:
        raise InputError("ckpt_path: name at least one checkpoint")
    if "last" in names:
        raise InputError(f"{program} needs a file: ckpt_path=outputs/.../checkpoints/last.ckpt")
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise InputError(f"ckpt_path names {twice[0]} twice")
    return [path for name in names if (path := resolve_checkpoint(name, ".")) is not None]


def told_apart(paths: Sequence[str | Path]) -> list[str]:
    """Return the parts of paths that tell them apart, without suffix; of a single path its file's name."""
    if len(paths) < 2:
        return [Path(path).name for path in paths]
    parts = [Path(path).with_suffix("").parts for path in paths]
    for end in (0, -1):
        while all(len(own) > 1 and own[end] == parts[0][end] for own in parts):
            parts = [own[1:] if end == 0 else own[:-1] for own in parts]
    return ["/".join(own) for own in parts]


def register_checkpoint_config(
    arguments: list[str], program: str = "evaluate.py", instead: Sequence[str] = ("data", "model")
) -> None:
    """Offer a checkpoint's own data, model and attributor as the options ``from_checkpoint``.

    Of several checkpoints (``ckpt_path=[a.ckpt,b.ckpt]``) it is the first one's. Without any the options are
    empty but for ``data.image_size``, 224.

    Args:
        arguments: The command line, of which ``ckpt_path`` is read.
        program: What runs, for messages.
        instead: No checkpoint is needed where all these groups are named.

    Raises:
        InputError: If no checkpoint is named, or it cannot be read.
    """
    named = named_checkpoints(arguments)
    groups = {argument.partition("=")[0] for argument in arguments}
    content: dict[str, Any] = {}
    if named:
        content = read_checkpoint(checkpoint_paths(named, program)[0])["guidance"]["config"]
    elif not groups.issuperset(instead) and not groups & {"--help", "-h", "--hydra-help", "--version"}:
        raise InputError(f"{program} needs ckpt_path=FILE, a checkpoint of a training run")
    _offer(content or {"data": {"image_size": 224}})


def compose_each(config_name: str, overrides: Sequence[str], checkpoints: Iterable[str]) -> list[DictConfig]:
    """Compose a command's configuration once for each checkpoint, which brings its own parts.

    Args:
        config_name: Of a command whose groups have the option ``from_checkpoint``.
        overrides: As typed; what they replace is replaced for each checkpoint.
        checkpoints: The files.

    Returns:
        One configuration per checkpoint, whose ``ckpt_path`` is that one file.

    Raises:
        InputError: If a file is no checkpoint, or an override does not fit it.
    """
    configs = []
    for name in checkpoints:
        path = resolve_checkpoint(name, ".")
        _offer(read_checkpoint(path)["guidance"]["config"] if path else {})
        try:
            config = compose(config_name, list(overrides))
        except (HydraException, OmegaConfBaseException) as error:
            raise InputError(f"{name}: {str(error).splitlines()[0]}") from error
        OmegaConf.update(config, "ckpt_path", name)
        configs.append(config)
    return configs


def _offer(content: Mapping[str, Any]) -> None:
    for group in ("data", "model", "attributor"):
        ConfigStore.instance().store(name="from_checkpoint", group=group, node=content.get(group, {}))
