"""A scene report whose every number is known: no network runs."""

import io

import numpy as np
from PIL import Image

from m4kit.camera import rotation_from_euler
from m4kit.conditions import CONDITIONS
from m4kit.scenes.report import SceneReport
from m4kit.scenes.report_data import packaged_model
from m4kit.scenes.tables import FACE_COLUMNS, PHOTO_COLUMNS, packed, table_of
from m4kit.weights import fingerprint


def parameters(*, yaw=0.0, seed=0):
    """A face in the middle of its crop, raw parameters (62,)."""
    camera = np.column_stack([0.6 * rotation_from_euler(yaw, 0, 0), np.zeros(3)])
    return np.concatenate([camera.ravel(), np.random.default_rng(seed).normal(0, 0.5, 50)]).astype(np.float32)


def thumbnail(shade=120):
    """A grey JPEG with a little texture, in the size of a crop."""
    pixels = np.random.default_rng(shade).integers(shade - 30, shade + 30, (120, 120, 3)).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="JPEG")
    return buffer.getvalue()


def made_report(*, scenes=6, conditions=CONDITIONS, severities=(0, 1, 3, 5), missed_from=5.0):
    """Every scene under every condition and severity, one face each.

    The error of scene k (of n) at severity s is (2 + s) * (0.8 + 0.4 k / (n - 1)) percent, 2 + s on average; from
    severity `missed_from` on, scene 0 is missed. The failure probability is the error / 20, at most 1.
    """
    faces, photos = [], []
    shades = np.linspace(60, 200, 8).astype(int)
    pictures = {f"{shade}.jpg": thumbnail(int(shade)) for shade in shades}
    for scene in range(scenes):
        spread = 0.8 + 0.4 * scene / max(1, scenes - 1)
        answer = parameters(yaw=10.0 * (scene % 7) - 30, seed=scene)
        for condition in conditions:
            for severity in severities:
                name = f"scene{scene}/{condition}-{severity:g}-0"
                lost = scene == 0 and severity >= missed_from
                where = {"photo": name, "condition": condition, "severity": float(severity), "seed": 7}
                where["clean"] = f"scene{scene}"
                error = (2 + severity) * spread
                faces.append(where | {"thumbnail": f"{shades[scene % 8]}.jpg", "truth": 0})
                faces[-1] |= {"true_left": 10.0, "true_top": 10.0, "true_right": 60.0, "true_bottom": 60.0}
                if lost:
                    faces[-1] |= {"face": -1, "failures": "missed"}
                else:
                    faces[-1] |= {
                        **{
                            "face": 0,
                            "nme": error,
                            "landmark_drift": error - 1.0,
                            "score": 0.9,
                            "yaw": 10.0 * scene,
                        },
                        **{
                            "left": 12.0,
                            "top": 12.0,
                            "right": 62.0,
                            "bottom": 62.0,
                            "size": 20.0 + 10 * scene,
                        },
                        **{
                            "crop_left": 0.0,
                            "crop_top": 0.0,
                            "crop_size": 80.0,
                            "parameters": packed(answer),
                        },
                        "failure_probability": min(1.0, error / 20),
                        "reasons": "blurred; tiny" if severity >= 3 else "",
                        "failures": "landmarks drifted: jaw, lips" if error > 7 else "",
                    }
                photos.append(
                    where | {"read": True, "faces": 1, "found": int(not lost), "hits": int(not lost)}
                )
                photos[-1] |= {"missed": int(lost), "recall": float(not lost), "reference": "truth"}
    settings = {"face_model": fingerprint(packaged_model()), "network": "made", "failure_note": ""}
    return SceneReport(
        table_of(faces, FACE_COLUMNS), table_of(photos, PHOTO_COLUMNS), settings, pictures=pictures
    )
