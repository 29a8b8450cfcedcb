"""How fast a ResNet's convolutions are, one by one: ``python benchmarks/convolutions.py --threads 2``.

Prints GFLOPS (a multiplication and an addition are two operations) of each kind of convolution: forward, back
to the input by a transposed convolution, and back to the weight; for 1x1 filters without a stride also of the
matrix product that gives the same gradient of the weight. Channels last, float32, the best of some rounds.
At the end, how long all convolutions of a guided step take at these rates: less time no step can take that
computes them in this way.
"""

from collections.abc import Callable
from time import perf_counter

import torch
import torch.nn.functional as F
from interleaved import restart_with_allocator
from step_options import step_parser
from torch import Tensor, nn

from guidance.models import bcos_resnet
from guidance.models.convolution_formulas import Geometry
from guidance.models.transposed_convolution import transposed_convolution

_IMAGE_CHANNELS = 6
"""Of an image as B-cos networks read it."""

Kind = tuple[int, int, int, int, int]


def main() -> None:
    """Find the kinds of convolutions, then time each."""
    parser = step_parser(__doc__)
    options = parser.parse_args()
    restart_with_allocator()
    torch.set_num_threads(options.threads)
    kinds = count_kinds(options.depth, options.image_size)
    print(
        f"torch {torch.__version__}, {options.threads} thread(s), {torch.backends.cpu.get_cpu_capability()}"
    )
    print(
        "channels, filter, stride, size of the input: forward, to the input, to the weight, product; GFLOPS"
    )
    of_step = 0.0
    for (inputs, outputs, kernel, stride, size), count in kinds.items():
        operations, seconds = measure(options.batch_size, inputs, outputs, kernel, stride, size)
        text = " ".join(f"{operations / each / 1e9:5.0f}" for each in seconds)
        print(f"{count} x {inputs:4} to {outputs:4}, {kernel}, {stride}, {size:3}: {text}", flush=True)
        # Images and their explanations; images themselves have no gradient.
        of_step += count * (2 * sum(seconds[:3]) - (seconds[1] if inputs == _IMAGE_CHANNELS else 0))
    print(f"the convolutions of a guided step at the input: {of_step:.2f} s")


def count_kinds(depth: int, size: int) -> dict[Kind, int]:
    """Return (channels of input and output, filter, stride, size of the input) and how often each occurs."""
    kinds: dict[Kind, int] = {}

    def note(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if isinstance(module, nn.Conv2d) and inputs[0].shape[2] > 1:
            kind = (*module.weight.shape[1::-1], module.kernel_size[0], module.stride[0], inputs[0].shape[2])
            kinds[kind] = kinds.get(kind, 0) + 1

    model = bcos_resnet(depth, 20)
    for module in model.modules():
        module.register_forward_pre_hook(note)
    with torch.no_grad():
        model(torch.zeros(1, 3, size, size))
    return kinds


def measure(
    batch_size: int, inputs: int, outputs: int, kernel: int, stride: int, size: int
) -> tuple[int, list[float]]:
    """Return the operations of one kind of convolution, and the seconds of each way."""
    padding = kernel // 2
    x = torch.rand(batch_size, inputs, size, size).to(memory_format=torch.channels_last)
    weight = torch.rand(outputs, inputs, kernel, kernel).to(memory_format=torch.channels_last)
    out = F.conv2d(x, weight, None, stride, padding)

    def to_weight() -> object:
        geometry = (None, [stride] * 2, [padding] * 2, [1, 1], False, [0, 0], 1, [False, True, False])
        return torch.ops.aten.convolution_backward(out, x, weight, *geometry)

    work: list[Callable[[], object]] = [
        lambda: F.conv2d(x, weight, None, stride, padding),
        lambda: transposed_convolution(out, weight, (size, size), Geometry([stride] * 2, [padding] * 2)),
        to_weight,
    ]
    if kernel == stride == 1:
        rows, of_rows = (each.permute(0, 2, 3, 1).flatten(0, 2) for each in (x, out))
        work.append(lambda: of_rows.mT @ rows)
    operations = 2 * out.numel() * inputs * kernel**2
    return operations, [best(each) for each in work]


def best(work: Callable[[], object], rounds: int = 7) -> float:
    """Return the least seconds of some rounds, after one that does not count."""
    work()
    seconds = []
    for _ in range(rounds):
        begun = perf_counter()
        work()
        seconds.append(perf_counter() - begun)
    return min(seconds)


if __name__ == "__main__":
    main()
