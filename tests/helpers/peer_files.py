"""Files in the peers' published layouts, with made-up numbers."""

import pickle
from pathlib import Path

import numpy as np
import scipy.io
import torch

from m4kit.peers.synergynet import CHECKPOINT, MODEL_FOLDER, SynergyBackbone
from m4kit.peers.tddfa_v2 import BFM, NETWORKS, WHITENING, TddfaNetwork


def basel_like() -> dict[str, np.ndarray]:
    """The content of 3DDFA-V2's file of the BFM: 70 vertices, triangles clockwise seen from outside."""
    random = np.random.default_rng(0)
    # Indices into the whole head, of which every third vertex is kept.
    triangles = 3 * np.array([[0, 2, 1], *([i, i + 1, i + 2] for i in range(2, 68))])
    return {
        "u": random.normal(0, 1e5, (210, 1)).astype(np.float32),
        "w_shp": random.normal(size=(210, 40)).astype(np.float32),
        "w_exp": random.normal(size=(210, 10)).astype(np.float32),
        "tri": triangles.T.astype(np.int32),
        "keypoints": np.arange(204, dtype=np.int32).reshape(68, 3)[::-1].ravel(),
    }


def whitening_like() -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation (62,) of 3DDFA's parameters: faces about 60 pixels wide, in the crop's middle."""
    camera = np.array([[2e-4, 0, 0, 61], [0, 2e-4, 0, 60], [0, 0, 2e-4, 1]])
    spread = np.array([[2e-5, 2e-5, 2e-5, 3]] * 3)
    mean, std = (
        np.concatenate([first.ravel(), np.full(50, rest)]) for first, rest in ((camera, 0), (spread, 1e4))
    )
    return mean.astype(np.float32), std.astype(np.float32)


def random_numbers(network: torch.nn.Module) -> torch.nn.Module:
    """The network with batch norms that matter, in `eval` mode."""
    torch.manual_seed(0)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.Conv2d):
                module.weight.normal_(std=(2 / module.weight[0].numel()) ** 0.5)
            if isinstance(module, torch.nn.BatchNorm2d):
                module.weight.uniform_(0.8, 1.2)
                module.bias.uniform_(-0.2, 0.2)
                module.running_mean.uniform_(-0.2, 0.2)
                module.running_var.uniform_(0.5, 1.5)
    return network.eval()


def write_tddfa_v2(folder: Path) -> TddfaNetwork:
    """Write the files of 3DDFA-V2's mb05 into a folder; returns the network."""
    network = random_numbers(TddfaNetwork(0.5))
    state = {"module.fc_lm.weight": torch.zeros(136, 512)}
    for name, tensor in network.state_dict().items():
        state[f"module.{name.replace('fc.', 'fc_param.').removeprefix('backbone.')}"] = tensor
    torch.save({"epoch": 1, "state_dict": state}, folder / NETWORKS["mb05"])
    mean, std = whitening_like()
    (folder / WHITENING).write_bytes(pickle.dumps({"mean": mean, "std": std}))
    (folder / BFM).write_bytes(pickle.dumps(basel_like()))
    return network


def published_landmarks(network: torch.nn.Module, crop: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Camera (3, 4) and landmarks (3, 68) as the published code computes them (`recon_sparse`), from BGR on.

    `crop` is (120, 120, 3) uint8 RGB; whitening and face model are those of this module.
    """
    with torch.no_grad():
        bgr = torch.from_numpy(crop[None, ..., ::-1].copy()).permute(0, 3, 1, 2).float()
        answer = network((bgr - 127.5) / 128).numpy()[0]
    mean, std = whitening_like()
    raw, arrays = answer * std + mean, basel_like()
    keys = arrays["keypoints"]
    flat = arrays["u"][keys, 0] + arrays["w_shp"][keys] @ raw[12:52] + arrays["w_exp"][keys] @ raw[52:]
    camera = raw[:12].reshape(3, 4)
    return camera, camera[:, :3] @ flat.reshape(3, -1, order="F") + camera[:, 3:]


def write_synergynet(folder: Path) -> SynergyBackbone:
    """Write SynergyNet's checkpoint and face model into a folder; returns the backbone."""
    backbone = random_numbers(SynergyBackbone())
    arrays, (mean, std) = basel_like(), whitening_like()
    state = {f"module.I2P.backbone.{name}": tensor for name, tensor in backbone.state_dict().items()}
    state |= {
        f"module.{part}Direction.conv1.weight": torch.zeros(64, 3, 1) for part in ("forward", "reverse")
    }
    state |= {"module.param_mean": torch.from_numpy(mean), "module.u": torch.from_numpy(arrays["u"])}
    torch.save({"epoch": 80, "state_dict": state}, folder / CHECKPOINT)
    model = folder / MODEL_FOLDER
    model.mkdir()
    np.save(model / "keypoints_sim.npy", arrays["keypoints"])
    np.save(model / "u_shp.npy", 0.75 * arrays["u"])
    np.save(model / "u_exp.npy", 0.25 * arrays["u"])
    np.save(model / "w_shp_sim.npy", arrays["w_shp"])
    np.save(model / "w_exp_sim.npy", arrays["w_exp"])
    scipy.io.savemat(model / "tri.mat", {"tri": arrays["tri"] // 3 + 1})
    (model / "param_whitening.pkl").write_bytes(
        pickle.dumps({"param_mean": np.append(mean, np.zeros(40)), "param_std": np.append(std, np.ones(40))})
    )
    return backbone
