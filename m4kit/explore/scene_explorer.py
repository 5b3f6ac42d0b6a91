"""`SceneExplorer`: where the system fails in a scene report, on which faces, and why."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable
from dataclasses import replace

import ipywidgets as widgets
import numpy as np
import pandas as pd
import plotly.graph_objects as go

from m4kit.checks import check_type
from m4kit.conditions import CONDITIONS
from m4kit.datasets import Sample
from m4kit.datasets.photos import Photo
from m4kit.datasets.scenes import CLEAN
from m4kit.explore.controls import button, choice, row, show_if
from m4kit.explore.explorer import Explorer
from m4kit.explore.face_grid import FaceGrid, GridFace
from m4kit.explore.heat_table import HeatTable
from m4kit.explore.photo_in_depth import PhotoInDepth
from m4kit.explore.plotly_view import PlotlyView
from m4kit.explore.scene_charts import line_chart, scatter_chart, spread_chart
from m4kit.explore.scene_filters import SceneFilters
from m4kit.images import jpeg
from m4kit.metrics import FAILURE_NME
from m4kit.predictor import Predictor
from m4kit.scenes import figures
from m4kit.scenes.cells import (
    METRICS,
    cells,
    error_words,
    heat_grid,
    present,
    scenes_of,
    true_errors,
    values_of,
)
from m4kit.scenes.columns import WORDS
from m4kit.scenes.data import scene_photos
from m4kit.scenes.report import SceneReport
from m4kit.scenes.report_data import ReportError
from m4kit.scenes.taxonomy import RULES

PAGE = 24
"""Faces on a page of the gallery."""

TABS = ("Heat map", "Charts", "Scatter", "Faces", "One photo")

_ERROR = "true error"
_NONE = "no face passes the filters and has this metric"
_EMPTY = (
    "No face that passes the filters has this metric and a severity, so there is no chart by severity.",
    "No face that passes the filters has this metric, so there is no chart of the faces.",
)
_THUMBNAIL = 150
_COLUMNS = (
    *(
        "checked_failure_probability",
        _ERROR,
        "head_spread",
        "flip_consistency",
        "jitter_consistency",
        "score",
    ),
    *("edge_agreement", "identity_distance", "expression_distance", "sharpness", "contrast", "exposure"),
    *("clipped", "size", "turn", "yaw", "outside", "box_misfit", "crop_misfit", "pose_error", "severity"),
)


class SceneExplorer(Explorer):
    """A scene report to explore: heat map, charts, scatter plot, the faces worst first, and one photo in depth.

    - Filters (condition, severity, yaw, face size, failure) apply to all views. The heat map keeps the cells of other
      conditions and severities, but pale.
    - A click on a cell of the heat map chooses its condition and severity, keeps the other filters, and shows the
      faces; a lasso in the scatter plot chooses faces.
    - A click on a face, or on its point in a chart, shows its photo in depth: clean and degraded side by side, with a
      slider and both meshes in 3D.
    - `rows` are the rows of the report's faces that are shown, worst first; `choose(row)` does the same as a click.

    `source` holds the samples that were analysed; only the photo in depth needs it, for the clean photos. `predictor`
    is by default the packaged one. `errors` lists what went wrong in callbacks; the explorer shows it and goes on.
    """

    def __init__(
        self,
        report: SceneReport,
        *,
        source: Iterable[Sample] | None = None,
        predictor: Predictor | None = None,
    ):
        remedy = "scenes.analyse makes one, SceneReport.load reads one"
        check_type(report, "SceneExplorer", SceneReport, remedy=remedy)
        super().__init__()
        # Rows are numbered from 0, also in a report that somebody has filtered.
        self.report = report = replace(report, faces=report.faces.reset_index(drop=True))
        photos = () if source is None else scene_photos(source)
        self._images = _clean_images(photos)
        self._analysed = {photo.name: photo.image for photo in photos}
        self._predictor = predictor
        self._selected: np.ndarray | None = None
        self._worst = figures.worst_first(report)
        self._nme = true_errors(report.faces).to_numpy()
        self._pictures: dict[tuple[int, str], bytes] = {}
        self._spread_rows: list[np.ndarray] = []
        # Tabs to draw again when they are opened.
        self._stale: set[str] = set()
        self._make_controls()
        self._connect()
        pages = [
            widgets.VBox([widgets.HTML("Click a cell to see its faces."), self.heat_view]),
            widgets.VBox([self.chart_errors, widgets.HBox(self.charts, layout={"flex_flow": "row wrap"})]),
            widgets.VBox(
                [
                    row(self.across, self.up),
                    widgets.HTML(
                        "Draw a lasso around faces to see them under Faces; click one for its photo."
                    ),
                    self.scatter_view,
                ]
            ),
            widgets.VBox([row(self.overlay, self.page, self.count), self.grid]),
            self.depth,
        ]
        self.tabs.children = pages
        self.tabs.titles = TABS
        self.tabs.selected_index = 0
        self.content = (
            row(self.metric, *self.filters.controls.values(), self.clear, self.passing),
            self.tabs,
        )
        self.guard(self._follow)()

    def _make_controls(self) -> None:
        faces = self.report.faces
        self.metric = choice("Metric", _metrics(self.report))
        self.filters = SceneFilters(faces, [label for label in RULES if self.report.failures[label]])
        self.clear = button("Show all")
        self.passing = widgets.HTML()
        self.heat_view, self.scatter_view = HeatTable(), PlotlyView()
        self.charts = [PlotlyView() for _ in range(2)]
        for view in self.charts:
            # Side by side where there is room.
            view.layout.flex, view.layout.min_width = "1 1 420px", "0"
        self.chart_errors = widgets.HTML()
        known = [name for name in _COLUMNS if np.isfinite(self._column(name)).any()]
        named = [(self._title(name), name) for name in known]
        self.across = choice("Across", named)
        self.up = choice("Up", named, value=_ERROR if _ERROR in known else None)
        self.grid = FaceGrid()
        self.overlay = choice("Overlay", figures.OVERLAYS)
        self.page = widgets.BoundedIntText(1, min=1, max=1, description="Page", layout={"width": "160px"})
        self.count = widgets.HTML()
        self.depth = widgets.VBox([widgets.HTML(_hint(bool(self._images)))])
        self.photo: PhotoInDepth | None = None
        self.tabs = widgets.Tab()

    def _connect(self) -> None:
        self.on(self.metric, self._metric_changed)
        for control in self.filters.controls.values():
            self.on(control, self._filtered)
        self.on(self.clear, self._show_all)
        self.on(self.heat_view, self._cell_clicked, trait="clicked")
        self.on(self.charts[1], self._spread_clicked, trait="clicked")
        self.on(self.scatter_view, self._point_clicked, trait="clicked")
        self.on(self.scatter_view, self._lassoed, trait="selected")
        for control in (self.across, self.up):
            self.on(control, self._draw_scatter)
        for control in (self.overlay, self.page):
            self.on(control, self._draw_faces)
        self.on(self.tabs, self._draw_tab, trait="selected_index")
        self.grid.on_click = self.guard(self.choose)

    @property
    def rows(self) -> np.ndarray:
        """The rows (n,) of the report's faces that pass the filters and are selected, worst first."""
        return self._worst[self._kept()[self._worst]]

    def choose(self, number: int) -> None:
        """Show the photo of one row of the report's faces in depth.

        The degraded photo is the one that was analysed, until a slider moves. Raises `ValueError` if the clean photo
        is not known.
        """
        face = self.report.faces.iloc[number]
        name = scenes_of(self.report.faces).iloc[number]
        if name not in self._images:
            remedy = "give SceneExplorer(report, source=samples), the samples that were analysed"
            raise ValueError(f"{name}: expected its clean photo, got none; {remedy}")
        image, degraded = self._images[name](), self._analysed.get(face["photo"])
        # A real photo without a clean one stands alone.
        paired = pd.notna(face["clean"])
        if self.photo is None:
            self.photo = PhotoInDepth(self._predictor or Predictor())
            self.photo.errors = self.errors
            self.depth.children = [widgets.HTML(), self.photo]
        about, said = self.depth.children[0], html.escape(self._caption(number))
        about.value = f"<b>{html.escape(face['photo'])}</b><br>In the report: {said}"
        prefix = "true_" if pd.isna(face["face"]) else ""
        left, top, right, bottom = (face[f"{prefix}{side}"] for side in ("left", "top", "right", "bottom"))
        height, width = image.shape[:2]
        self.photo.show(
            image,
            name="clean" if paired else "the photo",
            degraded=degraded() if paired and degraded is not None else None,
            degraded_name=f"{face['condition']}, as photographed" if pd.isna(face["severity"]) else "",
            condition=face["condition"] if face["condition"] in CONDITIONS else None,
            severity=None if pd.isna(face["severity"]) else face["severity"],
            seed=None if pd.isna(face["seed"]) else int(face["seed"]),
            near=((left + right) / 2 / width, (top + bottom) / 2 / height),
        )
        self._open("One photo")

    def still(self) -> bytes:
        """Draw the heat map as a PNG, without a browser."""
        return figures.heat_map(self.report, self.metric.value).to_bytes()

    def describe(self) -> str:
        return f"SceneExplorer of {len(self.report)} photos"

    def _open(self, tab: str) -> None:
        self.tabs.selected_index = TABS.index(tab)

    def _kept(self) -> np.ndarray:
        """Which rows pass the filters and are selected, (n,) bool."""
        kept = self.filters.passing()
        return kept if self._selected is None else kept & np.isin(np.arange(len(kept)), self._selected)

    def _shown(self, kept: np.ndarray) -> SceneReport:
        """The report with only these faces, (n,) bool."""
        return replace(self.report, faces=self.report.faces[kept])

    def _show_all(self) -> None:
        """Let every face pass."""
        with self.together():
            self.filters.clear()
        self._filtered()

    def _counted(self, passing: np.ndarray) -> str:
        """How many faces pass the filters, of (n,) bool."""
        some, every = int(passing.sum()), len(passing)
        return f"{some} of {every} faces pass the filters" if some < every else f"all {every} faces"

    def _filtered(self) -> None:
        self._selected = None
        self._follow()

    def _follow(self) -> None:
        """Draw what depends on the filters again, hidden tabs when they are opened."""
        self._stale = {"Heat map", "Charts", "Scatter", "Faces"}
        self.passing.value = self._counted(self.filters.passing())
        self._count_faces()
        self._draw_tab()

    def _count_faces(self) -> None:
        number, chosen = len(self.rows), " in the lasso" * (self._selected is not None)
        self.count.value = f"{number} face{'s' * (number != 1)}{chosen}, worst first"
        with self.together():
            self.page.max = max(1, -(-number // PAGE))
            self.page.value = 1

    def _draw_tab(self) -> None:
        name = TABS[self.tabs.selected_index or 0]
        if name in self._stale:
            self._stale.discard(name)
            draw = {"Heat map": self._draw_heat, "Charts": self._draw_charts, "Scatter": self._draw_scatter}
            draw.get(name, self._draw_faces)()

    def _metric_changed(self) -> None:
        self._stale |= {"Heat map", "Charts"}
        self._draw_tab()

    def _draw_heat(self) -> None:
        metric, others = self.metric.value, self.filters.passing(but=("condition", "severity"))
        means = cells(self._shown(others), metric)
        # The whole map stays in place around the cells that the filters choose.
        known = values_of(self.report, metric).notna()
        self._grid = heat_grid(means, like=self.report.faces[known])
        faded = {
            (one, other)
            for one in self._grid.conditions
            for other in self._grid.severities
            if not self.filters.chooses(one, other)
        }
        about = self._counted(others) if len(means) else _NONE
        self.heat_view.show(self._grid, metric, title=METRICS[metric].title, about=about, faded=faded)

    def _cell_clicked(self) -> None:
        line, column, _ = self.heat_view.clicked
        with self.together():
            self.filters.choose(self._grid.conditions[line], self._grid.severities[column])
        self._filtered()
        self._open("Faces")

    def _draw_charts(self) -> None:
        shown, severities = self._shown(self._kept()), self.filters.severities
        self._spread_rows = []
        sentences = []
        for view, draw, empty in zip(self.charts, (self._lines, self._spread), _EMPTY, strict=True):
            try:
                view.show(draw(shown, severities))
                show_if(True, view)
            except ReportError:
                # The remaining faces have nothing that this chart shows.
                show_if(False, view)
                sentences.append(empty)
        self.chart_errors.value = html.escape(" ".join(sentences))

    def _lines(self, shown: SceneReport, _severities) -> go.Figure:
        return line_chart(shown, self.metric.value)

    def _spread(self, shown: SceneReport, severities) -> go.Figure:
        figure, self._spread_rows = spread_chart(
            shown, self.metric.value, names=self.report.faces["photo"], severities=severities
        )
        return figure

    def _spread_clicked(self) -> None:
        trace, point, _ = self.charts[1].clicked
        if point < len(self._spread_rows[trace]):
            self.choose(int(self._spread_rows[trace][point]))

    def _draw_scatter(self) -> None:
        across, up = self._column(self.across.value), self._column(self.up.value)
        # Faces beside the lasso stay in the plot, so that the next lasso can be larger.
        shown = self.filters.passing() & np.isfinite(across) & np.isfinite(up)
        conditions = self.report.faces["condition"].fillna(CLEAN)
        groups = {name: np.flatnonzero(shown & (conditions == name)) for name in present(conditions[shown])}
        self._points = list(groups.values())
        titles = (self.across.label, self.up.label)
        self.scatter = scatter_chart(groups, across, up, titles=titles)
        with self.together():
            self.scatter_view.selected = []
        self.scatter_view.show(self.scatter)

    def _point_clicked(self) -> None:
        trace, point, _ = self.scatter_view.clicked
        self.choose(int(self._points[trace][point]))

    def _lassoed(self) -> None:
        pairs = self.scatter_view.selected
        self._selected = np.array([self._points[trace][point] for trace, point in pairs]) if pairs else None
        # The scatter plot stays, with its lasso.
        self._stale |= {"Faces", "Charts"}
        self._count_faces()

    def _draw_faces(self) -> None:
        first = PAGE * (self.page.value - 1)
        self.grid.show([self._card(int(number)) for number in self.rows[first : first + PAGE]])

    def _caption(self, number: int) -> str:
        return figures.caption(self.report, number).replace("\n", "; ").rstrip("; ")

    def _card(self, number: int) -> GridFace:
        key = (number, self.overlay.value)
        if key not in self._pictures:
            picture = figures.face_picture(self.report, number, overlay=self.overlay.value, side=_THUMBNAIL)
            self._pictures[key] = jpeg(picture, quality=82)
        title, _, text = self._caption(number).partition(": ")
        face = self.report.faces.iloc[number]
        bad = pd.isna(face["face"]) or self._nme[number] > FAILURE_NME
        return GridFace(number, self._pictures[key], title, text, face["photo"], bool(bad))

    def _column(self, name: str) -> np.ndarray:
        return (
            self._nme if name == _ERROR else WORDS[name].times * self.report.faces[name].to_numpy(dtype=float)
        )

    def _title(self, name: str) -> str:
        return error_words(self.report.faces) if name == _ERROR else WORDS[name].title


def _metrics(report: SceneReport) -> list[tuple[str, str]]:
    """The metrics for which the report has numbers, with their titles."""
    found = [(METRICS[name].title, name) for name in METRICS if values_of(report, name).notna().any()]
    if not found:
        raise ValueError(
            "SceneExplorer: expected a report with at least one face, got none; was anything found in the photos?"
        )
    return found


def _clean_images(photos: Iterable[Photo]) -> dict[str, Callable[[], np.ndarray]]:
    """Functions that read the clean photos, by name."""
    images = {}
    for photo in photos:
        if photo.clean_image is not None:
            images[photo.clean] = photo.clean_image
        elif photo.severity is None:
            images[photo.name] = photo.image
    return images


def _hint(known: bool) -> str:
    if known:
        return "Click a face among the faces or in the scatter plot."
    return (
        "For this, give the samples that were analysed: <code>SceneExplorer(report, source=samples)</code>."
    )
