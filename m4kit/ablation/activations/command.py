"""The command `m4kit ablate activations`: train networks with each activation and compare them."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from m4kit.ablation.activations.collect import collect
from m4kit.ablation.activations.numbers import MEASURES, REFERENCE, activation_table, against
from m4kit.ablation.activations.record import PURPOSES, ActivationRecord
from m4kit.ablation.activations.run import Settings, study_faces
from m4kit.ablation.activations.study import Plan, Study
from m4kit.commands import CONTINUES, add_quiet, folder_argument, say, shows_progress
from m4kit.files import OutputFolder
from m4kit.network import ACTIVATIONS, SIZES
from m4kit.tables import as_text

if TYPE_CHECKING:
    import pandas as pd

RECORD = "record.parquet"

_NUMBERS = ("crop_size", "batch", "validate_every", "validation_faces")
"""The settings that are whole numbers."""


def add_activations_parser(targets) -> None:
    """Add `m4kit ablate activations`."""
    parser = targets.add_parser(
        "activations",
        help="the activation function",
        description="Trains the network from scratch with each activation, all else equal. Short trainings first "
        "search the learning rate of each activation; the full trainings follow, seed by seed. Prints the errors on "
        "held-out faces with intervals, the share of dead units, and the paired tests against Sigmoid. Run the same "
        "command again to continue a stopped study.",
    )
    plan, settings = Plan(), Settings()
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="folder of the archives that the labels name"
    )
    parser.add_argument("--labels", type=Path, metavar="FILE", help="labels file (.npz)")
    parser.add_argument(
        "--sources",
        nargs="+",
        metavar="NAME",
        default=settings.sources,
        help=f"take faces from these sources of the labels (default: {', '.join(settings.sources)})",
    )
    parser.add_argument(
        "--out", type=folder_argument, metavar="DIR", required=True, help="folder of the study"
    )
    parser.add_argument(
        "--cache", type=Path, metavar="DIR", help="folder for the decoded crops (default: OUT)"
    )
    parser.add_argument(
        "--activations",
        nargs="+",
        choices=ACTIVATIONS,
        metavar="NAME",
        default=plan.activations,
        help=f"activations to compare (default: {' '.join(ACTIVATIONS)})",
    )
    for name, kind, about in (
        ("seeds", int, "one training per seed"),
        ("rates", float, "learning rates to choose from; a single one needs no search"),
    ):
        default = getattr(plan, name)
        parser.add_argument(
            f"--{name}",
            nargs="+",
            type=kind,
            metavar="N",
            default=default,
            help=f"{about} (default: {' '.join(f'{value:g}' for value in default)})",
        )
    for name, about in (
        ("steps", "steps of a full training"),
        ("search_steps", "steps of a training that searches the learning rate"),
        ("search_seeds", "search with the first N of the seeds"),
    ):
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            type=int,
            metavar="N",
            default=getattr(plan, name),
            help=f"{about} (default: %(default)s)",
        )
    parser.add_argument("--size", choices=SIZES, default=settings.size, help="default: %(default)s")
    for name in _NUMBERS:
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            type=int,
            default=getattr(settings, name),
            help="default: %(default)s",
        )
    parser.add_argument("--device", default=settings.device, help="default: %(default)s")
    parser.add_argument(
        "--precision", choices=("fp32", "bf16"), default=settings.precision, help="default: %(default)s"
    )
    parser.add_argument(
        "--jobs",
        type=int,
        default=1,
        metavar="N",
        help="train N networks in parallel, one core each (default: 1)",
    )
    parser.add_argument(
        "--checkpoint-minutes",
        type=float,
        default=1.0,
        help="time between checkpoints (default: %(default)s)",
    )
    parser.add_argument(
        "--collect",
        type=Path,
        metavar="FILE",
        nargs="?",
        const=Path(RECORD),
        help="do not train: write the record of the trainings that have ended to FILE in OUT "
        f"(default: {RECORD}); all other options but --out are ignored",
    )
    add_quiet(parser)
    parser.set_defaults(run=run_activations, when_stopped=CONTINUES)


def run_activations(options: argparse.Namespace) -> int:
    """Run `m4kit ablate activations`; returns 0."""
    if options.collect is not None:
        record = collect(options.out, partial=True)
        # A bare file name, such as the default, is relative to the study's folder.
        path = options.out / options.collect
        with OutputFolder(path.parent, [path.name]):
            say(_in_words(record, record.save(path)))
        return 0
    if options.labels is None or options.data is None:
        raise ValueError("expected --labels, a labels file, and --data, the folder of the archives it names")
    plan = _plan(options)
    # Checked before the folder saves the plan, whose settings cannot change afterwards.
    study_faces(options.labels, plan.settings)
    # The study checks its own plan.
    with OutputFolder(options.out, [RECORD]):
        study = Study(plan, options.out, command=shlex.join(["m4kit", *sys.argv[1:]]))
        study.run(
            options.labels,
            options.data,
            cache=options.cache,
            jobs=options.jobs,
            checkpoint_minutes=options.checkpoint_minutes,
            progress=shows_progress(options),
        )
        record = collect(study)
        say(_in_words(record, record.save(options.out / RECORD)))
    return 0


def _in_words(record: ActivationRecord, path: Path) -> str:
    """Summary of a record: the errors of each purpose, the tests, the record's file, and the missing trainings."""
    lines = []
    for purpose in PURPOSES:
        runs = record.select(purpose=purpose)
        if runs:
            steps = max(run.planned for run in runs)
            lines.append(
                f"{purpose}, {steps} steps; NME in %, pose in degrees, with 95 % intervals over seeds; dead units of "
                "the worst stage in %"
            )
            lines += [as_text(_errors(record, purpose)), *_tests(record, purpose), ""]
    diverged = sum(run.diverged for run in record.runs)
    lines.append(f"{path}: {len(record.runs)} trainings, {diverged} diverged")
    if record.missing:
        lines.append(f"{len(record.missing)} planned trainings are missing: {', '.join(record.missing)}")
    return "\n".join(lines)


def _errors(record: ActivationRecord, purpose: str) -> pd.DataFrame:
    """The errors of each activation and rate for readers, with their intervals, and the share of dead units."""
    table = activation_table(record, purpose=purpose)
    shown = table[["activation", "learning_rate", "seeds", "diverged"]].copy()
    for name in MEASURES:
        numbers = table[[name, f"{name}_low", f"{name}_high"]].itertuples(index=False)
        shown[name] = [
            f"{mean:.2f}" + (f" ({low:.2f} to {high:.2f})" if np.isfinite(low) else "")
            for mean, low, high in numbers
        ]
    shown["dead"] = table["dead"].round(1)
    return shown


def _tests(record: ActivationRecord, purpose: str) -> list[str]:
    """The ReLU series against Sigmoid for readers; empty if there are too few seeds or activations."""
    if REFERENCE not in {run.activation for run in record.select(purpose=purpose)}:
        return []
    table = against(record, purpose=purpose)
    if table["p"].isna().all():
        return []
    shown = table.drop(columns=["permutation_p", "permutation_least"]).round(3)
    return [f"minus {REFERENCE}, paired by seed, with 95 % intervals; p after Holm", as_text(shown)]


def _plan(options: argparse.Namespace) -> Plan:
    names = (*_NUMBERS, "size", "device", "precision")
    settings = Settings(sources=tuple(options.sources), **{name: getattr(options, name) for name in names})
    return Plan(
        activations=tuple(options.activations),
        seeds=tuple(options.seeds),
        steps=options.steps,
        search_steps=options.search_steps,
        rates=tuple(options.rates),
        search_seeds=options.search_seeds,
        settings=settings,
    )
