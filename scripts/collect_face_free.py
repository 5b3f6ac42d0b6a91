"""Collect pictures without a face, photos and drawings, from Python packages.

The detector's training (`python -m m4kit.training.detector_loop --face-free FOLDER`) uses them as negatives. The
repository holds none of them. First download the packages into a folder SOURCES:

    pip download --no-deps scikit-image==0.26.0 scikit-learn==1.9.1
    pip download --no-deps --no-binary :all: opencv-python-headless==5.0.0.93

Unpack each there (`unzip`, `tar xf`), then run: python scripts/collect_face_free.py SOURCES FOLDER
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
    """Copy the pictures into one folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sources", type=Path, help="folder with the unpacked packages")
    parser.add_argument("out", type=Path, help="folder to copy the pictures into")
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
