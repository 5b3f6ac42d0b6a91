"""Colours of figures: on paper, and in a notebook, whose page may be light or dark."""

INK, SOFT, GRID = "#24292f", "#57606a", "#d8dee4"
"""On paper: text, text that is less prominent, and lines behind a chart."""

SCREEN_INK = "#747b84"
"""Ink in a notebook. Its contrast is 4.3 to the page of either theme; no colour has more to both."""

CLEAR = "rgba(0,0,0,0)"
"""No ground, for plotly."""

MAT, MAT_INK = "#4a525b", "#f0f3f6"
"""The ground of photos in a notebook, and the ink on it: a JPEG cannot be transparent."""

MAT_RGB, MAT_INK_RGB = (tuple(bytes.fromhex(colour[1:])) for colour in (MAT, MAT_INK))
