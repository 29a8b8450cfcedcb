"""Networks small enough for slow oracles, in float64: a ResNet, a vision transformer and a B-cos ResNet."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torchvision.models import VisionTransformer

from guidance.attribution.layers import find_layer
from guidance.models.bcos_resnet import bcos_small
from guidance.models.classifier import Classifier
from guidance.models.encoding import Normalize

NUM_CLASSES = 3


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1)
        self.norm = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv2(self.norm(self.conv1(x)).relu_())
        out += self.shortcut(x)
        activated: Tensor = self.relu(out)
        return activated


def small_resnet() -> Classifier:
    """Build a ResNet with layers ``input``, ``mid1`` (6 channels) and ``final`` (8 channels)."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3, 2, padding=1),
        nn.ReLU(inplace=True),
        _Block(4, 6, 1),
        _Block(6, 8, 2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, NUM_CLASSES),
    )
    return Classifier(network, Normalize(), NUM_CLASSES, {"mid1": "2", "final": "3"}).double().eval()


def small_vit() -> nn.Module:
    """Build a vision transformer for 32 pixels: 4 x 4 patches after a class token, 16 channels."""
    torch.manual_seed(0)
    network = VisionTransformer(
        image_size=32, patch_size=8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32, num_classes=3
    )
    nn.init.normal_(network.heads.head.weight)
    network.prefix_tokens = 1
    model: nn.Module = network.double().eval()
    return model


def small_bcos() -> Classifier:
    """Build a B-cos ResNet, which reads 6 channels."""
    torch.manual_seed(0)
    return bcos_small(NUM_CLASSES, width=4).double().eval()


NETWORKS: dict[str, tuple[Callable[[], nn.Module], list[str]]] = {
    "resnet": (small_resnet, ["mid1", "final"]),
    "vit": (small_vit, ["encoder.layers.encoder_layer_0", "encoder.ln"]),
    "bcos": (small_bcos, ["mid1", "mid2"]),
}


def small_images(count: int = 3, height: int = 32, width: int = 32) -> Tensor:
    """Return images [count, 3, height, width] in float64."""
    generator = torch.Generator().manual_seed(1)
    return torch.rand(count, 3, height, width, generator=generator, dtype=torch.float64)


def run_one(
    model: nn.Module, image: Tensor, layer: str, change: Callable[[Tensor], Tensor] = lambda a: a
) -> tuple[Tensor, Tensor]:
    """Run one image [3, H, W] with its activation [C, h, w] at a layer changed, the plain way.

    Returns:
        The logits [K] and the activation before the change.
    """
    seen = []

    def on_map(activation: Tensor) -> Tensor:
        if activation.ndim == 4:
            seen.append(activation[0].clone())
            return change(activation[0].clone())[None]
        side = int((activation.shape[1] - 1) ** 0.5)
        tokens = activation[0, 1:].T.reshape(-1, side, side)
        seen.append(tokens.clone())
        changed = change(tokens).reshape(tokens.shape[0], -1).T
        return torch.cat([activation[:, :1], changed[None]], dim=1)

    module, of_input = find_layer(model, layer)
    if of_input:
        handle = module.register_forward_pre_hook(lambda _, args: (on_map(args[0]),))
    else:
        handle = module.register_forward_hook(lambda _, __, output: on_map(output))
    with torch.no_grad():
        logits = model(image[None])[0]
    handle.remove()
    return logits, seen[0]


def batch_sizes(model: nn.Module) -> list[int]:
    """Return a list that fills with the batch size of every forward pass of the model."""
    sizes: list[int] = []
    model.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
    return sizes
