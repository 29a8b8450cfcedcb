"""Released weights: fetched once, taken up, verified, from several processes; which ones there are."""

import multiprocessing
import os
from hashlib import sha256
from pathlib import Path
from typing import Any

import bcos.models.pretrained as package
import pytest
import torch
import yaml
from hydra.utils import instantiate

import guidance.download as module
from guidance.command_line import CONFIG_DIR
from guidance.errors import InputError
from guidance.models.bcos_resnet import bcos_resnet
from guidance.models.released_weights import download_weights, fetch_weights
from tests.file_server import FileServer, serving

CONTENT = bytes(range(256)) * 2000
NAME = f"tiny-{sha256(CONTENT).hexdigest()[:8]}.pth"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(module, "_PAUSES", (0.0,) * 4)
    return tmp_path / "hub" / "checkpoints"


def serve(server: FileServer) -> str:
    server.files[NAME] = CONTENT
    return server.url(NAME)


def test_a_file_is_fetched_once_into_torch_s_cache(cache: Path) -> None:
    with serving() as server:
        for _ in range(2):
            assert fetch_weights(serve(server)) == cache / NAME
        assert server.asked == [""]
    assert (cache / NAME).read_bytes() == CONTENT


def test_what_is_in_the_cache_needs_no_server_and_no_right_to_write(cache: Path) -> None:
    cache.mkdir(parents=True)
    (cache / NAME).write_bytes(CONTENT)
    assert fetch_weights(f"http://127.0.0.1:9/{NAME}") == cache / NAME
    assert [path.name for path in cache.iterdir()] == [NAME]


def test_a_broken_connection_and_a_killed_process_are_taken_up(cache: Path) -> None:
    cache.mkdir(parents=True)
    (cache / f"{NAME}.part").write_bytes(CONTENT[:100_000])
    with serving() as server:
        server.drops = [200_000]
        fetch_weights(serve(server))
        assert server.asked == ["bytes=100000-", "bytes=300000-"]
    assert (cache / NAME).read_bytes() == CONTENT


def test_a_damaged_file_is_fetched_again(cache: Path) -> None:
    cache.mkdir(parents=True)
    (cache / NAME).write_bytes(CONTENT[:-1])
    with serving() as server:
        fetch_weights(serve(server))
    assert (cache / NAME).read_bytes() == CONTENT


def test_another_file_is_refused_and_removed(cache: Path) -> None:
    with serving() as server:
        url = serve(server)
        server.files[NAME] = CONTENT[1:]
        with pytest.raises(InputError, match="what arrived is corrupted"):
            fetch_weights(url)
    assert not [path for path in cache.iterdir() if path.suffix != ".lock"]


def test_offline_one_error_names_address_place_and_remedy(cache: Path) -> None:
    url = f"http://127.0.0.1:9/{NAME}"
    with pytest.raises(InputError) as raised:
        fetch_weights(url)
    for part in (url, str(cache / NAME), "refused", "model.checkpoint", "model.pretrained=false"):
        assert part in str(raised.value)


def test_a_cache_that_cannot_be_made_is_named(cache: Path) -> None:
    cache.parent.parent.joinpath("hub").write_text("")
    with pytest.raises(InputError, match=rf"cannot write .*{NAME}"):
        fetch_weights(f"http://127.0.0.1:9/{NAME}")


def _fetch(url: str, home: str) -> None:
    os.environ["TORCH_HOME"] = home
    fetch_weights(url)


def test_of_several_processes_one_downloads(cache: Path, tmp_path: Path) -> None:
    with serving() as server:
        url = serve(server)
        # Forked: the module is loaded, and what is to be seen is the lock.
        context = multiprocessing.get_context("fork")
        processes = [context.Process(target=_fetch, args=(url, str(tmp_path))) for _ in range(4)]
        for process in processes:
            process.start()
        for process in processes:
            process.join(60)
        assert [process.exitcode for process in processes] == [0] * 4
        assert server.asked == [""]
    assert (cache / NAME).read_bytes() == CONTENT


def test_a_name_without_a_hash_is_refused() -> None:
    with pytest.raises(ValueError, match="has a hash"):
        fetch_weights("http://127.0.0.1:9/weights.pth")


def test_a_file_of_no_weights_is_refused(cache: Path) -> None:
    with serving() as server, pytest.raises(InputError, match="not a readable file of weights"):
        download_weights(serve(server))


def test_every_released_network_is_an_option(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each file of the package is asked for by a configuration, but for its standard ViTs."""
    asked: list[str] = []

    class StopError(Exception):
        pass

    def note(url: str) -> None:
        asked.append(url)
        raise StopError

    monkeypatch.setattr("guidance.models.bcos_classifier.download_weights", note)
    for path in sorted(CONFIG_DIR.glob("model/bcos_*.yaml")):
        node: dict[str, Any] = yaml.safe_load(path.read_text())
        if "pretrained" not in node:
            assert path.stem == "bcos_small"
            continue
        del node["checkpoint"]
        node["pretrained"] = True
        choices: list[tuple[str, Any]] = (
            [("weights", value) for value in ("v2", "long")] if "weights" in node else []
        )
        choices += [("norm", value) for value in ("pn", "bnu")] if "norm" in node else []
        for key, value in choices or [("pretrained", True)]:
            node[key] = value
            with torch.device("meta"), pytest.raises(Exception, match="StopError"):
                instantiate(node, num_classes=1000)
    released = {url for collection in package.URLS.values() for url in collection.values()}
    standard = {url for url in released if "/standard_" in url}
    assert len(standard) == 8
    assert set(asked) == released - standard
    assert len(asked) == len(set(asked))


def test_the_package_s_own_file_loads_by_the_real_path(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    theirs = package.resnet18()
    cache.parent.mkdir()
    torch.save(theirs.state_dict(), cache.parent / "saved.pth")
    content = (cache.parent / "saved.pth").read_bytes()
    name = f"resnet_18-{sha256(content).hexdigest()[:10]}.pth"
    with serving() as server:
        server.files[name] = content
        monkeypatch.setitem(package.URLS["bcos_final"], "resnet_18", server.url(name))
        ours = bcos_resnet(18, 1000, pretrained=True).eval()
    images = torch.rand(1, 3, 64, 64)
    expected = theirs.eval()(torch.cat([images, 1 - images], 1))
    torch.testing.assert_close(ours(images), expected)
