"""The command `m4kit ablate`: measure how head weights and activations change the accuracy."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from m4kit.ablation.activations.command import add_activations_parser
from m4kit.ablation.heads.dynamic import DynamicStudy, dynamic_study
from m4kit.ablation.heads.dynamic_figure import dynamic_figure
from m4kit.ablation.heads.figures import head_weights_figure, simplex_figure
from m4kit.ablation.heads.judge import checked_weights
from m4kit.ablation.heads.record import HeadStudy
from m4kit.ablation.heads.study import study
from m4kit.ablation.heads.validation import validation_samples
from m4kit.ablation.heads.weightings import FILE as WEIGHTINGS_FILE
from m4kit.ablation.heads.weightings import (
    WEIGHTINGS,
    train_weightings,
    training_files,
    weighting_study,
    weightings_figure,
)
from m4kit.commands import CONTINUES, add_quiet, add_weights, folder_argument, say, shows_progress
from m4kit.datasets import READERS, WITH_LANDMARKS, Sample
from m4kit.evaluate.command import add_member, read_set
from m4kit.evaluate.heads import predict_heads
from m4kit.face_model import FaceModel
from m4kit.files import OutputFolder
from m4kit.network import M4Net
from m4kit.training.command import add_config_options, config_of
from m4kit.training.data import Labels, decoded_crops
from m4kit.views import COUNTS

HEAD_FILES = ("record.parquet", "settings.csv", "head_weights.png", "simplex.html")
DYNAMIC_FILES = ("dynamic.csv", "dynamic.png")
WEIGHTINGS_FIGURE = "weightings.png"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the choices of `m4kit ablate`."""
    targets = parser.add_subparsers(title="what to study", metavar="CHOICE", required=True)
    heads = targets.add_parser(
        "heads",
        help="the weights of the heads",
        description="Runs the network once over a labelled set and evaluates weights of its heads: each head alone, "
        "uniform, learned, and all weights in steps of 0.1, or 0.05 around the best. Compares them with the best "
        "weights that the other half of the people chose. --out writes record.parquet, "
        "settings.csv, head_weights.png and simplex.html, and with --dynamic also dynamic.csv and dynamic.png.",
    )
    heads.add_argument("path", metavar="PATH", nargs="?", help="folder or .zip of the data set")
    heads.add_argument("--dataset", choices=WITH_LANDMARKS, help="layout of the data set at PATH")
    add_member(heads)
    heads.add_argument(
        "--published-crops",
        action="store_true",
        help="use the 120x120 crops that come with the photos, instead of cutting them",
    )
    heads.add_argument(
        "--labels",
        type=Path,
        metavar="FILE",
        help="instead of PATH: use the validation people of a labels file",
    )
    heads.add_argument(
        "--data", type=Path, metavar="DIR", help="with --labels: folder of the archives that they name"
    )
    heads.add_argument(
        "--cache", type=Path, metavar="DIR", help="with --labels: folder with the decoded crops of a training"
    )
    heads.add_argument("--faces", type=int, metavar="N", help="take N random faces")
    heads.add_argument(
        "--seed", type=int, default=0, help="seed of --faces, the halves and the bootstrap (default: 0)"
    )
    add_weights(heads)
    heads.add_argument(
        "--views",
        type=int,
        choices=COUNTS,
        default=1,
        help="average the heads over this many views of each crop, as in predict (default: 1)",
    )
    heads.add_argument(
        "--dynamic",
        metavar="NAME_OR_FILE",
        help="weights of a network with dynamic fusion, to compare by yaw, on degraded crops and face by face; this "
        "comparison uses one view of each crop",
    )
    heads.add_argument(
        "--also",
        action="append",
        default=[],
        metavar="W,W,W,W",
        help="also evaluate these weights, such as 0.1,0.2,0.3,0.4; can be repeated",
    )
    heads.add_argument(
        "--chosen",
        type=Path,
        metavar="RECORD",
        help="do not search: evaluate the best weights of this record, which another set's study wrote",
    )
    heads.add_argument("--out", type=folder_argument, metavar="DIR", help="folder for the results")
    add_quiet(heads)
    heads.set_defaults(run=run_heads)
    _add_weightings(targets)
    add_activations_parser(targets)


def _add_weightings(targets) -> None:
    parser = targets.add_parser(
        "weightings",
        help="the weights under which the heads are trained",
        description=f"Trains the network from one start under each of {len(WEIGHTINGS)} weightings of its heads "
        f"({', '.join(WEIGHTINGS)}), all else equal, and compares them on the labels' validation people. Also fuses "
        "the heads of one network with the weights of the others. Writes weightings.parquet and weightings.png. Run "
        "the same command again to continue a stopped study. The intervals are over faces: for reruns, give another "
        "--seed and another --out.",
    )
    parser.add_argument(
        "--data", type=Path, required=True, help="folder of the archives that the labels name"
    )
    parser.add_argument("--labels", type=Path, required=True, help="labels file (.npz)")
    parser.add_argument(
        "--start", type=Path, required=True, help="M4Net weights (.safetensors) that all trainings start from"
    )
    parser.add_argument(
        "--out", type=folder_argument, required=True, metavar="DIR", help="folder of the study"
    )
    parser.add_argument("--cache", type=Path, help="folder for the decoded crops (default: OUT)")
    add_config_options(parser)
    add_quiet(parser)
    parser.set_defaults(run=run_weightings, when_stopped=CONTINUES)


def run_heads(options: argparse.Namespace) -> int:
    """Run `m4kit ablate heads`; returns 0."""
    others = {f"own {number + 1}": _weights(given) for number, given in enumerate(options.also)}
    # Errors that are found quickly come before the network runs.
    chosen = None if options.chosen is None else HeadStudy.load(options.chosen)
    if options.out is not None:
        # The folder is entered when there is something to write.
        OutputFolder(options.out, (*HEAD_FILES, *(DYNAMIC_FILES if options.dynamic else ())))
    network, model = M4Net.load(options.weights), FaceModel.load()
    second = None if options.dynamic is None else _dynamic(options.dynamic)
    if second is not None and network.fusion != "static":
        raise ValueError(
            f"--weights {options.weights}: expected a network with static fusion to compare --dynamic with, got "
            f"{network.fusion}; leave --dynamic out to evaluate this one alone"
        )
    samples, truth, dataset = _faces(options, model)
    ran = {"published_crops": options.published_crops, "progress": shows_progress(options)}
    views = {"views": options.views}
    seen = f", {options.views} views of each crop" if options.views > 1 else ""
    answers = predict_heads(network, model, samples, **ran, **views)
    record = study(
        answers,
        dataset=dataset + seen,
        weights_file=Path(options.weights).name,
        truth=truth,
        dynamic=None if second is None else predict_heads(second, model, answers.samples, **ran, **views),
        others=others,
        chosen=chosen,
        seed=options.seed,
        progress=shows_progress(options),
    )
    # Before the next long step, which may fail.
    try:
        say(record.report())
    finally:
        if options.out is not None:
            write_heads(record, options.out)
    if second is not None:
        compared = dynamic_study(
            network, second, model, answers.samples, dataset=dataset, seed=options.seed, **ran
        )
        say("", compared.report())
        if options.out is not None:
            write_dynamic(compared, options.out)
    return 0


def run_weightings(options: argparse.Namespace) -> int:
    """Run `m4kit ablate weightings`; returns 0."""
    config, labels, model = config_of(options), Labels.load(options.labels), FaceModel.load()
    shown = {"progress": shows_progress(options)}
    places = {"data": options.data, "cache": options.cache or options.out}
    with OutputFolder(options.out, (*training_files(), WEIGHTINGS_FILE, WEIGHTINGS_FIGURE)) as output:
        crops = decoded_crops(labels, **places, **shown)
        networks = train_weightings(
            options.start, labels, crops, config, out=options.out, model=model, **shown
        )
        samples, _ = validation_samples(labels, model, **places, **shown)
        record = weighting_study(
            networks,
            samples,
            dataset=f"the validation people of {_sources(samples)}",
            start=options.start.name,
            training=config.to_dict(),
            model=model,
            **shown,
        )
        output.write(WEIGHTINGS_FILE, record.save)
        output.write(WEIGHTINGS_FIGURE, weightings_figure(record).save)
        say(record.report())
    return 0


def write_heads(record: HeadStudy, folder: str | Path) -> Path:
    """Write `HEAD_FILES`, the last only if weights were searched; returns the folder.

    Raises the errors of `files.OutputFolder`.
    """
    with OutputFolder(folder, HEAD_FILES) as output:
        table, figure = record.to_dataframe(), head_weights_figure(record)
        output.write(HEAD_FILES[0], record.save)
        output.write(HEAD_FILES[1], lambda path: table.to_csv(path, index=False))
        output.write(HEAD_FILES[2], figure.save)
        if len(record.grid):
            # Includes plotly, so that the page works offline.
            simplex = simplex_figure(record)
            output.write(HEAD_FILES[3], lambda path: simplex.write_html(path, include_plotlyjs=True))
    return output.path


def write_dynamic(study: DynamicStudy, folder: str | Path) -> Path:
    """Write `DYNAMIC_FILES`; returns the folder. Raises as `write_heads`."""
    with OutputFolder(folder, DYNAMIC_FILES) as output:
        table, figure = study.to_dataframe(), dynamic_figure(study)
        output.write(DYNAMIC_FILES[0], lambda path: table.to_csv(path, index=False))
        output.write(DYNAMIC_FILES[1], figure.save)
    return output.path


def _faces(
    options: argparse.Namespace, model: FaceModel
) -> tuple[tuple[Sample, ...], np.ndarray | None, str]:
    """The faces, their true parameters if known, and the name of the set."""
    if options.faces is not None and options.faces < 1:
        raise ValueError(f"--faces: expected at least 1, got {options.faces}")
    if (options.labels is None) == (options.path is None):
        raise ValueError("expected either PATH with --dataset, or --labels with --data")
    if options.labels is not None:
        if options.data is None and options.cache is None:
            raise ValueError("--labels: expected also --data, the folder of the archives that they name")
        if options.published_crops or options.member or options.dataset:
            raise ValueError("--labels: expected no --dataset, --member or --published-crops with it")
        samples, truth = validation_samples(
            Labels.load(options.labels),
            model,
            data=options.data or options.cache,
            cache=options.cache,
            faces=options.faces,
            seed=options.seed,
            progress=shows_progress(options),
        )
        return samples, truth, f"the validation people of {_sources(samples)}"
    if options.dataset is None:
        raise ValueError(
            f"{options.path}: expected its layout; give --dataset with one of {', '.join(READERS)}"
        )
    if options.data or options.cache:
        raise ValueError(
            "expected --data and --cache only with --labels; give PATH and --dataset without them"
        )
    samples = read_set(options.path, options)
    if options.faces is not None and options.faces < len(samples):
        kept = np.random.default_rng(options.seed).choice(len(samples), options.faces, replace=False)
        samples = tuple(samples[number] for number in np.sort(kept))
    return samples, None, f"{options.dataset} ({Path(options.path).name})"


def _sources(samples: tuple[Sample, ...]) -> str:
    """Names of the sets that the faces of a labels file come from."""
    return " and ".join(sorted({sample.name.split("/")[0] for sample in samples}))


def _weights(given: str) -> np.ndarray:
    try:
        return checked_weights([float(word) for word in given.split(",")])[0]
    except ValueError as error:
        raise ValueError(f"--also {given}: {error}") from error


def _dynamic(source: str) -> M4Net:
    network = M4Net.load(source)
    if network.fusion != "dynamic":
        raise ValueError(f"--dynamic {source}: expected a network with dynamic fusion, got {network.fusion}")
    return network
