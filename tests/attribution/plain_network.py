"""A small convolutional network with ReLU, for relevance propagation."""

import torch
from torch import Tensor, nn

from tests.attribution.small_networks import small_images


class Plain(nn.Module):
    """Convolutions, ReLU, both poolings and two linear layers."""

    def __init__(self, bias: bool = True, norm: bool = False, inplace: bool = False) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.conv1 = nn.Conv2d(3, 4, 3, padding=1, bias=bias)
        self.norm1 = nn.BatchNorm2d(4) if norm else nn.Identity()
        self.relu1, self.pool1 = nn.ReLU(inplace), nn.MaxPool2d(2)
        self.conv2 = nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2, bias=bias)
        self.norm2 = nn.BatchNorm2d(6) if norm else nn.Identity()
        self.relu2, self.pool2 = nn.ReLU(inplace), nn.AvgPool2d((2, 1))
        self.linear1, self.relu3 = nn.Linear(12, 5, bias), nn.ReLU(inplace)
        self.linear2 = nn.Linear(5, 3, bias)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.weight)  # of both signs: merging matters to the gamma rule
                nn.init.normal_(module.bias)
                module.running_mean = 0.3 * torch.randn(module.num_features)
                module.running_var = 0.5 + 1.5 * torch.rand(module.num_features)
            elif isinstance(module, nn.Linear | nn.Conv2d):
                module.weight.data *= 2
        self.double().eval()

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool1(self.relu1(self.norm1(self.conv1(x))))
        x = self.pool2(self.relu2(self.norm2(self.conv2(x))))
        out: Tensor = self.linear2(self.relu3(self.linear1(x.flatten(1))))
        return out


def plain_images() -> Tensor:
    return small_images(height=8, width=8)
