"""A checkpoint's configuration stands alone and can still be overridden."""

from omegaconf import OmegaConf

from guidance.checkpoint import portable_config


def test_references_outside_become_values_and_those_within_a_group_stay() -> None:
    config = OmegaConf.create(
        {
            "seed": 3,
            "paths": {"data_dir": "/d"},
            "data": {
                "root": "${paths.data_dir}",
                "length": {"train": 5},
                "sizes": [1, "${seed}"],
                "module": {
                    "seed": "${seed}",
                    "root": "${..root}",
                    "dataset": {"root": "${...root}", "length": "${...length}"},
                },
            },
        }
    )
    found = portable_config(config)
    assert found["data"] == {
        "root": "/d",
        "length": {"train": 5},
        "sizes": [1, 3],
        "module": {
            "seed": 3,
            "root": "${..root}",
            "dataset": {"root": "${...root}", "length": "${...length}"},
        },
    }
    alone = OmegaConf.create({"data": found["data"]})
    alone.data.root = "/other"
    alone.data.length.train = 7
    assert alone.data.module.dataset == {"root": "/other", "length": {"train": 7}}
