"""A scene report of known numbers. No network runs."""

import io

import numpy as np
from PIL import Image

from m4kit.conditions import CONDITIONS
from m4kit.face_model import packaged_model
from m4kit.scenes.columns import FACE_COLUMNS, PHOTO_COLUMNS, frame_of
from m4kit.scenes.report import SceneReport

from helpers.faces import parameters


def answer_of(*, yaw=0.0, seed=0):
    """Raw parameters (62,) of a random face in the middle of its crop."""
    coefficients = np.random.default_rng(seed).normal(0, 0.5, 50)
    return parameters((yaw, 0, 0), scale=0.6, coefficients=coefficients).astype(np.float32)


def thumbnail(shade=120):
    """A grey JPEG with a little texture, as large as a crop."""
    pixels = np.random.default_rng(shade).integers(shade - 30, shade + 30, (120, 120, 3)).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="JPEG")
    return buffer.getvalue()


def made_report(*, scenes=6, conditions=CONDITIONS, severities=(0, 1, 3, 5), missed_from=5.0):
    """A report with one face for every scene, condition and severity.

    The error of scene k (of n) at severity s is (2 + s) * (0.8 + 0.4 k / (n - 1)) percent, 2 + s on average; from
    severity `missed_from` on, scene 0 is missed. The checked failure probability is the
    error / 20, at most 1.
    """
    faces, photos = [], []
    shades = np.linspace(60, 200, 8).astype(int)
    pictures = {f"{shade}.jpg": thumbnail(int(shade)) for shade in shades}
    for scene in range(scenes):
        spread = 0.8 + 0.4 * scene / max(1, scenes - 1)
        answer = answer_of(yaw=10.0 * (scene % 7) - 30, seed=scene)
        for condition in conditions:
            for severity in severities:
                name = f"scene{scene}/{condition}-{severity:g}-0"
                lost = scene == 0 and severity >= missed_from
                where = {"photo": name, "condition": condition, "severity": float(severity), "seed": 7}
                where["clean"] = f"scene{scene}"
                error = (2 + severity) * spread
                face = where | {"truth": 0, "thumbnail": f"{shades[scene % 8]}.jpg"}
                face |= {"true_left": 10, "true_top": 10, "true_right": 60, "true_bottom": 60}
                if lost:
                    faces.append(face | {"failures": "missed"})
                else:
                    face |= {"face": 0, "nme": error, "landmark_drift": error - 1.0, "yaw": 10.0 * scene}
                    face |= dict(
                        zip(("left", "top", "right", "bottom", "score"), (12, 12, 62, 62, 0.9), strict=True)
                    )
                    face |= {"crop_left": 0, "crop_top": 0, "crop_size": 80, "size": 20.0 + 10 * scene}
                    face |= {
                        "parameters": answer.tolist(),
                        "checked_failure_probability": min(1.0, error / 20),
                    }
                    face["reasons"] = "blurred; tiny" if severity >= 3 else None
                    face["failures"] = "landmarks drifted: jaw, lips" if error > 7 else None
                    faces.append(face)
                photo = where | {"read": True, "all_labelled": False, "reference": "truth", "faces": 1}
                found = int(not lost)
                photos.append(photo | {"found": found, "hits": found, "missed": 1 - found, "recall": found})
    settings = {"face_model": packaged_model().fingerprint, "network": "made", "failure_note": ""}
    return SceneReport(
        frame_of(faces, FACE_COLUMNS), frame_of(photos, PHOTO_COLUMNS), settings, pictures=pictures
    )
