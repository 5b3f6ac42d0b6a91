"""Write a packaged file of weights and its SHA-256 into `m4kit/assets/weights.json`.

    python scripts/register_weights.py m4net-base weights.safetensors --half --licence "research only"

writes the file to `m4kit/assets/m4net_base.safetensors`. Without a file, the one in that place is registered again.
`--extends m4net-base` leaves out tensors that equal those of these weights. Then `python scripts/export_engines.py`
exports all weights again.

M4Net's weights get the fingerprint of the packaged face model. Those that were trained for another one are refused.
If the face model changed without a change of its parameters' meaning, such as in the number of vertices,
`--same-parameters` registers them all the same.
"""

import argparse
import json
from pathlib import Path

import torch

from m4kit.face_model import packaged_model
from m4kit.weights import (
    REGISTRY,
    WeightsError,
    read_tensors,
    registry,
    resolve,
    sha256_of,
    write_tensors,
)

ASSETS = Path(__file__).parents[1] / "m4kit" / "assets"


def main(arguments: list[str] | None = None) -> None:
    """Register the weights named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", help="name that users give, such as m4net-base")
    parser.add_argument("file", type=Path, nargs="?", help="weights to put into the package (.safetensors)")
    parser.add_argument("--half", action="store_true", help="store the large tensors in half precision")
    parser.add_argument("--extends", metavar="NAME", help="registered weights that the file extends")
    parser.add_argument(
        "--same-parameters",
        action="store_true",
        help="the packaged face model takes the parameters of the one that the weights name",
    )
    parser.add_argument("--licence", required=True, help="one sentence on how the weights may be used")
    args = parser.parse_args(arguments)
    asset = ASSETS / f"{args.name.replace('-', '_')}.safetensors"
    tensors, metadata = read_tensors(args.file or asset)
    if args.extends:
        base, _ = read_tensors(resolve(args.extends))
        tensors = {
            name: tensor
            for name, tensor in tensors.items()
            if name not in base or not torch.equal(base[name].float(), tensor.float())
        }
        metadata |= {"extends": args.extends, "extends_sha256": registry()[args.extends].sha256}
    if metadata.get("network") == "M4Net":
        metadata["face_model"] = face_model_of(metadata, args.file or asset, same=args.same_parameters)
    write_tensors(asset, tensors, metadata | {"licence": args.licence}, half=args.half)
    path = ASSETS / REGISTRY
    entries = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    entries[args.name] = {"file": asset.name, "sha256": sha256_of(asset), "licence": args.licence}
    path.write_text(json.dumps(dict(sorted(entries.items())), indent=2) + "\n", encoding="utf-8")


def face_model_of(metadata: dict[str, str], path: Path, *, same: bool) -> str:
    """The fingerprint of the packaged face model.

    Raises `WeightsError` if the weights in the file at `path` name another one, unless `same`.
    """
    packaged, named = packaged_model().fingerprint, metadata.get("face_model", "")
    if named != packaged and not same:
        raise WeightsError(
            f"{path}: expected weights for the packaged face model {packaged}, got some for "
            f"{named or 'an unknown one'}; train them for it, or give --same-parameters if it takes theirs"
        )
    return packaged


if __name__ == "__main__":
    main()
