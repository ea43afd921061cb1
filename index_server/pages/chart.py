"""A chart of ratios as inline SVG: one bar for each workload, beside a line at 1. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

_BAR, _GAP, _TOP = 14, 6, 26  # heights in pixels
_NAMES, _PLOT, _VALUES = 170, 420, 60  # widths in pixels
_MOST = 1.5  # the ratio at the right end


def ratio_chart(title: str, ratios: Sequence[tuple[str, float]], *, good: float, limit: float) -> str:
    """Return bars of ``ratios``, the lowest first. Below ``good`` a bar is better, above ``limit`` it is worse."""
    rows = sorted(ratios, key=lambda row: row[1])
    height = _TOP + len(rows) * (_BAR + _GAP)
    one = _NAMES + _PLOT / _MOST
    bars = []
    for number, (name, ratio) in enumerate(rows):
        y = _TOP + number * (_BAR + _GAP)
        width = min(ratio, _MOST) / _MOST * _PLOT
        colour = "bad" if ratio > limit else "good" if ratio < good else "dim"
        bars.append(
            f'<text x="{_NAMES - 8}" y="{y + 11}" text-anchor="end">{escape(name)}</text>'
            f'<rect x="{_NAMES}" y="{y}" width="{width:.1f}" height="{_BAR}" fill="var(--{colour})"/>'
            f'<text x="{_NAMES + width + 6:.1f}" y="{y + 11}">{ratio:.2f}</text>'
        )
    return (
        f'<div class="wide" tabindex="0"><svg width="{_NAMES + _PLOT + _VALUES}" height="{height}" role="img" '
        f'aria-label="{escape(title)}" font-size="11" fill="var(--ink)"><title>{escape(title)}</title>'
        f'<text x="{one:.1f}" y="12" text-anchor="middle">1.0: as many</text>{"".join(bars)}'
        f'<line x1="{one:.1f}" x2="{one:.1f}" y1="16" y2="{height}" stroke="var(--ink)" stroke-dasharray="3 3"/>'
        "</svg></div>"
    )
