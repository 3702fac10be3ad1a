"""
An image for linux/arm64 does what the one for this machine does: all that is in it is run, file by file, by qemu's user mode,
under which a program has that machine's processor and this one's kernel. Machines without qemu leave it out.
"""

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import wasmtime

from parigot_oci.base import distroless
from tests import guests
from tests.guests import ROOT
from tests.unpacking import Unpacked, unpacked


def emulator(machine: str) -> str:
    """ "" where there is none."""
    return shutil.which(f"qemu-{machine}-static") or shutil.which(f"qemu-{machine}") or ""


QEMU = emulator("aarch64")
pytestmark = pytest.mark.skipif(
    not QEMU or platform.machine() == "aarch64",
    reason="needs qemu-aarch64 (qemu-user), on another machine than arm64",
)


def built(folder: Path, example: str) -> Unpacked:
    """The image of an example, all in one."""
    app = folder / example
    shutil.copytree(
        ROOT / "examples" / example, app, ignore=shutil.ignore_patterns("build", ".parigot", "compose.yaml")
    )
    command = [sys.executable, "-m", "parigot_oci", "build", "--mode", "monolith", "--platform", "linux/arm64"]
    subprocess.run([*command, "--output", "images"], cwd=app, check=True, capture_output=True, timeout=300)
    (archive,) = (app / "images").glob("*.tar")
    return unpacked(archive)["linux/arm64"]


def run(image: Unpacked, root: Path) -> subprocess.CompletedProcess[str]:
    """As an engine on such a machine would, but as this user, and with no root folder of its own."""
    image.lay(root)
    said = image.config["config"]
    env = dict(entry.split("=", 1) for entry in said["Env"])
    env["PYTHONPATH"] = f"{root}{env['PYTHONPATH']}"
    python, *words = said["Entrypoint"]
    words = [f"{root}{word}" if word.startswith("/") else word for word in words]
    command = [QEMU, "-L", str(root), f"{root}{python}", *words]
    return subprocess.run(command, env=env, cwd=root / "app", capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.parametrize("example", ["hello", "detective"])
def test_its_image_for_arm64_prints_what_was_expected(tmp_path: Path, example: str) -> None:
    image = built(tmp_path, example)
    names = {name.removesuffix(".wasm") for name in image.files if name.endswith(".wasm")}
    assert {name.removesuffix(".cwasm") for name in image.files if name.endswith(".cwasm")} == names != set()
    done = run(image, tmp_path / "root")
    assert done.returncode == 0, done.stderr
    assert done.stdout == (ROOT / "examples" / example / "expected" / "stdout").read_text()
    assert "compiling now" not in done.stderr  # the machine code in the image is what ran


def test_what_qemu_compiles_is_to_the_byte_what_a_machine_compiles_itself(tmp_path: Path) -> None:
    """Shown with this machine's own code, which it can make in both ways."""
    base = distroless()
    assert base.interpreter is not None
    wasm = guests.c("relay")
    path = os.pathsep.join([str(ROOT), str(Path(wasmtime.__file__).parents[1])])
    for out, by in {"itself": [], "by-qemu": [emulator(platform.machine())]}.items():
        command = [*by, *base.interpreter.command, "-B", "-m", "shim", "compile", str(wasm), out]
        env = {**base.interpreter.env, "PYTHONPATH": path}
        subprocess.run(command, cwd=tmp_path, env=env, check=True, timeout=120)
    assert (tmp_path / "itself").read_bytes() == (tmp_path / "by-qemu").read_bytes()
