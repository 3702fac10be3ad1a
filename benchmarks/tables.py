"""The tables of a run: goals first, then ratios with their figures, by what was measured."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.goals import LARGE, MIB, Verdict, judge
from benchmarks.results import Figure, NotMeasured, Results
from benchmarks.suite.compose import EDGES, SERVICES
from benchmarks.suite.crowd import C_SERVICES, GO_SERVICES
from benchmarks.suite.remote import CALLERS

SIZES = {0: "0 B", 100: "100 B", 4096: "4 KiB", LARGE: "1 MiB"}
NOTHING = "–"

LOCAL = {
    "fused-c": "**fused**, C → C",
    "fused-go": "**fused**, Go → Go",
    "guarded-c": "**guarded**, C → C",
    "guarded-go": "**guarded**, Go → Go",
    "component": "composed components, `list<u8>`",
    "host": "bare Python host function, unchecked C API",
}
REMOTE = {
    "tcp": "bare TCP ping-pong in Python",
    "c": "**parigot**, C → C",
    "tls": "**parigot**, C → C, by TLS 1.3 as deployed",
    "go": "**parigot**, C → Go",
    "grpc-go": "grpc-go",
    "grpcio": "grpcio (Python)",
}
TYPED = {
    **{name: LOCAL[name] for name in ("fused-c", "fused-go", "guarded-c", "guarded-go")},
    "grpc-go": "grpc-go, two processes",
}


@dataclass(frozen=True)
class Table:
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def tables(results: Results) -> list[Table]:
    """All that say something: a cell that was not measured has a dash, rows and tables of dashes alone are left out."""
    measured = [
        make(results)
        for make in (
            _local,
            _typed,
            _remote,
            _throughput,
            _processes,
            _making,
            _images,
            _rebuilding,
            _starting,
            _compose,
        )
    ]
    filled = [
        Table(table.title, table.columns, [row for row in table.rows if set(row[1:]) != {NOTHING}])
        for table in measured
    ]
    return [goals(judge(results)), *(table for table in filled if table.rows)]


def goals(verdicts: Sequence[Verdict]) -> Table:
    return Table(
        "Goals",
        ("what", "goal", "figure", "least–greatest of the rounds", ""),
        [(one.goal.what, *_judged(one), f"**{one.word}**" if one.word != "met" else "met") for one in verdicts],
    )


def _judged(verdict: Verdict) -> tuple[str, str, str]:
    goal, figure = verdict.goal, verdict.figure

    def shown(value: float) -> str:
        return f"{value:.{goal.digits}f}"

    limit = f"{'≥' if goal.at_least else '≤'} {goal.limit:.{goal.digits}f}".rstrip("0").rstrip(".") + f" {goal.unit}"
    if goal.digits == 0:
        limit = f"{'≥' if goal.at_least else '≤'} {goal.limit:.0f} {goal.unit}"
    if figure is None:
        return limit, NOTHING, verdict.why
    return limit, f"{shown(figure.value)} {goal.unit}", f"{shown(figure.least)}–{shown(figure.greatest)}"


def _local(results: Results) -> Table:
    rows = [
        (label, *(_beside(results, f"local/{size}/{name}", f"local/{size}/component") for size in SIZES))
        for name, label in LOCAL.items()
    ]
    plain = _time(results, "local/plain")
    public = _beside(results, "local/100/public", "local/100/component")
    copies = _beside(results, f"local/{LARGE}/two-copies", f"local/{LARGE}/component")
    rows += [
        ("the limit: a plain wasm → wasm call, two copies", plain, NOTHING, NOTHING, copies),
        ("bare Python host function, public API", NOTHING, public, NOTHING, NOTHING),
        ("a reading of the clock: C", _time(results, "clock/guarded-c"), NOTHING, NOTHING, NOTHING),
        ("a reading of the clock: Go", _time(results, "clock/guarded-go"), NOTHING, NOTHING, NOTHING),
    ]
    return Table("Echo in one process: × composed components, and the time", ("", *SIZES.values()), rows)


def _typed(results: Results) -> Table:
    rows = [
        (label, _beside(results, f"typed/{name}", "typed/grpc-go"), _high(results, f"typed/{name}"))
        for name, label in TYPED.items()
    ]
    return Table(
        "A call with a protobuf message, both ways: × grpc-go, and the time", ("", "p50", "p99 of batches"), rows
    )


def _remote(results: Results) -> Table:
    rows = [
        (
            label,
            *(_beside(results, f"remote/{size}/{name}", f"remote/{size}/tcp") for size in SIZES),
            _high(results, f"remote/100/{name}"),
            _beside(results, f"apart/100/{name}", "apart/100/tcp"),
        )
        for name, label in REMOTE.items()
    ]
    columns = ("", *(f"{size}, p50" for size in SIZES.values()), "100 B, p99", "100 B, p50, a processor each")
    return Table("Echo between two processes on one processor: × bare TCP, and the time", columns, rows)


def _throughput(results: Results) -> Table:
    rows = [(label, *(_rate(results, callers, name) for callers in CALLERS)) for name, label in REMOTE.items()]
    columns = ("", *(f"{callers} caller{'s' if callers > 1 else ''}" for callers in CALLERS))
    return Table("100 B echoes a second, a processor for each side: × grpcio, and the number", columns, rows)


def _rate(results: Results, callers: int, name: str) -> str:
    series, reference = f"throughput/{callers}/{name}", f"throughput/{callers}/grpcio"

    def cell() -> str:
        shown = f"{1e9 / Figure.of(results[series].medians()).value:,.0f}"
        try:
            return f"{Figure.of(results.ratio(reference, series)).value:.1f}× · {shown}"
        except NotMeasured:
            return shown

    return _cell(cell)


def _processes(results: Results) -> Table:
    rows = [
        ("node with one C service", *_process(results, "start/c")),
        ("node with one Go service", *_process(results, "start/go")),
        (f"node with {C_SERVICES} C services", *_process(results, f"crowd/{C_SERVICES}/c", C_SERVICES)),
        (f"node with {GO_SERVICES} Go services", *_process(results, f"crowd/{GO_SERVICES}/go", GO_SERVICES)),
        ("grpc-go server", *_process(results, "start/grpc-go")),
        ("grpcio server", *_process(results, "start/grpcio")),
    ]
    return Table(
        "A process: from exec to ready (warm), and its memory then", ("", "ready", "memory", "of it, a service"), rows
    )


def _process(results: Results, name: str, services: int = 1) -> tuple[str, str, str]:
    def memory(share: int) -> Callable[[], str]:
        return lambda: f"{Figure.of(results[f'{name}/memory'].medians()).value / share / MIB:.1f} MiB"

    return _spread(results, f"{name}/ready"), _cell(memory(1)), _cell(memory(services))


def _making(results: Results) -> Table:
    names = {"service-c": "service in C", "service-go": "service in Go"}
    rows = [
        (
            label,
            *(_spread(results, f"build/{name}/{how}") for how in ("edit", "machine-code", "unchanged")),
            *(_size(results, f"size/{name}.{kind}") for kind in ("wasm", "cwasm")),
        )
        for name, label in names.items()
    ]
    server = _spread(results, "build/grpc-go/edit")
    rows.append(("grpc-go client and server", server, NOTHING, NOTHING, NOTHING, _size(results, "size/grpc-go")))
    columns = ("", "compiled after an edit", "precompiled", "unchanged", ".wasm", "machine code")
    return Table("Building, and what it makes", columns, rows)


def _size(results: Results, series: str) -> str:
    return _cell(lambda: f"{results[series].medians()[0] / 1024:,.0f} KiB")


def _images(results: Results) -> Table:
    own, whole = (_size(results, f"image/{name}") for name in ("own", "whole"))
    rows = [("examples/hello: two images", _spread(results, "image/build"), whole, own)]
    columns = ("", "built again", "an image", "of it, what no other image of the app has")
    return Table("Images", columns, rows)


def _compose(results: Results) -> Table:
    cells = [_spread(results, f"compose/{name}") for name in ("up", "first")]
    columns = ("", "`compose up --wait`, least–greatest", "the first one")
    return Table("Deployment", columns, [(f"{SERVICES} containers, {EDGES} networks", *cells)])


def _rebuilding(results: Results) -> Table:
    layers = (_size(results, f"image/layer/{name}") for name in ("base", "shim", "node"))
    times = (_spread(results, f"image/eleven/{how}") for how in ("unchanged", "edited", "compiler"))
    columns = ("", "nothing changed", "one edited", "its compiler alone", "base layer", "shim layer", "own layer")
    return Table("Images of eleven services in C; layers as they travel", columns, [("eleven", *times, *layers)])


def _starting(results: Results) -> Table:
    rows = [
        ("a service in C, until it is ready", _spread(results, "image/start/ready")),
        ("a Python that prints a line", _spread(results, "image/start/python")),
    ]
    return Table("A container, from `docker run` on", ("", "time"), rows)


def left_out(results: Results) -> Mapping[str, list[str]]:
    """The series that are missing, by reason."""
    reasons: dict[str, list[str]] = {}
    for series, why in results.missing.items():
        reasons.setdefault(why, []).append(series)
    return reasons


def time(nanoseconds: float) -> str:
    """In the unit that suits it."""
    for unit, size in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if nanoseconds >= size:
            return f"{_rounded(nanoseconds / size)} {unit}"
    return f"{_rounded(nanoseconds)} ns"


def _rounded(value: float) -> str:
    """To three digits, or to the unit."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _time(results: Results, series: str) -> str:
    return _cell(lambda: time(Figure.of(results[series].medians()).value))


def _spread(results: Results, series: str) -> str:
    def cell() -> str:
        figure = Figure.of(results[series].medians())
        return f"{time(figure.value)} ({time(figure.least)}–{time(figure.greatest)})"

    return _cell(cell)


def _beside(results: Results, series: str, reference: str) -> str:
    def cell() -> str:
        shown = time(Figure.of(results[series].medians()).value)
        try:
            return f"{_rounded(Figure.of(results.ratio(series, reference)).value)}× · {shown}"
        except NotMeasured:
            return shown

    return _cell(cell)


def _high(results: Results, series: str) -> str:
    return _cell(lambda: time(Figure.of(results[series].percentiles(99)).value))


def _cell(make: Callable[[], str]) -> str:
    try:
        return make()
    except NotMeasured:
        return NOTHING
