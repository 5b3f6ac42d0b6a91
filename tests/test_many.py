"""Many photos: the same predictions as one by one, in order, and what happens to photos that cannot be read."""

import os
import threading

import numpy as np
import pandas
import pytest
from PIL import Image

import m4kit
from m4kit import many
from m4kit.images import ImageError, MissingImageError
from m4kit.many import UnreadPhoto, predict_many
from m4kit.predictor import Predictor, predict

from helpers.predictors import by_width, frontal, network_around, noise


@pytest.fixture(scope="module")
def options():
    return {"detector": by_width, "network": network_around(frontal(), spread=0.1)}


@pytest.fixture
def folder(tmp_path):
    """Six photos with 0 to 3 faces, two of them of one name."""
    (tmp_path / "sub").mkdir()
    names = ("a.png", "b c.png", "d'\"\n.png", "e.png", "sub/a.png", "sub/f.png")
    for seed, (name, width) in enumerate(zip(names, (150, 50, 320, 210, 110, 260), strict=True)):
        Image.fromarray(noise(width, seed)).save(tmp_path / name)
    return tmp_path


class TestPredictions:
    @pytest.mark.parametrize(("batch_size", "workers"), [(1, 1), (4, 2), (16, 3)])
    def test_they_are_those_of_one_photo_after_another_in_order(self, folder, options, batch_size, workers):
        found = list(
            predict_many(
                folder, recursive=True, batch_size=batch_size, workers=workers, progress=False, **options
            )
        )
        predictor = Predictor(**options)
        wanted = [predictor(path) for path in m4kit.images.list_images(folder, recursive=True)]
        assert [one.source for one in found] == [one.source for one in wanted]
        assert [len(one) for one in found] == [1, 0, 3, 2, 1, 2]
        for one, other in zip(found, wanted, strict=True):
            np.testing.assert_array_equal(one.image, other.image)
            for face, same in zip(one, other, strict=True):
                assert face.box == same.box
                np.testing.assert_allclose(face.vertices, same.vertices, atol=0.05)
                assert face.origin.network == same.origin.network

    def test_a_turned_photo_in_a_batch_is_as_alone(self, options):
        def finds_when_upright(image):
            return by_width(image) if image.shape[1] > image.shape[0] else np.zeros((0, 4))

        turned = options | {"detector": finds_when_upright, "try_turns": True}
        photos = [noise(210), np.rot90(noise(320), 3), noise(150)]
        found = list(predict_many(photos, progress=False, **turned))
        wanted = [Predictor(**turned)(photo) for photo in photos]
        assert [len(one) for one in found] == [2, 3, 1]
        for one, other in zip(found, wanted, strict=True):
            for face, same in zip(one, other, strict=True):
                np.testing.assert_allclose(face.landmarks, same.landmarks, atol=0.05)


class TestSources:
    def paths(self, found):
        return [os.path.basename(one.source) for one in found]

    def predicted(self, sources, options, **more):
        return self.paths(predict_many(sources, progress=False, **options, **more))

    def test_a_folder_a_pattern_a_list_a_generator_or_a_column(self, folder, options):
        own = ["a.png", "b c.png", "d'\"\n.png", "e.png"]
        paths = [folder / name for name in own]
        assert self.predicted(folder, options) == own
        assert self.predicted(str(folder / "?.png"), options) == ["a.png", "e.png"]
        assert self.predicted(str(folder / "**" / "a.png"), options) == ["a.png", "a.png"]
        assert self.predicted(paths, options) == own
        assert self.predicted((path for path in paths), options) == own
        table = pandas.DataFrame({"photo": [str(path) for path in paths]})
        assert self.predicted(table["photo"], options) == own
        assert self.predicted([], options) == []

    def test_a_name_that_is_not_valid_utf8(self, folder, options):
        name = os.fsencode(folder) + b"/caf\xe9.png"
        with open(name, "wb") as file:
            Image.fromarray(noise(150)).save(file, format="png")
        assert os.fsdecode(b"caf\xe9.png") in self.predicted(folder, options)

    @pytest.mark.parametrize(
        ("wrong", "words"),
        [
            (pandas.DataFrame({"photo": []}), "one of its columns"),
            (b"\xff\xd8", "give a list"),
            (None, "expected several photos, got None"),
            ({}, "give a list"),
        ],
    )
    def test_what_holds_no_photos_is_refused(self, wrong, words):
        with pytest.raises(TypeError, match=words):
            predict_many(wrong)

    def test_an_empty_folder_and_a_pattern_that_fits_nothing_are_refused_at_once(self, tmp_path):
        with pytest.raises(ImageError, match="expected a folder with images"):
            predict_many(tmp_path)
        with pytest.raises(MissingImageError, match="no file fits it"):
            predict_many(str(tmp_path / "*.jpg"))

    @pytest.mark.parametrize("wrong", [{"batch_size": 0}, {"workers": 0}, {"on_error": "skip"}])
    def test_options_out_of_range_are_refused_at_once(self, options, wrong):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            predict_many([], **wrong, **options)

    def test_a_file_that_vanishes_while_the_folder_is_read_costs_itself(self, folder, options):
        def vanishing():
            yield folder / "a.png"
            (folder / "e.png").unlink()
            yield folder / "e.png"
            yield folder / "b c.png"

        found = list(predict_many(vanishing(), progress=False, **options))
        assert [isinstance(one, UnreadPhoto) for one in found] == [False, True, False]

    def test_predict_of_several_photos_names_it(self, folder):
        for several in ([folder / "a.png"], folder, iter(["a.png"])):
            with pytest.raises(ImageError, match=r"expected one photo, got .*; m4kit\.predict_many"):
                predict(several)


class TestErrors:
    def test_an_unreadable_photo_costs_itself(self, folder, options):
        (folder / "b.jpg").write_bytes(b"no image")
        found = list(predict_many(folder, progress=False, **options))
        assert [len(one) for one in found] == [1, 0, 0, 3, 2]
        unread = found[2] if isinstance(found[2], UnreadPhoto) else found[1]
        assert unread.source == str(folder / "b.jpg")
        assert "expected an image" in unread.reason
        assert list(unread) == []

    def test_or_ends_the_work_where_it_stands(self, folder, options):
        photos = predict_many(
            [folder / "a.png", folder / "none.png"], on_error="raise", progress=False, **options
        )
        assert len(next(photos)) == 1
        with pytest.raises(MissingImageError, match=r"none\.png"):
            next(photos)

    def test_a_photo_that_spoils_its_batch_costs_itself(self, options):
        def finds(image):
            return np.full((1, 4), np.nan) if image.shape[1] == 99 else by_width(image)

        photos = [noise(width) for width in (150, 99, 210)]
        found = list(predict_many(photos, progress=False, **options | {"detector": finds}))
        assert [len(one) for one in found] == [1, 0, 2]
        assert "not finite" in found[1].reason

    def test_crops_that_the_network_cannot_take_cost_their_photo(self, options, monkeypatch):
        predictions = Predictor.predictions

        def too_many(self, photos):
            if any(len(photo.boxes) > 2 for photo in photos):
                raise MemoryError
            return predictions(self, photos)

        monkeypatch.setattr(Predictor, "predictions", too_many)
        found = list(predict_many([noise(150), noise(320), noise(210)], progress=False, **options))
        assert [len(one) for one in found] == [1, 0, 2]
        assert found[1].reason == "MemoryError"


class TestAhead:
    def test_photos_are_read_ahead_but_not_all(self, options):
        taken = []

        def photos():
            for number in range(200):
                taken.append(number)
                yield noise(60)

        found = predict_many(photos(), batch_size=4, workers=2, progress=False, **options)
        next(found)
        assert 4 < len(taken) < 40
        found.close()

    def test_fewer_if_they_are_large(self, options, monkeypatch):
        monkeypatch.setattr(many, "_AHEAD_PIXELS", 2 * noise(60)[..., 0].size)
        taken = []

        def photos():
            for number in range(50):
                taken.append(number)
                yield noise(60)

        found = predict_many(photos(), batch_size=16, workers=2, progress=False, **options)
        for _ in range(5):
            next(found)
        # Those that were given, and as many again as are read and in the network at once.
        assert len(taken) <= 5 + 2 * (2 + 1) + 1
        assert len(list(found)) == 45

    def test_whoever_stops_leaves_no_thread_behind(self, options):
        before = threading.active_count()
        for _ in predict_many([noise(150)] * 20, workers=2, progress=False, **options):
            break
        assert threading.active_count() == before

    def test_the_bar_counts_photos(self, options, capsys):
        list(predict_many([noise(60)] * 3, **options))
        assert "3/3" in capsys.readouterr().err
        list(predict_many([noise(60)] * 3, progress=False, **options))
        assert capsys.readouterr().err == ""
