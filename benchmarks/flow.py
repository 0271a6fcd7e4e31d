"""Draw docs/flow.svg and docs/flow-dark.svg: a mutation's path through the log to both views and the subscribers.

Run it with `python -m benchmarks.flow`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

DOCS: Final = Path(__file__).parents[1] / "docs"
WIDTH, HEIGHT = 930, 250
ROWS: Final = (12, 97, 182)
LIGHT: Final = {
    "text": "#1f2328",
    "quiet": "#59636e",
    "line": "#818b98",
    "code": "#f6f8fa",
    "store": "#ddf4ff",
    "edge": "#0969da",
}
DARK: Final = {
    "text": "#f0f6fc",
    "quiet": "#9198a1",
    "line": "#656c76",
    "code": "#151b23",
    "store": "#121d2f",
    "edge": "#4493f8",
}


class Box(NamedTuple):
    """A named step or store."""

    title: str
    note: str
    x: int
    y: int
    width: int
    store: bool = False


BOXES: Final = (
    Box("mutation", "GraphQL", 14, ROWS[1], 96),
    Box("decide", "pure", 142, ROWS[1], 84),
    Box("append", "group commit", 258, ROWS[1], 104),
    Box("events", "MySQL, the log", 394, ROWS[1], 118, store=True),
    Box("projector", "mysql_users", 560, ROWS[0], 112),
    Box("projector", "mongo_users", 560, ROWS[1], 112),
    Box("change feed", "in each API", 560, ROWS[2], 112),
    Box("users", "MySQL view", 702, ROWS[0], 106, store=True),
    Box("users", "MongoDB view", 702, ROWS[1], 106, store=True),
    Box("subscribers", "WebSocket, SSE", 702, ROWS[2], 106),
)
BOX_HEIGHT: Final = 52
ANSWERS: Final = (("users", "user"), ("searchUsers",), ("userChanges",))


def drawn(colours: Mapping[str, str]) -> str:
    """The drawing in these colours, as SVG."""
    mutation, decide, append, events, *branches = BOXES
    middle = ROWS[1] + BOX_HEIGHT // 2
    parts = [
        _arrow(one.x + one.width, middle, two.x)
        for one, two in ((mutation, decide), (decide, append), (append, events))
    ]
    for row, left, right in zip(ROWS, branches[:3], branches[3:], strict=True):
        end = row + BOX_HEIGHT // 2
        start = events.x + events.width
        parts.append(f'<path d="M{start} {middle}H{start + 22}V{end}H{left.x - 7}"/>{_head(left.x, end)}')
        parts.append(_arrow(left.x + left.width, end, right.x))
        parts.append(_arrow(right.x + right.width, end, 836))
    parts += map(_box, BOXES)
    for row, names in zip(ROWS, ANSWERS, strict=True):
        first = row + BOX_HEIGHT // 2 + 4 - 8 * (len(names) - 1)
        parts += [
            f'<text class="answer" x="842" y="{first + 17 * line}">{name}</text>' for line, name in enumerate(names)
        ]
    parts += [
        f'<text class="note" x="{events.x + events.width // 2}" y="{ROWS[1] + 83 + 15 * line}">{note}</text>'
        for line, note in enumerate(("positions 1, 2, 3, …", "in the order of commits"))
    ]
    body = "\n".join(parts)
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">
<title>A mutation is decided and appended to the log. Two projectors and the change feed follow the log.</title>
<style>
text {{ font: 14px system-ui, "Segoe UI", "DejaVu Sans", sans-serif; fill: {colours["text"]}; text-anchor: middle }}
.note {{ font-size: 11px; fill: {colours["quiet"]} }}
.answer {{ font: 12px ui-monospace, "DejaVu Sans Mono", monospace; text-anchor: start }}
path {{ fill: none; stroke: {colours["line"]}; stroke-width: 1.5 }}
.head {{ fill: {colours["line"]}; stroke: none }}
.box {{ fill: {colours["code"]}; stroke: {colours["line"]} }}
.store {{ fill: {colours["store"]}; stroke: {colours["edge"]} }}
</style>
{body}
</svg>
"""


def _box(box: Box) -> str:
    centre = box.x + box.width // 2
    if box.store:
        half = box.width / 2
        shape = (
            f'<path class="store" d="M{box.x} {box.y}v{BOX_HEIGHT}a{half} 7 0 0 0 {box.width} 0v-{BOX_HEIGHT}"/>'
            f'<ellipse class="store" cx="{centre}" cy="{box.y}" rx="{half}" ry="7"/>'
        )
    else:
        shape = f'<rect class="box" x="{box.x}" y="{box.y}" width="{box.width}" height="{BOX_HEIGHT}" rx="6"/>'
    return (
        f'{shape}<text x="{centre}" y="{box.y + 25}">{box.title}</text>'
        f'<text class="note" x="{centre}" y="{box.y + 42}">{box.note}</text>'
    )


def _arrow(start: int, y: int, end: int) -> str:
    return f'<path d="M{start} {y}H{end - 7}"/>{_head(end, y)}'


def _head(x: int, y: int) -> str:
    return f'<path class="head" d="M{x - 9} {y - 4}l8 4l-8 4z"/>'


if __name__ == "__main__":
    (DOCS / "flow.svg").write_text(drawn(LIGHT))
    (DOCS / "flow-dark.svg").write_text(drawn(DARK))
