"""The picture of where a step's time goes: one bar a batch, cut into its pieces, as SVG."""

from collections.abc import Sequence
from html import escape

from benchmarks.anatomy import PIECES
from benchmarks.records import Figure

__all__ = ["bars"]

COLOURS = ("#2468c8", "#78a8e8", "#b4541a", "#e0a060", "#3a8a5a", "#c5cfdb")  # of the pieces, in their order
LIGHT = COLOURS[1::2]
LEFT, WIDTH, BAR, GAP, TOP = 110, 640, 34, 22, 84


def bars(figures: Sequence[Figure]) -> str:
    """A bar for each row of figures, as long as all the others: its pieces are told as shares of a step."""
    rows = list(dict.fromkeys(figure.row for figure in figures))
    took = {(figure.row, figure.column): figure.measured.value for figure in figures}
    height = TOP + len(rows) * (BAR + GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 880 {height}" font-size="13" role="img" '
        "font-family=\"system-ui, -apple-system, 'Segoe UI', sans-serif\">",
        "<title>Where the time of a step goes</title>",
        f'<rect width="880" height="{height}" fill="#ffffff"/>',
        *(_legend(number, piece) for number, piece in enumerate(PIECES)),
    ]
    for number, row in enumerate(rows):
        parts += _bar(row, TOP + number * (BAR + GAP), {name: took[row, name] for name in ("a step", *PIECES)})
    return "\n".join([*parts, "</svg>"]) + "\n"


def _legend(number: int, piece: str) -> str:
    x, y = LEFT + number % 3 * 220, 24 + number // 3 * 24
    return (
        f'<rect x="{x}" y="{y - 11}" width="12" height="12" fill="{COLOURS[number]}"/>'
        f'<text x="{x + 18}" y="{y}" fill="#1c2733">{escape(piece)}</text>'
    )


def _bar(row: str, y: int, took: dict[str, float]) -> list[str]:
    whole = sum(max(took[piece], 0.0) for piece in PIECES)
    parts = [f'<text x="{LEFT - 10}" y="{y + 22}" text-anchor="end" fill="#1c2733">{escape(row)}</text>']
    x = float(LEFT)
    for piece, colour in zip(PIECES, COLOURS, strict=True):
        share = max(took[piece], 0.0) / whole
        tip = f"{escape(piece)}: {took[piece]:.2f} ms, {share:.0%}"
        parts.append(
            f'<rect x="{x:.1f}" y="{y}" width="{share * WIDTH:.1f}" height="{BAR}" fill="{colour}">'
            f"<title>{tip}</title></rect>"
        )
        if share > 0.06:
            ink = "#1c2733" if colour in LIGHT else "#ffffff"
            parts.append(f'<text x="{x + 6:.1f}" y="{y + 22}" fill="{ink}">{share:.0%}</text>')
        x += share * WIDTH
    parts.append(f'<text x="{LEFT + WIDTH + 10}" y="{y + 22}" fill="#4a5a6c">{took["a step"]:.1f} ms</text>')
    return parts
