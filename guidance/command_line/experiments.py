"""The paper's experiments by name: ``experiment=voc2007/bcos_energy_input``, without a file for each.

A name is put together from a data set's recipe, an architecture, a loss and a layer, all of them options of
configuration groups. Only the names on the command line are registered, so that they can be composed.
"""

from typing import Any

from hydra.core.config_store import ConfigStore

from guidance.errors import unknown_name

RECIPES = ("voc2007", "coco2014", "waterbirds")
ARCHITECTURES = ("bcos", "xdnn", "vanilla", "vanilla_gradcam")
LOSSES = ("energy", "l1", "ppce", "rrr")
LAYERS = ("input", "mid1", "mid2", "mid3", "final")
BASELINE = "baseline"


def experiment_names() -> list[str]:
    """Return all names: ``RECIPE/ARCHITECTURE_LOSS_LAYER``, and ``RECIPE/ARCHITECTURE_baseline``."""
    variants = [BASELINE, *(f"{loss}_{layer}" for loss in LOSSES for layer in LAYERS)]
    return [
        f"{recipe}/{architecture}_{variant}"
        for recipe in RECIPES
        for architecture in ARCHITECTURES
        for variant in variants
    ]


def register_experiments(arguments: list[str]) -> None:
    """Make the experiments that a command line names known to Hydra.

    Args:
        arguments: The command line, of which ``experiment=NAME`` or ``experiment=NAME,NAME`` is read.

    Raises:
        InputError: If a name in a recipe's folder does not exist.
    """
    values = [argument.partition("=")[2] for argument in arguments if argument.startswith("experiment=")]
    for name in (one.strip("'\" ") for value in values for one in value.split(",")):
        recipe, _, variant = name.partition("/")
        if recipe not in RECIPES:
            continue
        if name not in experiment_names():
            near = [one for one in experiment_names() if one.startswith(f"{recipe}/")]
            raise unknown_name("option of experiment:", name, near)
        node = {"_package": "_global_", **_experiment(recipe, variant)}
        ConfigStore.instance().store(
            group=f"experiment/{recipe}", name=variant, node=node, package=node.pop("_package")
        )


def _experiment(recipe: str, variant: str) -> dict[str, Any]:
    """Return the content that a yaml of this name would have."""
    architecture = max((a for a in ARCHITECTURES if variant.startswith(f"{a}_")), key=len)
    rest = variant.removeprefix(f"{architecture}_")
    defaults: list[dict[str, str]] = [
        {"override /recipe": recipe},
        {"override /architecture": architecture},
    ]
    if rest == BASELINE:
        defaults += [{"override /loss": "none"}, {"override /baseline": "none"}]
        return {"defaults": defaults, "trainer": {"max_epochs": "${baseline.changes.trainer.max_epochs}"}}
    loss, layer = rest.split("_")
    return {
        "defaults": [*defaults, {"override /loss": loss}],
        "attributor": {"layer": layer},
        "baseline": {
            "changes": {"attributor": {"layer": "input" if architecture != "vanilla_gradcam" else "final"}}
        },
    }
