"""Options of the trainer that are refused, because a guided step would not be right with them."""

import math

from omegaconf import DictConfig, OmegaConf

from guidance.errors import InputError

# Parts of the names that Lightning gives to strategies which divide the weights among processes.
_SHARDING = ("fsdp", "deepspeed", "modelparallel")


def check_trainer(config: DictConfig) -> None:
    """Refuse options of the group ``trainer`` that Lightning would take, or refuse in words of its own.

    Args:
        config: The group ``trainer``.

    Raises:
        InputError: If the strategy divides the weights among processes or fixes the graph, or a value
            is out of range.
    """
    _check_strategy(config)
    together = config.get("accumulate_grad_batches", 1)
    if not isinstance(together, int) or together < 1:
        raise InputError(
            f"trainer.accumulate_grad_batches is {together}; it must be an integer, at least 1, which "
            "makes a step of every batch"
        )
    largest = config.get("gradient_clip_val")
    if largest is not None and not (isinstance(largest, int | float) and 0 < largest < math.inf):
        raise InputError(
            f"trainer.gradient_clip_val is {largest}; it must be a number above 0, the largest norm of the "
            "gradient, or null, which clips nothing"
        )
    for name in ("compile", "cpu_kernels"):
        value = config.get(name, False)
        if not isinstance(value, bool):
            raise InputError(f"trainer.{name} is {value}; it must be true or false")


def _check_strategy(config: DictConfig) -> None:
    strategy = OmegaConf.select(config, "strategy")
    name = strategy.get("_target_", "") if isinstance(strategy, DictConfig) else str(strategy)
    if any(part in name.lower().replace("_", "") for part in _SHARDING):
        raise InputError(
            f"trainer.strategy={name} divides the weights among the processes. An explanation goes through "
            "all of them twice, which has not been made right there, and a checkpoint of parts could not be "
            "read: use trainer=ddp, with a smaller data.batch_size and trainer.accumulate_grad_batches if "
            "memory is short"
        )
    if isinstance(strategy, DictConfig) and strategy.get("static_graph"):
        raise InputError(
            "trainer.strategy.static_graph: a guided step differentiates twice, and a graph that DDP takes "
            "for fixed can lose gradients without a word: set it to false"
        )
