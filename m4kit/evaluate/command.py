"""`m4kit evaluate`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from m4kit.datasets import READERS, Sample, read, read_aflw2000_3d
from m4kit.evaluate.chain import evaluate_chain
from m4kit.evaluate.heads import predict_heads
from m4kit.evaluate.results import read_predictions, write_results
from m4kit.face_model import FaceModel
from m4kit.network import M4Net
from m4kit.predictor import Predictor

WITHOUT_LANDMARKS = ("aflw-crops", "folder")


def add_parser(subparsers) -> None:
    """Add `m4kit evaluate`."""
    parser = subparsers.add_parser("evaluate", help="measure a network's errors on a data set")
    targets = parser.add_subparsers(title="what to evaluate", metavar="TARGET", required=True)
    landmarks = targets.add_parser(
        "landmarks",
        help="68 landmarks and head pose",
        description="NME of the 68 landmarks and error of the head pose on ground-truth crops, for the fused "
        "answer and for each head; and the whole chain with the detector, where the set has whole photos.",
    )
    landmarks.add_argument("path", metavar="PATH", help="the data set: its folder, or a .zip read in place")
    landmarks.add_argument(
        "--dataset",
        required=True,
        choices=[name for name in READERS if name not in WITHOUT_LANDMARKS],
        help="the layout of the data set at PATH",
    )
    landmarks.add_argument(
        "--published-crops",
        action="store_true",
        help="use the 120x120 crops that lie beside the photos, instead of cutting them anew",
    )
    landmarks.add_argument(
        "--reannotated",
        action="store_true",
        help="AFLW2000-3D's second set of landmarks (pts68_reannotated in the .npz beside the set)",
    )
    landmarks.add_argument(
        "--whole-chain",
        action="store_true",
        help="also find the faces with the detector and crop them twice, as predict does (about a minute)",
    )
    landmarks.add_argument(
        "--weights",
        default="m4net-base",
        metavar="NAME_OR_FILE",
        help="M4Net's weights (default: %(default)s)",
    )
    landmarks.add_argument(
        "--predictions",
        type=Path,
        metavar="FILE",
        help="judge another network's predictions (.npz: names, landmarks in photo pixels, poses in degrees) "
        "instead of running M4Net",
    )
    landmarks.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="also write the faces' table, the error curve and a page of the worst faces",
    )
    landmarks.add_argument("--quiet", action="store_true", help="no progress bar")
    landmarks.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run `m4kit evaluate landmarks`: print the report; 0, or 2 if the set or the weights cannot be read."""
    try:
        samples, report = _samples(options), []
        if options.predictions is not None:
            result = read_predictions(options.predictions, samples)
            report.append(result.report())
        else:
            network, model = M4Net.load(options.weights), FaceModel.load()
            answers = predict_heads(
                network,
                model,
                samples,
                published_crops=options.published_crops,
                progress=not options.quiet,
            )
            result = answers.evaluate()
            report += [result.report(), answers.report()]
            if options.whole_chain:
                predictor = Predictor(network=network, model=model)
                report.append(evaluate_chain(predictor, samples, progress=not options.quiet).report())
        text = "\n".join(filter(None, report))
        if options.out is not None:
            write_results(result, samples, options.out, report=text)
    # DatasetError, WeightsError and FaceModelError are values that are wrong.
    except (ValueError, OSError) as error:
        print(f"m4kit evaluate: {error}", file=sys.stderr)
        return 2
    print(text)
    return 0


def _samples(options: argparse.Namespace) -> tuple[Sample, ...]:
    if options.reannotated:
        if options.dataset != "aflw2000-3d":
            raise ValueError(
                f"--reannotated: only aflw2000-3d has a second set of landmarks, not {options.dataset}"
            )
        return read_aflw2000_3d(options.path, reannotated=True)
    return read(options.path, options.dataset)
