"""Images of all kinds become (H, W, 3) uint8 RGB; errors give the reason."""

import io
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from m4kit import images
from m4kit.images import ImageError, MissingImageError, list_images, load_image, source_name

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
# Two rows of three: every corner has a colour of its own, so a turned or flipped picture is recognised.
PATCH = np.array([[RED, (0, 0, 0), GREEN], [BLUE, (128, 128, 128), WHITE]], dtype=np.uint8)


def _encoded(image: Image.Image, file_format: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def _noise(height: int = 64, width: int = 96) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


PNG = _encoded(Image.fromarray(PATCH), "PNG")


class TestSources:
    @pytest.mark.parametrize("kind", ["str", "path", "bytes", "bytearray", "file", "buffer", "pil", "array"])
    def test_every_kind_of_source_gives_the_same_pixels(self, tmp_path, kind):
        path = tmp_path / "patch.png"
        path.write_bytes(PNG)
        with path.open("rb") as file:
            source = {
                "str": str(path),
                "path": path,
                "bytes": PNG,
                "bytearray": bytearray(PNG),
                "file": file,
                "buffer": io.BytesIO(PNG),
                "pil": Image.fromarray(PATCH),
                "array": PATCH,
            }[kind]
            image = load_image(source)
        np.testing.assert_array_equal(image, PATCH)
        assert image.dtype == np.uint8
        assert image.flags.c_contiguous

    def test_the_result_is_a_copy(self):
        source = PATCH.copy()
        load_image(source)[:] = 0
        np.testing.assert_array_equal(source, PATCH)

    def test_a_source_is_named_by_its_path_or_its_kind(self, tmp_path):
        path = tmp_path / "patch.png"
        path.write_bytes(PNG)
        assert source_name(path) == source_name(str(path)) == str(path)
        assert source_name(PNG) == "<bytes>"
        assert source_name(PATCH) == "<array>"
        assert source_name(io.BytesIO(PNG)) == "<file>"
        assert source_name(Image.fromarray(PATCH)) == "<image>"
        with path.open("rb") as file, Image.open(path) as image:
            assert source_name(file) == source_name(image) == str(path)

    @pytest.mark.parametrize("source", [None, 7, [[1, 2], [3, 4]]])
    def test_anything_else_is_an_error_that_names_its_type(self, source):
        with pytest.raises(ImageError, match=f"got {type(source).__name__}; convert"):
            load_image(source)


class TestUnusableFiles:
    def test_a_missing_file_is_a_file_not_found_error_too(self, tmp_path):
        with pytest.raises(MissingImageError, match=r"nobody\.jpg: expected .* check the path") as caught:
            load_image(tmp_path / "nobody.jpg")
        assert isinstance(caught.value, FileNotFoundError)
        assert isinstance(caught.value, ImageError)

    def test_a_web_address_is_answered_with_download_it_first(self):
        with pytest.raises(MissingImageError, match="download it first"):
            load_image("https://example.org/face.jpg")

    def test_a_folder_is_answered_with_list_images(self, tmp_path):
        with pytest.raises(ImageError, match=r"got a folder; .* list_images"):
            load_image(tmp_path)

    @pytest.mark.parametrize("suffix", [".jpg", ".png"])
    def test_an_empty_file_is_called_empty(self, tmp_path, suffix):
        path = tmp_path / f"empty{suffix}"
        path.touch()
        with pytest.raises(ImageError, match=rf"empty{suffix}: .* empty file \(0 bytes\)"):
            load_image(path)

    @pytest.mark.parametrize("content", [b"Dear diary, no image here.", b"%PDF-1.7", PNG[:12], b"\xff\xd8"])
    def test_a_file_that_is_no_image_says_so(self, tmp_path, content):
        path = tmp_path / "notes.jpg"
        path.write_bytes(content)
        with pytest.raises(ImageError, match=r"notes\.jpg: expected .*image.*; "):
            load_image(path)

    @pytest.mark.parametrize("kept", [0.1, 0.5, 0.9])
    @pytest.mark.parametrize(
        ("file_format", "options"),
        [
            ("JPEG", {}),
            ("JPEG", {"progressive": True}),
            ("PNG", {}),
            ("BMP", {}),
            ("WEBP", {}),
            ("TIFF", {}),
            ("GIF", {}),
        ],
    )
    def test_a_truncated_file_is_an_error_and_never_half_grey(self, file_format, options, kept):
        content = _encoded(Image.fromarray(_noise()), file_format, **options)
        with pytest.raises(ImageError, match=r"<bytes>: expected .*(truncated|broken)"):
            load_image(content[: int(len(content) * kept)])

    def test_a_text_file_object_is_an_error(self, tmp_path):
        path = tmp_path / "notes.txt"
        path.write_text("text")
        with path.open() as file, pytest.raises(ImageError, match="mode 'rb'"):
            load_image(file)

    def test_an_image_of_no_pixels_is_an_error(self):
        with pytest.raises(ImageError, match="expected at least one pixel, got 0 x 5"):
            load_image(Image.new("RGB", (0, 5)))
        with pytest.raises(ImageError):
            load_image(b"P6 0 5 255\n")
        with pytest.raises(ImageError):
            load_image(_png_header(0, 5))

    def test_an_absurd_size_is_refused_before_anything_is_decoded(self):
        with pytest.raises(
            ImageError, match=r"at most 400,000,000 pixels, got 100000 x 100000; scale it down"
        ):
            load_image(_png_header(100_000, 100_000))

    def test_a_colour_mode_without_a_conversion_is_an_error(self, monkeypatch):
        image = Image.fromarray(PATCH)
        monkeypatch.setattr(image, "convert", lambda mode: (_ for _ in ()).throw(ValueError("no conversion")))
        monkeypatch.setattr(images.ImageOps, "exif_transpose", lambda given: given)
        with pytest.raises(ImageError, match="no conversion"):
            load_image(image)


def _png_header(width: int, height: int) -> bytes:
    """A PNG that claims this size and holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0"))
        + chunk(b"IEND", b"")
    )


class TestSizes:
    def test_one_pixel_is_an_image(self, tmp_path):
        path = tmp_path / "dot.png"
        Image.new("RGB", (1, 1), RED).save(path)
        np.testing.assert_array_equal(load_image(path), [[RED]])

    @pytest.mark.parametrize("height", [3, 500])
    def test_twenty_thousand_pixels_wide_is_read(self, height):
        image = load_image(_encoded(Image.new("L", (20_000, height), 77), "PNG"))
        assert image.shape == (height, 20_000, 3)
        assert image[-1, -1].tolist() == [77, 77, 77]

    def test_pillows_limit_does_not_stop_a_large_image_and_is_left_as_it_was(self, monkeypatch):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
        assert load_image(_encoded(Image.new("L", (100, 100)), "PNG")).shape == (100, 100, 3)
        assert Image.MAX_IMAGE_PIXELS == 1000


class TestModes:
    @pytest.mark.parametrize(
        ("mode", "pixel", "expected"),
        [
            ("1", 1, WHITE),
            ("L", 90, (90, 90, 90)),
            ("LA", (90, 255), (90, 90, 90)),
            ("LA", (0, 51), (204, 204, 204)),
            ("RGB", (1, 2, 3), (1, 2, 3)),
            ("RGBA", (255, 0, 0, 255), RED),
            ("RGBA", (255, 0, 0, 0), WHITE),
            ("RGBA", (0, 0, 0, 51), (204, 204, 204)),
            ("CMYK", (255, 0, 0, 0), (0, 255, 255)),
            ("CMYK", (0, 0, 0, 255), (0, 0, 0)),
            ("HSV", (0, 255, 255), RED),
            ("I", 65535, WHITE),
            ("F", 0.2, (51, 51, 51)),
        ],
    )
    def test_a_pil_image_of_any_mode_becomes_rgb_over_white(self, mode, pixel, expected):
        np.testing.assert_array_equal(load_image(Image.new(mode, (3, 2), pixel)), [[expected] * 3] * 2)

    def test_a_palette_is_looked_up(self):
        content = _encoded(Image.fromarray(PATCH).quantize(6), "PNG")
        np.testing.assert_allclose(load_image(content), PATCH, atol=2)

    def test_a_transparent_palette_entry_becomes_white(self):
        image = Image.new("P", (2, 1))
        image.putpalette([*RED, *BLUE])
        image.putdata([0, 1])
        np.testing.assert_array_equal(load_image(_encoded(image, "PNG", transparency=0)), [[WHITE, BLUE]])

    def test_a_transparent_grey_becomes_white(self):
        content = _encoded(Image.fromarray(np.array([[10, 20]], np.uint8)), "PNG", transparency=10)
        np.testing.assert_array_equal(load_image(content), [[WHITE, (20, 20, 20)]])

    @pytest.mark.parametrize("file_format", ["JPEG", "TIFF"])
    def test_a_cmyk_file_keeps_its_colours(self, file_format):
        red = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
        # Pillow writes CMYK JPEG like Adobe: inverted, with Adobe's marker.
        assert file_format != "JPEG" or b"Adobe" in _encoded(red, "JPEG")
        np.testing.assert_allclose(load_image(_encoded(red, file_format))[8, 8], RED, atol=3)

    @pytest.mark.parametrize("orientation", range(1, 9))
    @pytest.mark.parametrize("opened", [False, True])
    def test_the_exif_orientation_is_applied(self, orientation, opened):
        # How a camera stores an upright picture under each tag, by the EXIF standard.
        stored = {
            1: PATCH,
            2: PATCH[:, ::-1],
            3: PATCH[::-1, ::-1],
            4: PATCH[::-1],
            5: PATCH.transpose(1, 0, 2),
            6: np.rot90(PATCH, 1),
            7: np.rot90(PATCH, 2).transpose(1, 0, 2),
            8: np.rot90(PATCH, -1),
        }[orientation]
        exif = Image.Exif()
        exif[0x0112] = orientation
        content = _encoded(Image.fromarray(np.ascontiguousarray(stored)), "PNG", exif=exif)
        source = Image.open(io.BytesIO(content)) if opened else content
        np.testing.assert_array_equal(load_image(source), PATCH)

    @pytest.mark.parametrize("file_format", ["GIF", "PNG", "WEBP"])
    def test_an_animation_gives_its_first_frame_with_a_warning(self, tmp_path, file_format):
        path = tmp_path / f"moving.{file_format.lower()}"
        frames = [Image.new("RGB", (8, 6), colour) for colour in (RED, GREEN, BLUE)]
        options = {"lossless": True} if file_format == "WEBP" else {}
        frames[0].save(path, file_format, save_all=True, append_images=frames[1:], **options)
        with pytest.warns(UserWarning, match="moving.* has 3 frames, the first one is used") as caught:
            image = load_image(path)
        assert caught[0].filename == __file__
        np.testing.assert_array_equal(image, np.full((6, 8, 3), RED))


class TestSixteenBits:
    # The nearest of 256 levels, not the high byte: 65535 / 257 = 255.
    VALUES = np.array([[0, 257, 514, 32768, 65000, 65535]], dtype=np.uint16)
    EXPECTED = (0, 1, 2, 128, 253, 255)

    def test_either_byte_order(self):
        np.testing.assert_array_equal(load_image(self.VALUES.astype(">u2")), load_image(self.VALUES))

    @pytest.mark.parametrize("suffix", [".png", ".tif", ".pgm"])
    def test_a_grey_file_is_scaled(self, tmp_path, suffix):
        path = tmp_path / f"deep{suffix}"
        cv2.imwrite(str(path), self.VALUES)
        np.testing.assert_array_equal(load_image(path)[..., 1], [self.EXPECTED])

    @pytest.mark.parametrize("suffix", [".png", ".tif"])
    def test_a_colour_file_is_scaled_and_its_channels_keep_their_order(self, tmp_path, suffix):
        path = tmp_path / f"deep{suffix}"
        deep = PATCH.astype(np.uint16) * 257
        cv2.imwrite(str(path), deep[..., ::-1])
        np.testing.assert_array_equal(load_image(path), PATCH)

    def test_an_array_is_scaled(self):
        np.testing.assert_array_equal(load_image(self.VALUES)[..., 2], [self.EXPECTED])

    def test_32_bit_values_are_an_error(self):
        with pytest.raises(ImageError, match="got 32-bit values from 70000 to 70000; scale"):
            load_image(Image.new("I", (2, 2), 70_000))


class TestArrays:
    @pytest.mark.parametrize(
        ("array", "expected"),
        [
            (np.full((2, 3), 90, np.uint8), (90, 90, 90)),
            (np.full((2, 3, 1), 90, np.uint8), (90, 90, 90)),
            (np.full((2, 3, 2), (0, 51), np.uint8), (204, 204, 204)),
            (np.full((2, 3, 4), (255, 0, 0, 0), np.uint8), WHITE),
            (np.full((2, 3, 3), (0, 0.2, 1), np.float32), (0, 51, 255)),
            (np.full((2, 3), 0.5, np.float64), (128, 128, 128)),
            (np.full((2, 3), 0.2, np.float16), (51, 51, 51)),
            (np.full((2, 3, 3), 1 + 1e-5), WHITE),
            (np.ones((2, 3), bool), WHITE),
        ],
    )
    def test_shape_and_values_are_understood(self, array, expected):
        np.testing.assert_array_equal(load_image(array), [[expected] * 3] * 2)

    @pytest.mark.parametrize(
        ("array", "message"),
        [
            (np.zeros(5, np.uint8), r"got \(5,\); give one image at a time"),
            (np.zeros((1, 4, 4, 3), np.uint8), r"got \(1, 4, 4, 3\); give one image at a time"),
            (np.zeros((4, 4, 5), np.uint8), r"got \(4, 4, 5\)"),
            (np.zeros((3, 8, 9), np.uint8), r"got \(3, 8, 9\); put the channels last"),
            (np.zeros((0, 4, 3), np.uint8), "got 4 x 0"),
            (np.zeros((4, 0, 3), np.uint8), "got 0 x 4"),
            (np.zeros((4, 4, 0), np.uint8), r"got \(4, 4, 0\)"),
            (np.zeros((4, 4, 3), np.int64), r"got int64; use array.astype\(numpy.uint8\)"),
            (np.zeros((4, 4, 3), complex), "got complex128"),
            (np.full((4, 4, 3), "a"), "got <U1"),
            (np.full((4, 4, 3), None), "got object"),
            (np.full((4, 4, 3), np.nan), "got NaN or infinity; numpy.nan_to_num"),
            (np.full((4, 4), np.inf), "got NaN or infinity"),
            (np.full((4, 4, 3), 255.0), "from 0 to 1, got 255 to 255; divide by 255"),
            (np.full((4, 4, 3), -0.5), "got -0.5 to -0.5"),
        ],
    )
    def test_the_rest_is_an_error_that_says_what_came_and_what_to_do(self, array, message):
        with pytest.raises(ImageError, match=f"<array>: expected .*{message}"):
            load_image(array)


class TestListImages:
    @pytest.fixture
    def folder(self, tmp_path) -> Path:
        for name in ("b.JPG", "a.png", "c.webp", "notes.txt", "._a.png"):
            (tmp_path / name).touch()
        (tmp_path / "album.jpg").mkdir()
        return tmp_path

    def test_a_folder_gives_its_images_by_name(self, folder):
        assert [path.name for path in list_images(folder)] == ["a.png", "b.JPG", "c.webp"]
        assert list_images(str(folder)) == list_images(folder)

    def test_files_are_given_back_in_their_order_whatever_their_suffix(self, folder):
        files = [folder / "notes.txt", folder / "a.png"]
        assert list_images(files) == files
        assert list_images(folder / "b.JPG") == [folder / "b.JPG"]

    def test_files_and_folders_mix(self, folder):
        names = [path.name for path in list_images([folder / "c.webp", folder])]
        assert names == ["c.webp", "a.png", "b.JPG", "c.webp"]

    def test_a_folder_without_an_image_is_an_error(self, folder):
        with pytest.raises(ImageError, match=r"album\.jpg: .* found no file"):
            list_images(folder / "album.jpg")

    def test_no_path_at_all_is_an_error(self):
        with pytest.raises(ImageError, match="got an empty list"):
            list_images([])

    def test_a_missing_path_is_an_error(self, tmp_path):
        with pytest.raises(MissingImageError, match="nowhere"):
            list_images([tmp_path / "nowhere"])


@pytest.mark.parametrize("read", [load_image, list_images])
class TestWhatTheSystemRefuses:
    def test_a_name_that_no_file_can_have_is_shown_in_part(self, read):
        with pytest.raises(
            ImageError, match=r"^data:image/png;base64,A+\.\.\.: expected a readable"
        ) as raised:
            read("data:image/png;base64," + "A" * 10_000)
        assert len(str(raised.value)) < 600

    def test_a_closed_folder(self, read, monkeypatch):
        def refuse(path, *_, **__):
            raise PermissionError(13, "Permission denied", str(path))

        for name in ("is_dir", "read_bytes"):
            monkeypatch.setattr(Path, name, refuse)
        with pytest.raises(
            ImageError, match=r"locked/a\.jpg: .*got Permission denied; check the path and its"
        ):
            read("locked/a.jpg")
