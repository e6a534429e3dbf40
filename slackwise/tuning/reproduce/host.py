"""Sections 3 and 5.2 once more, with the work of the host in the steps of vLLM 0.7.2 (engine `vllm-0.7-host`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import product

from slackwise.simulator import Configuration
from slackwise.tuning.interval import Difference
from slackwise.tuning.outcome import run_windows
from slackwise.tuning.reproduce import paper
from slackwise.tuning.reproduce.ablation import HIGH, LOADS, METRICS, WORDS, differences, reductions, traffic, values
from slackwise.tuning.reproduce.finding import CHECK, Finding, Goal, Row, goal_over
from slackwise.tuning.reproduce.services import DECOUP, MONOLITH, ROUTING, Tuned, steps
from slackwise.tuning.reproduce.setting import COUNTS, LLAMA, Progress, Setting
from slackwise.tuning.reproduce.stages import best_widths, width_curve, width_goals
from slackwise.tuning.reproduce.throughput import Ratio, order, rates, ratio
from slackwise.tuning.reproduce.traffic import windows

PLAIN, HOST = "vllm-0.7", "vllm-0.7-host"
UNDER = ", with the host's work"


def host(setting: Setting, tuned: Tuned, progress: Progress) -> Finding:
    """The ablation on the same arrivals, the highest rates and the best tensor parallelism, with the host's work."""
    curve = width_curve(setting, LLAMA, HOST)
    rows: list[Row] = list(best_widths(curve))
    goals: list[Goal] = []
    gains: dict[str, float | None] = {}
    cells = list(product(COUNTS, LOADS))
    for at, model in enumerate(setting.models):
        found: dict[str, dict[str, Difference]] = {}
        for done, (count, load) in enumerate(cells):
            progress(f"{model}, {count}, load {load:g}", (at + done / len(cells)) / len(setting.models))
            found[f"{count}, load {load:g}"] = _cell(setting, model, count, load, rows)
        goals += _goals(model, found)
        most = _most(setting, model)
        gains[model] = most.value
        rows.append(_rate_row(setting, model, most))
    why = (
        "The speed of the host's work is that of one processor here, a layer without CUDA graphs costs what it did in "
        "2023, and rate and router of the paper stay unknown."
    )
    return Finding(tuple(rows), why, (*goals, order(gains, UNDER), *width_goals(curve, UNDER)))


def _cell(setting: Setting, model: str, count: str, load: float, rows: list[Row]) -> dict[str, Difference]:
    """One case of the ablation: adds its rows, gives what taking pools apart changes."""
    trace, objectives = traffic(setting, model, count, load), setting.objectives(model)
    outcomes = [run_windows([trace], each, objectives, setting.seed) for each in _as_run(setting, model).values()]
    pairs, case = list(differences(outcomes)), f"{model}, {count}, load {load:g}"
    main = (count, load) == (COUNTS[0], HIGH)
    rows += reductions(pairs, case, model, main) + values(outcomes, case, False)
    return next(each for name, _, each in pairs if name == DECOUP)


def _most(setting: Setting, model: str) -> Ratio:
    """ModServe's highest rate within the objectives over the monolith's."""
    services = {name: each for name, each in _as_run(setting, model).items() if name in (MONOLITH, ROUTING)}
    found = rates(setting, services, windows(setting, COUNTS[0]), setting.objectives(model))
    return ratio(found[ROUTING], found[MONOLITH])


def _rate_row(setting: Setting, model: str, most: Ratio) -> Row:
    what = f"{ROUTING}: highest rate over the monolith's"
    case = f"{model}, {COUNTS[0]}, {setting.gpus} GPUs, objectives x {setting.slo_factor:g}"
    return Row(what, case, most.value, "x", most.low, most.high, paper.THROUGHPUT[model], CHECK, True)


def _as_run(setting: Setting, model: str) -> dict[str, Configuration]:
    """The paper's steps with the host's work in those of vLLM 0.7."""
    return {name: _with_host(each) for name, each in steps(setting, model, setting.gpus).items()}


def _with_host(configuration: Configuration) -> Configuration:
    pools = tuple(replace(each, engine=HOST) if each.engine == PLAIN else each for each in configuration.cluster.pools)
    return replace(configuration, cluster=replace(configuration.cluster, pools=pools))


def _goals(model: str, cases: Mapping[str, dict[str, Difference]]) -> Iterator[Goal]:
    for metric in METRICS[:2]:
        what = f"{model}: {DECOUP} lowers {WORDS[metric]} everywhere{UNDER}"
        yield goal_over(what, {case: each[metric] for case, each in cases.items()})
