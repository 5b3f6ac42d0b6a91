"""Peers are found in a folder, which an argument or an environment variable names."""

import pytest

from m4kit.face_model import FaceModelError
from m4kit.peers import FOLDER, TddfaV2, load_peer, present_peers
from m4kit.peers.tddfa_v2 import BFM

from helpers.peer_files import write_tddfa_v2


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.delenv(FOLDER, raising=False)
    write_tddfa_v2(tmp_path)
    return tmp_path


def test_the_peers_whose_network_is_there_are_found(folder):
    (peer,) = present_peers(folder).values()
    assert isinstance(peer, TddfaV2)
    assert peer.name == "3ddfa-v2-mb05"


def test_the_environment_variable_names_the_folder(folder, monkeypatch):
    assert present_peers() == {}
    with pytest.raises(ValueError, match=f"give the folder .*{FOLDER}"):
        load_peer("3ddfa-v2-mb05")
    monkeypatch.setenv(FOLDER, str(folder))
    assert list(present_peers()) == ["3ddfa-v2-mb05"]
    assert load_peer("3ddfa-v2-mb05").name == "3ddfa-v2-mb05"


def test_an_empty_folder_has_none_and_no_folder_is_an_error(folder, tmp_path_factory):
    assert present_peers(tmp_path_factory.mktemp("empty")) == {}
    with pytest.raises(ValueError, match=f"nowhere is no folder.*{FOLDER}"):
        present_peers(folder / "nowhere")


def test_a_network_without_its_other_files_is_not_passed_over(folder):
    (folder / BFM).unlink()
    with pytest.raises(FaceModelError, match=f"{BFM}: .*no such file"):
        present_peers(folder)
