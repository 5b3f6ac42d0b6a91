import numpy as np
import pytest
import torch
from torch import nn

from m4kit.face_model import packaged_model
from m4kit.folding import folded
from m4kit.network import (
    ACTIVATIONS,
    FUSIONS,
    HEAD_STAGES,
    SIZES,
    Backbone,
    M4Net,
    RReLU,
    count_multiply_adds,
    to_input,
)
from m4kit.parameters import PARAMETERS, fuse
from m4kit.weights import WeightsError, check_fits, read_tensors, sha256_of, write_tensors

from helpers.faces import ellipsoid_model
from helpers.paths import ROOT

# 3DDFA-V2's networks, counted by hand from their layers: the convolutions of mb1's ONNX graph and of mb05's
# state dict, and one linear layer to 62. (mb05's file also holds a layer to 136 landmarks.)
MULTIPLY_ADDS = {"base": 177_436_800, "small": 46_455_872}
PARAMETER_LIMIT = {"base": 4_000_000, "small": 1_300_000}


@pytest.fixture(scope="module")
def crops():
    return torch.randn(2, 3, 120, 120, generator=torch.Generator().manual_seed(0))


def randomised(network, seed=0):
    """A network whose every tensor counts: batch-norm statistics, biases and whitening away from 0 and 1."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if tensor.is_floating_point() and tensor.dim() == 1:
                low = 0.0 if "head_" in name else 0.5
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + low)
    return network.eval()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("fusion", FUSIONS)
def test_heads_included_it_costs_no_more_than_the_peer_of_its_width(size, fusion):
    network = M4Net(size, fusion=fusion)
    assert sum(count_multiply_adds(network).values()) <= MULTIPLY_ADDS[size]
    assert sum(p.numel() for p in network.parameters()) <= PARAMETER_LIMIT[size]


def test_the_counter_counts_the_peer_as_its_layers_say():
    total = 0
    side, channels = 60, 32
    total += side * side * 27 * channels
    for out_channels, stride in (
        *((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)),
        *((512, 1),) * 5,
        *((1024, 2), (1024, 1)),
    ):
        side = -(-side // stride)
        total += side * side * (9 * channels + channels * out_channels)
        channels = out_channels
    assert total + 1024 * PARAMETERS == MULTIPLY_ADDS["base"]
    assert sum(count_multiply_adds(Backbone(1.0, 1024)).values()) == total


@pytest.mark.parametrize("size", SIZES)
def test_each_of_four_heads_answers_in_full(size, crops):
    network = randomised(M4Net(size))
    with torch.no_grad():
        outputs = network.outputs(crops)
        assert outputs.heads.shape == (2, 4, PARAMETERS)
        assert outputs.weights.shape == (2, 4)
        torch.testing.assert_close(outputs.weights.sum(1), torch.ones(2))
        torch.testing.assert_close(network(crops), outputs.parameters)
        torch.testing.assert_close(network.heads(crops), outputs.heads)
        torch.testing.assert_close(outputs.parameters, fuse(outputs.heads, outputs.weights))


def test_the_heads_read_the_stages_they_are_named_after(crops):
    backbone = Backbone(0.5, 272).eval()
    with torch.no_grad():
        maps = backbone(crops)
        x = backbone.activation(backbone.bn1(backbone.conv1(crops)))
        seen = []
        for name, layer in list(backbone.named_children())[3:]:
            x = layer(x)
            if name in HEAD_STAGES:
                seen.append(x)
    assert [tuple(m.shape) for m in maps] == [(2, 256, 8, 8)] * 3 + [(2, 272, 4, 4)]
    for ours, theirs in zip(maps, seen, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_keeps_signal_and_gradient(activation, crops):
    torch.manual_seed(0)
    network = M4Net("small", activation)
    output = network(crops)
    output.square().sum().backward()
    assert output.std(0).max() > 1e-4
    assert network.backbone.conv1.weight.grad.abs().max() > 1e-6
    kinds = {type(module) for module in network.modules()}
    assert kinds & set(ACTIVATIONS.values()) == {ACTIVATIONS[activation]}


def test_rrelu_draws_its_slopes_and_keeps_the_memory_format():
    torch.manual_seed(0)
    x = torch.randn(4, 8, 32, 32).contiguous(memory_format=torch.channels_last).requires_grad_()
    ours, theirs = RReLU(), nn.RReLU()
    y = ours(x)
    y.sum().backward()
    assert y.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(y, x * x.grad)
    below = x.grad[x < 0]
    assert (x.grad[x >= 0] == 1).all()
    assert below.min() >= ours.lower
    assert below.max() <= ours.upper
    # Uniform: mean and standard deviation to 3 standard errors of 16,000 draws.
    assert below.mean() == pytest.approx((ours.lower + ours.upper) / 2, abs=0.0015)
    assert below.std() == pytest.approx((ours.upper - ours.lower) / 12**0.5, abs=0.001)
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))


@pytest.mark.parametrize("choices", [("big", "relu"), ("base", "swish"), ("base", "relu", "average")])
def test_an_unknown_choice_names_the_known_ones(choices):
    with pytest.raises(ValueError, match=r"one of .*(small|gelu|dynamic), got '(big|swish|average)'"):
        M4Net(*choices)


def test_dynamic_weights_differ_from_face_to_face(crops):
    weights = randomised(M4Net("small", fusion="dynamic")).outputs(crops).weights
    torch.testing.assert_close(weights.sum(1), torch.ones(2))
    assert not torch.allclose(weights[0], weights[1])
    with pytest.raises(ValueError, match="dynamic"):
        M4Net("small", fusion="dynamic").fix_head_weights([1, 1, 1, 1])


def test_fixed_weights_choose_among_the_heads_exactly(crops):
    network = randomised(M4Net("small")).fix_head_weights([0, 0, 2, 0])
    with torch.no_grad():
        torch.testing.assert_close(network(crops), network.heads(crops)[:, 2], rtol=0, atol=0)
    assert not network.head_logits.requires_grad
    for wrong in ([1, 1, 1], [-1, 1, 1, 1], [0, 0, 0, 0], [1, 1, 1, float("nan")]):
        with pytest.raises(ValueError, match="four weights"):
            network.fix_head_weights(wrong)


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor])
def test_fuse_is_the_weighted_sum_for_arrays_and_tensors(kind):
    heads = kind(np.random.default_rng(0).standard_normal((5, 4, PARAMETERS)))
    one_hot = kind(np.array([0.0, 1.0, 0.0, 0.0]))
    assert (fuse(heads, one_hot) == heads[:, 1]).all()
    uniform = kind(np.full(4, 0.25))
    assert abs(fuse(heads, uniform) - heads.mean(-2)).max() < 1e-12
    each = kind(np.random.default_rng(1).random((5, 4)))
    assert abs(fuse(heads, each)[3] - fuse(heads[3], each[3])).max() == 0
    with pytest.raises(ValueError, match="4 heads"):
        fuse(heads, kind(np.ones(3)))


def test_the_input_is_normalised_rgb():
    crops = np.zeros((2, 120, 120, 3), np.uint8)
    crops[1, 5, 7] = (255, 0, 127)
    x = to_input(crops)
    assert x.shape == (2, 3, 120, 120)
    assert x[0, 0, 0, 0] == -127.5 / 128
    np.testing.assert_allclose(x[1, :, 5, 7], np.array([127.5, -127.5, -0.5]) / 128)
    with pytest.raises(ValueError, match="uint8"):
        to_input(crops.astype(float))
    with pytest.raises(ValueError, match=r"\(n, 120, 120, 3\)"):
        to_input(crops[0])


def test_wrong_crops_are_refused_with_the_remedy(crops):
    with pytest.raises(ValueError, match=r"\(B, 3, 120, 120\).*to_input"):
        M4Net("small")(crops[:, :, :64, :64])


def test_a_smaller_crop_makes_a_smaller_network():
    network = M4Net("small", crop_size=64).eval()
    assert network(torch.zeros(1, 3, 64, 64)).shape == (1, PARAMETERS)
    assert sum(count_multiply_adds(network, 64).values()) < MULTIPLY_ADDS["small"] / 3


@pytest.mark.parametrize(("activation", "fusion"), [("relu", "static"), ("gelu", "dynamic")])
def test_saved_weights_load_into_the_same_function(tmp_path, crops, activation, fusion):
    network = randomised(M4Net("small", activation, fusion))
    network.save(tmp_path / "w.safetensors", run="a test", licence="none")
    loaded = M4Net.load(tmp_path / "w.safetensors")
    assert (loaded.size, loaded.activation, loaded.fusion) == ("small", activation, fusion)
    file = str(tmp_path / "w.safetensors")
    assert loaded.notes == {"run": "a test", "licence": "none", "face_model": "", "file": file}
    assert not loaded.training
    with torch.no_grad():
        torch.testing.assert_close(loaded.outputs(crops).heads, network.outputs(crops).heads, rtol=0, atol=0)


def test_half_precision_halves_the_file_and_keeps_the_statistics(tmp_path, crops):
    network = randomised(M4Net("small"))
    network.save(tmp_path / "full.safetensors")
    network.save(tmp_path / "half.safetensors", half=True)
    full, half = ((tmp_path / f"{name}.safetensors").stat().st_size for name in ("full", "half"))
    assert half < 0.55 * full
    loaded = M4Net.load(tmp_path / "half.safetensors")
    assert torch.equal(loaded.backbone.bn1.running_var, network.backbone.bn1.running_var)
    assert torch.equal(loaded.parameter_mean, network.parameter_mean)
    assert all(tensor.dtype != torch.float16 for tensor in loaded.state_dict().values())
    with torch.no_grad():
        torch.testing.assert_close(loaded(crops), network(crops), rtol=0.01, atol=0.01)


def test_dynamic_fusion_starts_as_the_static_one_it_is_made_from(crops):
    network = randomised(M4Net("small"))
    dynamic = network.with_dynamic_fusion()
    with torch.no_grad():
        torch.testing.assert_close(dynamic(crops), network(crops))
    with pytest.raises(ValueError, match="static fusion, got dynamic"):
        dynamic.with_dynamic_fusion()


def test_weights_that_extend_others_hold_only_what_differs(tmp_path, crops):
    network = randomised(M4Net("small"))
    base, extension = tmp_path / "base.safetensors", tmp_path / "extension.safetensors"
    network.save(base)
    dynamic = network.with_dynamic_fusion()
    with torch.no_grad():
        dynamic.head_scores.weight.normal_()
    dynamic.save(extension)
    tensors, metadata = read_tensors(extension)
    own = {name: tensor for name, tensor in tensors.items() if name.startswith("head_scores")}
    write_tensors(extension, own, metadata | {"extends": str(base), "extends_sha256": sha256_of(base)})
    with torch.no_grad():
        torch.testing.assert_close(M4Net.load(extension)(crops), dynamic(crops), rtol=0, atol=0)
    randomised(network).save(base)
    with pytest.raises(
        WeightsError, match=r"base.safetensors: expected SHA-256 .*extension.safetensors needs exactly"
    ):
        M4Net.load(extension)


def test_weights_of_another_size_are_refused(tmp_path):
    network = M4Net("small")
    path = tmp_path / "w.safetensors"
    network.save(path)
    tensors, metadata = read_tensors(path)
    write_tensors(path, tensors, metadata | {"size": "base"})
    with pytest.raises(WeightsError, match=r"w.safetensors.*of another shape.*instead of"):
        M4Net.load(path)
    write_tensors(path, {"x": torch.zeros(1)} | dict(list(tensors.items())[1:]), metadata)
    with pytest.raises(WeightsError, match=r"1 missing.*1 unknown \(x\)"):
        M4Net.load(path)


def test_weights_of_another_network_are_refused(tmp_path):
    path = tmp_path / "w.safetensors"
    for metadata in ({}, {"network": "FaceBoxes"}, {"network": "M4Net"}):
        write_tensors(path, {"x": torch.zeros(1)}, metadata)
        with pytest.raises(WeightsError, match=r"w.safetensors.*M4Net.save"):
            M4Net.load(path)


class TestFaceModel:
    """Weights say which face model's parameters they predict."""

    def test_the_file_keeps_it(self, tmp_path):
        network = M4Net("small")
        network.notes["face_model"] = "0123456789abcdef"
        network.save(tmp_path / "w.safetensors")
        loaded = M4Net.load(tmp_path / "w.safetensors")
        assert loaded.notes["face_model"] == "0123456789abcdef"
        assert loaded.with_dynamic_fusion().notes["face_model"] == "0123456789abcdef"
        assert folded(loaded).notes["face_model"] == "0123456789abcdef"

    @pytest.mark.parametrize("name", ["m4net-base", "m4net-base-dynamic", "m4net-small"])
    def test_packaged_weights_are_for_the_packaged_one(self, name):
        assert M4Net.load(name).notes["face_model"] == packaged_model().fingerprint

    def test_a_file_without_it_is_refused(self, tmp_path):
        M4Net("small").save(tmp_path / "w.safetensors")
        tensors, metadata = read_tensors(tmp_path / "w.safetensors")
        del metadata["face_model"]
        write_tensors(tmp_path / "w.safetensors", tensors, metadata)
        with pytest.raises(WeightsError, match=r"w.safetensors: .*name their face model, .*train them again"):
            M4Net.load(tmp_path / "w.safetensors")

    def test_a_network_that_was_never_trained_fits_every_one(self):
        check_fits(M4Net("small"), packaged_model())
        check_fits(M4Net("small"), ellipsoid_model())

    def test_another_one_is_refused_with_what_to_do(self, tmp_path):
        packaged, other = packaged_model(), ellipsoid_model()
        network = M4Net.load("m4net-small")
        check_fits(network, packaged)
        message = (
            rf"m4net-small: .* {packaged.fingerprint} \(the packaged one\), got the face model {other.fingerprint}; "
            "leave out the other model, or give weights for this one, which m4kit train --model makes"
        )
        with pytest.raises(WeightsError, match=message):
            check_fits(network, other)
        network.notes["face_model"] = other.fingerprint
        network.save(tmp_path / "w.safetensors")
        message = (
            rf"w.safetensors: .* {other.fingerprint}, got .* {packaged.fingerprint} \(the packaged one\); "
            "give the model that they were trained for, or give weights"
        )
        with pytest.raises(WeightsError, match=message):
            check_fits(M4Net.load(tmp_path / "w.safetensors"), packaged)


def test_the_documented_costs_are_the_networks():
    document = (ROOT / "docs" / "m4net.md").read_text(encoding="utf-8")
    for size in SIZES:
        network = M4Net(size)
        for figure in (
            MULTIPLY_ADDS[size],
            sum(count_multiply_adds(network).values()),
            sum(p.numel() for p in network.parameters()),
        ):
            assert f"{figure:,}" in document
