"""Experiment 8: is hyperfitting more than a lower temperature? (P2)

Greedy decoding cannot change with the temperature, so P2's comparison cannot fail. The one that can
samples both models at equal entropy.
"""

from __future__ import annotations

from benchmarks.plots import dot_plot
from benchmarks.views.draw import dot_rows
from benchmarks.views.groups import Evidence, Value, is_above
from benchmarks.views.section import DOMAINS, Judged, Section, TableRow, make_table, settle
from benchmarks.views.words import number, told
from common.metric_names import metric_label

NAMES = {
    "original-greedy": "original, greedy",
    "original-at-1": "original, T = 1",
    "original-at-matched": "original, T matched",
    "hyperfitted-greedy": "hyperfitted, greedy",
    "hyperfitted-at-1": "hyperfitted, T = 1",
    "hyperfitted-at-matched": "hyperfitted, T matched",
}


def view(evidence: Evidence) -> Section:
    findings, figures, tables = [], [], []
    for domain in evidence.domains:
        for group in evidence.with_metric(domain, "temperature/original"):
            needed = {
                "TTR of the original at matched entropy": group.decoded(
                    "original-at-matched", "ttr"
                ),
                "TTR of the hyperfitted, sampled": group.decoded("hyperfitted-at-1", "ttr"),
                "matching temperature": group.value("temperature/original"),
                "entropy": group.value("entropy_nats/hyperfitted"),
            }
            findings.append(settle(domain, needed, _rule, covered=domain == "text"))
            rows = dot_rows(
                (label, [group.decoded(name, "ttr"), group.decoded(name, "rep_4")])
                for name, label in NAMES.items()
            )
            ttr = metric_label(group.ttr_name())
            if rows:
                figures.append(
                    dot_plot(
                        rows,
                        title=f"{DOMAINS[domain]}: variety and repetition at equal entropy",
                        description="type-token ratio and rep-4 of each way of decoding",
                        x_label="share of tokens, of 4-grams",
                        legend=(ttr, "rep-4"),
                    )
                )
            metrics = [group.ttr_name(), "rep_2", "rep_4", "self_bleu_4", "overlap_tokens"]
            table = []
            for name, label in NAMES.items():
                stage, _, decoding = name.partition("-")
                matched = decoding == "at-matched"
                entropy = group.value(f"entropy_nats/{stage}{'-matched' * matched}")
                temperature = group.value(f"temperature/{stage}") if matched else "1"
                shown = [group.decoded(name, metric) for metric in metrics]
                greedy = decoding == "greedy"
                table.append(
                    TableRow(label=label, cells=["any" if greedy else temperature, entropy, *shown])
                )
            columns = ["T", "entropy (nats)", *(metric_label(metric) for metric in metrics)]
            tables.append(make_table(DOMAINS[domain], columns, table))
    return Section(
        rule="Agrees when, sampled at equal entropy, the hyperfitted model has a higher type-token "
        "ratio than the original; contradicts when it has a lower one.",
        findings=findings,
        figures=figures,
        tables=tables,
        notes=["T matched: each model at the temperature that gives it the other's entropy."],
    )


def _rule(original: Value, hyperfitted: Value, temperature: Value, entropy: Value) -> Judged:
    return [is_above(hyperfitted, original)], (
        f"sampled at equal entropy ({told(entropy)} nats, the original at T = "
        f"{number(temperature.mean)}) the type-token ratio is {told(original)} for the original "
        f"and {told(hyperfitted)} for the hyperfitted model"
    )
