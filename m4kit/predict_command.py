"""The command `m4kit predict`: a table of the faces, a page, and on request pictures and meshes."""

from __future__ import annotations

import argparse
import shutil
import warnings
from pathlib import Path

from m4kit.commands import (
    add_dask,
    add_detection,
    add_quiet,
    add_weights,
    complain,
    dask_executor,
    folder_argument,
    given_options,
    passed_over,
    path_argument,
    say,
    shows_progress,
)

_SHOWN = 20
"""Photos that could not be predicted and are named on the terminal; the table names all."""

_OPTIONS = ("threshold", "min_face", "passes", "views", "max_faces", "try_turns", "engine")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `m4kit predict`."""
    parser.description = (
        "Find the faces in photos. Writes to DIR: faces, a folder of parquet files with a row for each face; "
        "faces.csv, the same without landmarks and parameters; and index.html, a page that works offline."
    )
    parser.add_argument(
        "photos",
        nargs="+",
        type=path_argument,
        metavar="PHOTO_OR_FOLDER",
        help="photos, or folders of photos",
    )
    parser.add_argument(
        "--out",
        required=True,
        type=folder_argument,
        metavar="DIR",
        help="folder for the results, created if missing; only results of earlier runs are replaced in it",
    )
    parser.add_argument("--recursive", action="store_true", help="take the photos of subfolders, too")
    parser.add_argument(
        "--resume",
        action="store_true",
        help="continue an earlier run in DIR: its finished photos are kept (default: start again)",
    )
    parser.add_argument(
        "--overlay", action="store_true", help="draw landmarks, head pose and mesh over each photo"
    )
    parser.add_argument("--mesh", choices=("ply", "obj", "glb"), help="write each face's mesh in this format")
    add_weights(parser)
    add_detection(parser)
    parser.add_argument(
        "--try-turns",
        action="store_const",
        const=True,
        help="search photos without a face again, turned by 90, 270 and 180 degrees",
    )
    parser.add_argument("--passes", type=int, metavar="N", help="how often each face is cropped (default: 2)")
    parser.add_argument(
        "--views",
        type=int,
        metavar="N",
        help="average over 2 or 6 views of each crop: lower error, but slower (default: 1)",
    )
    parser.add_argument(
        "--engine", metavar="NAME", help="what runs the networks: int8 (default), onnx or torch"
    )
    add_dask(parser)
    add_quiet(parser)
    parser.set_defaults(
        run=predict, when_stopped="the results so far are in the folder of --out; --resume continues"
    )


def predict(options: argparse.Namespace) -> int:
    """Run `m4kit predict`; returns 1 if a photo could not be read, else 0."""
    from m4kit.files import OutputFolder
    from m4kit.images import ImageError, list_images
    from m4kit.photo_files import MESHES, OVERLAYS, PhotoFiles, check_apart, common_root
    from m4kit.predict_page import FILES, PAGES, write_pages
    from m4kit.predictor import predictor_with
    from m4kit.table_folder import TableFolder
    from m4kit.tabulation import fill_table

    photos, refused, noted = [], [], []
    for given in options.photos:
        try:
            # A file that is missing has a row of its own.
            photos += (
                list_images(given, recursive=options.recursive) if Path(given).is_dir() else [Path(given)]
            )
        except ImageError as error:
            refused.append(str(error))
    for line in () if options.quiet else passed_over(options.photos, recursive=options.recursive):
        complain("predict", line)
    if not photos:
        raise ImageError("\n  ".join(refused))
    if not any(photo.exists() for photo in photos):
        list_images(photos)
    chosen = given_options(options, *_OPTIONS) | {"network": options.weights}
    files = PhotoFiles(options.out, common_root(options.photos), options.overlay, options.mesh)
    folders = ["faces", PAGES, OVERLAYS, MESHES]
    check_apart(options.out, photos)
    output, predictor = OutputFolder(options.out, [*folders, *FILES], inputs=photos), predictor_with(chosen)
    try:
        with warnings.catch_warnings(record=True) as noted, output:
            warnings.simplefilter("always")
            table = TableFolder(options.out / "faces", predictor.settings, restart=not options.resume)
            try:
                with table, dask_executor(options) as executor:
                    for name in () if options.resume else folders[1:]:
                        shutil.rmtree(options.out / name, ignore_errors=True)
                    fill_table(
                        table,
                        photos,
                        predictor,
                        chosen,
                        executor=executor,
                        progress=shows_progress(options),
                        visit=files if files.overlay or files.mesh else None,
                    )
            except KeyboardInterrupt:
                write_pages(output, table.path, photos, files, predictor.model)
                raise
            page, unread = write_pages(output, table.path, photos, files, predictor.model)
        if not options.quiet:
            say(page)
    finally:
        # Nobody sees a warning in the middle of many photos.
        for message in dict.fromkeys(str(warning.message) for warning in noted):
            complain("predict", f"warning: {message}")
    if unread := refused + unread:
        more = [f"and {len(unread) - _SHOWN} more: faces.csv has all"] if len(unread) > _SHOWN else []
        complain("predict", "\n  ".join([f"not read: {len(unread)}", *unread[:_SHOWN], *more]))
    return int(bool(unread))
