"""
What has to be made before anything can be measured: guests in C and Go, their machine code, and the alternative in Go.

All of it is made from sources of this folder by the compilers of the project's environment (or those on PATH), into one
folder, and made again when the sources have changed. The Go module proxy is asked for the modules of `alternatives/grpc_go`.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmarks.results import NotMeasured
from benchmarks.speaker import ROOT, environment
from parigot_oci.errors import ParigotError
from parigot_oci.model import App, Build, Guest, Tool
from parigot_oci.sources import build
from parigot_oci.toolchains import go

HERE = Path(__file__).parent
SOURCES: Mapping[str, tuple[Tool, Path]] = {
    "driver-c": ("zig", HERE / "guests" / "driver"),
    "service-c": ("zig", HERE / "guests" / "service"),
    "driver-go": ("go", HERE / "guests" / "go" / "driver"),
    "service-go": ("go", HERE / "guests" / "go" / "service"),
}
GRPC_GO = HERE / "alternatives" / "grpc_go"
LIMIT = 600.0
"""Seconds that a compiler may take, downloads included."""


class Workshop:
    """The folder where things are made. Each is made when it is first asked for, and its failure is remembered."""

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        self.folder = folder.resolve()
        self._say = say
        self._failed: dict[str, str] = {}

    def wasm(self, name: str) -> Path:
        """The module of one of SOURCES. Raises NotMeasured: it cannot be compiled here."""
        tool, source = SOURCES[name]
        return self._made(name, lambda: self.compile(name, tool, source))

    def compile(self, name: str, tool: Tool, source: Path) -> Path:
        """As `parigot-oci run` does, where it has to be. Raises ParigotError."""
        guest = Guest(
            name=name, kind="service", wasm=self.folder / f"{name}.wasm", build=Build(tool=tool, source=source)
        )
        app = App(name="bench", file=self.folder / "parigot.yaml", start=(name,), guests={name: guest})
        build(guest, app, self._say)
        return guest.wasm

    def compiled(self, name: str) -> Path:
        """The machine code of one of SOURCES, as images have it. Raises NotMeasured."""
        return self.precompiled(self.wasm(name))

    def precompiled(self, wasm: Path) -> Path:
        """The machine code of a module. Raises NotMeasured."""
        digest = hashlib.sha256(wasm.read_bytes()).hexdigest()[:16]
        path = self.folder / "compiled" / f"{wasm.stem}-{digest}.cwasm"
        if not path.exists():
            path.parent.mkdir(mode=0o700, exist_ok=True)
            _command([sys.executable, "-m", "shim", "compile", str(wasm), str(path)], ROOT, environment())
        return path

    def grpc_go(self) -> Path:
        """The program of alternatives/grpc_go. Raises NotMeasured."""
        return self._made("grpc_go", self._grpc_go)

    def _grpc_go(self) -> Path:
        folder = self.folder / "grpc_go"
        sources = [path for path in sorted(GRPC_GO.iterdir()) if path.is_file()] + [HERE / "proto" / "bench.proto"]
        digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()
        program, made_of = folder / "program", folder / "made_of"
        if program.exists() and made_of.exists() and made_of.read_text() == digest:
            return program
        self._say("compiling grpc-go: its modules come from the Go module proxy")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for path in sources:
            shutil.copy(path, folder)
        compiler, settings = native_go()
        plugin = folder / "protoc-gen-go"
        command = [compiler, "build", "-o", str(plugin), "google.golang.org/protobuf/cmd/protoc-gen-go"]
        _command(command, folder, settings)
        protoc = [sys.executable, "-m", "grpc_tools.protoc", "-I.", f"--plugin={plugin}", "--go_out=."]
        _command([*protoc, "--go_opt=module=bench/grpc", "bench.proto"], folder, environment())
        _command([compiler, "build", "-trimpath", "-o", str(program), "."], folder, settings)
        made_of.write_text(digest)
        return program

    def _made(self, name: str, make: Callable[[], Path]) -> Path:
        if name not in self._failed:
            try:
                return make()
            except (ParigotError, NotMeasured) as error:
                self._failed[name] = f"{name} cannot be made here: {error}"
        raise NotMeasured(self._failed[name])


def native_go() -> tuple[str, Mapping[str, str]]:
    """The compiler of guests in Go, and the environment in which it makes programs of this machine. Raises ParigotError."""
    found = go.find(os.environ.get("PATH", ""))[0].resolve()
    kept_out = {"GOOS", "GOARCH", "GOFLAGS", "GOWORK"}
    inherited = {key: value for key, value in os.environ.items() if key not in kept_out}
    return str(found), {**inherited, "GOROOT": str(found.parent.parent), "GOWORK": "off", "CGO_ENABLED": "0"}


def _command(command: Sequence[str], folder: Path, settings: Mapping[str, str]) -> None:
    """Raises NotMeasured."""
    try:
        done = subprocess.run(
            command, cwd=folder, env=settings, capture_output=True, text=True, timeout=LIMIT, check=False
        )
    except subprocess.TimeoutExpired:
        raise NotMeasured(f"{' '.join(command[:2])} takes longer than {LIMIT:.0f} s") from None
    if done.returncode:
        raise NotMeasured(f"{' '.join(command[:3])}: {done.stderr.strip()[-500:]}")
