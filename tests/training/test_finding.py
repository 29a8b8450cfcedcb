import torch
from torch import nn

from guidance.training.finding import Finding, describe, findings_of, gradient_finding, weights_finding
from guidance.training.step_record import StepRecord

NAN, INF = torch.nan, torch.inf


def test_images_of_a_quantity() -> None:
    record = StepRecord(torch.tensor([7, 8, 9]))
    record.note("input", torch.zeros(3, 2, dtype=torch.uint8))
    record.note("logits", torch.tensor([[0.0, NAN], [1.0, 1.0], [INF, 0.0]]))
    record.note("map", torch.tensor([[[INF]], [[0.0]], [[-INF]]]), rows=torch.tensor([2, 0, 2]))
    record.note("map", torch.zeros(0, 1, 1), rows=torch.zeros(0, dtype=torch.int64))
    record.note("localization loss", torch.tensor([0.0, 0.0, NAN]), rows=torch.tensor([2, 0, 2]))
    record.note("loss", torch.tensor(NAN))
    assert not record.all_finite()
    assert findings_of(record, rank=1) == [
        Finding("logits", "nan", (7, 9), rank=1),
        Finding("map", "infinite", (9,), rank=1),
        Finding("localization loss", "nan", (9,), rank=1),
        Finding("loss", "nan", rank=1),
    ]
    assert findings_of(StepRecord(torch.tensor([7]))) == []


def test_gradients_and_weights() -> None:
    module = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Linear(2, 2))
    assert gradient_finding(module) is None
    for parameter in module.parameters():
        parameter.grad = torch.ones_like(parameter)
    assert gradient_finding(module) is None
    assert weights_finding(module) is None
    module[0].weight.grad = torch.full((2, 2), 1e25)
    assert gradient_finding(module) == Finding("gradient", "too large", names=("0.weight",))
    module[2].bias.grad = torch.tensor([INF, 0.0])
    assert gradient_finding(module) == Finding("gradient", "infinite", names=("0.weight", "2.bias"))
    # Each alone can be squared, their sum of squares cannot.
    for parameter in module.parameters():
        parameter.grad = torch.full_like(parameter, 0.9e19)
    assert gradient_finding(module) == Finding("gradient", "too large")
    module.get_buffer("1.running_var").fill_(1e25)  # nothing squares it
    assert weights_finding(module) is None
    module.get_buffer("1.running_var").fill_(NAN)
    assert weights_finding(module) == Finding("weights", "nan", names=("1.running_var",))


def test_description() -> None:
    findings = [
        Finding("gradient", "nan", names=("a", "b", "c", "d")),
        Finding("map at mid2", "nan", (3, 4), rank=1),
        Finding("map at mid2", "infinite", (1, 2), rank=0),
        Finding("localization loss", "nan", (3,), rank=1),
    ]
    text = describe(findings, lambda index: f"{index}.png")
    assert text == (
        "map at mid2 (infinite, nan) of 4 images: 3.png, 4.png, 1.png, ..., rank 0, 1; "
        "then localization loss, gradient"
    )
    assert describe(findings[:1], str, shown=None) == "gradient (nan) in 4 tensors: a, b, c, d"
    assert describe([Finding("weights", "nan", names=("w",)), *findings], str).startswith(
        "weights (nan) in 1 tensor: w;"
    )
