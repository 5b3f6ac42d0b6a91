"""dlib's XML: one sample per box, with landmarks if it has the 68."""

import shutil

import numpy as np
import pytest

from m4kit.camera import crop_from_box
from m4kit.datasets import DatasetError, read_dlib_xml

from helpers.face_sets import picture, zipped
from helpers.faces import CROP_OF_POINTS, points68
from helpers.paths import shared_file


def parts(points):
    return "".join(f"<part name='{i:02d}' x='{x}' y='{y}'/>" for i, (x, y) in enumerate(points))


BOX = "<box top='20' left='10' width='40' height='50'>{}</box>"
FULL = BOX.format(parts(points68()))


def write_xml(folder, *images, name="faces.xml", encoding="ISO-8859-1"):
    folder.mkdir(parents=True, exist_ok=True)
    content = "".join(f"<image file='{file}'>{boxes}</image>" for file, boxes in images)
    text = f"<?xml version='1.0' encoding='{encoding}'?><dataset><images>{content}</images></dataset>"
    (folder / name).write_text(text, encoding="latin1")
    for file, _ in images:
        picture(folder / file)
    return folder / name


@pytest.mark.parametrize("given", ["xml", "folder", "zip"])
def test_a_box_with_68_parts_has_landmarks_and_their_crop(tmp_path, given):
    place = write_xml(tmp_path / "set", ("pictures/café.jpg", FULL))
    place = {"xml": place, "folder": place.parent}.get(given) or zipped(place.parent)
    (sample,) = read_dlib_xml(place)
    np.testing.assert_allclose(sample.landmarks, points68())
    np.testing.assert_allclose(sample.crop, CROP_OF_POINTS)
    assert sample.name == "pictures/café"
    assert sample.image().shape == (150, 160, 3)


def test_a_box_reaches_half_a_pixel_around_the_pixels_that_it_covers(tmp_path):
    sample = read_dlib_xml(write_xml(tmp_path, ("a.jpg", FULL)))[0]
    np.testing.assert_array_equal(sample.box, [9.5, 19.5, 49.5, 69.5])


@pytest.mark.parametrize("inside", ["", parts(points68()[:5]), "<part name='nose' x='3' y='4'/>"])
def test_a_box_without_the_68_has_the_crop_of_the_box(tmp_path, inside):
    sample = read_dlib_xml(write_xml(tmp_path, ("a.jpg", BOX.format(inside))))[0]
    assert sample.landmarks is None
    assert sample.crop == crop_from_box(np.array([9.5, 19.5, 49.5, 69.5]))


def test_parts_are_taken_by_their_names_and_not_by_their_order(tmp_path):
    turned = "".join(
        f"<part name='{i}' x='{points68()[i, 0]}' y='{points68()[i, 1]}'/>" for i in reversed(range(68))
    )
    sample = read_dlib_xml(write_xml(tmp_path, ("a.jpg", BOX.format(turned))))[0]
    np.testing.assert_allclose(sample.landmarks, points68())


def test_faces_of_one_picture_are_numbered_and_ignored_boxes_passed_over(tmp_path):
    ignored = BOX.format("").replace("<box", "<box ignore='1'")
    xml = write_xml(tmp_path, ("a.jpg", FULL + ignored + FULL), ("b.jpg", FULL), ("c.jpg", ""))
    assert [sample.name for sample in read_dlib_xml(xml)] == ["a#1", "a#2", "b"]


def test_pictures_that_differ_by_their_ending_keep_it(tmp_path):
    xml = write_xml(tmp_path, ("a.jpg", FULL + FULL), ("a.png", FULL), ("b.jpg", FULL))
    assert [sample.name for sample in read_dlib_xml(xml)] == ["a.jpg#1", "a.jpg#2", "a.png", "b"]


def test_a_file_that_counts_from_1_says_so(tmp_path):
    sample = read_dlib_xml(write_xml(tmp_path, ("a.jpg", FULL)), first_pixel=1)[0]
    np.testing.assert_allclose(sample.landmarks, points68() - 1)
    np.testing.assert_array_equal(sample.box, [8.5, 18.5, 48.5, 68.5])


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (BOX.replace("left='10'", "").format(""), "expected numbers"),
        (BOX.replace("'40'", "'wide'").format(""), r"expected numbers \(.*'wide'"),
        (BOX.replace("'40'", "'0'").format(""), "expected a box with left < right"),
        (BOX.replace("'40'", "'inf'").format(""), "expected a box with left < right"),
        (BOX.replace("'40'", "'1e300'").format(""), "expected a box with left < right"),
        (
            BOX.replace("'10'", "'0'").replace("'40'", "'1e-300'").format(""),
            "expected a box with left < right",
        ),
        (FULL.replace("x='", "x='nan' z='"), "expected finite points"),
    ],
)
def test_a_broken_face_is_left_out_and_named(tmp_path, broken, reason):
    xml = write_xml(tmp_path, ("a.jpg", broken), ("b.jpg", FULL))
    with pytest.warns(UserWarning, match=rf"1 face left out: a \({reason}") as caught:
        assert [sample.name for sample in read_dlib_xml(xml)] == ["b"]
    assert caught[0].filename == __file__


@pytest.mark.parametrize("file", ["gone.jpg", "../outside.jpg", ""])
def test_a_picture_that_is_not_there_or_outside_is_named(tmp_path, file):
    xml = write_xml(tmp_path / "set", ("a.jpg", FULL))
    picture(tmp_path / "outside.jpg")
    xml.write_text(xml.read_text().replace("</images>", f"<image file='{file}'>{FULL}</image></images>"))
    with pytest.warns(UserWarning, match=r"1 face left out: .* \(no picture\)"):
        assert len(read_dlib_xml(xml)) == 1


def test_of_several_files_one_has_to_be_picked(tmp_path):
    write_xml(tmp_path, ("a.jpg", FULL))
    write_xml(tmp_path, ("a.jpg", FULL + FULL), name="more.xml")
    with pytest.raises(DatasetError, match=r"found 2: faces\.xml, more\.xml; give that file itself"):
        read_dlib_xml(tmp_path)
    assert len(read_dlib_xml(tmp_path, member="more.xml")) == 2


@pytest.mark.parametrize("content", ["", "<dataset><images>", "<?xml version='1.0' encoding='no-such'?><a/>"])
def test_a_broken_file_is_an_error(tmp_path, content):
    (tmp_path / "faces.xml").write_text(content)
    with pytest.raises(DatasetError, match=r"faces\.xml: expected dlib's XML, got a broken file"):
        read_dlib_xml(tmp_path / "faces.xml")


def test_an_xml_of_another_kind_and_another_file_are_errors(tmp_path):
    (tmp_path / "faces.xml").write_text("<annotation/>")
    with pytest.raises(DatasetError, match=r"expected <image file=\.\.\.> with <box .*, found none"):
        read_dlib_xml(tmp_path)
    shutil.copy(tmp_path / "faces.xml", tmp_path / "faces.json")
    with pytest.raises(DatasetError, match=r"faces\.json: expected a \.xml file, or a folder or \.zip"):
        read_dlib_xml(tmp_path / "faces.json")


def test_the_real_group_photos_have_their_43_faces():
    archive = shared_file("data/multi_face.zip")
    samples = [
        sample
        for part in ("testing", "training")
        for sample in read_dlib_xml(archive, member=f"{part}_with_face_landmarks.xml")
    ]
    assert len(samples) == 43
    assert samples[0].name == "2008_002470#1"
    np.testing.assert_array_equal(samples[0].landmarks[0], [277, 194])
    for sample in samples:
        left, top, right, bottom = sample.box
        x, y = sample.landmarks[27:48].mean(axis=0)
        assert left < x < right and top < y < bottom
