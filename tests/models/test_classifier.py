"""Encodings, heads, torchvision models, and start weights from good and bad files."""

from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from guidance.errors import InputError
from guidance.models import (
    AddInverse,
    Classifier,
    Normalize,
    bcos_small,
    load_start_weights,
    torchvision_classifier,
)


def test_encodings() -> None:
    images = torch.rand(2, 3, 4, 5)
    encoded = AddInverse()(images)
    assert encoded.shape == (2, 6, 4, 5)
    torch.testing.assert_close(encoded[:, :3] + encoded[:, 3:], torch.ones(2, 3, 4, 5))
    expected = torchvision.transforms.functional.normalize(
        images, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    )
    torch.testing.assert_close(Normalize()(images), expected)


def test_torchvision_classifier_is_torchvision_s_with_another_head() -> None:
    torch.manual_seed(0)
    model = torchvision_classifier("resnet18", num_classes=7).eval()
    reference = torchvision.models.resnet18(num_classes=7).eval()
    reference.load_state_dict(model.network.state_dict())
    images = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(model(images), reference(Normalize()(images)))
    assert set(model.layers) == {"input", "mid1", "mid2", "mid3", "final"}


def test_unknown_torchvision_model_names_the_nearest() -> None:
    with pytest.raises(InputError, match=r"unknown torchvision model 'resnet5'. Did you mean 'resnet50'"):
        torchvision_classifier("resnet5", 3)


def test_wrong_head_is_refused() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 5))
    with pytest.raises(InputError, match=r"unknown model.head 'fc'. Known: 1"):
        Classifier(network, nn.Identity(), 3, {}, head="fc")


def saved_checkpoint(folder: Path, num_classes: int) -> tuple[Classifier, Path]:
    model = bcos_small(num_classes, width=8)
    path = folder / "run.ckpt"
    state = {f"model.{name}": value for name, value in model.state_dict().items()} | {"other": torch.zeros(1)}
    torch.save({"state_dict": state, "epoch": 3}, path)
    return model, path


def test_start_weights_from_a_checkpoint_of_this_project(tmp_path: Path) -> None:
    saved, path = saved_checkpoint(tmp_path, 4)
    model = bcos_small(4, width=8)
    load_start_weights(model, path)
    for name, value in saved.state_dict().items():
        assert torch.equal(model.state_dict()[name], value)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_start_weights_from_a_network_s_state_dict(tmp_path: Path, suffix: str) -> None:
    saved = bcos_small(4, width=8).network
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pt":
        torch.save(saved.state_dict(), path)
    else:
        save_file({name: value.contiguous() for name, value in saved.state_dict().items()}, path)
    model = bcos_small(4, width=8)
    load_start_weights(model, path)
    name = "fc.linear.weight"
    assert torch.equal(model.network.get_parameter(name), saved.get_parameter(name))


def test_head_for_other_classes_is_left_out_with_a_warning(tmp_path: Path) -> None:
    saved, path = saved_checkpoint(tmp_path, 9)
    model = bcos_small(4, width=8)
    head = model.network.get_parameter("fc.linear.weight").clone()
    with pytest.warns(UserWarning, match="trained for 9 classes, not 4"):
        load_start_weights(model, path)
    assert torch.equal(model.network.get_parameter("fc.linear.weight"), head)
    stem = "network.conv1.linear.weight"
    assert torch.equal(model.get_parameter(stem), saved.get_parameter(stem))


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    _, path = saved_checkpoint(tmp_path, 4)
    with pytest.raises(InputError, match=r"run.ckpt belongs to another model: .* missing, .* unknown"):
        load_start_weights(torchvision_classifier("resnet18", 4), path)
    with pytest.raises(InputError, match="of another shape"):
        load_start_weights(bcos_small(4, width=16), path)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"\x80\x04\x95garbage"])
def test_broken_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.ckpt"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"broken.ckpt is not a readable file of weights"):
        load_start_weights(bcos_small(4, width=8), path)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"model.checkpoint: no file .*gone.ckpt"):
        load_start_weights(bcos_small(4, width=8), tmp_path / "gone.ckpt")


def test_file_without_weights_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "numbers.pt"
    torch.save({"a": 1}, path)
    with pytest.raises(InputError, match="holds no state dict"):
        load_start_weights(bcos_small(4, width=8), path)


class _Payload:
    """Pickles to a call, as an attack would."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (self.marker,)  # type: ignore[return-value]


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    marker, path = tmp_path / "ran", tmp_path / "evil.ckpt"
    torch.save({"state_dict": _Payload(marker)}, path)
    with pytest.raises(InputError, match="holds more than weights"):
        load_start_weights(bcos_small(4, width=8), path)
    assert not marker.exists()
