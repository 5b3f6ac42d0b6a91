"""Print the table of `docs/m4net.md`: the packaged networks' layers with their multiply-adds and parameters."""

from m4kit.network import SIZES, M4Net, count_multiply_adds


def table() -> str:
    """The table in Markdown."""
    lines = []
    networks = {size: M4Net.load(f"m4net-{size}") for size in SIZES}
    counts = {size: count_multiply_adds(network, network.crop_size) for size, network in networks.items()}
    header = " | ".join(f"{size}: multiply-adds | parameters" for size in SIZES)
    lines += [f"| layer | {header} |", "|---|" + "--:|--:|" * len(SIZES)]
    base = networks["base"]
    # The first batch norm counts with its convolution, like all others.
    names = ["backbone.conv1"] + [f"backbone.{n}" for n, _ in base.backbone.named_children() if n[:2] == "dw"]
    names += [f"spatial_heads.{k}" for k in range(3)] + ["last_head"]
    for name in names:
        cells = [name]
        for size, network in networks.items():
            inside = [n for n in counts[size] if n == name or n.startswith(f"{name}.")]
            parameters = sum(p.numel() for p in network.get_submodule(name).parameters())
            if name == "backbone.conv1":
                parameters += sum(p.numel() for p in network.backbone.bn1.parameters())
            cells += [f"{sum(counts[size][n] for n in inside):,}", f"{parameters:,}"]
        lines.append("| " + " | ".join(cells) + " |")
    cells = ["all"]
    for size, network in networks.items():
        cells += [f"{sum(counts[size].values()):,}", f"{sum(p.numel() for p in network.parameters()):,}"]
    lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
