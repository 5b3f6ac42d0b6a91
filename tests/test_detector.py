"""The detector: its network against the published one, its arithmetic by axioms, its weights on photos."""

import io
import itertools
import traceback
import zipfile
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from m4kit.boxes import pairwise_iou, suppress
from m4kit.camera import Crop, cut_square
from m4kit.detector import Detector, _starts, whole_fours
from m4kit.faceboxes import FaceBoxes, encode, load_network, network_input
from m4kit.images import load_image
from m4kit.predictor import Predictor
from m4kit.priors import decode, prior_boxes
from m4kit.weights import WeightsError

from helpers.paths import ROOT, SHARED

OFFICIAL = SHARED / "peers" / "faceboxes" / "FaceBoxesProd.pth"
MULTI_FACE = SHARED / "data" / "multi_face.zip"
needs_shared = pytest.mark.skipif(
    not (OFFICIAL.is_file() and MULTI_FACE.is_file()),
    reason=f"needs the official weights and multi_face.zip under {SHARED} (M4KIT_SHARED)",
)


@pytest.fixture(scope="module")
def detector():
    return Detector()


@pytest.fixture(scope="module")
def group():
    return load_image(ROOT / "sample_images" / "group.jpg")


@pytest.fixture
def seen(detector, monkeypatch):
    """The sizes of the pictures that the network sees."""
    sizes, whole = [], detector._candidates
    monkeypatch.setattr(
        detector,
        "_candidates",
        lambda images, threshold: (
            sizes.extend(image.shape[:2] for image in images) or whole(images, threshold)
        ),
    )
    return sizes


def annotated_photos():
    """Photos of multi_face with boxes (n, 4), by name."""
    photos = {}
    with zipfile.ZipFile(MULTI_FACE) as archive:
        for part in ("training", "testing"):
            for photo in ElementTree.fromstring(archive.read(f"{part}_with_face_landmarks.xml")).iter(
                "image"
            ):
                boxes = np.array(
                    [
                        [float(box.get(k)) for k in ("left", "top", "width", "height")]
                        for box in photo.iter("box")
                    ]
                )
                boxes[:, 2:] += boxes[:, :2]
                photos[photo.get("file")] = load_image(archive.read(photo.get("file"))), boxes
    return photos


@needs_shared
def test_official_weights_find_what_they_found_when_published():
    detector = Detector(OFFICIAL)
    overlaps = np.concatenate(
        [
            pairwise_iou(boxes, detector(image, min_face=20)).max(axis=1)
            for image, boxes in annotated_photos().values()
        ]
    )
    assert len(overlaps) == 43
    assert (overlaps >= 0.45).sum() == 43
    assert (overlaps >= 0.5).sum() == 40


@needs_shared
def test_packaged_weights_find_the_faces_of_photos_that_never_trained_them(detector):
    kept = ("2008_002470.jpg", "2008_004176.jpg", "2009_004587.jpg")
    for name, (image, boxes) in annotated_photos().items():
        if name in kept:
            assert (pairwise_iou(boxes, detector(image)).max(axis=1) >= 0.45).all(), name


def test_network_has_the_published_size():
    assert sum(parameter.numel() for parameter in FaceBoxes().parameters()) == 1_007_330


def slow_priors(height, width):
    """The published loop, one prior at a time."""
    priors = []
    for stride, sizes in ((32, (32, 64, 128)), (64, (256,)), (128, (512,))):
        for row in range(int(np.ceil(height / stride))):
            for column in range(int(np.ceil(width / stride))):
                for size in sizes:
                    offsets = {32: (0, 0.25, 0.5, 0.75), 64: (0, 0.5)}.get(size, (0.5,))
                    for dy in offsets:
                        for dx in offsets:
                            priors.append([(column + dx) * stride, (row + dy) * stride, size, size])
    return np.array(priors)


@pytest.mark.parametrize("shape", [(128, 128), (100, 333), (1, 1), (64, 31)])
def test_priors_are_those_of_the_published_loop(shape):
    np.testing.assert_allclose(prior_boxes(*shape), slow_priors(*shape))


@pytest.mark.parametrize("shape", [(128, 128), (100, 333), (33, 8)])
def test_network_says_one_thing_of_each_prior(shape):
    moves, logits = FaceBoxes().eval()(torch.zeros(2, 3, *shape))
    assert moves.shape == (2, len(prior_boxes(*shape)), 4)
    assert logits.shape == moves.shape[:2]


def test_encode_undoes_decode():
    priors = prior_boxes(96, 160)
    moves = torch.randn(len(priors), 4, generator=torch.Generator().manual_seed(0))
    boxes = torch.from_numpy(decode(moves.numpy(), priors))
    torch.testing.assert_close(encode(boxes, torch.tensor(priors)), moves, atol=1e-4, rtol=1e-4)


def test_a_prior_that_does_not_move_is_its_own_box():
    priors = np.array([[50.0, 40.0, 20.0, 10.0]])
    assert decode(np.zeros((1, 4)), priors).tolist() == [[40, 35, 60, 45]]


def test_network_sees_blue_first_and_without_the_mean_colour():
    pixel = np.array([[[200, 150, 100]]], np.uint8)
    assert network_input(pixel).flatten().tolist() == [100 - 104, 150 - 117, 200 - 123]


def random_boxes(count, seed=0):
    rng = np.random.default_rng(seed)
    corner, size = rng.uniform(0, 100, (count, 2)), rng.uniform(10, 40, (count, 2))
    return np.column_stack([corner, corner + size]), rng.random(count)


def test_columns_of_the_mean_colour_at_the_right_change_no_answer(group):
    network, image = load_network(), group[:300, :401]
    wider = whole_fours(image)
    assert wider.shape == (300, 404, 3) and np.array_equal(wider[:, :401], image)
    answers = (network.answers(torch.tensor(one[None])) for one in (image, wider))
    for found, expected in zip(*answers, strict=True):
        assert torch.allclose(found, expected, atol=1e-4)


def test_iou_of_known_boxes():
    boxes = np.array([[0, 0, 2, 2], [1, 0, 3, 2], [5, 5, 6, 6]], dtype=float)
    np.testing.assert_allclose(pairwise_iou(boxes, boxes), [[1, 1 / 3, 0], [1 / 3, 1, 0], [0, 0, 1]])


def test_suppression_keeps_boxes_that_do_not_overlap_and_drops_only_those_that_do():
    boxes, scores = random_boxes(300)
    keep = suppress(boxes, scores, iou=0.3)
    overlap = pairwise_iou(boxes, boxes)
    assert (np.diff(scores[keep]) <= 0).all()
    assert (overlap[np.ix_(keep, keep)] - np.eye(len(keep)) <= 0.3).all()
    for dropped in set(range(300)) - set(keep):
        assert any(overlap[dropped, k] > 0.3 and scores[k] >= scores[dropped] for k in keep)


def test_suppression_is_idempotent_and_does_not_depend_on_order_place_or_scale():
    boxes, scores = random_boxes(200, seed=1)
    keep = suppress(boxes, scores, iou=0.3)
    assert suppress(boxes[keep], scores[keep], iou=0.3).tolist() == list(range(len(keep)))
    shuffle = np.random.default_rng(2).permutation(200)
    assert shuffle[suppress(boxes[shuffle], scores[shuffle], iou=0.3)].tolist() == keep.tolist()
    assert suppress(boxes * 3 - 50, scores, iou=0.3).tolist() == keep.tolist()


def test_suppression_of_nothing_is_nothing():
    assert suppress(np.zeros((0, 4)), np.zeros(0), iou=0.3).tolist() == []


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (7, 400), (8, 8)])
def test_a_picture_too_small_for_a_face_has_none(detector, shape):
    assert detector(np.full((*shape, 3), 128, np.uint8)).shape == (0, 5)


def test_a_result_is_a_plain_array_best_first(detector, group):
    faces = detector(group)
    assert type(faces) is np.ndarray
    assert faces.dtype == float
    assert faces.shape == (6, 5)
    assert (np.diff(faces[:, 4]) <= 0).all()
    assert ((faces[:, 4] >= 0.5) & (faces[:, 4] <= 1)).all()
    assert (faces[:, 2:4] > faces[:, :2]).all()


def test_at_most_the_best_faces_are_given(detector, group):
    np.testing.assert_array_equal(detector(group, max_faces=2), detector(group)[:2])


def test_a_higher_threshold_gives_the_best_of_the_same_faces(detector, group):
    faces = detector(group, threshold=0.3)
    sure = detector(group, threshold=0.9)
    np.testing.assert_allclose(sure, faces[faces[:, 4] >= 0.9], atol=1e-9)


def test_boxes_are_in_photo_pixels_whatever_the_scale_at_which_the_network_looks(detector, group):
    large = cv2.resize(group, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC)
    faces, of_large = detector(group), detector(large)
    assert len(of_large) == len(faces)
    # Pixel centres are integers, so a picture's corner is at -0.5.
    assert (pairwise_iou((faces[:, :4] + 0.5) * 3 - 0.5, of_large).max(axis=1) > 0.8).all()


def test_small_faces_are_found_when_asked_for(detector, group):
    small = cv2.resize(group, None, fx=0.15, fy=0.15, interpolation=cv2.INTER_AREA)
    assert len(detector(small)) < 6
    faces = detector(small, min_face=4)
    assert len(faces) == 6
    assert (pairwise_iou((faces[:, :4] + 0.5) / 0.15 - 0.5, detector(group)).max(axis=1) > 0.6).all()


def many_groups(group, *, shape, fx):
    """A large photo with the group again and again, not aligned with anything, and how many faces it has."""
    small = cv2.resize(group, None, fx=fx, fy=fx, interpolation=cv2.INTER_AREA)
    photo = np.full((*shape, 3), 120, np.uint8)
    tall, wide = small.shape[0] + 23, small.shape[1] + 31
    places = [(y, x) for y in range(7, shape[0] - tall, tall) for x in range(5, shape[1] - wide, wide)]
    for y, x in places:
        photo[y : y + small.shape[0], x : x + small.shape[1]] = small
    return photo, 6 * len(places)


def test_a_large_photo_is_searched_in_tiles_and_no_face_is_lost_or_counted_twice(detector, group, seen):
    photo, faces = many_groups(group, shape=(1700, 2300), fx=0.5)
    found = detector(photo, min_face=20)
    assert len(found) == faces
    assert len(seen) == 1 + 2 * 3
    assert max(height * width for height, width in seen) <= 1024**2
    assert pairwise_iou(found, found)[~np.eye(len(found), dtype=bool)].max() < 0.3


def test_the_back_row_of_a_large_photo_is_found_by_default(detector, group):
    # Faces of 60 to 140 pixels in 12 megapixels: a row of forty across the photo.
    photo = cv2.resize(group, None, fx=0.75, fy=0.75, interpolation=cv2.INTER_AREA)
    large = np.full((3000, 4000, 3), 120, np.uint8)
    large[900 : 900 + photo.shape[0], 1300 : 1300 + photo.shape[1]] = photo
    assert len(detector(photo)) == 6
    assert len(detector(large)) >= 5
    assert len(detector(large, min_face=40)) == 6


@pytest.fixture(scope="module")
def crowd(detector, group):
    """1,500 faces of 14 to 22 pixels on 2,000 x 1,200: by default, those from 24 pixels are found."""
    random, faces = np.random.default_rng(0), []
    for left, top, right, bottom, _ in detector(group):
        side = 1.5 * (bottom - top)
        faces.append(cut_square(group, Crop((left + right - side) / 2, (top + bottom - side) / 2, side), 96))
    photo = np.full((1200, 2000, 3), 120, np.uint8)
    for y, x in itertools.product(range(0, 1200, 40), range(0, 2000, 40)):
        side = round(1.5 * random.uniform(14, 22))
        face = faces[random.integers(len(faces))]
        photo[y : y + side, x : x + side] = cv2.resize(face, (side, side), interpolation=cv2.INTER_AREA)
    return photo


class TestCrowd:
    """Photos that are reduced so far that none of many small faces is left."""

    def test_it_tells_below_which_size_many_faces_seem_to_be_hidden(self, detector, crowd):
        found = detector.look(crowd)
        assert len(found.boxes) == 0
        assert found.hidden == pytest.approx(24)
        assert len(detector(crowd, min_face=found.hidden / 2)) > 750

    def test_prediction_warns_with_the_photos_name_and_the_remedy(self, crowd, tmp_path):
        Image.fromarray(crowd).save(tmp_path / "crowd.png")
        with pytest.warns(UserWarning, match=r"crowd\.png: .* many faces below 24 pixels.* min_face=12 "):
            assert len(Predictor()(tmp_path / "crowd.png")) == 0

    def test_a_large_photo_without_a_crowd_gives_no_such_sign(self, detector, group):
        large = cv2.resize(group, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
        assert detector.look(large).hidden is None

    def test_small_faces_that_are_found_give_no_such_sign(self, detector, crowd):
        """Each has fainter boxes beside its own."""
        larger = cv2.resize(crowd[:400, :680], None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC)
        found = detector.look(larger)
        assert len(found.boxes) > 140
        assert found.hidden is None


class TestLargePhoto:
    """By default, a large photo is searched coarsely, and finely around signs of small faces."""

    @pytest.fixture
    def small_faces(self, group):
        """1920x1080 with a group whose faces have 33 to 58 pixels."""
        photo = np.full((1080, 1920, 3), 120, np.uint8)
        small = cv2.resize(group, None, fx=0.3, fy=0.3, interpolation=cv2.INTER_AREA)
        photo[500 : 500 + small.shape[0], 900 : 900 + small.shape[1]] = small
        return photo

    def test_small_faces_are_found_in_patches(self, detector, small_faces, seen):
        found = detector(small_faces)
        whole, *patches = seen
        assert np.prod(whole) == pytest.approx(1080 * 720, rel=0.01)
        assert set(patches) == {(128, 128)}
        everywhere = detector(small_faces, min_face=0.012)
        coarse = detector(small_faces, min_face=20 * 1920 / whole[1])
        assert len(coarse) < len(everywhere)
        assert (pairwise_iou(everywhere, found).max(axis=1) > 0.5).all()

    def test_a_score_threshold_does_not_change_what_is_searched(self, detector, small_faces, seen):
        for threshold in (0.001, 0.5, 0.95):
            detector(small_faces, threshold=threshold)
        assert len(seen) % 3 == 0
        assert seen[: len(seen) // 3] * 3 == seen

    def test_a_photo_that_is_hardly_larger_is_searched_once_at_its_own_size(self, detector, group, seen):
        detector(group)
        assert seen == [(900, 1200)]

    def test_sizes_that_are_no_multiple_of_anything_are_searched(self, detector):
        for shape in ((1081, 1923), (40, 60_001), (2003, 999)):
            assert len(detector(np.full((*shape, 3), 120, np.uint8))) == 0


class TestCloseUp:
    """By default, a photo that a face may fill is also searched at a smaller scale."""

    @pytest.mark.parametrize("engine", ["int8", "onnx"])
    @pytest.mark.parametrize("margin", [0.1, 0.5])
    @pytest.mark.parametrize("side", [700, 1000, 2000])
    def test_a_face_that_fills_the_photo_is_found_whole_and_once(self, group, engine, margin, side):
        detector = Detector(engine=engine)
        face = detector(group)[0, :4]
        left, top, right, bottom = np.round(face + margin * 150 * np.array([-1, -1, 1, 1])).astype(int)
        zoom = side / (bottom - top)
        photo = cv2.resize(group[top:bottom, left:right], None, fx=zoom, fy=zoom)
        (found,) = detector(photo)
        true = (face - np.array([left, top, left, top]) + 0.5) * zoom - 0.5
        assert pairwise_iou(found[None, :4], true[None])[0, 0] > 0.7
        assert found[4] > 0.9

    def test_smaller_faces_cost_no_further_search(self, detector, group, seen):
        detector(cv2.resize(group, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))
        assert seen == [(450, 600)]


def test_a_face_larger_than_a_tile_is_found_once(detector, group):
    left, top, right, bottom = np.round(detector(group)[0, :4]).astype(int)
    # With the whole head: a face that fills the photo is not what the network was made for.
    face = group[max(top - 100, 0) : bottom + 100, max(left - 100, 0) : right + 100]
    huge = cv2.resize(face, (2400, 2400 * face.shape[0] // face.shape[1]), interpolation=cv2.INTER_CUBIC)
    assert len(detector(huge, min_face=40)) == 1


def test_min_face_may_be_a_share_of_the_photo(detector, group):
    share = 30 / max(group.shape[:2])
    np.testing.assert_array_equal(detector(group, min_face=share), detector(group, min_face=30))


@pytest.mark.parametrize("length", [1, 100, 1024, 1025, 1840, 1841, 5000])
def test_tiles_cover_a_length_and_share_their_edges(length):
    starts = _starts(length, 1024, 816)
    assert starts[0] == 0
    assert starts[-1] + 1024 >= length
    assert starts[-1] == max(0, length - 1024)
    assert all(0 < b - a <= 816 for a, b in itertools.pairwise(starts))


def test_the_callers_picture_is_not_changed_and_views_are_taken(detector, group):
    before = group.copy()
    mirrored = detector(group[:, ::-1])
    assert (group == before).all()
    assert len(mirrored) == 6


def test_what_is_no_image_is_refused(detector):
    message = r"detector: expected an image \(H, W, 3\) uint8 RGB .*, got uint8 \(40, 40\)"
    with pytest.raises(ValueError, match=message):
        detector(np.zeros((40, 40), np.uint8))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 1.5}, "from 0 to 1"),
        ({"max_faces": 0}, "at least 1"),
        ({"min_face": 0}, "above 0"),
        ({"min_face": float("nan")}, "above 0"),
        ({"min_face": 0.001}, "would enlarge this photo of 100x80 pixels to 320 megapixels"),
    ],
)
def test_options_out_of_range_are_refused(detector, options, message):
    with pytest.raises(ValueError, match=message):
        detector(np.zeros((80, 100, 3), np.uint8), **options)


def test_saved_weights_load_again(tmp_path):
    network = FaceBoxes()
    save_file(network.state_dict(), tmp_path / "ours.safetensors")
    loaded = load_network(tmp_path / "ours.safetensors").state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in network.state_dict().items())


def test_missing_weights_are_an_error_that_names_the_file(tmp_path):
    with pytest.raises(WeightsError, match=r"nowhere\.pth: no such file"):
        Detector(tmp_path / "nowhere.pth")


@pytest.mark.parametrize("length", [0, 10, 100_000])
def test_truncated_weights_are_an_error_that_names_the_file(tmp_path, length):
    whole = io.BytesIO()
    torch.save(FaceBoxes().state_dict(), whole)
    (tmp_path / "cut.pth").write_bytes(whole.getvalue()[:length])
    with pytest.raises(WeightsError, match=r"cut\.pth"):
        Detector(tmp_path / "cut.pth")


class Harmful:
    """A pickle of it would call a function of its maker's choice."""

    def __reduce__(self):
        return print, ("the pickle ran",)


def test_a_file_with_other_objects_than_tensors_is_not_run_nor_said_how_to(tmp_path, capsys):
    torch.save({"weights": Harmful()}, tmp_path / "harmful.pth")
    with pytest.raises(
        WeightsError, match=r"harmful\.pth: expected tensors only, .*were not run; fetch"
    ) as caught:
        Detector(tmp_path / "harmful.pth")
    told = "".join(traceback.format_exception(caught.value))
    assert "weights_only" not in told and "arbitrary code" not in told
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights_of_another_network_are_an_error(tmp_path, suffix):
    path = tmp_path / f"other{suffix}"
    tensors = {name: tensor.clone() for name, tensor in FaceBoxes().state_dict().items()}
    tensors["digest1.conv.weight"] = torch.zeros(24, 3, 5, 5)
    del tensors["scores.0.bias"]
    (save_file if suffix == ".safetensors" else torch.save)(tensors, path)
    with pytest.raises(WeightsError, match=r"expected the weights of FaceBoxes.*scores\.0\.bias"):
        Detector(path)


def test_a_file_that_holds_no_tensors_is_an_error(tmp_path):
    torch.save([1, 2, 3], tmp_path / "list.pth")
    with pytest.raises(WeightsError, match="expected a dictionary of tensors, got list"):
        Detector(tmp_path / "list.pth")
