"""The experiments of the evidence bench, each in two files of its name.

`NAME.yaml` declares what is asked and what is run; `benchmarks.suite` reads it. `NAME.py` says how
the results are shown and judged; `VIEWS` lists these by the experiment's name.
"""

from __future__ import annotations

from dataclasses import replace

from benchmarks.domains import DOMAINS
from benchmarks.evidence.over_seeds import Evidence
from benchmarks.evidence.section import Finding, Section, Verdict, View
from benchmarks.experiments import (
    copying,
    data_order,
    data_quantity,
    data_source,
    domains,
    entropy_matching,
    geometry,
    learning_curve,
    longer,
    main,
    rank_shift,
    rivals,
    sharpness,
    static_injection,
    where_to_tune,
)

VIEWS: dict[str, View] = {
    "main": main.view,
    "learning_curve": learning_curve.view,
    "sharpness": sharpness.view,
    "copying": copying.view,
    "data_order": data_order.view,
    "data_source": data_source.view,
    "data_quantity": data_quantity.view,
    "entropy_matching": entropy_matching.view,
    "static_injection": static_injection.view,
    "rank_shift": rank_shift.view,
    "geometry": geometry.view,
    "where_to_tune": where_to_tune.view,
    "longer": longer.view,
    "rivals": rivals.view,
    "domains": domains.view,
}


def show(evidence: Evidence) -> Section:
    """The section of an experiment, with a finding "not measured" for a domain without any."""
    section = VIEWS[evidence.experiment.name](evidence)
    judged = {finding.domain for finding in section.findings}
    silent = [domain for domain in evidence.domains if not judged & {domain, "both"}]
    added = [
        Finding(
            domain=domain,
            verdict=Verdict.NOT_MEASURED,
            claim=None,
            sentence=f"{DOMAINS[domain].title}: not measured: none of the cells has what is "
            "compared.",
        )
        for domain in silent
    ]
    return replace(section, findings=[*section.findings, *added])
