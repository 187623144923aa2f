"""Yield against the share of refusals, one panel for each scenario."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, Sequence

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from clients import CLIENTS
from matplotlib.lines import Line2D
from measure import Row
from scenarios import SCENARIOS

COLUMNS = 4
# Okabe and Ito's colours, told apart by everybody. Hollow marks of different shape and size: many points coincide.
STYLES: Dict[str, Dict[str, Any]] = {
    "libllmrl": dict(marker="o", color="#0072B2", markersize=9, markeredgewidth=2.4),
    "aiolimiter": dict(marker="s", color="#E69F00", markersize=7, markeredgewidth=1.6),
    "langchain": dict(marker="^", color="#009E73", markersize=8, markeredgewidth=1.6),
    "seed": dict(marker="v", color="#CC79A7", markersize=8, markeredgewidth=1.6),
    "seed1": dict(marker="D", color="#56B4E9", markersize=6, markeredgewidth=1.6),
    "naive": dict(marker="x", color="#D55E00", markersize=7, markeredgewidth=1.6),
    "oracle": dict(marker="+", color="#000000", markersize=13, markeredgewidth=1.0),
}


def draw(rows: Sequence[Row], path: Path) -> None:
    keys = [key for key in SCENARIOS if any(row.scenario == key for row in rows)]
    lines = -(-len(keys) // COLUMNS)
    figure, axes = plt.subplots(
        lines, COLUMNS, figsize=(13, 2.9 * lines), sharex=True, sharey=True, squeeze=False, layout="constrained"
    )
    for panel, key in zip(axes.flat, keys):
        panel.set_title(f"{key}: {SCENARIOS[key].title}", fontsize=10, loc="left")
        panel.grid(True, color="#e4e4e4", linewidth=0.7)
        panel.set_axisbelow(True)
        for row in rows:
            if row.scenario == key:
                x, y = 100 * row.refused, 100 * row.yielded
                panel.plot(x, y, linestyle="none", fillstyle="none", clip_on=False, **STYLES[row.client])
    for panel in axes.flat[len(keys) :]:
        panel.set_axis_off()
    axes[0, 0].set(xlim=(-4, 104), ylim=(-4, 106), xticks=range(0, 101, 25), yticks=range(0, 101, 25))
    figure.supxlabel("429 answers, % of all answers", fontsize=11)
    figure.supylabel("yield, % of the limit", fontsize=11)
    handles = [
        Line2D([], [], linestyle="none", fillstyle="none", label=CLIENTS[key].title, **style)
        for key, style in STYLES.items()
        if any(row.client == key for row in rows)
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), frameon=False, fontsize=11)
    figure.savefig(path, dpi=110)
    plt.close(figure)
