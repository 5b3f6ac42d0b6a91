"""Images of all kinds become (H, W, 3) uint8 RGB; errors give the reason."""

import io
import mmap
import os
import signal
import struct
import subprocess
import sys
import threading
import warnings
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import EpsImagePlugin, Image, PngImagePlugin

from m4kit import pixels, reading
from m4kit.images import ImageError, MissingImageError, check_image, list_images, load_image, source_name

from helpers.paths import SAMPLES

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


@pytest.fixture
def path(tmp_path) -> Path:
    """The patch as a file, photo.png."""
    (tmp_path / "photo.png").write_bytes(PNG)
    return tmp_path / "photo.png"


class TestSources:
    @pytest.mark.parametrize("kind", ["str", "path", "bytes", "bytearray", "file", "buffer", "pil", "array"])
    def test_every_kind_of_source_gives_the_same_pixels(self, path, kind):
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

    def test_a_source_is_named_by_its_path_or_its_kind(self, path):
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

    def test_a_video_is_refused_with_the_call_that_reads_it(self):
        with pytest.raises(
            ImageError, match=r"two_people\.mp4: .* got a video; m4kit\.predict_video reads it"
        ):
            load_image(SAMPLES / "two_people.mp4")

    def test_heic_is_answered_with_what_to_do(self, tmp_path):
        path = tmp_path / "IMG_0001.HEIC"
        path.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200))
        with pytest.raises(
            ImageError, match=r"IMG_0001\.HEIC: .* got HEIC; save it as JPEG, or .* pillow-heif"
        ):
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

    def test_an_image_of_no_pixels_is_an_error(self):
        with pytest.raises(ImageError, match="expected at least one pixel, got 0 x 5"):
            load_image(Image.new("RGB", (0, 5)))
        with pytest.raises(ImageError):
            load_image(b"P6 0 5 255\n")
        with pytest.raises(ImageError):
            load_image(_png_header(0, 5))

    @pytest.mark.parametrize("error", [RuntimeError, AttributeError, struct.error, RecursionError])
    def test_whatever_a_decoder_raises_names_the_file_and_what_to_do(self, path, monkeypatch, error):
        def fail(_):
            raise error("what a decoder says")

        monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", fail)
        with pytest.raises(
            ImageError, match=r"photo\.png: .* broken \(what a decoder says\); copy or download it again"
        ):
            load_image(path)

    def test_a_photo_that_does_not_fit_into_the_memory_is_an_error(self, monkeypatch):
        def fail(_):
            raise MemoryError

        monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", fail)
        with pytest.raises(
            ImageError, match=r"<bytes>: expected an image that fits into the memory, .*scale"
        ):
            load_image(PNG)

    def test_eps_is_not_drawn_whatever_it_is_called(self, tmp_path, monkeypatch):
        monkeypatch.setattr(
            EpsImagePlugin, "Ghostscript", lambda *_: pytest.fail("another program was started")
        )
        path = tmp_path / "photo.jpg"
        Image.fromarray(PATCH).save(path, "EPS")
        with pytest.raises(ImageError, match=r"photo\.jpg: expected an image \(JPEG, .* got another kind"):
            load_image(path)
        with (
            Image.open(path) as image,
            pytest.raises(ImageError, match="EPS, which another program must draw"),
        ):
            load_image(image)

    def test_only_the_named_formats_are_tried(self):
        written = [name for name in ("TGA", "ICO", "PCX", "SGI", "DDS", "PSD") if name in Image.SAVE]
        assert len(written) > 3
        for file_format in written:
            with pytest.raises(ImageError, match="got another kind of file"):
                load_image(_encoded(Image.fromarray(_noise()), file_format))

    def test_a_closed_pil_image_is_an_error(self, path):
        with Image.open(path) as image:
            pass
        with pytest.raises(
            ImageError, match=r"photo\.png: .*; open it again, and load it before you close it"
        ):
            load_image(image)


class TestBrokenExif:
    @pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
    @pytest.mark.parametrize("exif", [b"garbage", b"MM\0*\xff\xff\xff\xff", b"II*\0\x08\0\0\0\x01\0\x12"])
    def test_a_photo_with_broken_exif_is_read_as_it_is_stored(self, file_format, exif):
        lossless = {"lossless": True} if file_format == "WEBP" else {}
        content = _encoded(Image.fromarray(PATCH), file_format, exif=exif, **lossless)
        plain = _encoded(Image.fromarray(PATCH), file_format, **lossless)
        np.testing.assert_array_equal(load_image(content), load_image(plain))

    @pytest.mark.parametrize("orientation", [0, 9, 65535])
    def test_an_orientation_that_does_not_exist_turns_nothing(self, orientation):
        exif = Image.Exif()
        exif[0x0112] = orientation
        np.testing.assert_array_equal(load_image(_encoded(Image.fromarray(PATCH), "PNG", exif=exif)), PATCH)

    def test_pillows_warnings_are_kept_back_and_the_filters_left_as_they_were(self):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            before = list(warnings.filters)
            load_image(_encoded(Image.fromarray(PATCH), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01"))
            with pytest.raises(ImageError):
                load_image(PNG[:50])
            assert warnings.filters == before


class TestMissingEnd:
    """A file without its last bytes is read as long as its pixels are whole."""

    @pytest.mark.parametrize(
        "options", [{}, {"progressive": True}, {"subsampling": 0}, {"restart_marker_rows": 1}]
    )
    @pytest.mark.parametrize("missing", [1, 2])
    def test_a_jpeg_without_its_end_marker_is_read(self, options, missing):
        content = _encoded(Image.fromarray(_noise()), "JPEG", **options)
        np.testing.assert_array_equal(load_image(content[:-missing]), load_image(content))

    @pytest.mark.parametrize(
        "options", [{}, {"progressive": True}, {"subsampling": 0}, {"restart_marker_rows": 1}]
    )
    @pytest.mark.parametrize("missing", [4, 5, 6, 8, 12, 40])
    def test_a_jpeg_that_lacks_pixels_is_refused(self, options, missing):
        content = _encoded(Image.fromarray(_noise()), "JPEG", **options)
        with pytest.raises(
            ImageError, match=r"<bytes>: expected a complete image, got one that is truncated"
        ):
            load_image(content[:-missing])

    @pytest.mark.parametrize(("file_format", "missing"), [("PNG", 12), ("GIF", 1)])
    def test_other_files_without_their_end_are_read(self, file_format, missing):
        content = _encoded(Image.fromarray(_noise()), file_format)
        np.testing.assert_array_equal(load_image(content[:-missing]), load_image(content))


class TestFileObjects:
    def test_a_file_opened_as_text_is_answered_with_rb(self, path):
        with path.open() as file, pytest.raises(ImageError, match=r"photo\.png: .*text mode; .* mode 'rb'"):
            load_image(file)
        with pytest.raises(ImageError, match="mode 'rb'"):
            load_image(io.StringIO("text"))

    def test_a_closed_file_is_an_error(self, path):
        with path.open("rb") as file:
            pass
        with pytest.raises(ImageError, match=r"photo\.png: .*closed file; open it again"):
            load_image(file)

    @pytest.mark.parametrize("error", [OSError("connection reset"), TimeoutError(), KeyError("key")])
    def test_a_file_whose_read_fails_is_an_error(self, error):
        class Broken(io.RawIOBase):
            def read(self, _size=-1):
                raise error

        with pytest.raises(
            ImageError, match=r"<file>: expected a file that can be read, got .+; open it again"
        ):
            load_image(Broken())

    def test_a_file_that_was_read_before_is_answered_with_seek(self):
        file = io.BytesIO(PNG)
        load_image(file)
        with pytest.raises(
            ImageError, match=r"<file>: .*a file that was read to its end; go back with seek\(0\)"
        ):
            load_image(file)

    def test_a_file_opened_for_writing_is_an_error(self, tmp_path):
        with (
            (tmp_path / "new.png").open("wb") as file,
            pytest.raises(ImageError, match=r"new\.png: .* got UnsupportedOperation read; open it again"),
        ):
            load_image(file)

    def test_bytes_that_are_gone_are_an_error_and_bytes_with_gaps_are_none(self):
        gone = memoryview(PNG)
        gone.release()
        with pytest.raises(
            ImageError, match=r"<bytes>: expected bytes that can be read, got .*released memoryview"
        ):
            load_image(gone)
        spread = bytearray(2 * len(PNG))
        spread[::2] = PNG
        np.testing.assert_array_equal(load_image(memoryview(spread)[::2]), PATCH)

    def test_a_file_that_gives_anything_but_bytes_is_an_error(self):
        class Odd:
            def read(self, _size=-1):
                return "text"

        with pytest.raises(
            ImageError, match="expected a file that can be read, got str instead of bytes; open"
        ):
            load_image(Odd())

    def test_a_file_that_gives_few_bytes_at_a_time_is_read_to_its_end(self):
        class Slow(io.BytesIO):
            def read(self, size=-1):
                return super().read(min(size, 7))

        np.testing.assert_array_equal(load_image(Slow(PNG)), PATCH)


class TestBudgets:
    @pytest.mark.parametrize("kind", ["bytes", "file", "path", "mapped"])
    def test_a_file_of_too_many_bytes_is_refused(self, tmp_path, monkeypatch, kind):
        monkeypatch.setattr(reading, "MOST_BYTES", len(PNG) - 1)
        path = tmp_path / "long.png"
        path.write_bytes(PNG)
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            source = {"bytes": PNG, "file": file, "path": path, "mapped": mapped}[kind]
            with pytest.raises(ImageError, match=rf"got more than {len(PNG) - 1} bytes"):
                load_image(source)

    def test_an_endless_file_is_read_up_to_the_limit(self, monkeypatch):
        monkeypatch.setattr(reading, "MOST_BYTES", 100_000)
        with open("/dev/zero", "rb") as file, pytest.raises(ImageError, match="got more than 100,000 bytes"):
            load_image(file)

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
    def test_devices_and_pipes_are_refused_at_once(self, tmp_path):
        os.mkfifo(tmp_path / "pipe.jpg")
        for path in (tmp_path / "pipe.jpg", Path("/dev/zero")):
            with pytest.raises(
                ImageError, match=f"{path}: .* device or a pipe; save what comes from it to a file"
            ):
                load_image(path)

    @pytest.mark.parametrize(("width", "height"), [(100_000, 100_000), (20_000, 20_000)])
    def test_an_absurd_size_is_refused_before_anything_is_decoded(self, width, height):
        with pytest.raises(
            ImageError, match=r"<bytes>: expected at most 178,956,970 pixels, got more; scale it down"
        ):
            load_image(_png_header(width, height))

    def test_pillows_limit_counts(self, monkeypatch):
        picture = np.zeros((50, 100, 3), np.uint8)
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2400)
        for source in (_encoded(Image.fromarray(picture), "PNG"), Image.fromarray(picture), picture):
            with pytest.raises(ImageError, match="expected at most 4,800 pixels, got"):
                load_image(source)
        for limit in (2500, None):
            monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
            assert load_image(_encoded(Image.fromarray(picture), "PNG")).shape == (50, 100, 3)

    @pytest.mark.parametrize(
        ("file_format", "options", "times"),
        [("WEBP", {}, 2), ("AVIF", {}, 2), ("JPEG", {"progressive": True}, 2), ("JPEG2000", {}, 3)],
    )
    def test_decoders_that_need_more_memory_get_fewer_pixels(self, monkeypatch, file_format, options, times):
        content = _encoded(Image.fromarray(_noise(60, 100)), file_format, **options)
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 6000 * times // 2)
        assert load_image(content).shape == (60, 100, 3)
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 6000 * times // 2 - 1)
        with pytest.raises(ImageError, match=f"60; scale .*MAX_IMAGE_PIXELS = {3000 * times:_} if you trust"):
            load_image(content)

    def test_a_jpeg_of_endless_scans_is_refused(self):
        content = _encoded(Image.fromarray(_noise()), "JPEG", progressive=True)
        last = content.rindex(b"\xff\xda")
        repeated = content[:last] + content[last:-2] * 1000 + content[-2:]
        scans = content.count(b"\xff\xda") - 1 + 1000
        with pytest.raises(
            ImageError, match=f"at most 100 scans, got {scans:,}, which would take very long; save"
        ):
            load_image(repeated)
        # A film that a phone appends to its photo may contain anything.
        np.testing.assert_array_equal(load_image(content + b"\xff\xda\0\x02" * 1000), load_image(content))

    @pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak memory from /proc")
    def test_no_copy_in_a_wider_type_is_as_large_as_the_photo(self, tmp_path):
        # 12 million pixels: 37 MB as RGB, and 12 to 49 MB in Pillow.
        for mode in ("1", "RGBA", "I;16"):
            Image.new(mode, (3500, 3500)).save(tmp_path / f"{mode[:1]}.png", compress_level=1)
        code = (
            "import re, sys; from pathlib import Path; from m4kit.images import load_image; "
            "peak = lambda: int(re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1]) / 1000; "
            "load_image(sys.argv[2]); before = peak(); load_image(sys.argv[1]); print(peak() - before)"
        )
        (tmp_path / "small.png").write_bytes(PNG)
        for name, most in (("1.png", 75), ("R.png", 120), ("I.png", 120)):
            command = [sys.executable, "-c", code, str(tmp_path / name), str(tmp_path / "small.png")]
            peak = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            assert 36 < peak < most, name


def _png(width: int, height: int, bits: int, colour: int, rows: bytes, **chunks: bytes) -> bytes:
    """A PNG of these rows, and of whatever size it claims."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    parts = {"IHDR": header} | chunks | {"IDAT": zlib.compress(rows), "IEND": b""}
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind.encode(), data) for kind, data in parts.items())


def _png_header(width: int, height: int) -> bytes:
    """A PNG that claims this size and holds next to nothing."""
    return _png(width, height, 8, 2, b"\0")


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

    def test_a_picture_of_several_blocks_is_put_together_and_turned(self, monkeypatch):
        monkeypatch.setattr(pixels, "_BLOCK", 100)
        exif = Image.Exif()
        exif[0x0112] = 6
        for noise in (_noise(7, 300), _noise(300, 7)):
            content = _encoded(Image.fromarray(noise), "PNG", exif=exif)
            np.testing.assert_array_equal(load_image(content), np.rot90(noise, -1))
            np.testing.assert_array_equal(load_image(noise.astype(float) / 255), noise)


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
            ("La", (18, 51), (222, 222, 222)),
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

    def test_a_transparent_value_of_16_bits_becomes_white(self):
        grey = np.array([[1000, 40_000]], ">u2")
        content = _png(2, 1, 16, 0, b"\0" + grey.tobytes(), tRNS=struct.pack(">H", 1000))
        np.testing.assert_array_equal(load_image(content), [[WHITE, (156, 156, 156)]])
        colour = np.array([[(1000, 2000, 3000), (40_000, 0, 0)]], ">u2")
        content = _png(2, 1, 16, 2, b"\0" + colour.tobytes(), tRNS=struct.pack(">HHH", 1000, 2000, 3000))
        np.testing.assert_array_equal(load_image(content), [[WHITE, (156, 0, 0)]])

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
        with pytest.warns(UserWarning, match="moving.* has several frames, the first one is used") as caught:
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

    @pytest.mark.parametrize("suffix", [".png", ".tif", ".pgm", "array", "pil"])
    def test_values_that_are_all_at_most_255_count_as_8_bit_values(self, tmp_path, suffix):
        values = np.array([[0, 7, 128, 255]], np.uint16)
        source = {"array": values, "pil": Image.fromarray(values.astype(np.int32))}.get(suffix)
        if source is None:
            source = tmp_path / f"low{suffix}"
            cv2.imwrite(str(source), values)
        np.testing.assert_array_equal(load_image(source)[0, :, 0], values[0])

    @pytest.mark.parametrize("alpha", [255, 65535])
    def test_alpha_does_not_tell_the_bits_of_the_colours(self, alpha):
        np.testing.assert_array_equal(
            load_image(np.array([[[9, 80, 200, alpha]]], np.uint16)), [[[9, 80, 200]]]
        )
        np.testing.assert_array_equal(load_image(np.array([[[77, alpha]]], np.uint16)), [[[77, 77, 77]]])

    @pytest.mark.parametrize(("high", "bits", "times"), [(256, 9, 128), (1023, 10, 64), (4095, 12, 16)])
    def test_values_of_10_or_12_bits_are_dark_with_a_warning(self, high, bits, times):
        values = np.array([[0, high]], np.uint16)
        for source in (values, Image.fromarray(values)):
            with pytest.warns(
                UserWarning, match=rf"is dark, .* at most {high} of .* {bits} bits, .* by {times}$"
            ) as caught:
                assert load_image(source).max() == round(high / 257)
            assert caught[0].filename == __file__

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
            (np.full((4, 4, 3), 1 << 80, object), "got object"),
            (np.zeros((4, 4, 3), "datetime64[s]"), r"got datetime64\[s\]"),
            (np.zeros((4, 4), [("red", np.uint8)]), r"got \[\('red', 'u1'\)\]"),
            (
                np.broadcast_to(np.uint8(0), (20_000, 20_000, 3)),
                "at most 178,956,970 pixels, got 20000 x 20000",
            ),
            (
                np.ma.array(np.zeros((4, 4, 3), np.uint8), mask=[[[True, False, False]] * 4] * 4),
                r"an array without a mask, got 16 masked values; fill them, for example with array\.filled",
            ),
        ],
    )
    def test_the_rest_is_an_error_that_says_what_came_and_what_to_do(self, array, message):
        with pytest.raises(ImageError, match=f"<array>: expected .*{message}"):
            load_image(array)

    @pytest.mark.parametrize(
        ("mistake", "message"),
        [
            (
                (PATCH / 255).astype(np.uint8),
                "only 0 and 1 of 255; if they were floats .* multiply by 255 before",
            ),
            (
                PATCH / 255 / 255,
                r"float values are at most 0\.00392157 of 1; if they were divided by 255 twice",
            ),
        ],
    )
    def test_a_picture_scaled_by_mistake_is_black_with_a_warning(self, mistake, message):
        with pytest.warns(UserWarning, match=f"<array>: is black, because its .*{message}") as caught:
            assert load_image(mistake).max() == 1
        assert caught[0].filename == __file__

    def test_a_black_picture_is_none(self):
        for black in (np.zeros((2, 3), np.uint8), np.zeros((2, 3)), np.zeros((2, 3), np.uint16)):
            assert load_image(black).max() == 0

    def test_a_mask_that_hides_nothing_is_no_obstacle(self):
        np.testing.assert_array_equal(load_image(np.ma.array(PATCH, mask=False)), PATCH)

    def test_views_in_any_order_of_memory_are_read(self):
        turned = PATCH[::-1, ::-1]
        for source in (
            turned,
            np.asfortranarray(turned),
            turned.astype(">f8") / 255,
        ):
            image = load_image(source)
            np.testing.assert_array_equal(image[..., 0], turned[..., 0])
            assert image.flags.c_contiguous

    @pytest.mark.parametrize(
        ("image", "message"),
        [
            (
                np.zeros((40, 40), np.uint8),
                r"an image \(H, W, 3\) uint8 RGB .*, got uint8 \(40, 40\); m4kit.load",
            ),
            (np.zeros((40, 40, 3)), "got float64"),
            (np.zeros((40, 40, 4), np.uint8), "got uint8"),
            (np.zeros((0, 40, 3), np.uint8), "at least one pixel"),
            ("photo.jpg", "got str"),
            (np.ma.array(PATCH, mask=True), "an array without a mask, got 18 masked"),
        ],
    )
    def test_what_is_no_picture_of_8_bits_is_refused_by_what_needs_one(self, image, message):
        with pytest.raises(ValueError, match=f"draw: expected .*{message}"):
            check_image(image, name="draw")


def test_a_fork_in_the_middle_of_a_decode_leaves_the_child_able_to_read(monkeypatch):
    inside, go_on = threading.Event(), threading.Event()
    original = PngImagePlugin.PngImageFile.load

    def slow(image):
        inside.set()
        go_on.wait(20)
        return original(image)

    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", slow)
    reader = threading.Thread(target=load_image, args=(PNG,))
    reader.start()
    inside.wait(20)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        PngImagePlugin.PngImageFile.load = original
        signal.alarm(20)
        os._exit(0 if np.array_equal(load_image(PNG), PATCH) else 1)
    status = os.waitpid(child, 0)[1]
    go_on.set()
    reader.join()
    assert status == 0


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

    @pytest.mark.parametrize("given", [None, 7, [None], b"a.png"])
    def test_anything_but_paths_is_an_error(self, given):
        with pytest.raises(ImageError, match=r"expected a path or several, got .+; give text or Path"):
            list_images(given)

    def test_a_missing_path_is_an_error(self, tmp_path):
        with pytest.raises(MissingImageError, match="nowhere"):
            list_images([tmp_path / "nowhere"])


@pytest.mark.parametrize("read", [load_image, list_images])
class TestWhatTheSystemRefuses:
    def test_an_empty_path_is_not_the_current_folder(self, read):
        with pytest.raises(ImageError, match="expected the path of an image, got an empty text"):
            read("")

    def test_a_name_that_no_file_can_have_is_shown_in_part(self, read):
        with pytest.raises(
            ImageError, match=r"^data:image/png;base64,A+\.\.\.: expected a readable"
        ) as raised:
            read("data:image/png;base64," + "A" * 10_000)
        assert len(str(raised.value)) < 600

    def test_a_closed_folder(self, read, monkeypatch):
        def refuse(path, *_, **__):
            raise PermissionError(13, "Permission denied", str(path))

        for name in ("is_dir", "stat"):
            monkeypatch.setattr(Path, name, refuse)
        with pytest.raises(
            ImageError, match=r"locked/a\.jpg: .*got Permission denied; check the path and its"
        ):
            read("locked/a.jpg")
