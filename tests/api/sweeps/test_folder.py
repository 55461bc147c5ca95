"""What is painted outlives the process, and no other sweep gets into its folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from api.sweeps.folder import SweepRefused, open_sweep_folder, read_manifest

IDENTITY = {"axes": "a", "settings": "s"}


def claimed(path: Path, identity: dict[str, str] = IDENTITY) -> list[int]:
    with open_sweep_folder(path) as folder:
        return list(folder.claim(identity, 5))


def paint(path: Path, *indexes: int) -> None:
    with open_sweep_folder(path) as folder:
        folder.claim(IDENTITY, 5)
        for index in indexes:
            folder.add(index, b"picture %d" % index, seed=5, seconds=1.5, parameters={"a": 1})


def test_what_was_painted_is_found_again(tmp_path: Path) -> None:
    paint(tmp_path / "new" / "sweep", 3, 1)
    with open_sweep_folder(tmp_path / "new" / "sweep") as folder:
        painted = folder.claim(IDENTITY, 5)
        assert list(painted) == [3, 1]
        assert (folder.path / painted[3].file).read_bytes() == b"picture 3"
        assert (painted[1].seed, painted[1].seconds, painted[1].parameters) == (5, 1.5, {"a": 1})


@pytest.mark.parametrize("torn", [b'{"index": 2, "fi', b"\xff\xfe", b"[]\n", b'{"index": 2}\n'])
def test_a_line_that_a_crash_has_torn_counts_for_nothing(tmp_path: Path, torn: bytes) -> None:
    paint(tmp_path, 0)
    with (tmp_path / "painted.jsonl").open("ab") as log:
        log.write(torn)
    assert claimed(tmp_path) == [0]
    paint(tmp_path, 1)
    assert claimed(tmp_path) == [0, 1]


def test_a_picture_without_its_line_or_other_than_its_line_is_painted_again(tmp_path: Path) -> None:
    paint(tmp_path, 0, 1, 2)
    (tmp_path / "images" / "0001.png").write_bytes(b"pict")
    (tmp_path / "images" / "0002.png").unlink()
    (tmp_path / "images" / "0003.png").write_bytes(b"picture 3")
    assert claimed(tmp_path) == [0]


def test_other_arguments_are_refused_and_named(tmp_path: Path) -> None:
    paint(tmp_path, 0)
    with pytest.raises(SweepRefused, match=r"another sweep: settings differ; choose another"):
        claimed(tmp_path, {**IDENTITY, "settings": "other"})
    assert claimed(tmp_path) == [0]


def test_a_folder_of_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "holiday.png").write_bytes(b"")
    with pytest.raises(SweepRefused, match="holds other files"), open_sweep_folder(tmp_path):
        pass
    assert [each.name for each in tmp_path.iterdir()] == ["holiday.png"]


@pytest.mark.parametrize(
    "content", [b"{", b"[]", b'{"seed": 1}', b'{"seed": 1, "identity": 2}', b"\xff"]
)
def test_a_damaged_manifest_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(SweepRefused, match=r"manifest\.json"):
        read_manifest(tmp_path)


def test_one_process_at_a_time(tmp_path: Path) -> None:
    with (
        open_sweep_folder(tmp_path),
        pytest.raises(SweepRefused, match="another process"),
        open_sweep_folder(tmp_path),
    ):
        pass
    assert claimed(tmp_path) == []


def test_a_start_that_was_killed_at_once_leaves_a_folder_that_can_be_used(tmp_path: Path) -> None:
    with open_sweep_folder(tmp_path):
        pass
    (tmp_path / ".manifest.json.partial").write_bytes(b"{")
    assert claimed(tmp_path) == []
