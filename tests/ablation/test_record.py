"""The file format of study records."""

import numpy as np
import pandas as pd
import pytest

from m4kit.ablation.record import RecordError, RecordFormat, reshaped

FORMAT = RecordFormat("tea study", 2, ("leaf", "minutes", "taste"), ("kettle",), "m4kit brew")
COLUMNS = {
    "leaf": ["assam", None],
    "minutes": [4, 3],
    "taste": [np.array([0.5, np.nan], np.float16), np.array([], np.float16)],
}


@pytest.fixture
def path(tmp_path):
    return FORMAT.write(tmp_path / "deep" / "record.parquet", COLUMNS, {"kettle": [1, {"two": None}]})


def changed(path, change):
    table = pd.read_parquet(path)
    change(table)
    table.to_parquet(path)
    return path


def test_a_record_is_read_as_it_was_written(path):
    table, about = FORMAT.read(path)
    assert about == {"kettle": [1, {"two": None}]}
    assert table["leaf"].isna().tolist() == [False, True]
    assert table["minutes"].tolist() == [4, 3]
    np.testing.assert_array_equal(table["taste"][0], COLUMNS["taste"][0])
    assert [taste.dtype for taste in table["taste"]] == [np.float16] * 2
    assert [file.name for file in path.parent.iterdir()] == ["record.parquet"]


def test_missing_columns_and_metadata_are_named(path):
    with pytest.raises(RecordError, match=r"record\.parquet: .* but taste, kettle are missing"):
        FORMAT.read(changed(path, lambda table: (table.pop("taste"), table.attrs.pop("kettle"))))


def test_another_version_is_an_error(path):
    with pytest.raises(RecordError, match=r"version 2.*, got version 99; write it again with `m4kit brew`"):
        FORMAT.read(changed(path, lambda table: table.attrs.update(version=99)))


def test_the_record_of_another_study_is_an_error(path):
    with pytest.raises(RecordError, match=r"a record of the tea study .*, got another parquet file"):
        FORMAT.read(changed(path, lambda table: table.attrs.update(format="coffee study")))
    with pytest.raises(RecordError, match="got another parquet file"):
        FORMAT.read(changed(path, lambda table: table.attrs.clear()))


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.9])
def test_a_truncated_file_is_an_error(path, share):
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(
        RecordError, match=r"record\.parquet: expected a record .* a file that cannot be read"
    ):
        FORMAT.read(path)


def test_a_missing_file_is_an_error_with_the_command_that_writes_one(tmp_path):
    with pytest.raises(RecordError, match=r"none\.parquet: no such record; write one with `m4kit brew`"):
        FORMAT.read(tmp_path / "none.parquet")


def test_values_of_another_shape_are_an_error():
    assert reshaped("tea", "cups", np.arange(6), (2, 3)).shape == (2, 3)
    with pytest.raises(RecordError, match=r"tea: expected cups of shape \(2, 2\), got 6 numbers"):
        reshaped("tea", "cups", np.arange(6), (2, 2))
