"""What the fuzzing is to find is put there, and must be found."""

from __future__ import annotations

import mmap
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from api.media import DecodedImage
from engine.safetensors_header import SafetensorsHeader, TensorInfo
from scripts.fuzzing import judge as judging
from scripts.fuzzing.catalogue import ENTRIES, Check, Garbage
from scripts.fuzzing.findings import Findings, target_of
from scripts.fuzzing.judge import Judge
from scripts.fuzzing.ledger import Ledger
from scripts.fuzzing.memory import Growth, measure_growth
from scripts.fuzzing.report import markdown
from scripts.fuzzing.targets import image_file, image_text, json_body, safetensors_file, signed_text
from scripts.fuzzing.watch import Outcome, watched


def judged(folder: Path, check: Check, *inputs: bytes) -> tuple[Findings, Ledger]:
    (folder / "samples").mkdir()
    findings, ledger = Findings(folder / "found", "image_file"), Ledger(folder / "ledger")
    judge = Judge(check, ledger, findings, folder / "samples")
    for data in inputs:
        judge(data)
    return findings, ledger


def test_an_input_that_raises_is_kept_once_a_place(tmp_path: Path) -> None:
    def check(data: bytes) -> bool:
        return bool(data[7])

    findings, ledger = judged(tmp_path, check, b"ab", b"xyz", b"long enough")
    [file] = findings.files()
    assert file.read_bytes() == b"ab"
    assert "IndexError" in file.with_suffix(".txt").read_text()
    assert target_of(file) == "image_file"
    assert (ledger.read().ended, ledger.read().accepted) == (3, 1)


def test_a_slow_input_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging, "MAX_CPU_S", 0.02)

    def check(data: bytes) -> bool:
        end = time.process_time() + (0.05 if data == b"slow" else 0)
        while time.process_time() < end:
            pass
        return True

    findings, ledger = judged(tmp_path, check, b"quick", b"slow")
    assert [file.read_bytes() for file in findings.files()] == [b"slow"]
    assert ledger.read().slowest_s >= 0.05


def in_a_process(folder: Path, source: str) -> Findings:
    """Findings of a process that begins an input and then does as `source` says."""
    findings, path = Findings(folder / "found", "json_body"), folder / "ledger"
    program = (
        "import os, time; from pathlib import Path; from scripts.fuzzing.ledger import Ledger\n"
        f"ledger = Ledger(Path({str(path)!r})); ledger.begin(b'the input'); {source}"
    )
    ended = watched(
        [sys.executable, "-c", program], Ledger(path), findings, folder / "log", hang_s=0.5
    )
    assert ended == (not findings.files())
    return findings


def test_a_check_that_stands_still_is_ended_and_found(tmp_path: Path) -> None:
    [file] = in_a_process(tmp_path, "time.sleep(60)").files()
    assert file.read_bytes() == b"the input"
    assert file.with_suffix(".txt").read_text().startswith("hang")


def test_a_process_that_dies_leaves_its_input(tmp_path: Path) -> None:
    [file] = in_a_process(tmp_path, "os.abort()").files()
    assert file.read_bytes() == b"the input"


def test_a_process_that_ends_well_leaves_nothing(tmp_path: Path) -> None:
    assert in_a_process(tmp_path, "ledger.end(accepted=True, took_s=0)").files() == []


def test_memory_that_a_check_keeps_is_a_leak() -> None:
    kept: list[mmap.mmap] = []

    def leaking(data: bytes) -> bool:
        kept.append(mmap.mmap(-1, 2**18))  # pages that no freed heap can give
        kept[-1].write(data[:1] * 2**18)
        return True

    def tidy(data: bytes) -> bool:
        return len(data * 2**14) > 0

    inputs = [b"x" * (1 + index % 5) for index in range(50)]
    assert measure_growth(leaking, inputs, num_inputs=400, seconds=5).is_leak
    assert not measure_growth(tidy, inputs, num_inputs=400, seconds=5).is_leak


def test_accepted_garbage_is_found() -> None:
    with pytest.raises(Garbage, match="no Base64"):
        image_text.confirm("not Base64!", b"x")
    with pytest.raises(Garbage, match="other bytes"):
        image_text.confirm("YWJj", b"abd")
    with pytest.raises(Garbage, match="another parser"):
        json_body.confirm(b'{"a": 1}', {"a": 2})
    with pytest.raises(Garbage, match="another parser refuses"):
        json_body.confirm(b'{"a": 1', {"a": 1})
    header = SafetensorsHeader({"a": TensorInfo("F32", (3,), 12)}, {})
    file = safetensors_file.file_of(
        b'\1{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}'
    )
    with pytest.raises(Garbage, match="safetensors"):
        safetensors_file.confirm(header, file)
    opaque = DecodedImage(Image.new("RGBA", (9, 7), (0, 0, 0, 255)), None)
    with pytest.raises(Garbage, match="opaque"):
        image_file.confirm(opaque, image_file.seeds()[0][1:], is_reference=False)
    reference = DecodedImage(Image.new("RGB", (8, 8)), None)
    with pytest.raises(Garbage, match="declares"):
        image_file.confirm(reference, image_file.seeds()[0][1:], is_reference=True)


def test_a_signature_that_any_body_passes_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signed_text, "verify", lambda _fields, _key: None)
    with pytest.raises(Garbage, match="added later"):
        signed_text.confirm({"Action": "ListModels"})


@pytest.mark.parametrize("module", [image_file, image_text, json_body, safetensors_file])
def test_every_target_accepts_and_refuses_some_of_its_seeds(module, tmp_path: Path) -> None:
    check = module.open_check(tmp_path)
    assert {check(data) for data in module.seeds()} == {True, False}


def test_a_finding_or_a_leak_or_nothing_at_all_fails_the_run(tmp_path: Path) -> None:
    def outcome(inputs: int, growth: Growth | None, *findings: Path) -> Outcome:
        return Outcome(ENTRIES["json_body"], 1, inputs, 1, 0.0, 1.0, growth, findings)

    flat, rising = Growth([10**8] * 8, 10), Growth([10**8 + 10**7 * i for i in range(8)], 10)
    assert outcome(5, flat).is_clean
    assert not outcome(5, rising).is_clean
    assert not outcome(5, None).is_clean
    assert not outcome(0, flat).is_clean
    assert not outcome(5, flat, tmp_path).is_clean
    page = markdown([outcome(5, rising, tmp_path)], started_at="now", load="idle")
    assert "**leak**" in page
    assert "In all 5 inputs, 1 findings." in page
