"""Layer-wise relevance propagation."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

from torch import Tensor, nn

from guidance.attribution.forward_pass import ForwardPass, evaluation_mode, run_model
from guidance.attribution.input_x_gradient import InputXGradient
from guidance.attribution.relevance_rules import RelevanceRules
from guidance.errors import InputError, unknown_name
from guidance.models.dynamic_factors import explanation_backward
from guidance.models.encoding import AddInverse, Normalize

_RULES = ("epsilon", "gamma")
_WITH_A_RULE = (nn.Conv2d, nn.Linear, nn.BatchNorm2d)
_BY_GRADIENT = (
    nn.ReLU,
    nn.MaxPool2d,
    nn.AvgPool2d,
    nn.AdaptiveAvgPool2d,
    nn.AdaptiveMaxPool2d,
    nn.ZeroPad2d,
    nn.Dropout,
    nn.Dropout2d,
    nn.Flatten,
    nn.Identity,
    nn.Sequential,
    Normalize,
    AddInverse,
)


class LRP(InputXGradient):
    """The relevance of a layer's positions, summed over channels: the logit, handed back layer by layer.

    Bach et al., "On Pixel-Wise Explanations for Non-Linear Classifier Decisions by Layer-Wise Relevance
    Propagation", PLOS ONE 2015; rules as in Montavon et al., "Layer-Wise Relevance Propagation: An Overview",
    2019. An output ``z_k = sum_j a_j w_jk + b_k`` of relevance R_k gives its inputs

    * by the epsilon rule ``R_j = sum_k a_j w_jk / (z_k + epsilon sign z_k) R_k``;
    * by the gamma rule the same with ``a_j w_jk + gamma (a_j w_jk)^+`` in place of every summand, bias
      included, and z_k their sum. That is for positive outputs, the only ones that a ReLU leaves relevance;
      negative outputs (the logit, the end of a residual branch) favour what is negative.

    The gamma rule is that of convolutions; linear layers always go by the epsilon rule. A batch norm is
    merged with the convolution before it; without one it goes by the epsilon rule, as a layer of its own.
    ReLU hands all relevance on, max pooling to the largest input, average pooling and sums in proportion.
    Biases keep their share. With no biases and a tiny epsilon each map sums up to the logit; with the epsilon
    rule it then equals Input x Gradient.

    The maps are a layer's activation times a modified gradient (see :func:`explained_as`), so they come from
    one backward pass, can be differentiated, and leave the gradients of the classification loss alone.
    The share of the relevance that the epsilon rule takes away is a constant to a loss of the maps: it peaks
    over a width of epsilon wherever an output crosses 0, and the slopes of these peaks are noise.

    Args:
        layer: Where the map is taken.
        rule: ``epsilon``, or ``gamma``, which takes about three times as long.
        epsilon: The stabiliser of both rules, in units of the layers' outputs.
        gamma: Of the gamma rule.

    Raises:
        InputError: If there is no such rule, epsilon is not positive or gamma is negative.
    """

    def __init__(
        self,
        layer: str | Sequence[str] = "input",
        rule: str = "epsilon",
        epsilon: float = 1e-6,
        gamma: float = 0.25,
    ) -> None:
        super().__init__(layer)
        if rule not in _RULES:
            raise unknown_name("attributor.rule", rule, _RULES)
        if not epsilon > 0:
            raise InputError(f"attributor.epsilon must be positive; got {epsilon}")
        if not gamma >= 0:
            raise InputError(f"attributor.gamma must be at least 0; got {gamma}")
        self.rule = rule
        self.epsilon = epsilon
        self.gamma = gamma
        self._merged_in: nn.Module | None = None
        self._merged: dict[nn.Module, nn.Module] = {}

    def check(self, model: nn.Module) -> None:
        """Refuse a model with layers that relevance has no rule for here.

        Functions that a model calls without a module cannot be seen. ReLU, pooling, sums, concatenation and
        reshaping are handled; others are explained by their gradient.

        Raises:
            InputError: If it has any, or has no such layer as is to be explained.
        """
        super().check(model)
        known = _WITH_A_RULE + _BY_GRADIENT
        unknown = {
            type(module).__name__
            for module in model.modules()
            if type(module) not in known
            and (not any(module.children()) or next(module.parameters(recurse=False), None) is not None)
        }
        if unknown:
            raise InputError(
                "attributor=lrp explains convolutional networks with ReLU; this model has layers without a "
                f"rule: {', '.join(sorted(unknown))}. Use attributor=ixg or attributor=integrated_gradients"
            )

    def forward(self, model: nn.Module, images: Tensor) -> ForwardPass:
        """Run the model once, ready to be explained; see :meth:`Attributor.forward`."""
        gamma = self.gamma if self.rule == "gamma" else 0.0
        rules = RelevanceRules(self.epsilon, gamma, self._find_merged(model, images))
        handles = [
            module.register_forward_hook(rules) for module in model.modules() if type(module) in _WITH_A_RULE
        ]
        try:
            return super().forward(model, images)
        finally:
            for handle in handles:
                handle.remove()

    def backward_context(self) -> AbstractContextManager[None]:
        """Go by the rules."""
        return explanation_backward()

    def _find_merged(self, model: nn.Module, images: Tensor) -> dict[nn.Module, nn.Module]:
        """Return, for each batch norm that reads what a convolution returned, the convolution."""
        if self._merged_in is model:
            return self._merged
        made: dict[int, tuple[nn.Module, Tensor]] = {}
        merged: dict[nn.Module, nn.Module] = {}

        def after_convolution(module: nn.Module, _: Any, output: Tensor) -> None:
            made[id(output)] = (module, output)

        def before_batch_norm(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            if id(inputs[0]) in made:
                merged[module] = made[id(inputs[0])][0]

        handles = []
        for module in model.modules():
            if type(module) is nn.Conv2d:
                handles.append(module.register_forward_hook(after_convolution))
            elif type(module) is nn.BatchNorm2d:
                handles.append(module.register_forward_pre_hook(before_batch_norm))
        try:
            # A layer that is explained stands between the two, as it does in any other pass.
            with evaluation_mode(model):
                run_model(model, images[:1], self.layers)
        finally:
            for handle in handles:
                handle.remove()
        self._merged_in, self._merged = model, merged
        return merged
