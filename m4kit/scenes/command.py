"""Runs the command `m4kit scenes`: failure analysis on hard scenes."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from m4kit.commands import (
    CONTINUES,
    add_dask,
    add_detection,
    add_weights,
    complain,
    dask_executor,
    folder_argument,
    given_options,
    passed_over,
    path_argument,
    say,
    shows_progress,
)
from m4kit.conditions import CONDITIONS
from m4kit.datasets import WITH_LANDMARKS, DatasetError, Sample
from m4kit.datasets import read as read_set
from m4kit.datasets.files import open_files
from m4kit.datasets.sample import distinct, picture_of
from m4kit.datasets.scenes import CLEAN, read_condition_folders, read_scene_table
from m4kit.datasets.ufdd import read_ufdd
from m4kit.files import OutputFolder
from m4kit.predictor import Predictor
from m4kit.scenes.analysis import analyse
from m4kit.scenes.data import benchmark
from m4kit.scenes.report import SceneReport
from m4kit.scenes.report_data import FILES

LAYOUTS = ("ufdd", "folders", "table", "photos")

PAGE, FINDINGS, SUMMARY = "index.html", "findings.md", "summary.csv"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `m4kit scenes`."""
    parser.description = (
        "Analyse hard scenes: UFDD or a set with its layout, folders named after their condition, a CSV "
        "of photos and conditions, or clean photos, which are degraded by --conditions, --severities and --seeds. "
        f"Prints the findings, and writes the report's tables and thumbnails, {FINDINGS} and {SUMMARY} into DIR. "
        "A stopped analysis continues when you run the same command again."
    )
    parser.add_argument(
        "paths", nargs="+", type=path_argument, metavar="PATH", help="folders, .zip, .csv or photos"
    )
    parser.add_argument(
        "--out",
        required=True,
        type=folder_argument,
        metavar="DIR",
        help="folder of the report; only results of earlier runs are replaced in it",
    )
    parser.add_argument(
        "--as",
        dest="layout",
        choices=(*LAYOUTS, *WITH_LANDMARKS),
        help="layout of the PATHs (default: detected); the name of a labelled set for clean photos with landmarks",
    )
    parser.add_argument(
        "--faces",
        type=int,
        metavar="N",
        help="use only N faces of a labelled set: a random draw, always the same",
    )
    parser.add_argument(
        "--conditions", nargs="+", metavar="NAME", help=f"for clean photos (default: {', '.join(CONDITIONS)})"
    )
    parser.add_argument("--severities", nargs="+", type=float, metavar="S", help="0 to 5 (default: 0 1 3 5)")
    parser.add_argument(
        "--seeds", nargs="+", type=int, metavar="N", help="seeds; one version per seed (default: 0)"
    )
    parser.add_argument("--all-labelled", action="store_true", help="the truth names every face of a photo")
    add_weights(parser)
    add_detection(parser)
    add_dask(parser)
    parser.add_argument("--html", action="store_true", help=f"also write {PAGE}, a page that opens offline")
    parser.add_argument(
        "--quiet", action="store_true", help="no progress bar and no findings on the terminal"
    )
    parser.set_defaults(run=run, when_stopped=CONTINUES)


def run(options: argparse.Namespace) -> int:
    """Run `m4kit scenes`; returns 1 if a photo could not be read or the report did not fit, else 0."""
    # Before any work; `analyse` enters it again for its own files.
    files = (FINDINGS, SUMMARY, *FILES, *(PAGE,) * options.html)
    output = OutputFolder(options.out, files, inputs=options.paths)
    samples = read_scenes(options)
    if not options.quiet and options.layout in (None, "photos"):
        for line in passed_over(options.paths):
            complain("scenes", line)
    predictor = Predictor(
        network=options.weights, **given_options(options, "threshold", "min_face", "max_faces")
    )
    with output, dask_executor(options) as executor:
        report = analyse(
            samples,
            predictor=predictor,
            folder=options.out,
            executor=executor,
            progress=shows_progress(options),
        )
        written = write(report, output, html=options.html)
        if not options.quiet:
            say(report.report(), *written)
    return 0 if report.photos["read"].all() and report.folder == output.path else 1


def read_scenes(options: argparse.Namespace) -> tuple[Sample, ...]:
    """Read the samples of the command line; every photo gets a unique name.

    Raises `DatasetError` for options that do not fit the layouts of the PATHs.
    """
    layouts = [options.layout or layout_of(path) for path in options.paths]
    versions = given_options(options, "conditions", "severities", "seeds")
    if versions and not {"photos", *WITH_LANDMARKS} & set(layouts):
        raise DatasetError(
            f"--{next(iter(versions))}: only clean photos are degraded; {options.paths[0]} has the layout "
            f"{layouts[0]}, give --as photos if it is a folder of clean photos"
        )
    if options.faces is not None and (options.faces < 1 or not set(WITH_LANDMARKS) & set(layouts)):
        raise DatasetError(
            f"--faces {options.faces}: expected at least 1, and a labelled set to draw from, as --as names it; "
            f"{options.paths[0]} has the layout {layouts[0]}"
        )
    versions = {"severities": (0, 1, 3, 5)} | versions
    read: list[tuple[str, tuple[Sample, ...]]] = []
    for path, layout in zip(options.paths, layouts, strict=True):
        if layout == "ufdd":
            read.append((path, read_ufdd(path)))
        elif layout == "folders":
            read.append((path, read_condition_folders(path, all_labelled=options.all_labelled)))
        elif layout == "table":
            read.append((path, read_scene_table(path, all_labelled=options.all_labelled)))
        elif layout in WITH_LANDMARKS:
            clean = _drawn(read_set(path, layout), options.faces)
            read.append((path, benchmark(clean, **versions, all_labelled=options.all_labelled)))
    photos = [path for path, layout in zip(options.paths, layouts, strict=True) if layout == "photos"]
    if photos:
        zipped = any(Path(path).suffix.lower() == ".zip" for path in photos)
        if zipped and len(photos) > 1:
            raise DatasetError(
                f"{photos[0]}: expected one .zip of clean photos alone, got {len(photos)} paths"
            )
        read.append(("", benchmark(photos[0] if zipped else photos, **versions)))
    return _distinct(read)


def _drawn(samples: tuple[Sample, ...], count: int | None) -> tuple[Sample, ...]:
    """So many of the samples, by default all."""
    chosen = np.sort(np.random.default_rng(0).permutation(len(samples))[:count])
    return tuple(samples[i] for i in chosen)


def layout_of(path: str | Path) -> str:
    """Detect the layout of a path, one of `LAYOUTS`: by its list of boxes, its folders' names, or its suffix.

    Raises `FileNotFoundError` if the path does not exist.
    """
    path = Path(path)
    if path.suffix.lower() == ".csv":
        return "table"
    if path.suffix.lower() == ".txt":
        return "ufdd"
    if path.is_file() and path.suffix.lower() != ".zip":
        return "photos"
    names = open_files(path, expected="hard scenes or photos").names()
    if any(name.lower().endswith("bbx_gt.txt") for name in names):
        return "ufdd"
    folders = {part.lower() for name in names for part in Path(name).parts[:-1]}
    return "folders" if folders & {*CONDITIONS, CLEAN} else "photos"


def write(report: SceneReport, output: OutputFolder, *, html: bool) -> list[Path]:
    """Write the findings, and with `html` the page, into the report's folder; returns the paths."""
    summary = report.summary().round(4)
    written = [
        output.write(FINDINGS, lambda path: path.write_text(report.to_markdown(), encoding="utf-8")),
        output.write(SUMMARY, lambda path: summary.to_csv(path, index=False)),
    ]
    return written + ([output.write(PAGE, report.to_html)] if html else [])


def _distinct(read: Iterable[tuple[str, tuple[Sample, ...]]]) -> tuple[Sample, ...]:
    """The samples of several sets; if two photos share a name, every name gets its set's name in front."""
    read = list(read)
    often = Counter(name for _, samples in read for name in {picture_of(sample.name) for sample in samples})
    if not any(count > 1 for count in often.values()):
        return tuple(sample for _, samples in read for sample in samples)
    return tuple(
        replace(
            sample, name=f"{name}/{sample.name}", clean=f"{name}/{sample.clean}" if sample.clean else None
        )
        for name, (_, samples) in zip(distinct([Path(path).name for path, _ in read]), read, strict=True)
        for sample in samples
    )
