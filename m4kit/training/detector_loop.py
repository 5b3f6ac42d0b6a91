"""Trains the packaged weights of the detector.

The training starts from the official FaceBoxes weights (MIT), which are also the teacher: a frozen copy sees each
scene clean, while the network sees most scenes in bad conditions. The loss is the published multibox loss (Zhang et
al., IJCB 2017) on the true boxes plus a distillation loss towards the teacher's answers on the clean scene.

    python -m m4kit.training.detector_loop --shared ../shared --face-free FOLDER --out build/detector

`scripts/collect_face_free.py` fills the folder of pictures without a face.

The seed determines a run. Started again, a stopped run continues from its last checkpoint.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from m4kit.boxes import pairwise_iou
from m4kit.detector import Detector
from m4kit.evaluate.detection import LOWEST_SCORE, DetectorEvaluation, PhotoResult
from m4kit.faceboxes import FaceBoxes, encode, load_network, network_input
from m4kit.priors import prior_boxes
from m4kit.training.checkpoint import Checkpoint, of_workers, rate_factor, weight_average
from m4kit.training.detector_material import Material, read_material
from m4kit.training.detector_scenes import collage, degrade, make_scene, mosaic
from m4kit.weights import write_tensors

OFFICIAL = Path("peers") / "faceboxes" / "FaceBoxesProd.pth"

CHECKPOINT_VERSION = 2
"""Version of checkpoints, raised when the same settings train differently than before."""


@dataclass(frozen=True)
class Settings:
    """Options of the training.

    - `sizes`: sides of the scenes, used by the batches in turn.
    - `average`: decay of the weight average, which is what is saved.
    - `clean`: share of the scenes that the network also sees clean.
    - `share`: the saved weights lie this far on the way from the official weights to the trained ones.
    """

    steps: int = 1200
    batch: int = 12
    sizes: tuple[int, ...] = (384, 320, 512)
    learning_rate: float = 3e-4
    warmup: int = 100
    weight_decay: float = 1e-4
    average: float = 0.998
    distillation: float = 2.0
    clean: float = 0.25
    share: float = 0.85
    check_every: int = 200
    seed: int = 0


class Scenes(Dataset):
    """The scenes of a run: clean picture, degraded picture and faces; scene i is the same in any process."""

    def __init__(self, material: Material, settings: Settings):
        self.material, self.settings = material, settings

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        settings = self.settings
        rng = np.random.default_rng([settings.seed, index])
        size = settings.sizes[index // settings.batch % len(settings.sizes)]
        clean, faces = make_scene(self.material, size, rng)
        seen = clean if rng.random() < settings.clean else degrade(clean, _smallest_side(faces), rng)
        return network_input(clean), network_input(seen), torch.from_numpy(faces.astype(np.float32))

    def __len__(self) -> int:
        return self.settings.steps * self.settings.batch


def _smallest_side(faces: np.ndarray) -> float:
    wanted = faces[faces[:, 4] == 1]
    return float((wanted[:, 2] - wanted[:, 0]).min()) if len(wanted) else 40.0


def _collate(scenes):
    clean, seen, faces = zip(*scenes, strict=True)
    return torch.stack(clean), torch.stack(seen), faces


def iou_with_priors(boxes: Tensor, priors: Tensor) -> Tensor:
    """Compute the intersection over union (n, P) of boxes (n, 4) with priors (P, 4) of `prior_boxes`."""
    low, high = priors[:, :2] - priors[:, 2:] / 2, priors[:, :2] + priors[:, 2:] / 2
    shared = torch.minimum(boxes[:, None, 2:4], high) - torch.maximum(boxes[:, None, :2], low)
    shared = shared.clamp(min=0).prod(-1)
    return shared / ((boxes[:, 2:4] - boxes[:, :2]).prod(-1)[:, None] + priors[:, 2:].prod(-1) - shared)


def match(faces: Tensor, priors: Tensor) -> tuple[Tensor, Tensor]:
    """Find the target of each prior: its label (P,), 1 face, 0 background, -1 ignored, and its box (P, 4).

    As published, a prior belongs to the face that it overlaps by at least 0.35, and each face has its best prior if
    that overlaps by at least 0.2. Priors of optional faces, and of faces too small for any prior, are ignored.
    """
    labels, boxes = torch.zeros(len(priors)), torch.zeros(len(priors), 4)
    if not len(faces):
        return labels, boxes
    iou = iou_with_priors(faces, priors)
    wanted = (faces[:, 4] == 1) & (iou.max(dim=1).values >= 0.2)
    if not wanted.all():
        labels[iou[~wanted].max(dim=0).values >= 0.1] = -1
    if not wanted.any():
        return labels, boxes
    overlap, owner = iou[wanted].max(dim=0)
    best = iou[wanted].argmax(dim=1)
    overlap[best] = 1
    owner[best] = torch.arange(len(best))
    labels[overlap >= 0.35] = 1
    return labels, faces[wanted, :4][owner]


def detection_loss(
    predicted: tuple[Tensor, Tensor],
    faces: tuple[Tensor, ...],
    priors: Tensor,
    taught: tuple[Tensor, Tensor],
    *,
    distillation: float,
) -> Tensor:
    """Compute the multibox loss of a batch plus `distillation` times the distance from the teacher's answers.

    `predicted` holds the network's moves (B, P, 4) and logits (B, P), `taught` the teacher's moves and scores. The
    loss takes the seven hardest negatives per positive, as FaceBoxes.PyTorch does. Where the teacher sees a face
    without a true box, the prior is ignored.
    """
    (moves, logits), (taught_moves, taught_scores) = predicted, taught
    labels, boxes = (torch.stack(parts) for parts in zip(*(match(f, priors) for f in faces), strict=True))
    labels[(labels == 0) & (taught_scores > 0.5)] = -1
    positive = labels == 1
    count = max(1, int(positive.sum()))
    box_loss = F.smooth_l1_loss(moves[positive], encode(boxes, priors)[positive], reduction="sum")

    error = F.binary_cross_entropy_with_logits(logits, positive.float(), reduction="none")
    hardness = error.detach().masked_fill(labels != 0, -1)
    rank = hardness.argsort(dim=1, descending=True).argsort(dim=1)
    # A scene without a face still has its hardest negatives.
    negative = (rank < (7 * positive.sum(dim=1, keepdim=True)).clamp(min=60)) & (labels == 0)
    score_loss = error[positive | negative].sum()

    # Also where the network itself sees a face, so that it unlearns what the teacher does not confirm.
    heard = (taught_scores > 0.02) | ((labels >= 0) & (logits.detach() > -2))
    soft = F.binary_cross_entropy_with_logits(logits[heard], taught_scores[heard], reduction="sum")
    sure = taught_scores > 0.5
    drift = (
        F.smooth_l1_loss(moves[sure], taught_moves[sure], reduction="none").sum(-1) * taught_scores[sure]
    ).sum()
    lesson = soft / max(1, int(heard.sum())) + drift / max(1, int(sure.sum()))
    return (box_loss + score_loss) / count + distillation * lesson


def train(
    shared: Path,
    out: Path,
    settings: Settings | None = None,
    *,
    face_free: Path | None = None,
    workers: int = 1,
    progress: bool = True,
) -> Path:
    """Train, or continue a stopped run; return the file of weights, `out`/faceboxes.safetensors."""
    settings = settings or Settings()
    out.mkdir(parents=True, exist_ok=True)
    teacher = load_network(shared / OFFICIAL)
    official = Detector(teacher)
    material, held_out = read_material(shared, official, face_free)
    checks = validation_scenes(held_out)

    # The batch statistics stay the official ones: batches are small, and many scenes are not photos.
    network = load_network(shared / OFFICIAL).requires_grad_(True)
    average = weight_average(network, settings.average)
    averaged = average.module
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    checkpoint = Checkpoint(
        out / "checkpoint.pth",
        {"network": network, "average": average, "optimizer": optimizer},
        asdict(settings),
        version=CHECKPOINT_VERSION,
    )
    first = (checkpoint.restore() or {"step": 0})["step"]
    if not first:
        _log(out, f"official: {validate(official, checks)}")

    loader = DataLoader(
        Scenes(material, settings),
        settings.batch,
        sampler=range(first * settings.batch, settings.steps * settings.batch),
        collate_fn=_collate,
        **of_workers(workers),
    )
    losses = []
    bar = tqdm(loader, desc="detector", initial=first, total=settings.steps, disable=not progress)
    for step, (clean, seen, faces) in enumerate(bar, first):
        factor = rate_factor(step / settings.steps, warm_up=settings.warmup / settings.steps, last=0.0)
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * factor
        with torch.no_grad():
            taught_moves, taught_logits = teacher(clean)
        loss = detection_loss(
            network(seen),
            faces,
            torch.tensor(prior_boxes(*clean.shape[2:])),
            (taught_moves, taught_logits.sigmoid()),
            distillation=settings.distillation,
        )
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 10.0)
        optimizer.step()
        average.update_parameters(network)
        losses.append(loss.item())
        if (step + 1) % settings.check_every == 0 or step + 1 == settings.steps:
            checkpoint.save(step=step + 1)
            _log(out, f"step {step + 1}, loss {np.mean(losses):.3f}: {validate(Detector(averaged), checks)}")
            losses.clear()
    mix(averaged, teacher, settings.share)
    shift = calibrate(averaged, teacher, [scene for kind in checks.values() for scene in kind])
    _log(out, f"mixed, scores lowered by {shift:.2f}: {validate(Detector(averaged), checks)}")
    path = out / "faceboxes.safetensors"
    save(averaged, path)
    return path


def save(network: FaceBoxes, path: Path) -> None:
    """Write the weights as the package stores them, with convolutions in half precision."""
    metadata = {
        "name": "m4kit FaceBoxes",
        "start": "FaceBoxesProd.pth of FaceBoxes.PyTorch (MIT)",
        "data": "AFLW, YouTube-Faces, dlib's example faces, painted portraits, pictures without a face",
        "licence": "research only, for AFLW and YouTube-Faces are; derived from FaceBoxes.PyTorch, MIT",
    }
    write_tensors(path, network.state_dict(), metadata, half=True)


def _log(out: Path, line: str) -> None:
    with (out / "log.txt").open("a") as file:
        file.write(line + "\n")


def validation_scenes(held_out: Material) -> dict[str, list]:
    """Make scenes (picture, faces) by kind, each kind clean and in bad conditions; each call makes the same ones."""
    count, size = 50, 448
    seeds = [np.random.default_rng([1_000_003, i]) for i in range(max(count, len(held_out.photos)))]
    clean = {
        "mosaics": [mosaic(held_out, size, rng) for rng in seeds[:count]],
        "collages": [collage(held_out, size, rng) for rng in seeds[:count]],
        "photos": [(photo.image(), photo.faces) for photo in held_out.photos],
        "face-free": [(photo.image(), photo.faces) for photo in held_out.face_free],
    }
    bad = {
        f"{kind} in bad conditions": [
            (degrade(picture, _smallest_side(faces), rng), faces)
            for (picture, faces), rng in zip(scenes, seeds, strict=False)
        ]
        for kind, scenes in clean.items()
    }
    return {kind: scenes for kind, scenes in (clean | bad).items() if scenes}


def validate(detector: Detector, scenes: dict[str, list]) -> str:
    """Describe average precision at IoU 0.5, and recall and false positives at a score of 0.5, by kind of scene."""
    evaluations = {kind: DetectorEvaluation(tuple(detect(detector, some))) for kind, some in scenes.items()}
    return "; ".join(
        f"{kind}: AP {one.average_precision():.3f}, recall {one.recall():.3f}, {one.false_positives():.2f} false"
        for kind, one in evaluations.items()
    )


def detect(detector: Detector, scenes: list) -> list[PhotoResult]:
    """Detect the faces of each scene down to low scores; the results hold its true boxes too."""
    return [
        # A scene's boxes count from the picture's corner, a detector's from the first pixel's centre.
        PhotoResult(detector(picture, threshold=LOWEST_SCORE), faces[:, :4] - 0.5, faces[:, 4] == 1)
        for picture, faces in scenes
    ]


def mix(trained: FaceBoxes, official: FaceBoxes, share: float) -> None:
    """Set the trained weights, in place, to `share` * trained + (1 - `share`) * official.

    Such a mixture keeps more of the official network's skill on other kinds of photos (Wortsman et al., "Robust
    fine-tuning of zero-shot models", CVPR 2022).
    """
    with torch.no_grad():
        for weight, start in zip(trained.parameters(), official.parameters(), strict=True):
            weight.lerp_(start, 1 - share)


def false_alarms(detector: Detector, scenes: list) -> np.ndarray:
    """Return the scores of false alarms, highest first: boxes that overlap no face by 0.2 or more."""
    scores = [
        result.found[pairwise_iou(result.found[:, :4], result.boxes).max(axis=1, initial=0) < 0.2, 4]
        for result in detect(detector, scenes)
    ]
    return np.sort(np.concatenate(scores))[::-1]


def calibrate(network: FaceBoxes, official: FaceBoxes, scenes: list, *, extra: float = 0.01) -> float:
    """Lower the network's scores, in place, so that few false alarms reach the threshold of 0.5 again.

    Training scenes hold more faces than photos do, so the network's scores are too high. The face logits are shifted
    until the network has as many false alarms on the scenes as the official weights plus `extra` per picture, since a
    missed face costs more than a false alarm. Returns the shift, 0 if none is needed.
    """
    allowed = int((false_alarms(Detector(official), scenes) >= 0.5).sum() + extra * len(scenes))
    scores = false_alarms(Detector(network), scenes)
    shift = 0.0
    if len(scores) > allowed and scores[allowed] >= 0.5:
        shift = float(np.log(scores[allowed] / (1 - scores[allowed]))) + 1e-3
    with torch.no_grad():
        for head in network.scores:
            head.bias[1::2] -= shift
    return shift


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--shared", type=Path, default=os.environ.get("M4KIT_SHARED", "../shared"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--face-free", type=Path, help="folder of pictures without a face")
    parser.add_argument("--steps", type=int, default=Settings.steps)
    parser.add_argument("--seed", type=int, default=Settings.seed)
    arguments = parser.parse_args()
    settings = Settings(steps=arguments.steps, seed=arguments.seed)
    train(arguments.shared, arguments.out, settings, face_free=arguments.face_free)


if __name__ == "__main__":
    main()
