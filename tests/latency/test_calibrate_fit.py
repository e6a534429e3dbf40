"""Fitting step costs: what it recovers, what outliers do to it, what it refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from slackwise.errors import InputError
from slackwise.latency.costs import step_seconds
from slackwise.latency.fit import fit_steps, predict, step_costs
from slackwise.latency.measured import Steps, read_steps
from slackwise.latency.profile import load_profile, profile, write_profile
from slackwise.streams import stream

TRUE = {
    "step": 8e-3,
    "slope": 60e-6,
    "knee": 6e-3,
    "kv": 80e-9,
    "attention": 2e-9,
    "encode_step": 2e-3,
    "encode_tile": 5e-3,
}


def rows() -> pd.DataFrame:
    """Decode at 5 batches and 4 contexts, prefill at 9 sizes, encode at 5, and mixed steps; exact seconds."""
    decode = [(b, b * c, 0, 0) for b in (1, 4, 16, 64, 128) for c in (128, 512, 2048, 8192)]
    prefill = [(0, 0, 2**k, 0) for k in range(5, 14)]
    encode = [(0, 0, 0, t) for t in (1, 2, 4, 8, 16)]
    mixed = [(b, b * 1024, p, 0) for b in (8, 64) for p in (256, 512, 2048)]
    table = pd.DataFrame(
        [*decode, *prefill, *encode, *mixed], columns=["decodes", "context_tokens", "prompt_tokens", "tiles"]
    )
    table["images"] = (table["tiles"] > 0).astype(int)
    table["seconds"] = predict(steps_of(table.assign(seconds=1.0)), TRUE)
    return table


def steps_of(table: pd.DataFrame) -> Steps:
    column: dict[str, Any] = {
        name: table[name].to_numpy(float) for name in ("decodes", "context_tokens", "prompt_tokens", "tiles")
    }
    pairs = column["prompt_tokens"] ** 2 / 2
    return Steps(**column, pairs=pairs, seconds=table["seconds"].to_numpy(float), source="test")


def written(folder: Path, table: pd.DataFrame) -> Path:
    path = folder / "steps.csv"
    table.to_csv(path, index=False)
    return path


def test_exact_measurements_give_back_the_constants(tmp_path: Path) -> None:
    fit = fit_steps(read_steps(written(tmp_path, rows())))
    assert dict(fit.constants) == pytest.approx(TRUE, rel=1e-3)
    assert fit.cross_validated_mape < 1e-3


@pytest.mark.parametrize("seed", range(4))
def test_steps_without_a_knee_are_fitted_by_a_line(seed: int) -> None:
    clean = replace(steps_of(rows()), seconds=predict(steps_of(rows()), {**TRUE, "knee": 0.0}))
    noise = stream(seed, "noise").lognormal(0, 0.03, len(clean.seconds))
    fit = fit_steps(replace(clean, seconds=clean.seconds * noise))
    assert np.abs(predict(clean, fit.constants) / clean.seconds - 1).mean() < 0.03


def test_noise_and_outliers_move_predictions_little() -> None:
    clean = steps_of(pd.concat([rows()] * 3, ignore_index=True))
    random = stream(0, "noise")
    seconds = clean.seconds * random.lognormal(0, 0.02, len(clean.seconds))
    outliers = random.choice(len(seconds), len(seconds) // 20, replace=False)
    seconds[outliers] *= 5
    fit = fit_steps(replace(clean, seconds=seconds))
    assert np.abs(predict(clean, fit.constants) / clean.seconds - 1).mean() < 0.02


def test_the_fitted_costs_answer_as_the_fit_predicts() -> None:
    steps = steps_of(rows())
    fit = fit_steps(steps)
    costs = step_costs(fit, kv_capacity_tokens=1000, load_s=1.0)
    answers = [
        step_seconds(costs.record, costs.linear_s, int(tokens), context, pairs, int(tiles), False)
        for tokens, context, pairs, tiles in zip(
            steps.tokens, steps.context_tokens, steps.pairs, steps.tiles, strict=True
        )
    ]
    assert answers == pytest.approx(predict(steps, fit.constants), rel=1e-4)


def test_the_cross_validated_error_is_above_the_one_in_sample() -> None:
    table = rows()
    noise = stream(1, "noise").lognormal(0, 0.1, len(table))
    fit = fit_steps(steps_of(table.assign(seconds=table["seconds"] * noise)))
    assert fit.cross_validated_mape > np.abs(fit.errors).mean()


@pytest.mark.parametrize(
    ("kept", "missing"),
    [
        (lambda t: t[t["prompt_tokens"] == 0], "steps with prompt tokens"),
        (lambda t: t[(t["decodes"] == 0)], "decode steps without prompt tokens"),
        (lambda t: t[t["tiles"].isin([0, 4])], "encoder steps with at least two numbers of tiles"),
        (lambda t: t[~t["prompt_tokens"].between(1, 2000)], "at least four prompt sizes"),
        (lambda t: t[(t["decodes"] == 0) | (t["context_tokens"] == 128)], "at least two context sizes"),
    ],
)
def test_missing_measurements_are_named(kept: object, missing: str) -> None:
    table = kept(rows())  # type: ignore[operator]
    with pytest.raises(InputError, match=f"not identifiable; missing measurements: .*{missing}"):
        fit_steps(steps_of(table))


def test_steps_that_shrink_with_context_are_refused() -> None:
    table = rows()
    table.loc[table["prompt_tokens"] == 0, "seconds"] /= 1 + table["context_tokens"] / 1e5
    table.loc[table["tiles"] > 0, "seconds"] = rows()["seconds"]
    shrunk = table["seconds"] * np.where((table["decodes"] > 0), 1 / (1 + table["context_tokens"] / 2e4), 1)
    with pytest.raises(InputError, match=r"not monotone: .* more context tokens"):
        fit_steps(steps_of(table.assign(seconds=shrunk)))


def test_an_encoder_alone_can_be_fitted() -> None:
    table = pd.concat([rows()] * 3)
    fit = fit_steps(steps_of(table[table["tiles"] > 0]))
    assert set(fit.constants) == {"encode_step", "encode_tile"}


def test_a_profile_on_disk_gives_the_same_costs(tmp_path: Path) -> None:
    fit = fit_steps(steps_of(rows()))
    path = tmp_path / "profile.json"
    write_profile(path, profile(fit, 5000, 30.0))
    loaded, direct = load_profile(path), step_costs(fit, 5000, 30.0)
    assert loaded.record == direct.record
    assert np.array_equal(loaded.linear_s, direct.linear_s)
    assert (loaded.kv_capacity_tokens, loaded.load_s) == (5000, 30.0)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": "other"}'])
def test_a_file_that_is_no_profile_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "profile.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"profile\.json"):
        load_profile(path)


def broken(column: str, value: Any) -> pd.DataFrame:
    """The rows with `value` in `column` of line 4."""
    table = rows().astype(object)
    table[column] = [value if line == 4 else each for line, each in enumerate(table[column], start=2)]
    return table


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        (broken("seconds", 0.0), "line 4: seconds must be positive, not 0"),
        (broken("seconds", -1.0), "line 4: seconds must be positive, not -1"),
        (broken("seconds", "fast"), "line 4: seconds is not a number: 'fast'"),
        (broken("decodes", float("nan")), "line 4: decodes is missing"),
        (broken("context_tokens", -5), "line 4: context_tokens must not be negative"),
        (broken("images", 2), "line 4: 2 images with 0 tiles"),
        (broken("decodes", 0), "line 4: context tokens without a decode"),
        (rows().drop(columns="tiles"), "no column tiles"),
        (rows().head(5), "5 rows are too few"),
        (rows().head(0), "0 rows are too few"),
        (rows().assign(gpu=["H100"] * 3 + ["A100"] * 37), "line 5: mixed gpu: 'A100' after 'H100'"),
    ],
)
def test_a_bad_file_is_refused_with_line_and_reason(tmp_path: Path, table: pd.DataFrame, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        read_steps(written(tmp_path, table))


def test_chunks_and_several_prompts_attend_as_they_do(tmp_path: Path) -> None:
    table = rows().assign(prompts=2, prompt_done_tokens=100)
    steps = read_steps(written(tmp_path, table))
    tokens = table["prompt_tokens"].to_numpy(float)
    assert steps.pairs == pytest.approx(tokens * (100 + tokens / 4))
