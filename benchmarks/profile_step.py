"""Where the time of a guided step goes: ``python benchmarks/profile_step.py --help``.

Prints the operations that take most of a step of a B-cos ResNet with random weights and images, and how fast
torch computes gradients of convolutions (2: of input and weight, 1: of one of them; a multiplication and an
addition are two operations; shapes are those of the output's gradient, the input and the weight).
"""

from functools import partial
from math import prod

import torch
from guided_step import backward, compiled_loss, guided_loss
from step_options import begin, step_parser
from study_cost import count
from torch.autograd.profiler_util import FunctionEvent

from guidance.attribution import BcosContributions, CompiledExplanations
from guidance.models import cpu_kernels

CONVOLUTIONS = (
    "aten::convolution",
    "aten::_convolution",
    "aten::mkldnn_conv",
    "aten::_slow_conv",
    "aten::slow_conv",
    # Convolutions by tiles, their sums and their products.
    "guidance::winograd",
    # Gradients of filters by panels.
    "guidance::filter_gradients",
    # Back through the first layer.
    "guidance::few_channels",
    "aten::bmm",
)


def main() -> None:
    """Run a few steps, then profile one."""
    parser = step_parser(__doc__, threads=2)
    parser.add_argument("--compile", action="store_true", help="profile the compiled step")
    parser.add_argument("--dtype", choices=("bfloat16",), help="of the explanation; float32 by default")
    options = parser.parse_args()
    model, step = begin(options)
    attributor = BcosContributions("input", dtype=options.dtype)
    if options.compile:
        compiled = CompiledExplanations(attributor, options.batch_size)
        work = partial(backward, model, partial(compiled_loss, model, compiled, *step))
    else:
        work = partial(backward, model, partial(guided_loss, model, *step, attributor))
    # The profiler's own memory makes the first steps slower.
    warmed_up = torch.profiler.schedule(wait=0, warmup=5, active=1, repeat=1)
    activities = [torch.profiler.ProfilerActivity.CPU]
    profiling = torch.profiler.profile(activities=activities, schedule=warmed_up, record_shapes=True)
    with cpu_kernels(), profiling as profile:
        for _ in range(6):
            work()
            profile.step()
    print(profile.key_averages().table(sort_by="self_cpu_time_total", row_limit=20))
    events = [e for e in profile.key_averages(group_by_input_shape=True) if e.key.startswith(CONVOLUTIONS)]
    seconds = sum(event.self_cpu_time_total for event in events) / 1e6
    total = count(partial(backward, model, partial(guided_loss, model, *step, attributor)))
    print(f"convolutions: {seconds:.2f} s; all products: {total / 1e9:.0f} billion operations")
    print_gradients([event for event in profile.events() if event.name == "aten::convolution_backward"])


def print_gradients(events: list[FunctionEvent]) -> None:
    """Print how fast gradients of convolutions are, the longest first."""
    times: dict[str, list[float]] = {}
    rates: dict[str, float] = {}
    for event in events:
        shapes: list[list[int]] = event.input_shapes[:3]  # type: ignore[assignment]
        gradient, x, weight = shapes
        wanted = str(event.concrete_inputs[-1]).count("True")  # gradients of input and weight
        name = f"{wanted} of {[gradient, x, weight]}"
        rates[name] = 2 * wanted * prod(weight) * x[0] * min(prod(gradient[2:]), prod(x[2:]))
        times.setdefault(name, []).append(event.cpu_time_total)
    for name, each in sorted(times.items(), key=lambda item: -sum(item[1]))[:20]:
        rate = rates[name] * len(each) / sum(each) / 1e3
        print(f"{sum(each) / 1e3:6.1f} ms {rate:4.0f} GFLOPS {len(each)} x {name}")


if __name__ == "__main__":
    main()
