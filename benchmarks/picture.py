"""A picture of a run: how long a 100-byte echo takes, every way. SVG, written by hand: bars on a logarithmic scale."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from html import escape

from benchmarks.results import Figure, NotMeasured, Results
from benchmarks.tables import time

WIDTH, LEFT, RIGHT, BAR, GAP, TOP = 860, 300, 110, 22, 10, 56
OURS, THEIRS, INK, GRID = "#0b7285", "#adb5bd", "#212529", "#dee2e6"


@dataclass(frozen=True)
class Bar:
    label: str
    series: str
    ours: bool


BARS = (
    Bar("plain wasm → wasm call, no payload", "local/plain", False),
    Bar("fused, C → C", "local/100/fused-c", True),
    Bar("fused, Go → Go", "local/100/fused-go", True),
    Bar("composed components", "local/100/component", False),
    Bar("guarded, C → C", "local/100/guarded-c", True),
    Bar("guarded, Go → Go", "local/100/guarded-go", True),
    Bar("bare TCP in Python, two processes", "remote/100/tcp", False),
    Bar("remote, C → C", "remote/100/c", True),
    Bar("remote, C → C, by TLS", "remote/100/tls", True),
    Bar("remote, C → Go", "remote/100/go", True),
    Bar("grpc-go", "remote/100/grpc-go", False),
    Bar("grpcio (Python)", "remote/100/grpcio", False),
)


def draw(results: Results) -> str:
    """The picture; what was not measured is left out, and said to be."""
    found = [(bar, figure) for bar in BARS if (figure := _figure(results, bar.series)) is not None]
    height = TOP + (BAR + GAP) * len(BARS) + 40
    least = min((figure.least for _, figure in found), default=1.0)
    greatest = max((figure.greatest for _, figure in found), default=10.0)
    low, high = math.floor(math.log10(least)), math.ceil(math.log10(greatest))

    def x(value: float) -> float:
        return LEFT + (math.log10(value) - low) / max(1, high - low) * (WIDTH - LEFT - RIGHT)

    about = results.about
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        _text(16, 24, "A 100-byte echo and back, every way (logarithmic scale)", size=16),
        _text(16, 42, f"{about.get('processor', '')}, {str(about.get('date', ''))[:10]}", size=11),
    ]
    for power in range(low, high + 1):
        at = x(10.0**power)
        parts.append(f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{TOP}" y2="{height - 30}" stroke="{GRID}"/>')
        parts.append(_text(at, height - 12, _round(10.0**power), anchor="middle", size=11))
    for number, bar in enumerate(BARS):
        figure = _figure(results, bar.series)
        parts += _bar(bar, figure, TOP + number * (BAR + GAP) + GAP / 2, x)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _bar(bar: Bar, figure: Figure | None, y: float, x: Callable[[float], float]) -> list[str]:
    middle = y + BAR / 2
    label = _text(LEFT - 10, middle + 4, bar.label, anchor="end", weight="bold" if bar.ours else "normal")
    if figure is None:
        return [label, _text(LEFT + 6, middle + 4, "not measured", size=11)]
    end = x(figure.value)
    colour = OURS if bar.ours else THEIRS
    return [
        label,
        f'<rect x="{LEFT}" y="{y:.1f}" width="{max(1.0, end - LEFT):.1f}" height="{BAR}" fill="{colour}" rx="3"/>',
        f'<line x1="{x(figure.least):.1f}" x2="{x(figure.greatest):.1f}" y1="{middle:.1f}" y2="{middle:.1f}" stroke="{INK}"/>',
        _text(max(end, x(figure.greatest)) + 6, middle + 4, time(figure.value)),
    ]


def _figure(results: Results, series: str) -> Figure | None:
    try:
        return Figure.of(results[series].medians())
    except NotMeasured:
        return None


def _round(nanoseconds: float) -> str:
    """A power of ten, as it is said: 10 µs."""
    number, unit = time(nanoseconds).split()
    return f"{float(number):.0f} {unit}"


def _text(x: float, y: float, text: str, *, anchor: str = "start", size: int = 13, weight: str = "normal") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" font-weight="{weight}" '
        f'fill="{INK}">{escape(text)}</text>'
    )
