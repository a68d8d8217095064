"""The picture in the report on which lines, zones and ground points are clicked; drawing.js is its script."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from tilery.report import Report

SCRIPT = Path(__file__).with_name("drawing.js")
PROPOSED = "No lines were given: these were proposed from where the road users went. "
STYLE = """
[data-drawing] .sheet{position:relative}
[data-drawing] .sheet svg{position:absolute;inset:0;width:100%;height:100%;cursor:crosshair;touch-action:none}
[data-drawing] svg .line{stroke:#ffd60a;fill:none}
[data-drawing] svg .zone{stroke:#4cc9f0;fill:#4cc9f033}
[data-drawing] svg .ground{stroke:#ff5d8f;fill:none}
[data-drawing] svg circle[class]{fill:#0008;cursor:move;pointer-events:all}
[data-drawing] svg text.line{fill:#ffd60a;stroke:#000}[data-drawing] svg text.zone{fill:#4cc9f0;stroke:#000}
[data-drawing] svg text.ground{fill:#ff5d8f;stroke:#000}
[data-drawing] svg text{paint-order:stroke;font-weight:600;pointer-events:none;font-family:system-ui,sans-serif}
[data-drawing] .tools{display:flex;flex-wrap:wrap;gap:8px 18px;align-items:center;margin:14px 0 6px}
[data-drawing] input:not([type=radio]),[data-drawing] textarea,[data-drawing] button{font:inherit;font-size:.93rem;
color:inherit;background:var(--page);border:1px solid var(--line);border-radius:6px;padding:4px 10px}
[data-drawing] button{cursor:pointer}[data-drawing] button:disabled{opacity:.5;cursor:default}
[data-drawing] textarea{width:100%;font:.88rem/1.5 ui-monospace,SFMono-Regular,Menlo,monospace}
[data-drawing] td input{width:9em}
@media print{[data-drawing] [data-role=tools]{display:none}}
"""


def drawing(
    report: Report,
    png: bytes,
    size: tuple[int, int],
    *,
    run_id: str,
    lines: Mapping[str, Sequence[Sequence[float]]],
    proposed: bool,
    zones: Mapping[str, Sequence[Sequence[float]]],
    calibration: Mapping[str, Any] | None,
) -> None:
    """Add the section to the report. `png` shows the frame of `size` (full width and height), maybe smaller.

    `calibration` is the option as JSON; of one that was given as a homography there are no points to draw.
    """
    given = calibration or {}
    pairs = zip(given.get("points", []), given.get("metres", []), strict=True)
    state = {
        "run": run_id,
        "size": size,
        "lines": lines,
        "proposed": proposed,
        "zones": zones,
        "points": [{"at": at, "metres": [f"{value:g}" for value in metres]} for at, metres in pairs],
        "origin": {"origin": given["origin"]} if given.get("origin") else {},
    }
    picture = base64.b64encode(png).decode()
    modes = "".join(
        f"<label><input type=radio name=mode value={value}{' checked' if value == 'line' else ''}> {label}</label>"
        for value, label in (("line", "Counting line"), ("zone", "Zone"), ("ground", "Ground point"))
    )
    html = (
        f'<div data-drawing="{escape(json.dumps(state))}"><div class=sheet>'
        f'<img src="data:image/png;base64,{picture}" width="{size[0]}" height="{size[1]}" '
        'alt="The background: what is there most of the time">'
        f'<svg viewBox="0 0 {size[0]} {size[1]}" role="img" aria-label="Lines, zones and ground points"></svg></div>'
        f"<div data-role=tools hidden><div class=tools>{modes}"
        '<label>Name <input data-role=name maxlength=40 placeholder="chosen for you"></label>'
        "<button type=button data-role=close>Close the zone</button><button type=button data-role=undo>Undo</button></div>"
        "<p class=note data-role=hint></p><table><tbody data-role=shapes></tbody></table>"
        '<p><textarea data-role=text rows=4 readonly aria-label="Command"></textarea></p>'
        "<p><button type=button data-role=copy>Copy the command</button> <span class=note data-role=copied></span></p></div>"
        f"<p class=note>{PROPOSED if proposed else ''}Side A of a line is behind its arrow, side B before it. The command "
        "counts again with what you drew; it reuses the detections, no frame is looked at again. Of a folder of "
        "<code>tilery run</code>, add <code>--root</code> and that folder.</p></div>"
    )
    heading = "Draw your own lines, zones and ground points"
    report.block(heading, html, style=STYLE, script=SCRIPT.read_text())
