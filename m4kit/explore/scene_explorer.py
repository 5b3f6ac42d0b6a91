"""`SceneExplorer`: where the system fails in a scene report, on which faces, and why."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable
from dataclasses import replace

import ipywidgets as widgets
import numpy as np
import pandas as pd
import plotly.graph_objects as go

from m4kit.conditions import CONDITIONS
from m4kit.datasets import Sample
from m4kit.datasets.scenes import CLEAN
from m4kit.explore.controls import button, choice, row
from m4kit.explore.explorer import Explorer
from m4kit.explore.face_grid import FaceGrid, GridFace
from m4kit.explore.photo_in_depth import PhotoInDepth
from m4kit.explore.plotly_view import PlotlyView
from m4kit.images import jpeg
from m4kit.metrics import FAILURE_NME
from m4kit.predictor import Predictor
from m4kit.scenes import figures
from m4kit.scenes.cells import METRICS, cells, heat_grid, present, scenes_of, title_of, true_errors, values_of
from m4kit.scenes.data import scene_photos
from m4kit.scenes.report import SceneReport
from m4kit.scenes.report_data import ReportError
from m4kit.scenes.taxonomy import RULES

PAGE = 24
"""Faces on a page of the gallery."""

ALL = "all"

TABS = ("Heat map", "Charts", "Scatter", "Faces", "One photo")

_THUMBNAIL = 150
_COLUMNS = (
    *("failure_probability", "true error", "head_spread", "flip_consistency", "jitter_consistency", "score"),
    *("edge_agreement", "identity_distance", "expression_distance", "sharpness", "contrast", "exposure"),
    *("clipped", "size", "turn", "yaw", "outside", "box_misfit", "crop_misfit", "pose_error", "severity"),
)


class SceneExplorer(Explorer):
    """A scene report to explore: heat map, charts, scatter plot, the faces worst first, and one photo in depth.

    - Filters (condition, severity, yaw, face size, failure) apply to charts, scatter plot and faces.
    - A click on a cell of the heat map shows its faces; a lasso in the scatter plot chooses faces.
    - A click on a face shows its photo in depth: clean and degraded side by side, with a slider and both meshes in
      3D.
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
        super().__init__()
        self.report = report
        self._images = {} if source is None else _clean_images(source)
        self._predictor = predictor
        self._selected: np.ndarray | None = None
        self._worst = figures.worst_first(report)
        self._nme = true_errors(report.faces).to_numpy()
        self._pictures: dict[tuple[int, str], bytes] = {}
        # Tabs to draw again when they are opened.
        self._stale: set[str] = set()
        self._make_controls()
        self._connect()
        pages = [
            widgets.VBox([widgets.HTML("Click a cell to see its faces."), self.heat_view]),
            widgets.VBox([self.chart_errors, *self.charts]),
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
        self.content = (row(self.metric, *self.filters.values(), self.clear), self.tabs)
        self.guard(self._draw_heat)()
        self.guard(self._follow)()

    def _make_controls(self) -> None:
        faces = self.report.faces
        self.metric = choice("Metric", _metrics(self.report))
        severities = [(f"{one:g}", one) for one in sorted(faces["severity"].dropna().unique())]
        labels = [label for label in RULES if self.report.failures[label]]
        self.filters = {
            "condition": choice("Condition", [ALL, *present(faces["condition"])]),
            "severity": choice("Severity", [(ALL, ALL), *severities]),
            "failures": choice("Failure", [ALL, *labels]),
            "yaw": _range("|Yaw|", 90),
            "size": _range(
                "Size, px", int(np.ceil(faces["size"].max())) if faces["size"].notna().any() else 1
            ),
        }
        self.clear = button("Show all")
        self.heat_view, self.scatter_view = PlotlyView(), PlotlyView()
        picture = {"width": "100%", "max_width": "760px", "object_fit": "contain"}
        self.charts = [widgets.Image(format="jpeg", layout=picture) for _ in range(2)]
        self.chart_errors = widgets.HTML()
        known = [name for name in _COLUMNS if np.isfinite(self._column(name)).any()]
        self.across = choice("Across", known)
        self.up = choice("Up", known, value="true error" if "true error" in known else None)
        self.grid = FaceGrid()
        self.overlay = choice("Overlay", figures.OVERLAYS)
        self.page = widgets.BoundedIntText(1, min=1, max=1, description="Page", layout={"width": "160px"})
        self.count = widgets.HTML()
        self.depth = widgets.VBox([widgets.HTML(_hint(bool(self._images)))])
        self.photo: PhotoInDepth | None = None
        self.tabs = widgets.Tab()

    def _connect(self) -> None:
        self.on(self.metric, self._metric_changed)
        for control in self.filters.values():
            self.on(control, self._filtered)
        self.on(self.clear, self._set)
        self.on(self.heat_view, self._cell_clicked, trait="clicked")
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

        Raises `ValueError` if the clean photo is not known.
        """
        face = self.report.faces.iloc[number]
        name = scenes_of(self.report.faces).iloc[number]
        if name not in self._images:
            remedy = "give SceneExplorer(report, source=samples), the samples that were analysed"
            raise ValueError(f"{name}: expected its clean photo, got none; {remedy}")
        image = self._images[name]()
        if self.photo is None:
            self.photo = PhotoInDepth(self._predictor or Predictor())
            self.photo.errors = self.errors
            self.depth.children = [widgets.HTML(), self.photo]
        self.depth.children[0].value = f"<b>{html.escape(face['photo'])}</b>"
        prefix = "true_" if pd.isna(face["face"]) else ""
        left, top, right, bottom = (face[f"{prefix}{side}"] for side in ("left", "top", "right", "bottom"))
        height, width = image.shape[:2]
        self.photo.show(
            image,
            condition=face["condition"] if face["condition"] in CONDITIONS else None,
            severity=None if pd.isna(face["severity"]) else face["severity"],
            seed=None if pd.isna(face["seed"]) else int(face["seed"]),
            near=((left + right) / 2 / width, (top + bottom) / 2 / height),
        )
        self._open("One photo")

    def still(self) -> bytes:
        """The heat map as a JPEG, drawn without a browser."""
        return figures.heat_map(self.report, self.metric.value).to_bytes()

    def describe(self) -> str:
        """One line that says what is explored."""
        return f"SceneExplorer of {len(self.report)} photos"

    def _open(self, tab: str) -> None:
        self.tabs.selected_index = TABS.index(tab)

    def _kept(self) -> np.ndarray:
        """Which rows pass the filters and are selected, (n,) bool."""
        kept = self._passing()
        return kept if self._selected is None else kept & np.isin(np.arange(len(kept)), self._selected)

    def _passing(self) -> np.ndarray:
        """Which rows pass the filters, (n,) bool."""
        faces, value = self.report.faces, {name: one.value for name, one in self.filters.items()}
        kept = pd.Series(True, index=faces.index)
        if value["condition"] != ALL:
            kept &= faces["condition"].fillna(CLEAN) == value["condition"]
        if value["severity"] != ALL:
            kept &= faces["severity"] == value["severity"]
        if value["failures"] != ALL:
            kept &= faces["failures"].str.contains(value["failures"], regex=False, na=False)
        for name, sizes in (("yaw", faces["yaw"].abs()), ("size", faces["size"])):
            control = self.filters[name]
            if value[name] != (control.min, control.max):
                # A missed face has neither, and does not pass.
                kept &= sizes.between(*value[name])
        return kept.to_numpy()

    def _set(self, *, condition: str = ALL, severity: str | float = ALL) -> None:
        """Set all filters at once; those that are not given let every face pass."""
        yaw, size = ((control.min, control.max) for control in (self.filters["yaw"], self.filters["size"]))
        values = {"condition": condition, "severity": severity, "failures": ALL, "yaw": yaw, "size": size}
        with self.together():
            for name, value in values.items():
                self.filters[name].value = value
        self._filtered()

    def _filtered(self) -> None:
        self._selected = None
        self._follow()

    def _follow(self) -> None:
        """Draw what depends on the filters again, hidden tabs when they are opened."""
        self._stale = {"Charts", "Scatter", "Faces"}
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
            {"Charts": self._draw_charts, "Scatter": self._draw_scatter, "Faces": self._draw_faces}[name]()

    def _metric_changed(self) -> None:
        self._draw_heat()
        self._stale.add("Charts")
        self._draw_tab()

    def _draw_heat(self) -> None:
        self._grid = heat_grid(cells(self.report, self.metric.value))
        worse = METRICS[self.metric.value].more_is_worse
        self.heat = _heat_map(self._grid, title=title_of(self.metric.value), more_is_worse=worse)
        self.heat_view.show(self.heat)

    def _cell_clicked(self) -> None:
        line, column = self.heat_view.clicked[1]
        severity = self._grid.cells[line][column].severity
        # Real photos have no severity, and no filter for it.
        self._set(condition=self._grid.conditions[line], severity=ALL if np.isnan(severity) else severity)
        self._open("Faces")

    def _draw_charts(self) -> None:
        shown = replace(self.report, faces=self.report.faces[self._kept()])
        errors = []
        for picture, draw in zip(self.charts, (figures.line_chart, figures.violins), strict=True):
            try:
                picture.value = draw(shown, self.metric.value).to_bytes()
                picture.layout.display = None
            except ReportError as error:
                # The remaining faces have nothing that this chart shows.
                picture.layout.display = "none"
                errors.append(str(error))
        self.chart_errors.value = html.escape("; ".join(errors))

    def _draw_scatter(self) -> None:
        across, up = self._column(self.across.value), self._column(self.up.value)
        # Faces beside the lasso stay in the plot, so that the next lasso can be larger.
        shown = self._passing() & np.isfinite(across) & np.isfinite(up)
        conditions = self.report.faces["condition"].fillna(CLEAN)
        groups = {name: np.flatnonzero(shown & (conditions == name)) for name in present(conditions[shown])}
        self._points = list(groups.values())
        self.scatter = _scatter_plot(groups, across, up, titles=(self.across.value, self.up.value))
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

    def _card(self, number: int) -> GridFace:
        key = (number, self.overlay.value)
        if key not in self._pictures:
            picture = figures.face_picture(self.report, number, overlay=self.overlay.value, side=_THUMBNAIL)
            self._pictures[key] = jpeg(picture, quality=82)
        caption = figures.caption(self.report, number).replace("\n", "; ").rstrip("; ")
        title, _, text = caption.partition(": ")
        face = self.report.faces.iloc[number]
        bad = pd.isna(face["face"]) or self._nme[number] > FAILURE_NME
        return GridFace(number, self._pictures[key], title, text, face["photo"], bool(bad))

    def _column(self, name: str) -> np.ndarray:
        return self._nme if name == "true error" else self.report.faces[name].to_numpy(dtype=float)


def _heat_map(grid, *, title: str, more_is_worse: bool) -> go.Figure:
    """A heat map of means, darker where they are worse, with the number of faces in each cell."""

    def each(value: Callable) -> list[list]:
        return [[None if cell is None else value(cell) for cell in line] for line in grid.cells]

    def hover(cell) -> str:
        return "" if np.isnan(cell.low) else f"<br>95 % interval {cell.low:.2f} to {cell.high:.2f}"

    means = [cell.mean for line in grid.cells for cell in line if cell is not None]
    low, high = min(means), max(means)
    shades = np.linspace(0, 1, 17)
    heat = go.Heatmap(
        z=each(lambda cell: cell.mean),
        x=grid.severities,
        y=grid.conditions,
        text=each(lambda cell: f"<b>{cell.mean:.2f}</b><br>n = {cell.faces}"),
        texttemplate="%{text}",
        customdata=each(hover),
        hovertemplate="%{y} %{x}: %{z:.2f}%{customdata}<extra></extra>",
        hoverongaps=False,
        colorscale=[(at, figures.heat_colour(at, 0, 1, more_is_worse=more_is_worse)[0]) for at in shades],
        # With one value for all, its colour is a middle one.
        zmin=low if high > low else low - 0.3,
        zmax=high if high > low else low + 0.7,
        showscale=False,
        xgap=3,
        ygap=3,
    )
    axis = {"type": "category", "fixedrange": True, "showgrid": False, "ticks": ""}
    layout = {
        "title": {"text": f"<b>{title}</b>", "x": 0.01, "font": {"size": 13}},
        "width": 110 + 93 * len(grid.severities),
        "height": 70 + 47 * len(grid.conditions),
        "margin": {"l": 100, "r": 10, "t": 60, "b": 10},
        "xaxis": axis | {"side": "top"},
        "yaxis": axis | {"autorange": "reversed"},
        "dragmode": False,
    }
    return go.Figure(heat, layout)


def _scatter_plot(
    groups: dict[str, np.ndarray], across: np.ndarray, up: np.ndarray, *, titles: tuple[str, str]
) -> go.Figure:
    """A scatter plot of two columns, one colour per condition; a drag draws a lasso."""
    traces = [
        go.Scatter(
            x=across[rows],
            y=up[rows],
            name=name,
            mode="markers",
            marker={"color": figures.COLOURS[name], "size": 8, "opacity": 0.75},
            unselected={"marker": {"opacity": 0.15}},
            hovertemplate=f"{name}: %{{x:.3g}}, %{{y:.3g}}<extra></extra>",
        )
        for name, rows in groups.items()
    ]
    layout = {
        "height": 460,
        "autosize": True,
        "margin": {"l": 60, "r": 10, "t": 10, "b": 45},
        "template": "plotly_white",
        "xaxis": {"title": {"text": titles[0]}},
        "yaxis": {"title": {"text": titles[1]}},
        "legend": {"orientation": "h", "y": -0.14},
        "showlegend": True,
        "dragmode": "lasso",
    }
    return go.Figure(traces, layout)


def _metrics(report: SceneReport) -> list[tuple[str, str]]:
    """The metrics for which the report has numbers, with their titles."""
    found = [(title_of(name), name) for name in METRICS if values_of(report, name).notna().any()]
    if not found:
        raise ValueError(
            "SceneExplorer: expected a report with at least one face, got none; was anything found in the photos?"
        )
    return found


def _range(label: str, largest: int) -> widgets.IntRangeSlider:
    return widgets.IntRangeSlider(
        value=(0, largest), min=0, max=largest, description=label, layout={"width": "300px"}
    )


def _clean_images(source: Iterable[Sample]) -> dict[str, Callable[[], np.ndarray]]:
    """Functions that read the clean photos, by name."""
    images = {}
    for photo in scene_photos(source):
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
