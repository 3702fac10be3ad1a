"""Another program is run in bounds, and nothing of it stays behind."""

import os
import sys
import time
from pathlib import Path

import pytest

from parigot_oci.process import KEPT, OutOfTimeError, run

HERE = Path(__file__).parent


def python(code: str, *, seconds: float = 60, memory: int = 0) -> list[object]:
    finished = run([sys.executable, "-c", code], cwd=HERE, env={}, seconds=seconds, memory=memory)
    return [finished.code, finished.output, finished.errors]


def test_exit_endedand_both_streams_are_given() -> None:
    assert python("import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)") == [3, "out\n", "err\n"]


def test_the_environment_is_what_was_given_and_stdin_is_empty() -> None:
    code = "import os, sys; print('PATH' in os.environ, repr(sys.stdin.read()))"
    assert python(code) == [0, "False ''\n", ""]


def test_more_output_than_is_kept_keeps_nobody_waiting() -> None:
    _code, output, _errors = python(f"import sys; sys.stdout.write('x' * {3 * KEPT})")
    assert output == "x" * KEPT


def test_a_program_out_of_time_is_ended_with_its_children_and_its_last_words_are_known(tmp_path: Path) -> None:
    script = "sleep 600 & echo $! >pid; echo started >&2; wait"
    with pytest.raises(OutOfTimeError, match="not done after 2 s") as caught:
        run(["/bin/sh", "-c", script], cwd=tmp_path, env={"PATH": os.defpath}, seconds=2)
    assert caught.value.errors == "started\n"
    pid = int((tmp_path / "pid").read_text())
    state = Path(f"/proc/{pid}/stat")
    assert not state.exists() or state.read_text().split()[2] == "Z"


def test_a_child_left_behind_is_ended_with_its_parent() -> None:
    child = "import time; time.sleep(600)"
    _code, output, _errors = python(
        f"import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', {child!r}]).pid, flush=True)"
    )
    state = Path(f"/proc/{int(str(output))}/stat")
    end = time.monotonic() + 5  # it has been killed, and may not have had the processor since
    while state.exists() and state.read_text().split()[2] != "Z":
        assert time.monotonic() < end
        time.sleep(0.01)


def test_memory_beyond_the_limit_is_refused() -> None:
    code = """
import resource, time
end = time.monotonic() + 30
while resource.getrlimit(resource.RLIMIT_DATA)[0] == resource.RLIM_INFINITY and time.monotonic() < end:
    time.sleep(0.01)
print(len(bytearray(1 << 29)))
"""
    ended, _output, errors = python(code, memory=1 << 28)
    assert ended == 1
    assert "MemoryError" in str(errors)
    assert python(code, memory=1 << 32) == [0, f"{1 << 29}\n", ""]


def test_a_program_that_is_not_there_cannot_be_started(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        run([tmp_path / "nothing"], cwd=tmp_path, env=os.environ, seconds=5)
