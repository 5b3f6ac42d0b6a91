"""Runs the command `m4kit evaluate`: errors of networks and detectors on a data set."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import numpy as np

from m4kit import metrics
from m4kit.commands import (
    add_dask,
    add_quiet,
    add_weights,
    dask_executor,
    folder_argument,
    path_argument,
    say,
    shows_progress,
)
from m4kit.conditions import CONDITIONS
from m4kit.datasets import READERS, WITH_LANDMARKS, DatasetError, Sample, read, read_aflw2000_3d
from m4kit.datasets.photos import photos_of
from m4kit.datasets.ufdd import read_ufdd
from m4kit.detector import Detector
from m4kit.engine import Engine, exact_engine
from m4kit.evaluate import detection
from m4kit.evaluate.chain import evaluate_chain
from m4kit.evaluate.expressiveness import expressiveness, expressiveness_table, in_words
from m4kit.evaluate.heads import predict_heads
from m4kit.evaluate.identity import IdentityEvaluation, held_out_people, peer_identity, video_of
from m4kit.evaluate.landmarks import LandmarkEvaluation, evaluate_landmarks
from m4kit.evaluate.peers import PUBLISHED, Competitor, comparison, comparison_report
from m4kit.evaluate.results import FILES, read_predictions, write_results
from m4kit.face_model import FaceModel
from m4kit.files import OutputFolder
from m4kit.network import M4Net
from m4kit.parameters import fuse, split
from m4kit.peers import PEERS, MediaPipe, Peer, load_peer
from m4kit.tables import as_text
from m4kit.views import COUNTS, crop_predictor

WITH_MEMBERS = ("3ddfa-list", "dlib-xml", "csv", "ufdd")
"""Layouts with one file of labels for many pictures; a folder may hold several such files."""

ALL_LABELLED = ("dlib-xml", "folder", "ufdd")
"""Layouts in which every face of a photo is labelled."""

NETWORK_OPTIONS = {
    "weights": "m4net-base",
    "published_crops": False,
    "views": 1,
    "whole_chain": False,
    "peers": None,
    "floor": False,
}
"""Options of the network and their defaults; `--predictions` excludes them."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the targets of `m4kit evaluate`."""
    targets = parser.add_subparsers(title="what to evaluate", metavar="TARGET", required=True)
    _add_landmarks(targets)
    _add_detector(targets)
    _add_identity(targets)
    _add_expressiveness(targets)


def _add_landmarks(targets) -> None:
    parser = targets.add_parser(
        "landmarks",
        help="68 landmarks and head pose",
        description="NME of the 68 landmarks and error of the head pose on ground-truth crops, for the fused "
        "answer and for each head, in fp32.",
    )
    add = parser.add_argument
    add(
        "path",
        type=path_argument,
        metavar="PATH",
        help="the data set: a folder, or a .zip that is read in place",
    )
    add("--dataset", required=True, choices=WITH_LANDMARKS, help="layout of the data set")
    add_member(parser)
    add(
        "--published-crops",
        action="store_true",
        help="use the 120x120 crops that come with the set, instead of crops cut from the photos",
    )
    add(
        "--reannotated",
        action="store_true",
        help="use AFLW2000-3D's second set of landmarks (pts68_reannotated in the .npz beside the set)",
    )
    add(
        "--whole-chain",
        action="store_true",
        help="also evaluate detector and both crops on whole photos, as predict does (about a minute)",
    )
    add_weights(parser)
    add(
        "--views",
        type=int,
        choices=COUNTS,
        default=NETWORK_OPTIONS["views"],
        help="test-time augmentation: average over 2 views (crop and mirror image) or 6 (also rotated and smaller; "
        "default: 1)",
    )
    add(
        "--peers",
        metavar="NAMES",
        help=f"also evaluate other networks, and compare all in one table: names with commas ({', '.join(PEERS)})",
    )
    add_peer_files(parser)
    add(
        "--floor",
        action="store_true",
        help="also fit the face model itself to the true landmarks, for the error that no answer goes below",
    )
    add(
        "--predictions",
        type=Path,
        metavar="FILE",
        help="evaluate another network's predictions (.npz: names, landmarks in photo pixels, poses in degrees) "
        "instead of M4Net",
    )
    add(
        "--out",
        type=folder_argument,
        metavar="DIR",
        help="also write a table of the faces, the error curve, the predictions, and a page of the worst faces",
    )
    add_dask(parser)
    add_quiet(parser)
    parser.set_defaults(run=run)


def add_peer_files(parser: argparse.ArgumentParser, *, more: str = "") -> None:
    """Add `--peer-files`."""
    parser.add_argument(
        "--peer-files", type=folder_argument, metavar="DIR", help=f"folder with the peers' files{more}"
    )


def add_member(parser: argparse.ArgumentParser) -> None:
    """Add `--member`, which `read_set` reads."""
    parser.add_argument(
        "--member",
        metavar="FILE",
        help=f"the list, XML or CSV below PATH to read, if there are several ({', '.join(WITH_MEMBERS)})",
    )


def _add_detector(targets) -> None:
    parser = targets.add_parser(
        "detector",
        help="face boxes",
        description="Recall by size of the face and under bad conditions, average precision and false positives of "
        "one or more detectors, at IoU 0.5 and a threshold of 0.5.",
    )
    add = parser.add_argument
    add(
        "paths",
        type=path_argument,
        metavar="PATH",
        nargs="+",
        help="data sets of one layout; each gets a report",
    )
    add(
        "--dataset",
        required=True,
        choices=[*READERS, "ufdd"],
        help="layout of the data sets; `folder` is for photos without a face, `ufdd` for UFDD's lists of boxes",
    )
    add_member(parser)
    add(
        "--detectors",
        nargs="+",
        default=["m4kit"],
        metavar="NAME_OR_FILE",
        help="m4kit, faceboxes-official, or files of weights (default: m4kit)",
    )
    add("--conditions", nargs="*", default=[], choices=CONDITIONS, metavar="NAME", help=", ".join(CONDITIONS))
    add(
        "--severities",
        nargs="+",
        type=float,
        default=[1, 3, 5],
        metavar="S",
        help="severities of the conditions, from 0 to 5 (default: 1 3 5)",
    )
    add(
        "--others-unlabelled",
        action="store_true",
        help="the photos may show faces without a label (always assumed except for dlib-xml, folder and ufdd)",
    )
    add("--min-face", type=float, metavar="PIXELS", help="side of the smallest face to find")
    add(
        "--missed",
        type=int,
        default=0,
        metavar="N",
        help="also list N faces that the first detector misses in the unchanged photos, least overlap first",
    )
    add_quiet(parser)
    parser.set_defaults(run=run_detector)


def run_detector(options: argparse.Namespace) -> int:
    """Run `m4kit evaluate detector`: print a report per path; returns 1 if a photo could not be read, else 0."""
    files, unread = [Path(name).name for name in options.detectors], 0
    detectors = {
        file if files.count(file) == 1 else name: partial(
            Detector(name), threshold=detection.LOWEST_SCORE, min_face=options.min_face
        )
        for file, name in zip(files, options.detectors, strict=True)
    }
    for path in options.paths:
        text, left_out = detection.report(
            photos_of(read_set(path, options)),
            detectors,
            all_labelled=options.dataset in ALL_LABELLED and not options.others_unlabelled,
            conditions=options.conditions,
            severities=options.severities,
            missed=options.missed,
            progress=shows_progress(options),
        )
        say(f"{path}: {text}")
        unread += left_out
    return 1 if unread else 0


def _add_identity(targets) -> None:
    parser = targets.add_parser(
        "identity",
        help="whether the identity numbers tell people apart",
        description="Similarity of the 40 identity numbers between photos of one person and of different people, on "
        "the people of YouTube Faces that no training sees, with 95 % intervals by people.",
    )
    add = parser.add_argument
    add(
        "--data",
        type=folder_argument,
        required=True,
        metavar="DIR",
        help="folder with youtube_faces.zip and youtube_faces.npz",
    )
    add_weights(parser)
    add_peer_files(parser, more=": also evaluate 3DDFA-V2's mb1_120x120.onnx")
    add_quiet(parser)
    parser.set_defaults(run=run_identity)


def run_identity(options: argparse.Namespace) -> int:
    """Run `m4kit evaluate identity`: print the report; returns 1 if a picture could not be read, else 0."""
    network, samples = M4Net.load(options.weights), held_out_people(options.data)
    answers = predict_heads(network, FaceModel.load(), samples, progress=shows_progress(options))
    people = np.array([sample.person for sample in answers.samples])
    videos = np.array([video_of(sample.name) for sample in answers.samples])
    ours = IdentityEvaluation(split(fuse(answers.heads, answers.weights)).identity, people, videos)
    say(
        f"{len(people)} photos of {len(set(people))} people of YouTube Faces who are held out (95 % intervals)"
    )
    say(f"{options.weights}\n{ours.report()}")
    if options.peer_files is not None:
        peer = IdentityEvaluation(peer_identity(options.peer_files, answers.samples), people, videos)
        differences = np.subtract(ours.figures, peer.figures)
        auc, apart = (
            f"{value:+.3f} ({low:+.3f} to {high:+.3f})"
            for value, low, high in zip(differences[:2], *ours.intervals(other=peer)[:, :2], strict=True)
        )
        say(f"3DDFA-V2 mb1\n{peer.report()}")
        say(f"difference of the AUC: {auc}, with two videos of a person {apart}")
    return 1 if answers.left_out else 0


def _add_expressiveness(targets) -> None:
    parser = targets.add_parser(
        "expressiveness",
        help="the part of the error that the face model causes",
        description="Fits the face model itself to the true landmarks: the error that remains, how far from the mean "
        "face the fit is, and what a free form on top of it gains and costs; with 95 % intervals, a column per set.",
    )
    add = parser.add_argument
    add(
        "--set",
        dest="sets",
        action="append",
        nargs=2,
        required=True,
        metavar=("LAYOUT", "PATH"),
        help=f"a data set; may be repeated. Layouts: {', '.join(WITH_LANDMARKS)}",
    )
    add_weights(parser)
    add_quiet(parser)
    parser.set_defaults(run=run_expressiveness)


def run_expressiveness(options: argparse.Namespace) -> int:
    """Run `m4kit evaluate expressiveness`: print the table; returns 1 if a picture could not be read, else 0."""
    network, model, results, left_out = M4Net.load(options.weights), FaceModel.load(), {}, 0
    for layout, path in options.sets:
        answers = predict_heads(network, model, read(path, layout), progress=shows_progress(options))
        result = answers.evaluate()
        name = Path(path).name
        results[path if name in results else name] = expressiveness(
            model, result.true, predicted=result.predicted
        )
        left_out += len(answers.left_out)
    say(
        "Errors in % of the face's size on ground-truth boxes, distances in standard deviations; mean (95 % interval)"
    )
    say(as_text(in_words(expressiveness_table(results))))
    for name, result in results.items():
        say(f"modes that carry most of the distance, {name}: {result.main_modes()}")
    return 1 if left_out else 0


def run(options: argparse.Namespace) -> int:
    """Run `m4kit evaluate landmarks`: print the report; returns 1 if a picture could not be read, else 0.

    A stopped run reports the faces so far.
    """
    _check_predictions(options)
    samples, stop = _samples(options), None
    # Whether the folder can be written to is known before the network runs.
    with nullcontext() if options.out is None else OutputFolder(options.out, FILES):
        if options.predictions is not None:
            result = read_predictions(options.predictions, samples)
            report = [result.report()]
        else:
            with dask_executor(options) as executor:
                result, report, stop = _evaluated(options, samples, executor)
        if stop is not None:
            report.insert(0, f"stopped: {len(result)} of {len(samples)} faces")
        text = "\n".join(filter(None, report))
        try:
            say(text)
        finally:
            if options.out is not None:
                write_results(result, samples, options.out, report=text)
    if stop is not None:
        raise stop
    return 1 if result.left_out else 0


def _evaluated(
    options: argparse.Namespace, samples: tuple[Sample, ...], executor: Executor | None
) -> tuple[LandmarkEvaluation, list[str], KeyboardInterrupt | None]:
    """The network's evaluation, the paragraphs of the report, and what stopped it before its end, if anything."""
    engine = exact_engine(options.weights, M4Net.load)
    # A missing file of a peer is known before the networks run.
    peers = _peers(options)
    answers = predict_heads(
        engine,
        FaceModel.load(),
        samples,
        published_crops=options.published_crops,
        views=options.views,
        partial=True,
        executor=executor,
        progress=shows_progress(options),
    )
    result, stop = answers.evaluate(), answers.interrupted
    report = [result.report(), answers.report()]
    if stop is None and (options.whole_chain or options.floor or peers):
        try:
            report += _after_heads(options, samples, result, peers, engine=engine, executor=executor)
        except KeyboardInterrupt as stopped:
            stop = stopped
    return result, report, stop


def _after_heads(
    options: argparse.Namespace,
    samples: tuple[Sample, ...],
    own: LandmarkEvaluation,
    peers: Sequence[Peer],
    *,
    engine: Engine,
    executor: Executor | None,
) -> Iterator[str]:
    """Yield the paragraphs on the whole chain and on the peers, and the table of all."""
    progress, predictor_of = shows_progress(options), partial(crop_predictor, views=options.views)
    if options.floor:
        yield _floor(own)
    if options.whole_chain:
        predict_crops = predictor_of(engine, FaceModel.load())
        yield evaluate_chain(predict_crops, samples, executor=executor, progress=progress).report()
    if not peers:
        return
    # The table compares times in PyTorch.
    network = M4Net.load(options.weights)
    weights = sum(weight.numel() for weight in network.parameters())
    predict_crops = predictor_of(network, FaceModel.load())
    competitors = [Competitor(Path(options.weights).stem, predict_crops, own, weights)]
    for peer in peers:
        result = evaluate_landmarks(
            peer.predict_crops, samples, published_crops=options.published_crops, progress=progress
        )
        competitors.append(Competitor(peer.name, peer.predict_crops, result, peer.weights))
        yield f"\n{peer.name}\n{result.report()}"
        if options.whole_chain:
            yield evaluate_chain(peer.predict_crops, samples, progress=progress).report()
    annotations = _annotations(options, samples)
    table = comparison(competitors, samples, annotations, published_crops=options.published_crops)
    published = PUBLISHED if options.dataset == "aflw2000-3d" else ()
    yield "\n" + comparison_report(table, published=published)


def _floor(own: LandmarkEvaluation) -> str:
    """The line on the error of the face model's best fit, with 95 % intervals by faces."""
    result = expressiveness(FaceModel.load(), own.true, predicted=own.predicted)
    floor, missed = (
        "{:.2f} % ({:.2f} to {:.2f})".format(errors.mean(), *metrics.bootstrap(errors))
        for errors in (result.floor, result.missed)
    )
    return (
        f"floor, the best fit of the face model to the true landmarks: NME {floor}; network - floor {missed}"
    )


def _peers(options: argparse.Namespace) -> list[Peer]:
    """The peers of `--peers`, loaded."""
    if options.peers is None:
        if options.peer_files is not None:
            raise ValueError(f"--peer-files: needs --peers with names of {', '.join(PEERS)}")
        return []
    peers = [load_peer(name.strip(), options.peer_files) for name in options.peers.split(",")]
    if options.whole_chain and any(isinstance(peer, MediaPipe) for peer in peers):
        raise ValueError("--whole-chain: mediapipe may find no face in a crop; leave one of the two out")
    return peers


def _annotations(options: argparse.Namespace, samples: tuple[Sample, ...]) -> dict[str, Sequence[Sample]]:
    """The samples by the name of their annotation; both of AFLW2000-3D if the set has the second one."""
    if options.dataset != "aflw2000-3d":
        return {"true landmarks": samples}
    original = read_aflw2000_3d(options.path) if options.reannotated else samples
    try:
        second = samples if options.reannotated else read_aflw2000_3d(options.path, reannotated=True)
    except (DatasetError, FileNotFoundError) as error:
        say(f"no column for the reannotated landmarks: {error}")
        return {"original": original}
    return {"original": original, "reannotated": second}


def _check_predictions(options: argparse.Namespace) -> None:
    given = [name for name, default in NETWORK_OPTIONS.items() if getattr(options, name) != default]
    if options.predictions is not None and given:
        raise ValueError(
            f"--{given[0].replace('_', '-')} needs M4Net to run, but --predictions evaluates a file instead; "
            "leave one of them out"
        )


def _samples(options: argparse.Namespace) -> tuple[Sample, ...]:
    if not options.reannotated:
        return read_set(options.path, options)
    if options.dataset != "aflw2000-3d":
        raise ValueError(
            f"--reannotated: only aflw2000-3d has a second set of landmarks, not {options.dataset}"
        )
    return read_aflw2000_3d(options.path, reannotated=True)


def read_set(path: str, options: argparse.Namespace) -> tuple[Sample, ...]:
    """Read the data set at `path` with the layout of --dataset, and its --member if one is given.

    Raises `ValueError` for a member of a layout that has only one file of labels.
    """
    read_it = read_ufdd if options.dataset == "ufdd" else partial(read, layout=options.dataset)
    if options.member is None:
        return read_it(path)
    if options.dataset not in WITH_MEMBERS:
        raise ValueError(
            f"--member: only {', '.join(WITH_MEMBERS)} have several label files, not {options.dataset}"
        )
    return read_it(path, member=options.member)
