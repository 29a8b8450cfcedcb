"""Compare training steps with a stand-in for the official code: ``python benchmarks/guided_step.py --help``.

A B-cos ResNet with random weights, the Energy loss, random images. First loss and gradients of both are
compared (float64, small images), then the steps are timed in turn. A step is forward, explanation, losses
and backward, without the optimizer. Steps of ours are by kernels for the CPU, as runs take them by default,
but for one by torch alone. Half precision is left out on a processor that has no instructions for
it, unless --only names it.
"""

import argparse
from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from interleaved import at_least_one, compare, restart_with_allocator
from official_stand_in import official_loss, official_resnet
from torch import Tensor, nn

from guidance.attribution import BcosContributions, CompiledExplanations
from guidance.losses import EnergyLoss
from guidance.models import Classifier, bcos_resnet, cpu_kernels
from guidance.models.bcos_resnet import DEPTHS
from guidance.runs.half_precision import has_bfloat16

Step = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]

_FIRST = "official, guided"
_NAMES = (
    "official, not guided",
    "guided",
    "guided, torch alone",
    "10 % guided",
    "not guided",
    "guided, bfloat16",
    "guided, compiled",
    "guided, compiled, bfloat16",
    "10 % guided, compiled",
    "not guided, compiled",
)


def main() -> None:
    """Compare results, then time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--depth", type=int, default=50, choices=DEPTHS, help="of the ResNet")
    parser.add_argument("--batch-size", type=at_least_one, default=8)
    parser.add_argument("--image-size", type=at_least_one, default=224)
    parser.add_argument("--layer", default="input", choices=("input", "final"))
    parser.add_argument("--compile", action="store_true", help="time compiled steps too; takes minutes more")
    parser.add_argument(
        "--only",
        choices=_NAMES,
        nargs="+",
        metavar="NAME",
        help=f"time these alone beside the one they are compared with: {_listed(_NAMES)}",
    )
    parser.add_argument(
        "--against",
        choices=(_FIRST, *_NAMES),
        default=_FIRST,
        metavar="NAME",
        help=f"compare with this step instead of '{_FIRST}', which then is not timed",
    )
    parser.add_argument("--rounds", type=at_least_one, default=5)
    parser.add_argument("--threads", type=at_least_one, default=1)
    parser.add_argument("--clock", default="cpu", choices=("cpu", "wall"))
    options = parser.parse_args()
    restart_with_allocator()
    with cpu_kernels():
        time_steps(options)


def time_steps(options: argparse.Namespace) -> None:
    """Compare results of both sides and time the variants that were asked for."""
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)

    model = bcos_resnet(options.depth, 20)
    official = official_resnet(options.depth, 20, model.network.state_dict())
    check_equal(model, official, options.layer)
    step = random_step(options.batch_size, options.image_size)
    few = random_step(options.batch_size, options.image_size, guided=max(1, options.batch_size // 10))
    exact = BcosContributions(options.layer)
    low = BcosContributions(options.layer, dtype="bfloat16")
    compiled = CompiledExplanations(exact, options.batch_size)
    low_compiled = CompiledExplanations(low, options.batch_size)
    losses: dict[str, partial[Tensor]] = {
        _FIRST: partial(official_loss, official, *step, options.layer),
        "official, not guided": partial(official_plain_loss, official, *step),
        "guided": partial(guided_loss, model, *step, exact),
        "guided, torch alone": partial(guided_loss, model, *step, exact),
        "10 % guided": partial(guided_loss, model, *few, exact),
        "not guided": partial(plain_loss, model, *step),
        "guided, bfloat16": partial(guided_loss, model, *step, low),
        "guided, compiled": partial(compiled_loss, model, compiled, *step),
        "guided, compiled, bfloat16": partial(compiled_loss, model, low_compiled, *step),
        "10 % guided, compiled": partial(compiled_loss, model, compiled, *few),
        "not guided, compiled": partial(compiled_plain_loss, model, compiled, *step),
    }
    half = has_bfloat16(step[0].device)
    usual = [
        name
        for name in _NAMES
        if (options.compile or "compiled" not in name) and (half or "bfloat16" not in name)
    ]
    variants: dict[str, Callable[[], object]] = {}
    for name in dict.fromkeys([options.against, *(options.only or usual)]):
        if name.startswith("guided, compiled"):
            check_compiled(model, losses[name], step, exact, name)
        network = official if name.startswith("official") else model
        work = partial(backward, network, losses[name])
        variants[name] = partial(by_torch_alone, work) if name.endswith("torch alone") else work
    print(
        f"B-cos ResNet-{options.depth}, batch {options.batch_size}, {options.image_size} px, {options.layer}"
    )
    compare(variants, options.rounds, options.clock)


def by_torch_alone(work: Callable[[], object]) -> None:
    """Do what ``trainer.cpu_kernels=false`` does."""
    with cpu_kernels(False):
        work()


def _listed(names: Sequence[str]) -> str:
    return "; ".join(names).replace("%", "%%")


def random_step(batch_size: int, size: int, guided: int | None = None) -> Step:
    """Return images, labels, classes, masks, and which images are guided (all by default)."""
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(batch_size, 3, size, size, generator=generator)
    labels = (torch.rand(batch_size, 20, generator=generator) < 0.1).float()
    classes = torch.randint(0, 20, (batch_size,), generator=generator)
    masks = torch.zeros(batch_size, size, size, dtype=torch.bool)
    masks[:, size // 4 : size // 2, size // 8 : size // 2] = True
    return (
        images,
        labels,
        classes,
        masks,
        torch.arange(batch_size) < (batch_size if guided is None else guided),
    )


def guided_loss(
    model: Classifier,
    images: Tensor,
    labels: Tensor,
    classes: Tensor,
    masks: Tensor,
    guided: Tensor,
    attributor: BcosContributions,
) -> Tensor:
    """Return the loss of a guided step of ours."""
    forward = attributor.forward(model, images)
    loss = F.binary_cross_entropy_with_logits(forward.logits, labels)
    if not guided.all():
        rows = guided.nonzero()[:, 0]
        forward, classes, masks = forward.restrict(rows), classes[rows], masks[rows]
    maps = attributor.attribute(forward, classes, create_graph=True)
    localization: Tensor = EnergyLoss()(maps, masks).mean()
    return loss + 0.06 * localization


def compiled_loss(
    model: Classifier,
    compiled: CompiledExplanations,
    images: Tensor,
    labels: Tensor,
    classes: Tensor,
    masks: Tensor,
    guided: Tensor,
) -> Tensor:
    """Return the loss of a compiled guided step of ours."""
    rows = None if guided.all() else guided.nonzero()[:, 0]
    logits, (maps,) = compiled.explain(model, images, [classes], rows)
    loss = F.binary_cross_entropy_with_logits(logits, labels)
    localization: Tensor = EnergyLoss()(maps, masks[guided]).mean()
    return loss + 0.06 * localization


def compiled_plain_loss(
    model: Classifier, compiled: CompiledExplanations, images: Tensor, labels: Tensor, *_: Tensor
) -> Tensor:
    """Return the loss of a compiled step of ours without guidance."""
    return F.binary_cross_entropy_with_logits(compiled.explain(model, images, [])[0], labels)


def plain_loss(model: nn.Module, images: Tensor, labels: Tensor, *_: Tensor) -> Tensor:
    """Return the loss of a step of ours without guidance."""
    return F.binary_cross_entropy_with_logits(model(images), labels)


def official_plain_loss(network: nn.Module, images: Tensor, labels: Tensor, *_: Tensor) -> Tensor:
    """Return the loss of an official step without guidance."""
    return F.binary_cross_entropy_with_logits(network(torch.cat([images, 1 - images], 1)), labels)


def backward(model: nn.Module, loss: partial[Tensor]) -> None:
    """Compute a loss and the gradients of all parameters."""
    model.zero_grad()
    loss().backward()


def check_equal(model: Classifier, official: nn.Module, layer: str) -> None:
    """Compare loss and gradients of both guided steps in float64, and leave both as they were."""
    state = {name: value.clone() for name, value in model.network.state_dict().items()}
    model.double()
    official.double()
    step = random_step(3, 64)
    step = (step[0].double(), step[1].double(), *step[2:])
    ours, theirs = guided_loss(model, *step, BcosContributions(layer)), official_loss(official, *step, layer)
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=0)
    ours.backward()
    theirs.backward()
    worst = 0.0
    others = dict(official.named_parameters())
    for name, parameter in model.network.named_parameters():
        gradient, other = parameter.grad, others[name].grad
        if gradient is None or other is None:
            raise AssertionError(f"{name} has no gradient")
        worst = max(worst, float((gradient - other).abs().max() / other.abs().max()))
    if not worst < 1e-7:
        raise AssertionError(f"gradients differ by {worst} of their largest")
    print(f"loss equal to 1e-9, gradients to {worst:.0e} of their largest, in float64")
    model.float().network.load_state_dict(state)
    official.float().load_state_dict(state)


def check_compiled(
    model: Classifier, compiled: partial[Tensor], step: Step, attributor: BcosContributions, name: str
) -> None:
    """Compare the gradients of a compiled step and of one by torch alone with the latter's in float64.

    The model stays as it was.

    Raises:
        AssertionError: If float32 throughout is more than three times as far from it as torch alone, in norm.
    """
    state = {name: value.clone() for name, value in model.state_dict().items()}
    exact = (step[0].double(), step[1].double(), *step[2:])
    found = []
    for loss in (
        partial(guided_loss, model.double(), *exact, attributor),
        partial(guided_loss, model, *step, attributor),
        compiled,
    ):
        by_torch_alone(partial(backward, model, loss))
        found.append([p.grad.double().clone() for p in model.parameters() if p.grad is not None])
        model.float().load_state_dict(state)
    expected, ours, theirs = (torch.cat([one.flatten() for one in each]) for each in found)
    error, compiled_error = (float((each - expected).norm() / expected.norm()) for each in (ours, theirs))
    cosine = float(F.cosine_similarity(expected, theirs, dim=0))
    print(f"{name}: gradients to {compiled_error:.1e} (torch alone {error:.1e}), cosine {cosine:.7f}")
    if "bfloat16" not in name and not compiled_error < 3 * error + 1e-6:
        raise AssertionError(f"gradients are off by {compiled_error} compiled, by {error} by torch alone")


if __name__ == "__main__":
    main()
