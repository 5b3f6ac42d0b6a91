"""A chart of a video's faces over time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from m4kit.checks import check_type, needed
from m4kit.video import Video
from m4kit.visualize.style import CLEAR, SCREEN_INK

if TYPE_CHECKING:
    import plotly.graph_objects as go

TRACK_COLOURS = ("#3987e5", "#d95926", "#199e70", "#c98500", "#9085e9", "#d55181", "#008300", "#e66767")
"""Colours of the tracks by number; from the ninth on they begin again."""

SIGNALS = {
    "yaw": "yaw, °",
    "pitch": "pitch, °",
    "roll": "roll, °",
    "mouth_opening": "mouth, mm",
    "eye_opening": "eyes, mm",
}
"""The columns of a video's table that a timeline shows, and their titles."""

_ROW = 96
_GRID = "rgba(128,128,128,0.25)"


def pose_timeline(video: Video) -> go.Figure:
    """Draw yaw, pitch, roll and the openings of mouth and eyes over time, a row each, as a plotly figure.

    Each track has a colour. Lines have gaps where a face is not seen. The video is read to its end first.
    """
    go = needed("plotly.graph_objects", "pose_timeline")
    make_subplots = needed("plotly.subplots", "pose_timeline").make_subplots
    check_type(video, "pose_timeline", Video, remedy="m4kit.predict_video makes one")
    table = video.to_dataframe()
    figure = make_subplots(rows=len(SIGNALS), shared_xaxes=True, vertical_spacing=0.03)
    # Longer than between two frames: the face was not seen.
    frames = table["seconds"].drop_duplicates().sort_values().diff()
    gap = 1.5 * frames.median()
    for track, group in table.groupby("track"):
        known = group.set_index("seconds")[list(SIGNALS)]
        # A row of NaN breaks the line.
        starts = known.index[known.index.to_series().diff() > gap]
        rows = known.reindex(known.index.union(starts - 1e-4))
        colour = TRACK_COLOURS[int(track) % len(TRACK_COLOURS)]
        for number, (name, title) in enumerate(SIGNALS.items(), start=1):
            line = go.Scatter(
                x=rows.index,
                y=rows[name],
                name=f"track {track}",
                legendgroup=str(track),
                showlegend=number == 1,
                mode="lines",
                line={"color": colour, "width": 2},
                hovertemplate=f"%{{x:.2f}} s: {title.split(',')[0]} %{{y:.1f}}<extra>track {track}</extra>",
            )
            figure.add_trace(line, row=number, col=1)
    for number, title in enumerate(SIGNALS.values(), start=1):
        figure.update_yaxes(title={"text": title, "font": {"size": 12}}, row=number, col=1)
    figure.update_xaxes(gridcolor=_GRID, zeroline=False)
    figure.update_yaxes(gridcolor=_GRID, zerolinecolor=_GRID)
    figure.update_xaxes(title="seconds", row=len(SIGNALS), col=1)
    figure.update_layout(
        height=_ROW * len(SIGNALS) + 80,
        margin={"l": 70, "r": 10, "t": 30, "b": 50},
        paper_bgcolor=CLEAR,
        plot_bgcolor=CLEAR,
        font={"color": SCREEN_INK},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"},
    )
    return figure
