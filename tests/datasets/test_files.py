"""Folders and zips are read in place and in the same way, and nothing outside them is read."""

import os
import zipfile
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from m4kit import reading
from m4kit.datasets import READERS, DatasetError, read, read_folder
from m4kit.datasets.files import load_arrays, open_files, read_arrays
from m4kit.files import OutputFolder
from m4kit.images import ImageError

from helpers.face_sets import picture


def test_what_systems_leave_behind_is_passed_over(tmp_path):
    for name in ("a.jpg", "._a.jpg", "__MACOSX/a.jpg", ".thumbnails/a.jpg"):
        picture(tmp_path / "set" / name)
    assert [sample.name for sample in read_folder(tmp_path / "set")] == ["a"]


def test_results_that_a_command_wrote_into_the_set_are_passed_over(tmp_path):
    picture(tmp_path / "a.jpg")
    with OutputFolder(tmp_path / "out", ["overview.jpg", "thumbnails"]):
        picture(tmp_path / "out" / "overview.jpg")
        picture(tmp_path / "out" / "thumbnails" / "face.jpg")
        picture(tmp_path / "out" / "b.jpg")
    assert [sample.name for sample in read_folder(tmp_path)] == ["a", "out/b"]


def test_members_of_a_zip_that_lead_out_of_it_are_passed_over(tmp_path):
    content = picture(tmp_path / "a.jpg").read_bytes()
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for name in ("a.jpg", "../b.jpg", "/c.jpg", "d/../../e.jpg", "f/"):
            archive.writestr(name, content)
    assert [sample.name for sample in read_folder(tmp_path / "set.zip")] == ["a"]


@pytest.mark.parametrize(
    "name", ["../outside.jpg", "/a.jpg", "", ".", "b.jpg", "c\0.jpg", "d" * 400, "folder"]
)
def test_a_listed_name_that_is_no_file_of_the_set_is_not_found(tmp_path, name):
    picture(tmp_path / "outside.jpg")
    picture(tmp_path / "set" / "folder" / "a.jpg")
    assert open_files(tmp_path / "set", expected="pictures").find(name) is None


@pytest.mark.parametrize("name", ["folder/a.jpg", "folder\\a.jpg", "./folder/../folder/a.jpg"])
def test_a_listed_name_is_found_in_other_spellings(tmp_path, name):
    picture(tmp_path / "folder" / "a.jpg")
    assert open_files(tmp_path, expected="pictures").find(name) == "folder/a.jpg"


def test_a_damaged_member_is_an_image_error_when_it_is_read(tmp_path):
    content = picture(tmp_path / "a.jpg").read_bytes()
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.writestr("a.jpg", content)
    damaged = bytearray((tmp_path / "set.zip").read_bytes())
    damaged[len(content) // 2] ^= 255
    (tmp_path / "set.zip").write_bytes(damaged)
    with pytest.raises(ImageError, match=r"set\.zip/a\.jpg: expected a readable image, got Bad CRC"):
        read_folder(tmp_path / "set.zip")[0].image()


def test_a_member_behind_a_password_is_an_image_error_when_it_is_read(tmp_path):
    content = picture(tmp_path / "a.jpg").read_bytes()
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.writestr("a.jpg", content)
    locked = bytearray((tmp_path / "set.zip").read_bytes())
    # The lowest bit of the flags, in the member's header and in the directory, is encryption.
    locked[6] |= 1
    locked[locked.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "set.zip").write_bytes(locked)
    with pytest.raises(ImageError, match="password required"):
        read_folder(tmp_path / "set.zip")[0].image()


def test_every_layout_is_read_by_its_name(tmp_path):
    picture(tmp_path / "a.jpg")
    assert read(tmp_path, "folder")[0].name == "a"
    with pytest.raises(DatasetError, match=r"layout: expected one of aflw2000-3d, .*, got 'coco'"):
        read(tmp_path, "coco")


@pytest.mark.parametrize("layout", READERS)
def test_in_every_layout_a_missing_path_and_an_empty_folder_are_errors(tmp_path, layout):
    with pytest.raises(FileNotFoundError, match=r"nowhere: expected a folder or a \.zip of"):
        read(tmp_path / "nowhere", layout)
    with pytest.raises((DatasetError, FileNotFoundError), match="expected"):
        read(tmp_path, layout)
    (tmp_path / "set.zip").write_bytes(b"PK, or so")
    with pytest.raises(DatasetError, match=r"set\.zip: expected a .*, got another file"):
        read(tmp_path / "set.zip", layout)


class TestArrays:
    """`read_arrays`, by which readers get labels from an `.npz`."""

    ROWS: ClassVar = {"names": [()], "roi": [(4,)]}, {"yaw": [()]}

    @pytest.mark.parametrize(
        ("changed", "message"),
        [
            ({"names": None}, "expected names, roi, got roi"),
            ({"names": np.array("a")}, r"expected names \(1,\) of text, got <U1 \(\)"),
            ({"names": np.arange(3)}, r"expected names \(3,\) of text, got int64 \(3,\)"),
            ({"names": np.array([{"a": 1}], dtype=object)}, "expected numpy arrays without pickles"),
            ({"roi": np.zeros((2, 4))}, r"expected roi \(3, 4\) of numbers, got float64 \(2, 4\)"),
            ({"roi": np.full((3, 4), "a")}, r"expected roi \(3, 4\) of numbers, got <U1 \(3, 4\)"),
            ({"yaw": np.full((3, 1), "a")}, r"expected yaw \(3,\) of numbers, got <U1 \(3, 1\)"),
        ],
    )
    def test_arrays_of_another_kind_are_an_error(self, tmp_path, changed, message):
        arrays = {"names": np.array(["a", "b", "c"]), "roi": np.zeros((3, 4))} | changed
        np.savez(tmp_path / "a.npz", **{name: array for name, array in arrays.items() if array is not None})
        with pytest.raises(DatasetError, match=rf"a\.npz: {message}"):
            read_arrays(tmp_path / "a.npz", *self.ROWS)

    def test_boxes_without_names_are_an_error(self, tmp_path):
        # What 3DDFA's `AFLW2000-3D_crop.roi_box.npy` is.
        np.save(tmp_path / "a.npy", np.zeros((3, 4)))
        with pytest.raises(DatasetError, match=r"a\.npy: expected names, roi, got one array"):
            read_arrays(tmp_path / "a.npy", *self.ROWS)

    @pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut short", b"no arrays"])
    def test_a_broken_file_is_an_error(self, tmp_path, content):
        (tmp_path / "a.npz").write_bytes(content)
        with pytest.raises(DatasetError, match=r"a\.npz: expected numpy arrays without pickles"):
            read_arrays(tmp_path / "a.npz", *self.ROWS)


class TestBudgets:
    def test_a_picture_that_a_zip_expands_without_measure_is_an_image_error(self, tmp_path, monkeypatch):
        with zipfile.ZipFile(tmp_path / "set.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a.jpg", bytes(1_000_001))
        assert (tmp_path / "set.zip").stat().st_size < 2000
        monkeypatch.setattr(reading, "MOST_BYTES", 1_000_000)
        with pytest.raises(ImageError, match=r"set\.zip/a\.jpg: .* got .*more than 1,000,000 bytes"):
            read_folder(tmp_path / "set.zip")[0].image()

    def test_arrays_that_expand_without_measure_are_an_error(self, tmp_path, monkeypatch):
        np.savez_compressed(tmp_path / "labels.npz", names=np.zeros(1_000_000))
        assert (tmp_path / "labels.npz").stat().st_size < 10_000
        monkeypatch.setattr(reading, "MOST_BYTES", 1_000_000)
        with pytest.raises(DatasetError, match=r"labels\.npz: .* 8,000,128 bytes when unpacked, more than"):
            load_arrays(tmp_path / "labels.npz", tmp_path / "labels.npz")

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
    @pytest.mark.parametrize("layout", READERS)
    def test_in_every_layout_pipes_and_devices_are_errors_at_once(self, tmp_path, layout):
        os.mkfifo(tmp_path / "pipe")
        for path in (tmp_path / "pipe", Path("/dev/zero")):
            with pytest.raises(DatasetError, match=f"{path}: expected a folder or a .zip of"):
                read(path, layout)
        with pytest.raises(DatasetError, match=r"got .*a device or a pipe"):
            load_arrays(tmp_path / "pipe", "labels")

    @pytest.mark.parametrize("layout", READERS)
    @pytest.mark.parametrize(
        ("path", "message"), [(None, "got None"), (5, "got 5"), ("", "got an empty text")]
    )
    def test_in_every_layout_what_is_no_path_is_an_error(self, layout, path, message):
        with pytest.raises((TypeError, DatasetError), match=f"path: expected .*{message}"):
            read(path, layout)

    @pytest.mark.parametrize("layout", READERS)
    def test_in_every_layout_a_name_that_no_file_can_have_is_an_error(self, layout):
        for name in ("a" * 5000, "a\0b"):
            with pytest.raises(DatasetError, match=r"expected a folder or a \.zip of .*; check the path"):
                read(name, layout)
