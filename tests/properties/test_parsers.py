"""Whatever a file holds or a person types: a result, or one error that says what would be right."""

import struct
from collections.abc import Callable, Mapping, Sequence

from tests.fuzzing.targets import TARGETS, try_content
from tests.properties.damage import contents
from tests.properties.for_all import for_all

ONCE_FAILED: Mapping[str, Sequence[bytes]] = {
    "score_file": (
        b"\x80",
        b'{"items": [-1], "scores": {"input": [[0.5]]}, "seconds": 0.1, "passes": 1}',
        b'{"items": [0], "scores": [], "seconds": 0.1, "passes": 1}',
        b'{"items": [0, 1], "scores": {"input": [[0.5]]}, "seconds": 0.1, "passes": 1}',
    ),
    "protocol_folder": (b'{"protocol": "\\ud800"}',),
    "archive": (  # a zip whose one member has an empty name
        b"PK\x01\x02" + bytes(42) + b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 1, 1, 46, 0, 0),
    ),
    "overrides": (
        b"loss=null",
        b"seed=3\n=3",
        b"seed=range(0,0)",
        b"seed=range(0,3,0)",
        b"loss=glob(*)",
        b"loss=interval(0,1)",
        b"loss=range(0,1000000000)",
        b"seed=" + b"[" * 500,
    ),
    "sweep_lines": (
        b"seed=0,range(0,3)",
        b"seed=glob(*)",
        b"seed=range(0,3,0)",
        b"seed=range(0,9999) data.seed=range(0,9999)",
        b"seed=" + b"[" * 500,
    ),
    "search_space": (b"seed=range(0,0)", b"seed=glob(*)", b"seed=range(0,3,0)", b"seed=interval(0,inf)"),
    "boxes": (b"[[1, 2, 3, " + b"9" * 400 + b"]]",),
    "metrics_csv": (b"\x80", b"epoch,step\n0,\xc2\xb2\n", b"epoch\n0\n", b"epoch,step\n0,x\n"),
}
"""Contents that once left a parser in another way."""

COSTLY = {"overrides": (2, 60), "run_folder": (4, 250)}
"""Of these, fewer examples (quick, thorough): one composes the whole configuration, one builds a page."""


def check(name: str) -> Callable[..., None]:
    quick, thorough = COSTLY.get(name, (12, 500))
    examples = [{"content": content} for content in (*TARGETS[name].sound, *ONCE_FAILED.get(name, ()))]

    @for_all(quick=quick, thorough=thorough, examples=examples, content=contents(TARGETS[name]))
    def parser(content: bytes) -> None:
        try_content(name, content)

    return parser


test_voc_xml = check("voc")
test_coco_json = check("coco")
test_coco_segmentation = check("segmentation")
test_csv_table = check("csv")
test_yolo_labels_and_names = check("yolo")
test_tables_of_waterbirds = check("cub")
test_folder_of_images = check("folder")
test_run_folder_of_the_report = check("run_folder")
test_protocol_folder = check("protocol_folder")
test_grid_manifest = check("manifest")
test_score_file = check("score_file")
test_metrics_csv = check("metrics_csv")
test_header_of_the_image_cache = check("image_cache")
test_image_file = check("image")
test_archive = check("archive")
test_overrides = check("overrides")
test_lines_of_a_sweep = check("sweep_lines")
test_space_of_a_search = check("search_space")
test_boxes_of_the_command_line = check("boxes")


def test_every_target_is_tried() -> None:
    others = [name for name in globals() if name.startswith("test_") and "every_target" not in name]
    assert len(others) == len(TARGETS)
