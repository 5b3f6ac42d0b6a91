"""Pictures with `.pts` or `.txt` files of 68 points beside them, and plain folders of pictures."""

import numpy as np
import pytest

from m4kit.datasets import DatasetError, read_artistic_faces, read_folder, read_pts, read_txt
from m4kit.datasets.sample import picture_of
from m4kit.images import ImageError

from helpers.face_sets import picture, zipped
from helpers.faces import CROP_OF_POINTS, points68
from helpers.paths import shared_file


def pts(points, *, declared=68):
    lines = "\n".join(f"{x:.6f} {y:.6f}" for x, y in points)
    return f"version: 1\nn_points:  {declared}\n{{\n{lines}\n}}\n"


def write_pts(folder):
    """Two faces, counted from 1 as the files of 300W are."""
    for name in ("01_Indoor/indoor_001.png", "02_Outdoor/outdoor_001.JPG"):
        picture(folder / name).with_suffix(".pts").write_text(pts(points68() + 1))
    return folder


class TestPts:
    @pytest.mark.parametrize("archived", [False, True])
    def test_every_face_has_its_points_counted_from_0_and_the_crop_of_the_rule(self, tmp_path, archived):
        place = write_pts(tmp_path / "set")
        samples = read_pts(zipped(place) if archived else place)
        assert [sample.name for sample in samples] == ["01_Indoor/indoor_001", "02_Outdoor/outdoor_001"]
        for sample in samples:
            np.testing.assert_allclose(sample.landmarks, points68(), atol=1e-5)
            np.testing.assert_allclose(sample.crop, CROP_OF_POINTS, atol=1e-5)
            assert sample.image().shape == (150, 160, 3)

    def test_files_that_count_from_elsewhere_say_so(self, tmp_path):
        samples = read_pts(write_pts(tmp_path), first_pixel=0.5)
        np.testing.assert_allclose(samples[0].landmarks, points68() + 0.5, atol=1e-5)

    def test_points_in_a_folder_of_their_own_find_the_only_picture_of_their_name(self, tmp_path):
        picture(tmp_path / "images" / "a.png")
        (tmp_path / "labels").mkdir()
        (tmp_path / "labels" / "a.pts").write_text(pts(points68() + 1))
        assert read_pts(tmp_path)[0].name == "images/a"

    def test_points_of_two_pictures_are_left_out_and_named(self, tmp_path):
        for name in ("a.jpg", "a.png", "b.jpg"):
            picture(tmp_path / name).with_suffix(".pts").write_text(pts(points68() + 1))
        with pytest.warns(UserWarning, match=r"1 face left out: a \(2 pictures of that name\)"):
            assert [sample.name for sample in read_pts(tmp_path)] == ["b"]

    @pytest.mark.parametrize(
        "content",
        [
            ("\ufeff" + pts(points68() + 1)).encode(),
            pts(points68() + 1).replace("\n", "\r\n").encode(),
            pts(points68() + 1).removeprefix("version: 1\n").encode(),
        ],
        ids=["byte order mark", "lines of Windows", "no version"],
    )
    def test_spellings_of_the_file_read_alike(self, tmp_path, content):
        picture(tmp_path / "a.jpg").with_suffix(".pts").write_bytes(content)
        np.testing.assert_allclose(read_pts(tmp_path)[0].landmarks, points68(), atol=1e-5)

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (b"", "expected points between braces"),
            (pts(points68())[:-3].encode(), "expected points between braces"),
            (pts(points68()[:39], declared=39).encode(), "expected 68 points"),
            (pts(points68()[:67]).encode(), "expected the 68 points that it declares, got 67"),
            (pts(points68(), declared="9" * 5000).encode(), "expected the 999999999 points that it declares"),
            (pts(np.where(points68() == 30, np.nan, points68())).encode(), "expected finite points"),
            (pts(points68()).replace(".", ",").encode(), "expected numbers"),
            (pts(np.full((68, 2), 5)).encode(), "expected 68 points of a face"),
            (
                pts(points68() * [1, 0]).encode(),
                "expected 68 points of a face, got points without width or height",
            ),
            (pts(points68()).replace(" ", " 1 ").encode(), "expected two numbers per line"),
            (pts(points68()).encode("utf-16"), "expected UTF-8 text"),
        ],
    )
    def test_a_broken_file_costs_one_face_which_is_named(self, tmp_path, content, reason):
        (write_pts(tmp_path) / "01_Indoor" / "indoor_001.pts").write_bytes(content)
        with pytest.warns(UserWarning, match=rf"1 face left out: 01_Indoor/indoor_001 \({reason}") as caught:
            assert len(read_pts(tmp_path)) == 1
        assert caught[0].filename == __file__

    def test_a_picture_or_points_alone_are_left_out(self, tmp_path):
        write_pts(tmp_path)
        (tmp_path / "01_Indoor" / "indoor_001.png").rename(tmp_path / "01_Indoor" / "indoor_002.png")
        with pytest.warns(UserWarning, match=r"indoor_001 \(no picture\), .*indoor_002 \(no \.pts\)$"):
            assert len(read_pts(tmp_path)) == 1

    def test_a_folder_without_faces_is_an_error(self, tmp_path):
        with pytest.raises(
            DatasetError, match=r"expected pictures with a \.pts of 68 points each, found none"
        ):
            read_pts(tmp_path)


class TestTxt:
    def test_points_are_counted_from_0(self, tmp_path):
        lines = "\n".join(f"{x} {y}" for x, y in points68())
        picture(tmp_path / "1.jpg").with_suffix(".txt").write_text(lines)
        np.testing.assert_allclose(read_txt(tmp_path)[0].landmarks, points68())

    def test_a_text_of_another_kind_is_left_out(self, tmp_path):
        picture(tmp_path / "1.jpg").with_suffix(".txt").write_text("\n".join(["1 2", "3 4"] * 34))
        picture(tmp_path / "2.jpg").with_suffix(".txt").write_text("a face")
        (tmp_path / "README.txt").write_text("about the set")
        with pytest.warns(
            UserWarning, match=r"2 faces left out: 2 \(expected numbers.*README \(no picture\)"
        ):
            assert len(read_txt(tmp_path)) == 1

    def test_the_real_caricatures_have_their_eyes_over_their_mouths(self):
        samples = read_txt(shared_file("data/caricatures_dev.zip"))
        assert len(samples) == 25
        for sample in samples:
            assert sample.landmarks[36:48, 1].mean() < sample.landmarks[48:, 1].mean()
        height, width, _ = samples[0].image().shape
        assert (samples[0].landmarks < [width, height]).all()


class TestFolder:
    @pytest.mark.parametrize("archived", [False, True])
    def test_all_pictures_come_without_any_truth(self, tmp_path, archived):
        for name in ("b.png", "a/c.JPEG", "a.jpg"):
            picture(tmp_path / "set" / name)
        (tmp_path / "set" / "notes.txt").write_text("not a picture")
        samples = read_folder(zipped(tmp_path / "set") if archived else tmp_path / "set")
        assert [sample.name for sample in samples] == ["a", "a/c", "b"]
        assert samples[0].landmarks is None and samples[0].crop is None
        assert samples[0].image().shape == (150, 160, 3)

    def test_no_two_pictures_have_one_name_or_pass_for_faces_of_one(self, tmp_path):
        names = ["a.jpg", "a.jpg.png", "a.png", "b/a.jpg", "trip#1.jpg", "trip#2.jpg"]
        for grey, name in enumerate(names):
            picture(tmp_path / name, grey=40 * grey)
        samples = read_folder(tmp_path)
        assert [sample.name for sample in samples] == [*names[:3], "b/a", *names[4:]]
        assert [round(sample.image().mean() / 40) for sample in samples] == [0, 1, 2, 3, 4, 5]
        assert [picture_of(sample.name) for sample in samples] == [sample.name for sample in samples]

    def test_a_broken_picture_shows_when_it_is_read(self, tmp_path):
        (tmp_path / "a.jpg").touch()
        with pytest.raises(ImageError, match=r"a\.jpg: expected"):
            read_folder(tmp_path)[0].image()

    def test_a_folder_without_pictures_is_an_error(self, tmp_path):
        with pytest.raises(DatasetError, match="expected pictures, found none"):
            read_folder(tmp_path)


class TestArtisticFaces:
    @pytest.mark.parametrize(
        ("names", "artists"),
        [
            (("picasso/1.png", "picasso/2.png", "van gogh/1.png"), ["picasso", "picasso", "van gogh"]),
            (
                ("all/picasso_1.png", "all/picasso-12.png", "all/van_gogh3.png"),
                ["picasso", "picasso", "van_gogh"],
            ),
            (("picasso1.png", "17.png"), [None, "picasso"]),
        ],
    )
    def test_the_artist_is_the_folder_or_the_start_of_the_name(self, tmp_path, names, artists):
        for name in names:
            picture(tmp_path / name).with_suffix(".pts").write_text(pts(points68() + 1))
        samples = read_artistic_faces(tmp_path)
        assert sorted([sample.artist for sample in samples], key=str) == sorted(artists, key=str)
        np.testing.assert_allclose(samples[0].landmarks, points68(), atol=1e-5)

    def test_a_file_with_another_number_of_points_is_left_out_and_named(self, tmp_path):
        for name, points in (("dix_1.png", points68()), ("dix_2.png", points68()[:30])):
            picture(tmp_path / name).with_suffix(".pts").write_text(pts(points, declared=len(points)))
        with pytest.warns(UserWarning, match=r"1 face left out: dix_2 \(expected 68 points") as caught:
            assert [sample.artist for sample in read_artistic_faces(tmp_path)] == ["dix"]
        assert caught[0].filename == __file__

    def test_pictures_without_points_are_an_error(self, tmp_path):
        picture(tmp_path / "dix_1.png")
        with (
            pytest.raises(DatasetError, match=r"expected works of art with a \.pts of 68 points each"),
            pytest.warns(),
        ):
            read_artistic_faces(tmp_path)
