"""Run folders with made-up numbers, for tests of everything that only reads them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

Values = tuple[float, float, float]
"""(F1, EPG, IoU)."""


def metrics(split: str, values: Values) -> dict[str, float]:
    return {f"{split}/{name}": value for name, value in zip(("f1_micro", "epg", "iou"), values, strict=True)}


def config(folder: Path, seed: int, loss: str | None, weight: float, **other: Any) -> dict[str, Any]:
    content: dict[str, Any] = {
        "seed": seed,
        "data": {"module": {"seed": seed, "image_size": 32, "dataset": {"_target_": "guidance.data.Shapes"}}},
        "model": {"_target_": "guidance.models.bcos_small", "checkpoint": None},
        "attributor": {"_target_": "guidance.attribution.BcosContributions", "layer": "input"},
        "loss": {"localization": {"_target_": loss} if loss else None, "weight": weight},
        "optimizer": {"_target_": "torch.optim.Adam", "lr": 1e-3},
        "trainer": {"max_epochs": 2},
        "paths": {"output_dir": str(folder)},
    }
    for dotted, value in other.items():
        *parents, last = dotted.split("__")
        node = content
        for parent in parents:
            node = node[parent]
        node[last] = value
    return content


def write_run(
    folder: Path,
    val: Sequence[Values],
    test: Sequence[Values] = (),
    *,
    seed: int = 0,
    loss: str | None = None,
    weight: float = 0.0,
    before: tuple[Values, Values] | None = None,
    **other: Any,
) -> Path:
    """Write a run whose epochs have these metrics; by default they are the same on test as on val."""
    test = test or val
    beaten = [any(_beats(rival, point) for rival in val) for point in val]
    front, dominated = [], []
    for epoch, (values, tested, lost) in enumerate(zip(val, test, beaten, strict=True)):
        entry = {"epoch": epoch, "global_step": 10 * (epoch + 1), "metrics": metrics("val", values)}
        if lost:
            dominated.append(entry)
        else:
            front.append(entry | {"checkpoint": f"epoch={epoch:03d}.ckpt", "test": metrics("test", tested)})
    results: dict[str, Any] = metrics("val", val[-1]) | metrics("test", test[-1])
    if before is not None:
        for split, values in zip(("val", "test"), before, strict=True):
            results |= {f"before/{key}": value for key, value in metrics(split, values).items()}
    results |= {"seed": seed, "versions": {}, "git_commit": "0123456789abcdef"}
    (folder / "pareto").mkdir(parents=True)
    (folder / ".hydra").mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump(config(folder, seed, loss, weight, **other)))
    (folder / "results.json").write_text(json.dumps(results))
    content = {"metrics": [], "front": front, "dominated": dominated}
    (folder / "pareto" / "front.json").write_text(json.dumps(content))
    rows = ["epoch,step,val/f1_micro,val/epg,val/iou,train/loss"]
    for epoch, values in enumerate(val):
        rows.append(f"{epoch},{10 * epoch + 4},,,,0.5")
        rows.append(f"{epoch},{10 * epoch + 9},{','.join(map(str, values))},")
    rows.append(f"{len(val)},{10 * len(val)},{','.join(map(str, val[-1]))},")
    (folder / "metrics.csv").write_text("\n".join(rows) + "\n")
    (folder / ".hydra" / "hydra.yaml").write_text(
        "hydra:\n  job: {name: train}\n  runtime: {cwd: /somewhere}\n"
    )
    (folder / ".hydra" / "overrides.yaml").write_text("- loss=energy\n- 'data.length={train: 4}'\n")
    return folder


def write_study(root: Path, f1_drop: float = 0.005) -> Path:
    """Write two unguided runs, and for each of two seeds two weights of Energy that start from them."""
    for seed in (0, 1):
        start: Values = (0.8 + 0.01 * seed, 0.2, 0.1)
        baseline = write_run(root / "baseline" / str(seed), [(0.5, 0.1, 0.1), start], seed=seed)
        for weight in (0.1, 1.0):
            kept = (start[0] - f1_drop, 0.3 + 0.1 * weight + 0.001 * seed, 0.2)
            far = (start[0] - 0.2, 0.6 + 0.1 * weight, 0.3)
            write_run(
                root / "energy" / f"{weight:g}-{seed}",
                [kept, far, (0.1, 0.1, 0.05)],
                seed=seed,
                loss="guidance.losses.EnergyLoss",
                weight=weight,
                before=(start, start),
                model__checkpoint=f"{baseline}/checkpoints/best.ckpt",
            )
    return root


def _beats(one: Values, other: Values) -> bool:
    return one != other and all(a >= b for a, b in zip(one, other, strict=True))
