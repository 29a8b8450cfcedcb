"""Checkpoints of this project: read safely, and as configurations that evaluation starts from."""

import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any, cast

from hydra import compose
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from guidance.checkpoints.migration import migrate
from guidance.errors import InputError
from guidance.printable import is_name
from guidance.run_directory import checkpoint_file
from guidance.untrusted.plain_config import PARTS, is_reference

if TYPE_CHECKING:
    from guidance.training.module import GuidedClassifier


def portable_config(config: DictConfig) -> dict[str, Any]:
    """Return a configuration as plain types that stays right when parts of it are replaced.

    References to other places become values, so that the configuration needs nothing around it; references
    within a group (``${..image_size}``) stay, so that overriding the key still changes what refers to it.
    """

    def merge(raw: Any, resolved: Any, depth: int) -> Any:
        if isinstance(raw, dict):
            return {key: merge(value, resolved[key], depth + 1) for key, value in raw.items()}
        if isinstance(raw, list):
            return [merge(*pair, depth + 1) for pair in zip(raw, resolved, strict=True)]
        return raw if isinstance(raw, str) and is_reference(raw, depth) else resolved

    raw = OmegaConf.to_container(config, resolve=False)
    # A group's own name does not count: what refers to it would leave the group.
    return cast("dict[str, Any]", merge(raw, OmegaConf.to_container(config, resolve=True), -1))


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint of this project, weights-only.

    Raises:
        InputError: If the file is broken, or from another project or a newer version.
    """
    import torch  # here, as the next: a command that prints its help needs neither

    from guidance.models.weights_file import refuse_bomb, why_unreadable

    where = f"ckpt_path: {path}"
    try:
        refuse_bomb(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever torch stumbles on in a damaged file
        raise InputError(f"{where} is not a readable checkpoint: {why_unreadable(error)}") from error
    if not isinstance(content, dict):
        raise InputError(f"{where} was not written by this project (key 'guidance' is missing)")
    content = migrate(content, where)
    own = content["guidance"]
    classes = own.get("classes")
    valid = {
        "guidance.config": isinstance(own.get("config"), Mapping),
        "guidance.classes": isinstance(classes, list) and all(map(_is_class, classes)) and len(classes) > 0,
        "guidance.iou_threshold": _is_share(own.get("iou_threshold")),
        "state_dict": _is_state_dict(content.get("state_dict")),
        "epoch": type(content.get("epoch", 0)) is int,
        "global_step": type(content.get("global_step", 0)) is int,
    }
    for key, fits in valid.items():
        if not fits:
            raise InputError(f"{where} is damaged: its {key} is missing or not what it should be")
    return content


def _is_class(value: Any) -> bool:
    return isinstance(value, str) and is_name(value)


def _is_share(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= 1


def _is_state_dict(value: Any) -> bool:
    import torch

    return isinstance(value, Mapping) and all(
        isinstance(name, str) and isinstance(one, torch.Tensor) for name, one in value.items()
    )


def newest_readable(folder: Path) -> Path | None:
    """Return the checkpoint of a run's folder that is the furthest of those that can be read, if any."""
    found: dict[Path, int] = {}
    # Of the same step, those in checkpoints/ were written later and know more of the run.
    for path in [*folder.glob("checkpoints/*.ckpt"), *folder.glob("pareto/*.ckpt")]:
        with suppress(InputError):
            found[path] = int(read_checkpoint(path)["global_step"])
    return max(found, key=lambda path: found[path]) if found else None


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
    return _listed("ckpt_path", arguments, "no sweep over checkpoints; run one command for each")


def trusted_packages(arguments: Iterable[str]) -> list[str]:
    """Return the packages that ``trusted=[my_networks]`` names on a command line.

    Raises:
        InputError: If it cannot be read.
    """
    return _listed("trusted", arguments, "several are a list, trusted=[a,b]")


def _listed(key: str, arguments: Iterable[str], no_sweep: str) -> list[str]:
    given = [argument for argument in arguments if argument.startswith(f"{key}=")]
    if not given:
        return []
    try:
        override = OverridesParser.create().parse_override(given[-1])
    except HydraException as error:
        raise InputError(
            f"cannot read {given[-1]}: a name with '=' or another sign of Hydra's needs quotes of its own, "
            f"\"{key}='a=b.ckpt'\""
        ) from error
    if override.is_sweep_override():
        raise InputError(f"cannot read {given[-1]}: {no_sweep}")
    value = override.value()
    return [str(name) for name in (value if isinstance(value, list) else [value]) if name is not None]


def checkpoint_override(path: Path) -> str:
    """Return ``ckpt_path=FILE`` as a shell takes it, whatever signs of Hydra's the name has."""
    if re.fullmatch(r"[\w./-]+", str(path)):
        return f"ckpt_path={path}"
    override = "ckpt_path='{}'".format(str(path).replace("'", "\\'"))
    return quote(override) if re.search(r'["$`\\!]', override) else f'"{override}"'


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
    return [checkpoint_file(name) for name in names]


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
        arguments: The command line, of which ``ckpt_path`` and ``trusted`` are read.
        program: What runs, for messages.
        instead: No checkpoint is needed where all these groups are named.

    Raises:
        InputError: If no checkpoint is named, it cannot be read, or it names what may not be built.
    """
    named, trusted = named_checkpoints(arguments), trusted_packages(arguments)
    groups = {argument.partition("=")[0] for argument in arguments}
    content: dict[str, Any] = {}
    if named:
        path = checkpoint_paths(named, program)[0]
        content = _checked_config(path, trusted)
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
    configs, trusted = [], trusted_packages(overrides)
    for name in checkpoints:
        _offer(_checked_config(checkpoint_file(name), trusted))
        try:
            config = compose(config_name, list(overrides))
        except (HydraException, OmegaConfBaseException) as error:
            raise InputError(f"{name}: {str(error).splitlines()[0]}") from error
        OmegaConf.update(config, "ckpt_path", name)
        configs.append(config)
    return configs


def _checked_config(path: Path, trusted: Sequence[str]) -> dict[str, Any]:
    from guidance.untrusted.stored_config import stored_config

    return stored_config(read_checkpoint(path), path, trusted)


def _offer(content: Mapping[str, Any]) -> None:
    for group in PARTS:
        ConfigStore.instance().store(name="from_checkpoint", group=group, node=content.get(group, {}))
