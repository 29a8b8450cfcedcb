"""Files that this project wrote itself and may find damaged: runs, protocols, metrics, the image cache."""

import json
import math
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from guidance.data.image_cache import _open_rows, _rows_done
from guidance.loggers.metrics_csv import MetricsCSV
from guidance.protocols.manifest import Cell, GridManifest
from guidance.protocols.page import protocol_page
from guidance.protocols.score_file import ScoreFile
from guidance.report.comparison import judge
from guidance.report.gallery import Gallery
from guidance.report.report import read_study
from guidance.report.study_page import study_page
from guidance.report.tables import as_json, points_csv, summarize, summary_csv
from tests.fuzzing.target import SEPARATOR, Target, result_or_refusal, split_files
from tests.report.run_folders import write_run

RUN_FILES = ("config.yaml", "results.json", "pareto/front.json", "metrics.csv", ".hydra/hydra.yaml")
SHAPE = (2, 3, 4, 4)  # of the cache
NUMBERS = (b"0", b"-1", b"1.5", b"1e999", b"1e308", b"9" * 400, b"1_0")
JSON = (b"null", b"true", b"NaN", b'"x"', b"[]", b"{}", b'""', b"[[[[", b"\\ud800", b"\\u0000", *NUMBERS)


def run_folder(content: bytes, folder: Path) -> None:
    """Report on a run, and on it and a baseline together."""
    run = folder / "study" / "run"
    for name, given in zip(RUN_FILES, split_files(content, len(RUN_FILES)), strict=True):
        if given is not None:
            (run / name).parent.mkdir(parents=True, exist_ok=True)
            (run / name).write_bytes(given)
    if not run.is_dir():
        return
    write_run(folder / "study" / "baseline", [(0.5, 0.1, 0.1), (0.8, 0.2, 0.1)])
    for place in (run, folder / "study"):
        study = result_or_refusal(lambda place=place: read_study([place]))  # type: ignore[misc]
        if study is None:
            continue
        assert len(study.runs) + len(study.unfinished) == (1 if place == run else 2)
        verdicts = [judge(one, 0.01) for one in study.configurations if not one.is_baseline]
        summaries = summarize(study)
        json.dumps(as_json(study, verdicts, 0.01))
        points_csv(study)
        summary_csv(summaries)
        study_page(study, verdicts, summaries, Gallery({}, {}, []), [], folder).html().encode()


def protocol_folder(content: bytes, folder: Path) -> None:
    results, table = split_files(content, 2)
    (folder / "results.json").write_bytes(results or b"")
    if table is not None:
        (folder / "scores.csv").write_bytes(table)
    page = result_or_refusal(lambda: protocol_page([folder]))
    if page is not None:
        page.html().encode()


def manifest(content: bytes, folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_bytes(content)
    found = result_or_refusal(lambda: GridManifest.read(path))
    if found is not None:
        targets = found.target_classes()
        assert targets.shape == (len(found.grids), found.n**2)
        assert 0 <= int(targets.min()) <= int(targets.max()) < len(found.classes)
        found.digest()


def score_file(content: bytes, folder: Path) -> None:
    """A file of scores is continued: what is no chunk is left out, and what is kept can be read again."""
    path = folder / "scores.jsonl"
    path.write_bytes(content)
    scores = ScoreFile(path, 4)
    assert scores.done <= set(range(4))
    for _, item, values in scores.scores():
        assert item in range(4)
        assert all(isinstance(value, float | int) for value in values)
    again = ScoreFile(path, 4)
    assert [chunk.items for chunk in again.chunks] == [chunk.items for chunk in scores.chunks]


def metrics_csv(content: bytes, folder: Path) -> None:
    path = folder / "metrics.csv"
    path.write_bytes(content)
    logger = MetricsCSV(path)
    logger.rewind(5)
    logger.log_metrics({"epoch": 1, "val/epg": 0.5, "new": 1.0}, step=5)
    again = MetricsCSV(path)
    again.rewind(6)
    assert len(again.rows) == len(logger.rows)


def image_cache(content: bytes, folder: Path) -> None:
    """A cache is mapped only if it has exactly the form that is wanted, and a note counts no more rows."""
    path, note = folder / "rows.npy", folder / "rows.progress"
    header, progress = split_files(content, 2)
    path.write_bytes(header or b"")
    note.write_bytes(progress or b"")
    rows = _open_rows(path, SHAPE)
    if rows is not None:
        assert rows.shape == SHAPE
        assert rows.dtype == np.uint8
        assert rows.sum() >= 0
    assert 0 <= _rows_done(note, SHAPE) <= SHAPE[0]


def _sound_run() -> bytes:
    with TemporaryDirectory() as folder:
        run = write_run(
            Path(folder) / "run",
            [(0.5, 0.1, 0.1), (0.8, 0.2, 0.1)],
            loss="guidance.losses.EnergyLoss",
            weight=0.5,
            before=((0.5, 0.1, 0.1), (0.5, 0.1, 0.1)),
            model__checkpoint="x.ckpt",
        )
        return SEPARATOR.join((run / name).read_bytes() for name in RUN_FILES)


def _sound_rows() -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "rows.npy"
        np.save(path, np.arange(math.prod(SHAPE), dtype=np.uint8).reshape(SHAPE))
        return path.read_bytes()


def _sound_manifest() -> bytes:
    cells = tuple(Cell(f"{number}.jpg", "ab" * 32, number % 3, 0.995) for number in range(4))
    with TemporaryDirectory() as folder:
        path = Path(folder) / "manifest.json"
        GridManifest(
            2, "test", ("a", "b", "c"), "annotated", {"rule": "confident"}, ({"name": "x"},), (cells,)
        ).write(path)
        return path.read_bytes()


_CHUNK = b'{"items": [0, 1], "scores": {"input": [[0.5], [0.25]]}, "seconds": 0.1, "passes": 1}\n'

TARGETS = {
    "run_folder": Target(
        run_folder,
        (_sound_run(),),
        (
            *(
                SEPARATOR,
                b"seed:",
                b"weight:",
                b"localization:",
                b"checkpoint:",
                b"- ",
                b"&a [*a]",
                b"? ",
                b"!!set",
            ),
            *(b'"epoch"', b'"front"', b'"metrics"', b'"val/epg"', b"2001-01-01", b"!!binary", b"\0"),
            *JSON,
        ),
    ),
    "protocol_folder": Target(
        protocol_folder,
        (
            b'{"protocol": "GridPG", "n": 2, "chance": 0.25, "git_commit": null, "scores": [{"model": "a", '
            b'"mean": 0.5}, {"model": "b", "mean": null}], "models": [{"name": "a", "weights": "x"}]}'
            + SEPARATOR
            + b"model,grid,score\na,07,0.5\n",
        ),
        (SEPARATOR, b'"scores"', b'"models"', b'"name"', b'"protocol"', b"\0", b",", b'"', *JSON),
    ),
    "manifest": Target(
        manifest,
        (_sound_manifest(),),
        (b'"grids"', b'"n"', b'"label"', b'"classes"', b'"models"', b'"format_version": 1', *JSON),
    ),
    "score_file": Target(
        score_file,
        (_CHUNK + _CHUNK.replace(b"[0, 1]", b"[2, 3]"), _CHUNK[:40] + b"\n" + _CHUNK),
        (_CHUNK, b"\n", b'"items"', b'"scores"', b'"input"', *JSON),
    ),
    "metrics_csv": Target(
        metrics_csv,
        (b"epoch,step,train/loss,val/epg\r\n0,0,0.5,\r\n0,4,,0.25\r\n1,9,0.125,\r\n",),
        (b",", b'"', b"\n", b"\r", b"\0", b"step", "é".encode(), b"\xff", *NUMBERS),
    ),
    "image_cache": Target(
        image_cache,
        (_sound_rows() + SEPARATOR + b'{"rows": 1}',),
        (
            SEPARATOR,
            b"|u1",
            b"<f8",
            b"'O'",
            b"(2, 3, 4, 4)",
            b"False",
            b"True",
            b'"rows"',
            b"\x93NUMPY",
            *JSON,
        ),
    ),
}
