"""Measures the errors of a network on faces that are held out of the training."""

from __future__ import annotations

import numpy as np
import torch

from m4kit import metrics
from m4kit.camera import head_poses
from m4kit.face_model import FaceModel
from m4kit.landmarks import face_size
from m4kit.network import M4Net, to_input
from m4kit.parameters import fuse, head_spread, landmarks_in_crop, split_camera
from m4kit.training.data import LOOSE_21, Faces, averaging_matrix, point_weights

_BATCH = 128


@torch.no_grad()
def predict_faces(
    network: M4Net,
    faces: Faces,
    indices: np.ndarray,
    *,
    precision: str = "bf16",
    device: str = "cpu",
) -> tuple[np.ndarray, np.ndarray]:
    """Predict the heads' raw parameters (n, 4, 62) and weights (n, 4) of faces without augmentation."""
    network.eval()
    heads, weights = [], []
    for start in range(0, len(indices), _BATCH):
        crops = np.stack([faces.crops[i] for i in indices[start : start + _BATCH]])
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=precision == "bf16"):
            outputs = network.outputs(to_input(crops, crop_size=network.crop_size).to(device))
        heads.append(outputs.heads.float().cpu())
        weights.append(outputs.weights.float().cpu())
    return torch.cat(heads).numpy(), torch.cat(weights).numpy()


def validate(
    network: M4Net,
    model: FaceModel,
    faces: Faces,
    indices: np.ndarray,
    *,
    precision: str = "bf16",
    device: str = "cpu",
) -> dict[str, float]:
    """Measure the errors on the faces of those indices, against their labels.

    - `nme`: mean over all faces in % (mean 2D distance of the 68 landmarks divided by `face_size`); `balanced`: mean
      of the three yaw bins, which stand beside it; `uniform`: with equal head weights; `head1` to `head4`: of single
      heads.
    - `weight1` to `weight4`: mean weights of the heads.
    - `yaw`, `pitch`, `roll`: mean absolute errors in degrees.
    - `points`: like `nme`, for AFLW's hand-annotated points.
    - `spread`: Spearman's correlation of the heads' disagreement (`head_spread`) with the error.
    """
    labels = faces.labels.subset(indices)
    heads, weights = predict_faces(network, faces, indices, precision=precision, device=device)
    fused = fuse(heads, weights)
    truth = landmarks_in_crop(model, labels.parameters)
    size = face_size(truth)

    def nme(parameters: np.ndarray) -> np.ndarray:
        return metrics.nme(landmarks_in_crop(model, parameters), truth)

    errors = nme(fused)
    pose, aim = (np.array(head_poses(split_camera(raw)[0])) for raw in (fused, labels.parameters))
    bins = metrics.yaw_bin(aim[:, 0])
    by_bin = {
        f"{low}-{high}": errors[bins == number].mean()
        for number, (low, high) in enumerate(metrics.YAW_BINS)
        if (bins == number).any()
    }
    figures = {
        "nme": errors.mean(),
        "balanced": np.mean(list(by_bin.values())),
        **by_bin,
        "uniform": nme(fuse(heads, np.full(4, 0.25))).mean(),
        **{f"head{k + 1}": nme(heads[:, k]).mean() for k in range(4)},
        **{f"weight{k + 1}": weights[:, k].mean() for k in range(4)},
    }
    figures |= dict(zip(("yaw", "pitch", "roll"), metrics.pose_error(pose, aim).mean(0), strict=True))
    offset = averaging_matrix() @ landmarks_in_crop(model, fused)[..., :2] - labels.points21
    trust = point_weights(21, LOOSE_21) * np.isfinite(offset).all(-1)
    if (known := trust.sum(1) > 0).any():
        distance = (np.linalg.norm(np.nan_to_num(offset), axis=-1) * trust).sum(1) / size
        figures["points"] = (100 * distance[known] / trust.sum(1)[known]).mean()
    spread = head_spread(model, heads, weights)
    if np.ptp(errors) > 0 and np.ptp(spread) > 0:
        # Slow to import: one second in each process that trains.
        from scipy.stats import spearmanr

        figures["spread"] = spearmanr(spread, errors).statistic
    return {name: round(float(value), 4) for name, value in figures.items()}
