"""Whether a device multiplies in half precision by itself: where it does not, that is slower than float32."""

import logging

import torch
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.utilities import rank_zero_only

log = logging.getLogger(__name__)


def warn_of_slow_bfloat16(config: DictConfig, device: torch.device) -> None:
    """Warn of options that compute in bfloat16 on a device that was not made for it.

    Args:
        config: With the groups ``trainer`` and ``attributor``.
        device: On which the network computes.
    """
    chosen = {name: str(OmegaConf.select(config, name)) for name in ("trainer.precision", "attributor.dtype")}
    options = [f"{name}={value}" for name, value in chosen.items() if value.startswith(("bf16", "bfloat16"))]
    if options and not has_bfloat16(device):
        rank_zero_only(log.warning)(
            "%s: this %s has no instructions for bfloat16, so that a step takes many times as long as in "
            "float32; go without on this machine",
            " and ".join(options),
            "processor" if device.type == "cpu" else "GPU",
        )


def has_bfloat16(device: torch.device) -> bool:
    """Return whether torch has fast convolutions and products in bfloat16 for a device, as far as it says.

    On x86 processors these need AVX-512, on NVIDIA GPUs compute capability 8. Other devices are taken to have
    them.
    """
    if device.type == "cpu":
        supported = torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
        return bool(supported)
    return device.type != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False)
