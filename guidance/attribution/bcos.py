"""Contribution maps of dynamic linear networks: B-cos and CoDA."""

from collections.abc import Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from guidance.attribution.forward_pass import ForwardPass, run_model
from guidance.attribution.input_x_gradient import InputXGradient
from guidance.errors import InputError, unknown_name
from guidance.models.dynamic_factors import DynamicLinear, explanation_backward
from guidance.models.factor_tape import FactorTape


class BcosContributions(InputXGradient):
    """Contributions of the dynamic linear map: ``sum_c a_c * W(a)_kc`` for class k.

    Böhle et al., "B-cos Networks", CVPR 2022, and for CoDA networks Böhle et al., "Convolutional Dynamic
    Alignment Networks", CVPR 2021. The gradient of the logit with all dynamic factors held constant is the
    row k of W(a); the map sums up to the logit minus its bias. A loss on the map still trains the factors
    (see :mod:`guidance.models.dynamic_factors`). It fits every network whose layers are linear or
    :class:`guidance.models.DynamicLinear`.

    Args:
        layer: Where the map is taken.
        dtype: ``bfloat16`` goes back through the convolutions and matrix products of the explanation in this
            type, and differentiates them in it, with the logits, the factors and the map as they are: faster
            where the hardware multiplies it faster. Maps then have its precision, 8 bits a product. None: the
            type of the forward pass.

    Raises:
        InputError: If ``dtype`` is another one.
    """

    def __init__(self, layer: str | Sequence[str] = "input", dtype: str | None = None) -> None:
        super().__init__(layer)
        if dtype not in (None, "bfloat16"):
            raise unknown_name("attributor.dtype", dtype, ("null", "bfloat16"))
        self.dtype = None if dtype is None else torch.bfloat16

    def check(self, model: nn.Module) -> None:
        """Refuse a model that is not dynamic linear.

        Raises:
            InputError: If it has no layer with dynamic factors, or has no such layer as is to be explained.
        """
        super().check(model)
        if not any(isinstance(module, DynamicLinear) for module in model.modules()):
            raise InputError(
                "attributor=bcos explains B-cos networks and other dynamic linear ones (model=bcos_small, "
                "bcos_resnet18, bcos_resnext50, bcos_densenet121, bcos_vgg11, bcos_convnext_tiny, "
                "bcos_vit_s, bcos_vitc_s, or another size of these, bcosified, coda_small, coda_net); this "
                "model has no dynamic linear layer: use attributor=ixg or attributor=gradcam"
            )

    def forward(self, model: nn.Module, images: Tensor) -> ForwardPass:
        """Run the model once; see :meth:`Attributor.forward`.

        If nothing but dynamic factors keeps the model from being linear, they are kept, so that images can be
        explained one by one. An activation that neither a parameter nor an image with a gradient comes before
        has a gradient within :func:`guidance.models.explanation_backward` alone.
        """
        tape = FactorTape() if linear_but_for_factors(model) else None
        return run_model(model, images, self.layers, tape=tape, explanations_alone=True)

    def backward_context(self) -> AbstractContextManager[None]:
        """Hold the dynamic factors constant."""
        return explanation_backward(self.dtype)


def linear_but_for_factors(model: nn.Module) -> bool:
    """Return whether a model is known to be, in its present mode, linear but for its dynamic factors."""
    random = (nn.Dropout, nn.Dropout2d, StochasticDepth)
    drops = any(isinstance(module, random) and module.training and module.p for module in model.modules())
    return bool(getattr(model, "dynamic_linear", False)) and not drops
