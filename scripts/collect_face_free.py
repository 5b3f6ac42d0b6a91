"""Collect pictures without a face, real ones and drawings, from what package registries carry.

The training of the detector wants them (`python -m m4kit.training.detector_loop --face-free FOLDER`): they teach it
what is no face. Nothing of them lies in the repository. Beforehand, in a folder SOURCES:

    pip download --no-deps scikit-image==0.26.0 scikit-learn==1.9.1
    pip download --no-deps --no-binary :all: opencv-python-headless==5.0.0.93

and unpack each there (`unzip`, `tar xf`). Then: python scripts/collect_face_free.py SOURCES FOLDER
"""

import argparse
import shutil
from pathlib import Path

OPENCV = """
    HappyFish.jpg aero1.jpg aloeL.jpg apple.jpg baboon.jpg blox.jpg board.jpg box.png
    box_in_scene.png building.jpg butterfly.jpg castle.jpg chicky_512.png ellipses.jpg fruits.jpg
    gauge-1.jpg home.jpg leuvenA.jpg licenseplate_motion.jpg notes.png orange.jpg rubberwhale1.png
    smarties.png squirrel_cls.jpg starry_night.jpg stuff.jpg sudoku.png text_motion.jpg
    aruco/choriginal.jpg
"""
SCIKIT_IMAGE = """
    brick.png cell.png chelsea.png clock_motion.png grass.png gravel.png hubble_deep_field.jpg
    ihc.png moon.png motorcycle_left.png page.png retina.jpg rocket.jpg text.png
"""
SCIKIT_LEARN = "china.jpg flower.jpg"


def main() -> None:
    """Copy them into one folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sources", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    (opencv,) = arguments.sources.glob("opencv_python_headless-*/opencv/samples/data")
    packages = {
        opencv: OPENCV,
        arguments.sources / "skimage" / "data": SCIKIT_IMAGE,
        arguments.sources / "sklearn" / "datasets" / "images": SCIKIT_LEARN,
    }
    arguments.out.mkdir(parents=True, exist_ok=True)
    for folder, names in packages.items():
        for name in names.split():
            shutil.copy(folder / name, arguments.out)


if __name__ == "__main__":
    main()
