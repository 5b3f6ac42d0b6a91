"""`SceneExplorer`: a scene report under a user's hands: where the system fails, whom, and why."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable
from dataclasses import replace

import ipywidgets as widgets
import numpy as np
import pandas as pd

from m4kit.conditions import CONDITIONS
from m4kit.datasets import Sample
from m4kit.datasets.scenes import CLEAN
from m4kit.explore.explorer import Explorer
from m4kit.explore.face_grid import FaceGrid, GridFace
from m4kit.explore.photo_in_depth import PhotoInDepth
from m4kit.explore.scene_chart import HeatCell, SceneChart
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
"""Faces that the gallery shows at once."""

ALL = "all"

TABS = ("Heat map", "Charts", "Scatter", "Faces", "One photo")

_THUMBNAIL = 150
_COLUMNS = (
    *("failure_probability", "true error", "head_spread", "flip_consistency", "jitter_consistency", "score"),
    *("edge_agreement", "identity_distance", "expression_distance", "sharpness", "contrast", "exposure"),
    *("clipped", "size", "turn", "yaw", "outside", "box_misfit", "crop_misfit", "pose_error", "severity"),
)


class SceneExplorer(Explorer):
    """A report to click through: heat map, charts, scatter, the faces worst first, and one photo in depth.

    - Filters (condition, severity, yaw, face size, failure) hold for charts, scatter and faces.
    - A click on a cell of the heat map, or a lasso in the scatter, shows the faces that it holds; a click on a face
      shows its photo in depth: clean and made worse side by side, under a slider, with both meshes in 3D.
    - `rows` are the rows of the report's faces that are shown, worst first; `choose(row)` does what a click does.

    `source` is what the report was made of: its clean photos are needed for the photo in depth, and for nothing else.
    `predictor` is by default the packaged one. `errors` lists what went wrong in callbacks; the explorer says it and
    goes on.
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
        self._make_filters()
        self.metric = widgets.Dropdown(options=_metrics(report), description="Metric")
        self.on(self.metric, self._draw_metric)
        self.heat, self.scatter = SceneChart(), SceneChart()
        self.heat.on_cell = self.guard(self._cell_clicked)
        self.scatter.on_point = self.guard(lambda number: self.choose(int(self._points[number])))
        self.scatter.on_lasso = self.guard(self._lassoed)
        picture = {"width": "100%", "max_width": "760px", "object_fit": "contain"}
        self.charts = [widgets.Image(format="jpeg", layout=picture) for _ in range(2)]
        self.chart_words = widgets.HTML()
        known = [name for name in _COLUMNS if np.isfinite(self._column(name)).any()]
        self.across = widgets.Dropdown(options=known, description="Across")
        self.up = widgets.Dropdown(
            options=known, description="Up", value="true error" if "true error" in known else None
        )
        for control in (self.across, self.up):
            self.on(control, self._draw_scatter)
        self.grid = FaceGrid()
        self.grid.on_click = self.guard(self.choose)
        self.overlay = widgets.Dropdown(options=figures.OVERLAYS, description="Overlay")
        self.page = widgets.BoundedIntText(1, min=1, max=1, description="Page", layout={"width": "160px"})
        self.count = widgets.HTML()
        for control in (self.overlay, self.page):
            self.on(control, self._draw_faces)
        self.depth = widgets.VBox([widgets.HTML(_asking(bool(self._images)))])
        self.photo: PhotoInDepth | None = None
        wrap = {"flex_flow": "row wrap", "align_items": "center"}
        pages = [
            widgets.VBox([widgets.HTML("Click a cell to see its faces."), self.heat]),
            widgets.VBox([self.chart_words, *self.charts]),
            widgets.VBox(
                [
                    widgets.HBox([self.across, self.up], layout=wrap),
                    widgets.HTML(
                        "Draw a lasso around faces, then see them under Faces; click one to see its photo."
                    ),
                    self.scatter,
                ]
            ),
            widgets.VBox([widgets.HBox([self.overlay, self.page, self.count], layout=wrap), self.grid]),
            self.depth,
        ]
        self.tabs = widgets.Tab(pages, titles=TABS)
        self.on(self.tabs, self._draw_tab, trait="selected_index")
        self.content = (
            widgets.HBox([self.metric, *self.filters.values(), self.clear], layout=wrap),
            self.tabs,
        )
        self._stale: set[str] = set()
        self.guard(self._draw_metric)()
        self.guard(self._follow)()

    @property
    def rows(self) -> np.ndarray:
        """The rows of the report's faces that the filters and the selection leave, (n,), worst first."""
        return self._worst[self._kept()[self._worst]]

    def select(self, rows: Iterable[int] | None) -> None:
        """Show only these rows of the report's faces, and the gallery; None shows all again."""
        self._selected = None if rows is None else np.asarray(list(rows), dtype=int)
        self._follow()
        if rows is not None:
            self.tabs.selected_index = TABS.index("Faces")

    def choose(self, row: int) -> None:
        """Show the photo of a row of the report's faces in depth.

        Raises `ValueError` where the clean photo is not known.
        """
        face = self.report.faces.iloc[row]
        name = scenes_of(self.report.faces).iloc[row]
        if name not in self._images:
            remedy = "give SceneExplorer(report, source=samples), the samples that were analysed"
            raise ValueError(f"{name}: expected its clean photo, got none; {remedy}")
        image = self._images[name]()
        if self.photo is None:
            self.photo = PhotoInDepth(self._predictor or Predictor())
            self.photo.errors = self.errors
            self.depth.children = [widgets.HTML(), self.photo]
        self.depth.children[0].value = f"<b>{html.escape(face['photo'])}</b>"
        word = "true_" if pd.isna(face["face"]) else ""
        sides = [face[f"{word}{side}"] for side in ("left", "top", "right", "bottom")]
        near = (sides[0] + sides[2]) / 2 / image.shape[1], (sides[1] + sides[3]) / 2 / image.shape[0]
        self.photo.show(
            image,
            condition=face["condition"] if face["condition"] in CONDITIONS else None,
            severity=None if pd.isna(face["severity"]) else face["severity"],
            seed=None if pd.isna(face["seed"]) else int(face["seed"]),
            near=near,
        )
        self.tabs.selected_index = TABS.index("One photo")

    def still(self) -> bytes:
        """The heat map as a JPEG, for readers without a kernel."""
        return figures.heat_map(self.report, self.metric.value).to_jpeg()

    def describe(self) -> str:
        """One line that says what is explored."""
        return f"SceneExplorer of {len(self.report)} photos"

    def _make_filters(self) -> None:
        faces = self.report.faces
        severities = sorted(faces["severity"].dropna().unique())
        labels = [label for label in RULES if self.report.failures[label]]
        slim = {"width": "230px"}
        self.filters = {
            "condition": widgets.Dropdown(
                options=[ALL, *present(faces["condition"])],
                description="Condition",
                layout=slim,
            ),
            "severity": widgets.Dropdown(
                options=[(ALL, ALL), *((f"{one:g}", one) for one in severities)],
                description="Severity",
                layout=slim,
            ),
            "failures": widgets.Dropdown(options=[ALL, *labels], description="Failure", layout=slim),
            "yaw": widgets.IntRangeSlider(
                value=(0, 90), min=0, max=90, description="|Yaw|", layout={"width": "300px"}
            ),
            "size": _size_slider(faces["size"]),
        }
        for control in self.filters.values():
            self.on(control, self._filtered)
        self.clear = widgets.Button(description="Show all", layout={"width": "auto"})
        self.on(self.clear, self._set)

    def _kept(self) -> np.ndarray:
        """Which rows the filters and the selection leave, (n,) bool."""
        kept = self._passing()
        return kept if self._selected is None else kept & np.isin(np.arange(len(kept)), self._selected)

    def _passing(self) -> np.ndarray:
        """Which rows the filters leave, (n,) bool."""
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
                # A missed face has neither, and is left out where one is asked for.
                kept &= sizes.between(*value[name])
        return kept.to_numpy()

    def _filtered(self) -> None:
        self._selected = None
        self._follow()

    def _set(self, *, condition: str = ALL, severity: str | float = ALL) -> None:
        """All filters at once, the others at what lets every face pass; everything follows once."""
        yaw, size = ((control.min, control.max) for control in (self.filters["yaw"], self.filters["size"]))
        values = {"condition": condition, "severity": severity, "failures": ALL, "yaw": yaw, "size": size}
        with self.together():
            for name, value in values.items():
                self.filters[name].value = value
        self._filtered()

    def _follow(self) -> None:
        """Whatever depends on the filters is drawn anew as soon as it is seen."""
        self._stale = {"Charts", "Scatter", "Faces"}
        self._count_faces()
        self._draw_tab()

    def _count_faces(self) -> None:
        number, chosen = len(self.rows), " in the lasso" * (self._selected is not None)
        self.count.value = f"{number} face{'s' * (number != 1)}{chosen}, worst first"
        self.page.max = max(1, -(-number // PAGE))
        self.page.value = 1

    def _draw_tab(self) -> None:
        name = TABS[self.tabs.selected_index or 0]
        if name in self._stale:
            self._stale.discard(name)
            {"Charts": self._draw_charts, "Scatter": self._draw_scatter, "Faces": self._draw_faces}[name]()

    def _draw_metric(self) -> None:
        self._draw_heat()
        self._stale.add("Charts")
        self._draw_tab()

    def _draw_heat(self) -> None:
        metric = self.metric.value
        self._places = heat_grid(cells(self.report, metric))

        def shown(cell) -> HeatCell:
            between = "" if np.isnan(cell.low) else f"95 % interval {cell.low:.2f} to {cell.high:.2f}"
            return HeatCell(cell.mean, f"{cell.mean:.2f}", f"n = {cell.faces}", between)

        self.heat.heat(
            title_of(metric),
            self._places.conditions,
            self._places.severities,
            [[cell and shown(cell) for cell in line] for line in self._places.cells],
            more_is_worse=METRICS[metric].more_is_worse,
        )

    def _cell_clicked(self, row: int, column: int) -> None:
        severity = self._places.cells[row][column].severity
        # Real photos have no severity; there is no filter for them but all.
        self._set(condition=self._places.conditions[row], severity=ALL if np.isnan(severity) else severity)
        self.tabs.selected_index = TABS.index("Faces")

    def _draw_charts(self) -> None:
        kept = self._kept()
        shown = replace(self.report, faces=self.report.faces[kept])
        lacking = []
        for picture, draw in zip(self.charts, (figures.line_chart, figures.violins), strict=True):
            try:
                picture.value = draw(shown, self.metric.value).to_jpeg()
                picture.layout.display = None
            except ReportError as error:
                # Among the faces that are left, none has what this chart shows.
                picture.layout.display = "none"
                lacking.append(str(error))
        self.chart_words.value = html.escape("; ".join(lacking))

    def _draw_scatter(self) -> None:
        across, up = self._column(self.across.value), self._column(self.up.value)
        # With what is beside the lasso, or the next one could only be smaller.
        self._points = np.flatnonzero(self._passing() & np.isfinite(across) & np.isfinite(up))
        conditions = self.report.faces["condition"].iloc[self._points].fillna(CLEAN)
        occurring = present(conditions)
        self.scatter.scatter(
            across[self._points],
            up[self._points],
            np.array([occurring.index(one) for one in conditions], dtype=np.uint8),
            [(one, figures.COLOURS[one]) for one in occurring],
            words=(self.across.value, self.up.value),
        )

    def _lassoed(self, numbers: list[int]) -> None:
        self._selected = self._points[numbers] if numbers else None
        # The scatter stays as it is, with its lasso.
        self._stale |= {"Faces", "Charts"}
        self._count_faces()

    def _draw_faces(self) -> None:
        first = PAGE * (self.page.value - 1)
        self._stale.discard("Faces")
        self.grid.show([self._card(int(row)) for row in self.rows[first : first + PAGE]])

    def _card(self, row: int) -> GridFace:
        key = (row, self.overlay.value)
        if key not in self._pictures:
            picture = figures.face_picture(self.report, row, overlay=self.overlay.value, side=_THUMBNAIL)
            self._pictures[key] = jpeg(picture, quality=82)
        title, _, words = figures.caption(self.report, row).replace("\n", "; ").rstrip("; ").partition(": ")
        face = self.report.faces.iloc[row]
        bad = pd.isna(face["face"]) or self._nme[row] > FAILURE_NME
        return GridFace(row, self._pictures[key], title, words, face["photo"], bool(bad))

    def _column(self, name: str) -> np.ndarray:
        return self._nme if name == "true error" else self.report.faces[name].to_numpy()


def _metrics(report: SceneReport) -> list[tuple[str, str]]:
    """The metrics that the report has numbers for, with their names."""
    found = [(title_of(name), name) for name in METRICS if values_of(report, name).notna().any()]
    if not found:
        raise ValueError(
            "SceneExplorer: expected a report with at least one face, got none; was anything found in the photos?"
        )
    return found


def _size_slider(sizes: pd.Series) -> widgets.IntRangeSlider:
    largest = int(np.ceil(sizes.max())) if sizes.notna().any() else 1
    return widgets.IntRangeSlider(
        value=(0, largest), min=0, max=largest, description="Size, px", layout={"width": "300px"}
    )


def _clean_images(source: Iterable[Sample]) -> dict[str, Callable[[], np.ndarray]]:
    """The clean photos by name, unread."""
    images = {}
    for photo in scene_photos(source):
        if photo.clean_image is not None:
            images[photo.clean] = photo.clean_image
        elif photo.severity is None:
            images[photo.name] = photo.image
    return images


def _asking(known: bool) -> str:
    if known:
        return "Click a face among the faces or in the scatter."
    return (
        "For this, give the samples that were analysed: <code>SceneExplorer(report, source=samples)</code>."
    )
