"""What every B-cos network is held to: the package ``bcos`` and its model of the same name."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from io import BytesIO
from math import log
from pathlib import Path
from typing import Any

import bcos.models.pretrained as package
import pytest
import torch
from bcos.modules import BcosConv2d as PackageConv
from torch import Tensor, nn

from guidance.attribution.bcos import BcosContributions
from guidance.errors import InputError
from guidance.models.bcos_layers import BcosConv2d, UncenteredBatchNorm2d
from guidance.models.classifier import Classifier
from guidance.models.dynamic_factors import explanation_backward
from tests.file_server import FileServer, serving

K = 1000
CLASSES = torch.tensor([3, 917])


@dataclass(frozen=True)
class Member:
    """A network of ours and the package's own.

    Attributes:
        build: Builds ours for K classes.
        reference: The package's entry point.
        size: Side of the images to compare on.
        shrink: Makes a network smaller, with B-cos convolutions of a class, to save time.
    """

    build: Callable[[], Classifier]
    reference: str
    size: int = 64
    shrink: Callable[[nn.Module, Any], None] = lambda network, conv: None

    def __str__(self) -> str:
        return self.reference

    def pair(self) -> tuple[Classifier, Any]:
        """Build both without weights: on the device of nothing, where it costs nothing."""
        with torch.device("meta"):
            ours = self.build()
            theirs = getattr(package, self.reference)(pretrained=False)
        return ours, theirs

    def filled_pair(self) -> tuple[Classifier, Any]:
        """Build both with the same random weights and statistics, in float64, for evaluation."""
        ours, theirs = self.pair()
        self.shrink(ours.network, BcosConv2d)
        self.shrink(theirs, PackageConv)
        ours = ours.to_empty(device="cpu").double()
        torch.manual_seed(0)
        with torch.no_grad():
            for name, tensor in ours.state_dict().items():
                if tensor.ndim in (1, 3):  # norms and layer scales
                    tensor.uniform_(0.5, 1.5)
                elif tensor.ndim > 1:
                    tensor.normal_(std=tensor[0].numel() ** -0.5)
                elif name.endswith("num_batches_tracked"):
                    tensor.zero_()
        with_statistics(ours, self.images(seed=1))
        theirs.load_state_dict(ours.network.state_dict(), assign=True)
        theirs.eval()
        return ours, theirs

    def images(self, seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return torch.rand(2, 3, self.size, self.size, dtype=torch.float64, generator=generator)


def with_statistics(model: nn.Module, images: Tensor) -> None:
    """Give batch norms the statistics of some images, as if trained; all outputs keep a normal size."""
    norms = [module for module in model.modules() if isinstance(module, UncenteredBatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    model.train()
    with torch.no_grad():
        model(images)
    model.eval()
    for norm in norms:
        norm.momentum = 0.1


def explained_by_the_package(theirs: Any, images: Tensor) -> tuple[Tensor, Tensor]:
    """Return logits, and the gradients of CLASSES in the package's explanation mode [N, 6, H, W]."""
    x = torch.cat([images, 1 - images], 1).requires_grad_()
    torch.manual_seed(5)  # drops the same blocks in every pass
    with theirs.explanation_mode():
        logits = theirs(x)
        (gradient,) = torch.autograd.grad(logits.gather(1, CLASSES[:, None]).sum(), x)
    return logits.detach(), gradient


def check_state_dict(member: Member) -> None:
    """Names, shapes and dtypes of all tensors are the package's."""
    ours, theirs = member.pair()

    def layout(network: nn.Module) -> dict[str, tuple[torch.Size, torch.dtype]]:
        return {name: (value.shape, value.dtype) for name, value in network.state_dict().items()}

    assert layout(ours.network) == layout(theirs)
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters())


def check_explanation(
    member: Member,
    training: bool = False,
    share: Callable[[Classifier, Tensor, Tensor], Tensor] | None = None,
) -> None:
    """Logits and explanations are the package's, and maps of every layer sum up to the logit - bias.

    Args:
        member: The network.
        training: Compare in training mode.
        share: What the map at the input leaves out of the logits.
    """
    ours, theirs = member.filled_pair()
    ours.train(training)
    theirs.train(training)
    images = member.images(seed=2)
    expected_logits, expected_w = explained_by_the_package(theirs, images)

    attributor = BcosContributions(list(ours.layers))
    attributor.check(ours)
    torch.manual_seed(5)
    forward = attributor.forward(ours, images)
    with explanation_backward():
        target = forward.logits.gather(1, CLASSES[:, None]).sum()
        (w,) = torch.autograd.grad(target, forward.activations["input"], retain_graph=True)
    maps = attributor.attribute_layers(forward, CLASSES)

    # Without the bias the logits of an untrained network are small: compare them on their own scale.
    evidence, expected_evidence = forward.logits.detach() + log(K - 1), expected_logits + log(K - 1)
    assert expected_evidence.std() > 0
    assert_close_on_scale(evidence, expected_evidence)
    torch.testing.assert_close(forward.logits.detach(), expected_logits, rtol=1e-9, atol=1e-9)
    assert_close_on_scale(w, expected_w)
    encoded = torch.cat([images, 1 - images], 1)
    assert_close_on_scale(maps["input"], (encoded * expected_w).sum(1))

    of_classes = evidence.gather(1, CLASSES[:, None])[:, 0]
    for layer, of_layer in maps.items():
        rest = share(ours, images, CLASSES) if share and layer == "input" else 0
        assert_close_on_scale(of_layer.sum((1, 2)) + rest, of_classes)


def assert_close_on_scale(actual: Tensor, expected: Tensor, tolerance: float = 1e-8) -> None:
    """Compare relative to the largest value."""
    scale = expected.abs().max()
    torch.testing.assert_close(actual / scale, expected / scale, rtol=0, atol=tolerance)


def check_guided_gradients(member: Member, training: bool = False) -> None:
    """The gradient of a loss of logits and maps is that of the package's logits and maps.

    The package cannot differentiate its explanations, but computes them: the reference is the difference of
    the loss between weights on both sides, along one direction for every kind of parameter.
    """
    ours, theirs = member.filled_pair()
    ours.train(training)
    theirs.train(training)
    images = member.images(seed=2)
    mask = torch.zeros(2, member.size, member.size, dtype=torch.bool)
    mask[:, 10:30, 5:25] = True
    encoded = torch.cat([images, 1 - images], 1)
    start_logits, start_w = explained_by_the_package(theirs, images)
    largest = (encoded * start_w).sum(1).abs().max()
    of_evidence = (start_logits + log(K - 1)).abs().max()

    def loss(logits: Tensor, maps: Tensor) -> Tensor:
        classification = ((logits + log(K - 1)) / of_evidence + 0.5).square().mean()
        squares = maps.square()
        inside = (mask * squares).sum() / squares.sum()  # smooth, unlike losses of the positive part
        return classification + inside + squares.mean() / largest**2

    attributor = BcosContributions()
    torch.manual_seed(5)
    forward = attributor.forward(ours, images)
    maps = attributor.attribute(forward, CLASSES, create_graph=True)
    parameters = dict(ours.network.named_parameters())
    gradients = dict(
        zip(
            parameters,
            torch.autograd.grad(loss(forward.logits, maps), list(parameters.values())),
            strict=True,
        )
    )
    assert all(gradient.isfinite().all() for gradient in gradients.values())

    of_theirs = dict(theirs.named_parameters())

    def slope(directions: dict[str, Tensor], step: float) -> float:
        values = []
        for change in (step, -2 * step):
            with torch.no_grad():
                for name, direction in directions.items():
                    of_theirs[name].add_(direction, alpha=change)
            logits, w = explained_by_the_package(theirs, images)
            values.append(loss(logits, (encoded * w).sum(1)).item())
        with torch.no_grad():
            for name, direction in directions.items():
                of_theirs[name].add_(direction, alpha=step)
        return (values[0] - values[1]) / (2 * step)

    for kind, names in kinds_of_parameters(ours.network).items():
        generator = torch.Generator().manual_seed(6)
        directions = {
            name: torch.randn(parameters[name].shape, dtype=torch.float64, generator=generator)
            * parameters[name].detach().square().mean().sqrt()
            for name in names
        }
        actual = sum((gradients[name] * direction).sum().item() for name, direction in directions.items())
        # W(x) has kinks where a cosine changes its sign: between weights that are nearer lie fewer.
        expected = slope(directions, 1e-7)
        if actual != pytest.approx(expected, rel=1e-5):
            expected = slope(directions, 3e-9)
        assert abs(expected) > 1e-5, kind
        assert actual == pytest.approx(expected, rel=1e-4, abs=1e-8), kind


def kinds_of_parameters(network: nn.Module) -> dict[str, list[str]]:
    """Group the names of parameters by the class of the module that holds them."""
    modules = dict(network.named_modules())
    kinds: dict[str, list[str]] = {}
    for name, _ in network.named_parameters():
        owner, _, leaf = name.rpartition(".")
        holder = modules[owner]
        kind = f"{type(holder).__name__}.{leaf}"
        if isinstance(holder, nn.Conv2d) and holder.groups > 1:
            kind += " in groups"
        kinds.setdefault(kind, []).append(name)
    return kinds


def check_released_weights(
    build: Callable[[int, bool], Classifier],
    collection: str,
    name: str,
    head: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A file in the released layout is loaded but for another head; damaged and foreign files are refused.

    Args:
        build: Takes K and whether to start from the released weights.
        collection: Where the package lists the URL of the weights.
        name: Its name there.
        head: The parameter that depends on the number of classes.
        folder: For files.
        monkeypatch: Undoes all.
    """
    released = build(K, False).network.state_dict()
    monkeypatch.setenv("TORCH_HOME", str(folder / "cache"))

    def release(server: FileServer, weights: dict[str, Tensor], digest: str | None = None) -> None:
        content = BytesIO()
        torch.save(weights, content)
        digest = digest or sha256(content.getvalue()).hexdigest()[:10]
        server.files = {f"{name}-{digest}.pth": content.getvalue()}
        monkeypatch.setitem(package.URLS[collection], name, server.url(f"{name}-{digest}.pth"))

    with serving() as server:
        check_release(partial(release, server), released, build, name, head)


def check_release(
    release: Callable[..., None],
    released: dict[str, Tensor],
    build: Callable[[int, bool], Classifier],
    name: str,
    head: str,
) -> None:
    """Check what is loaded of files that ``release`` puts on a server."""
    release(released)
    whole = build(K, True).network.state_dict()
    assert all(torch.equal(value, released[key]) for key, value in whole.items())
    with pytest.warns(UserWarning, match=f"trained for 1000 classes, not 7: {head} starts at random"):
        other = build(7, True).network.state_dict()
    assert all(torch.equal(value, released[key]) for key, value in other.items() if key != head)
    assert len(other[head]) == 7

    release(released, digest="0123456789")
    with pytest.raises(InputError, match=r"what arrived is corrupted .*model\.checkpoint"):
        build(K, True)
    first = next(key for key in released if key != head)
    release({key: value for key, value in released.items() if key != first})
    with pytest.raises(
        InputError, match=rf"weights of {name} belongs to another model: 1 \({first}\) missing"
    ):
        build(K, True)
