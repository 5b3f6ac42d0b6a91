"""The sample images are small and free, and show what their README describes."""

import re

import pytest
from PIL import Image

from m4kit.datasets import read_artistic_faces
from m4kit.detector import Detector
from m4kit.images import list_images, load_image
from m4kit.landmarks import face_box
from m4kit.video.files import VideoReader

from helpers.paths import SAMPLES, shared_file

README = (SAMPLES / "README.md").read_text(encoding="utf-8")
# | `name.jpg` | what it shows | number of faces |
FACES = {
    name: int(count) for name, count in re.findall(r"^\| `(.+?)` \|.*\| (\d+) \|$", README, re.MULTILINE)
}


@pytest.fixture(scope="module")
def detector():
    return Detector()


def test_the_readme_names_exactly_the_files_in_the_folder():
    images = list_images([SAMPLES, SAMPLES / "art"])
    assert sorted(FACES) == sorted(path.relative_to(SAMPLES).as_posix() for path in images)


def test_all_together_are_under_three_megabytes():
    assert sum(path.stat().st_size for path in SAMPLES.rglob("*.*")) < 3e6


def test_works_of_art_are_small_and_of_seven_styles():
    assert all(path.stat().st_size < 150_000 for path in list_images(SAMPLES / "art"))
    styles = {"caricature", "comic", "engraving", "lithograph", "oil", "sculpture", "woodblock"}
    assert {sample.artist for sample in read_artistic_faces(SAMPLES / "art")} == styles


def test_the_points_of_each_work_of_art_lie_on_its_face(detector):
    samples = read_artistic_faces(SAMPLES / "art")
    assert len(samples) == len(list_images(SAMPLES / "art"))
    for sample in samples:
        (found,) = detector(sample.image())
        middle = (face_box(sample.landmarks)[:2] + face_box(sample.landmarks)[2:]) / 2
        assert (found[:2] < middle).all() and (middle < found[2:4]).all(), sample.name
        # Eyes above mouth above chin, and the person's right on the picture's left.
        eyes, mouth, chin = (
            sample.landmarks[36:48].mean(axis=0),
            sample.landmarks[48:68].mean(axis=0),
            sample.landmarks[8],
        )
        assert eyes[1] < mouth[1] < chin[1], sample.name
        assert sample.landmarks[36, 0] < sample.landmarks[45, 0], sample.name


def test_every_face_has_a_source_and_a_licence():
    sources = README.split("## Where they come from")[1]
    for name in FACES:
        lines = [line for line in sources.splitlines() if f"`{name}`" in line]
        assert lines, name
        assert all("public domain" in line or "CC0" in line for line in lines), name


@pytest.mark.parametrize("name", FACES)
def test_every_sample_is_read_without_a_warning_and_shows_as_many_faces_as_the_readme_says(detector, name):
    image = load_image(SAMPLES / name)
    assert min(image.shape[:2]) >= 400
    assert len(detector(image)) == FACES[name]


def test_the_clip_is_small_and_free_and_as_the_readme_says():
    path = SAMPLES / "two_people.mp4"
    assert path.stat().st_size < 400_000
    assert "`two_people.mp4` is CC0" in README.split("## Where they come from")[1]
    reader = VideoReader(path)
    assert (*reader.size, reader.fps, reader.count) == (400, 300, 20, 120)
    assert "6 seconds, 400 x 300 pixels, 20 frames a second" in README


def test_one_is_large():
    assert max(load_image(SAMPLES / "large_group.jpg").shape) == 4000


def test_one_is_rotated_by_its_exif_tag():
    with Image.open(SAMPLES / "turned_by_exif.jpg") as image:
        assert image.getexif()[0x0112] == 6
        assert image.width > image.height
    height, width, _ = load_image(SAMPLES / "turned_by_exif.jpg").shape
    assert height > width


def test_the_official_detector_finds_as_many_faces_as_the_readme_says():
    official = Detector(shared_file("peers/faceboxes/FaceBoxesProd.pth"))
    assert {name: len(official(load_image(SAMPLES / name))) for name in FACES} == FACES
