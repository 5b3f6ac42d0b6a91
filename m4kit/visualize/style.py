"""Colours of figures: on paper, and in a notebook, whose page may be light or dark."""

INK, SOFT, GRID = "#24292f", "#57606a", "#d8dee4"
"""On paper: text, text that is less prominent, and lines behind a chart."""

SCREEN_INK = "#747b84"
"""Ink in a notebook. Its contrast to the page is 4.3 in both themes, the best that one colour can have."""

CLEAR = "rgba(0,0,0,0)"
"""No background, for plotly."""

MAT, MAT_INK = "#4a525b", "#f0f3f6"
"""The background of photos in a notebook, because a JPEG cannot be transparent, and the ink on it."""

MAT_RGB, MAT_INK_RGB = (tuple(bytes.fromhex(colour[1:])) for colour in (MAT, MAT_INK))
