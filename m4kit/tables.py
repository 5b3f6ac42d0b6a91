"""Tables as text for a terminal; a notebook shows a DataFrame itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


def as_text(table: pd.DataFrame) -> str:
    """Write a whole table without its index: words on the left, numbers on the right, `-` for what is not known."""
    words = table.select_dtypes(exclude="number").columns
    shown = table.assign(
        **{name: table[name].astype(object).where(table[name].notna(), "-") for name in words}
    )
    widths = {name: max([len(name), *shown[name].astype(str).str.len()]) for name in words}
    # Words may hold single spaces, so columns are two apart.
    left = {name: f"{{!s:<{width + 1}}}".format for name, width in widths.items()}
    text = shown.to_string(index=False, na_rep="-", justify="left", formatters=left)
    return "\n".join(line.rstrip() for line in text.splitlines())
