"""The sample images are small and free, and show what their README describes."""

import re

import pytest
from PIL import Image

from m4kit.images import list_images, load_image

from helpers.paths import SAMPLES, shared_file

README = (SAMPLES / "README.md").read_text(encoding="utf-8")
# | `name.jpg` | what it shows | number of faces |
FACES = {
    name: int(count) for name, count in re.findall(r"^\| `(.+?)` \|.*\| (\d+) \|$", README, re.MULTILINE)
}


def test_the_readme_names_exactly_the_files_in_the_folder():
    assert sorted(FACES) == [path.name for path in list_images(SAMPLES)]


def test_all_together_are_under_three_megabytes():
    assert sum(path.stat().st_size for path in SAMPLES.iterdir()) < 3e6


def test_every_face_has_a_source_and_a_licence():
    sources = README.split("## Where they come from")[1]
    for name in FACES:
        lines = [line for line in sources.splitlines() if f"`{name}`" in line]
        assert lines, name
        assert all("public domain" in line or "CC0" in line for line in lines), name


@pytest.mark.parametrize("name", FACES)
def test_every_sample_is_read_without_a_warning(name):
    assert min(load_image(SAMPLES / name).shape[:2]) >= 400


def test_one_is_large():
    assert max(load_image(SAMPLES / "large_group.jpg").shape) == 4000


def test_one_is_rotated_by_its_exif_tag():
    with Image.open(SAMPLES / "turned_by_exif.jpg") as image:
        assert image.getexif()[0x0112] == 6
        assert image.width > image.height
    height, width, _ = load_image(SAMPLES / "turned_by_exif.jpg").shape
    assert height > width


def test_the_official_detector_finds_as_many_faces_as_the_readme_says():
    weights = shared_file("peers/faceboxes/FaceBoxesProd.pth")
    from m4kit.detector import Detector

    detector = Detector(weights)
    assert {name: len(detector(load_image(SAMPLES / name))) for name in FACES} == FACES
