"""Reads published data sets. m4kit ships none and downloads none.

    from m4kit import datasets

    samples = datasets.read_300w_lp("300W-LP.zip")
    samples = datasets.read("labels.csv", "csv")

Every reader takes the path of a folder or a `.zip`, which is read in place, and returns a tuple of `Sample`. Faces
whose files are missing or broken are left out, with one warning that counts and names them. A reader raises
`FileNotFoundError` if the path does not exist, and `DatasetError` if it holds no face or is no such data set.

A set may be hostile: no file is unpickled, none above 512 MB is read (`reading.MOST_BYTES`), and no name in a list or
a zip leads out of the set.
"""

from m4kit.datasets.crops import read_3ddfa_list, read_aflw_crops, read_youtube_faces
from m4kit.datasets.dlib import read_dlib_xml
from m4kit.datasets.matlab import read_300w_lp, read_aflw2000_3d
from m4kit.datasets.points import read_artistic_faces, read_folder, read_pts, read_txt
from m4kit.datasets.readers import READERS, WITH_LANDMARKS, read
from m4kit.datasets.sample import DatasetError, PublishedBox, Sample, warn_left_out
from m4kit.datasets.scenes import read_condition_folders, read_scene_table
from m4kit.datasets.split import HELD_OUT_PEOPLE, held_out
from m4kit.datasets.tables import read_csv
from m4kit.datasets.ufdd import read_ufdd

__all__ = [
    "HELD_OUT_PEOPLE",
    "READERS",
    "WITH_LANDMARKS",
    "DatasetError",
    "PublishedBox",
    "Sample",
    "held_out",
    "read",
    "read_3ddfa_list",
    "read_300w_lp",
    "read_aflw2000_3d",
    "read_aflw_crops",
    "read_artistic_faces",
    "read_condition_folders",
    "read_csv",
    "read_dlib_xml",
    "read_folder",
    "read_pts",
    "read_scene_table",
    "read_txt",
    "read_ufdd",
    "read_youtube_faces",
    "warn_left_out",
]
