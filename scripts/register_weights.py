"""Write a packaged file of weights and its SHA-256 into `m4kit/assets/weights.json`.

    python scripts/register_weights.py m4net-base weights.safetensors --half --licence "research only"

copies the file to `m4kit/assets/m4net_base.safetensors` first. Without a file, the one in that place is registered.
`--extends m4net-base` leaves out tensors that equal those of these weights.
"""

import argparse
import json
from pathlib import Path

import torch

from m4kit.weights import REGISTRY, read_tensors, registry, resolve, sha256_of, write_tensors

ASSETS = Path(__file__).parents[1] / "m4kit" / "assets"


def main() -> None:
    """Register the weights named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", help="name that users give, such as m4net-base")
    parser.add_argument("file", type=Path, nargs="?", help="weights to copy into the package (.safetensors)")
    parser.add_argument("--half", action="store_true", help="store the large tensors in half precision")
    parser.add_argument("--extends", metavar="NAME", help="registered weights that the file extends")
    parser.add_argument("--licence", required=True, help="one sentence on how the weights may be used")
    args = parser.parse_args()
    asset = ASSETS / f"{args.name.replace('-', '_')}.safetensors"
    if args.file is not None:
        tensors, metadata = read_tensors(args.file)
        if args.extends:
            base, _ = read_tensors(resolve(args.extends))
            tensors = {
                name: tensor
                for name, tensor in tensors.items()
                if name not in base or not torch.equal(base[name].float(), tensor.float())
            }
            metadata |= {"extends": args.extends, "extends_sha256": registry()[args.extends].sha256}
        write_tensors(asset, tensors, metadata | {"licence": args.licence}, half=args.half)
    path = ASSETS / REGISTRY
    entries = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    entries[args.name] = {"file": asset.name, "sha256": sha256_of(asset), "licence": args.licence}
    path.write_text(json.dumps(dict(sorted(entries.items())), indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
