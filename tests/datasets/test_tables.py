"""A CSV of 68 points has one face per row, under any of the known titles."""

import csv

import numpy as np
import pytest

from m4kit.datasets import DatasetError, read_csv

from helpers.face_sets import picture, zipped
from helpers.faces import CROP_OF_POINTS, points68

FROM_1 = [f"{axis}{number}" for number in range(1, 69) for axis in "xy"]
FROM_0 = [f"{axis}_{number}" for axis in "xy" for number in range(68)]


def write_csv(file, titles, rows, *, delimiter=",", encoding="utf-8"):
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", newline="", encoding=encoding) as stream:
        csv.writer(stream, delimiter=delimiter).writerows([titles, *rows])
    return file


def by_turns(points=None):
    return [f"{value:.6f}" for value in (points68() if points is None else points).ravel()]


@pytest.mark.parametrize("given", ["csv", "folder", "zip"])
def test_a_row_is_a_face(tmp_path, given):
    for name in ("a.jpg", "more/b.png"):
        picture(tmp_path / "set" / name)
    rows = [["a.jpg", *by_turns()], ["more/b.png", *by_turns(points68(0, 0))]]
    table = write_csv(tmp_path / "set" / "faces.csv", ["image", *FROM_1], rows)
    place = {"csv": table, "folder": table.parent}.get(given) or zipped(table.parent)
    first, second = read_csv(place)
    assert (first.name, second.name) == ("a", "more/b")
    np.testing.assert_allclose(first.landmarks, points68(), atol=1e-5)
    np.testing.assert_allclose(first.crop, CROP_OF_POINTS, atol=1e-5)
    np.testing.assert_allclose(second.landmarks, points68(0, 0), atol=1e-5)
    assert second.image().shape == (150, 160, 3) and first.person is None


@pytest.mark.parametrize(
    ("titles", "values"),
    [
        (["image", *FROM_1], by_turns()),
        (["File_Name", *FROM_0], by_turns(points68().T)),
        (["path", *(title.upper() for title in FROM_1)], by_turns()),
        (["name", *(f"landmark_{i}_{axis}" for i in range(68) for axis in "xy")], by_turns()),
        (["", *map(str, range(136))], by_turns()),
        (["filename", *(f" {title}" for title in FROM_1)], by_turns()),
    ],
    ids=["from 1", "from 0, x first", "capitals", "landmark_0_x", "numbers", "blanks"],
)
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_spellings_of_the_header_read_alike(tmp_path, titles, values, delimiter):
    picture(tmp_path / "a.jpg")
    table = write_csv(tmp_path / "t.csv", titles, [["a.jpg", *values]], delimiter=delimiter)
    np.testing.assert_allclose(read_csv(table)[0].landmarks, points68(), atol=1e-5)


def test_a_table_can_name_people_and_have_other_columns_and_a_byte_order_mark(tmp_path):
    picture(tmp_path / "a.jpg")
    row = ["1", "Jane Roe", *by_turns(), "a.jpg"]
    table = write_csv(
        tmp_path / "t.csv", ["frame", "Person", *FROM_1, "image"], [row, [], row], encoding="utf-8-sig"
    )
    samples = read_csv(table)
    assert [sample.name for sample in samples] == ["a#1", "a#2"]
    assert samples[0].person == "Jane Roe"


def test_pictures_can_lie_in_a_folder_of_their_own_and_pixels_count_from_elsewhere(tmp_path):
    picture(tmp_path / "training" / "a.jpg")
    table = write_csv(tmp_path / "t.csv", ["image", *FROM_1], [["a.jpg", *by_turns()]])
    sample = read_csv(table, images="training", first_pixel=0.5)[0]
    np.testing.assert_allclose(sample.landmarks, points68() - 0.5, atol=1e-5)


@pytest.mark.parametrize(
    ("row", "named"),
    [
        (["b.jpg", *by_turns()[:-1]], r"b \(expected 137 columns, got 136\)"),
        (["b.jpg", *by_turns()[:-1], ""], r"b \(expected numbers"),
        (["b.jpg", *by_turns()[:-1], "nan"], r"b \(expected finite points"),
        (["b.jpg", *["3"] * 136], r"b \(expected 68 points of a face"),
        (["gone.jpg", *by_turns()], r"gone \(no picture\)"),
        (["../b.jpg", *by_turns()], r"\.\./b \(no picture\)"),
        (["", *by_turns()], r"row 2 \(no picture\)"),
    ],
)
def test_a_broken_row_is_left_out_and_named(tmp_path, row, named):
    for name in ("set/a.jpg", "set/b.jpg", "b.jpg"):
        picture(tmp_path / name)
    table = write_csv(tmp_path / "set" / "t.csv", ["image", *FROM_1], [["a.jpg", *by_turns()], row])
    with pytest.warns(UserWarning, match=rf"1 face left out: {named}") as caught:
        assert [sample.name for sample in read_csv(table)] == ["a"]
    assert caught[0].filename == __file__


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected a header that names the columns, got an empty file"),
        (b"image,x" + b"1" * 5000 + b"\na.jpg,2\n", "expected the 68 points in columns x1, y1"),
        (b"left,top,right\n1,2,3\n", "expected a column with the picture's name"),
        (
            b"image,x1,y1\na.jpg,1,2\n",
            r"expected the 68 points in columns x1, y1, .*got 3 columns image, x1, y1",
        ),
        ("image,Größe".encode("latin1"), r"expected UTF-8 text, .*; save it as UTF-8"),
        (b'image,x1\n"' + b"a" * 140_000, r"expected a CSV, got a broken file .*; check its quotes"),
    ],
)
def test_a_table_of_another_kind_is_an_error(tmp_path, content, message):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(DatasetError, match=rf"t\.csv: {message}"):
        read_csv(tmp_path / "t.csv")


def test_a_table_of_broken_rows_alone_is_an_error(tmp_path):
    table = write_csv(tmp_path / "t.csv", ["image", *FROM_1], [["a.jpg", *by_turns()]])
    with (
        pytest.warns(UserWarning, match="1 face left out"),
        pytest.raises(DatasetError, match=r"expected t\.csv to name pictures with 68 points, got 1 rows"),
    ):
        read_csv(table)
