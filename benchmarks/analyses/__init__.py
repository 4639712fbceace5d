"""Measurements on finished runs that the runs do not take themselves, by name.

An analysis takes a run, the run it is compared with (or None) and the options of the experiment
that asks for it; what it returns is what a result cell holds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.analyses.agreement import agreement
from benchmarks.analyses.entropy_matching import entropy_matching
from benchmarks.analyses.finished_run import FinishedRun
from benchmarks.analyses.geometry import geometry
from benchmarks.analyses.mauve import mauve_scores
from benchmarks.analyses.measured import Measured
from benchmarks.analyses.rank_shift import rank_shift
from benchmarks.analyses.rivals import rivals
from benchmarks.analyses.static_injection import static_injection

__all__ = ["ANALYSES", "Analysis", "Measured"]

Analysis = Callable[[FinishedRun, FinishedRun | None, dict[str, Any]], Measured]

ANALYSES: dict[str, Analysis] = {
    "agreement": agreement,
    "entropy_matching": entropy_matching,
    "geometry": geometry,
    "mauve": mauve_scores,
    "rank_shift": rank_shift,
    "rivals": rivals,
    "static_injection": static_injection,
}
