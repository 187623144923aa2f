"""The picture of ``llmrl plan --png`` (matplotlib)."""

from __future__ import annotations

from pathlib import Path
from typing import Dict, List, Sequence, Tuple

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.patches import Patch

from .plan_run import Outcome

# Okabe and Ito's colours, told apart by everybody; the same limit has the same in every panel.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000", "#999999")
_UNITS = ((2 * 86_400, 86_400, "days"), (2 * 3600, 3600, "hours"), (2 * 60, 60, "minutes"), (0, 1, "seconds"))


def draw(outcomes: Dict[str, Outcome], path: Path) -> None:
    """Draw the first outcome, and the completion of the others beside it. Raises OSError or ValueError if ``path`` cannot be written."""
    first = next(iter(outcomes.values()))
    span = max(first.seconds, 1e-9)
    scale, unit = next((scale, unit) for least, scale, unit in _UNITS if span >= least)
    figure, (completion, use, flight, waits) = plt.subplots(
        4, 1, figsize=(10, 9.5), sharex=True, layout="constrained", height_ratios=(3, 3, 1.6, 0.5)
    )
    for (name, outcome), style in zip(outcomes.items(), ("-", "--", "-.", ":") * len(outcomes)):
        times = [0.0] + sorted(done.finished / 1e9 / scale for done in outcome.done)
        completion.plot(
            *_thinned(times, list(range(len(times)))), linestyle=style, linewidth=2, label=name,
            color="#0072B2" if outcome is first else "#777777",
        )  # fmt: skip
    completion.set(ylabel="requests answered", ylim=(0, None), xlim=(0, span / scale))
    completion.set_title(f"{len(first.done):,} requests, {_said(first.seconds)}", loc="left", fontsize=12)
    if len(outcomes) > 1:
        completion.legend(frameon=False, fontsize=9, loc="lower right")
    colours = {name: COLOURS[index % len(COLOURS)] for index, (name, _) in enumerate(first.limits)}
    moments = [at / 1e9 / scale for at, _ in first.spent]
    for index, (name, state) in enumerate(first.limits):
        if not state.per:
            continue
        shares = [100 * spent[index] for _, spent in first.spent]
        use.plot(moments, shares, color=colours[name], linewidth=1.4, drawstyle="steps-post")
    use.axhline(100, color="#444444", linewidth=0.8, linestyle="--")
    use.set(ylabel="used up, %", ylim=(0, None))
    times, running = _running(first)
    slots = next((state.amount for _, state in first.limits if not state.per), 0)
    flight.plot([time / scale for time in times], running, color=colours["concurrency"], linewidth=1.2, drawstyle="steps-post")
    flight.axhline(slots, color="#444444", linewidth=0.8, linestyle="--")
    flight.set(ylabel="in flight", ylim=(0, None))
    for name in colours:
        bars = [(start / 1e9 / scale, (end - start) / 1e9 / scale) for start, end, limit in first.waits if limit == name]
        waits.broken_barh(_joined(bars, span / scale / 1000), (0, 1), color=colours[name], linewidth=0)
    waits.set(yticks=[], ylim=(0, 1), xlabel=unit)
    waits.set_ylabel("waits for", rotation=0, ha="right", va="center")
    waited = first.waited()
    patches = [
        Patch(color=colour, label=f"{name}: waited for {waited.get(name, 0.0) / span:.0%} of the time")
        for name, colour in colours.items()
    ]
    figure.legend(handles=patches, loc="outside lower center", ncols=min(3, len(patches)), frameon=False, fontsize=9)
    for panel in (completion, use, flight):
        panel.grid(True, color="#e4e4e4", linewidth=0.7)
        panel.set_axisbelow(True)
        panel.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _said(seconds: float) -> str:
    from .plan_table import clock

    return clock(seconds)


def _thinned(x: List[float], y: List[int]) -> "Tuple[List[float], List[int]]":
    """No more points than can be seen; the last one always."""
    step = max(1, len(x) // 4000)
    return x[::step] + x[-1:], y[::step] + y[-1:]


def _running(outcome: Outcome) -> "Tuple[List[float], List[int]]":
    """Requests in flight, whenever that changes: the most of each of the steps that can be seen."""
    changes = sorted([(done.admitted, 1) for done in outcome.done] + [(done.finished, -1) for done in outcome.done])
    width = max(1.0, outcome.seconds * 1e9 / 2000)
    times, most = [0.0], [0]
    running = 0
    for at, change in changes:
        running += change
        if at / 1e9 - times[-1] > width / 1e9:
            times.append(at / 1e9)
            most.append(running)
        else:
            most[-1] = max(most[-1], running)
    return times + [outcome.seconds], most + [running]


def _joined(bars: Sequence[Tuple[float, float]], gap: float) -> "List[Tuple[float, float]]":
    """Bars (start, length) without gaps that nobody can see."""
    joined: List[Tuple[float, float]] = []
    for start, length in bars:
        if joined and start - sum(joined[-1]) <= gap:
            joined[-1] = (joined[-1][0], start + length - joined[-1][0])
        else:
            joined.append((start, length))
    return joined
