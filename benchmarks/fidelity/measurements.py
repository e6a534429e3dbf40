"""Step-time measurements of engines: the rows of a csv, with the work that each row's step does."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from slackwise.errors import InputError
from slackwise.latency.catalogue import record
from slackwise.latency.model import Language, Vision, load_model, models
from slackwise.latency.work import LanguageWork, VisionWork, language_work, vision_work

COLUMNS = ["gpu", "model", "tp", "engine", "phase", "batch", "prompt_tokens", "total_new_tokens", "context", "ms"]
GPUS = {"A100-SXM-80GB": "A100-80GB", "H100-SXM-80GB": "H100", "H200-SXM": "H200"}
ENGINES = {"vLLM 2023": "vllm-2023", "PyTorch": "torch", "vllm": "vllm", "trtllm": "trtllm"}
"""Beginning of the engine column -> engine generation of the package."""

IGNORED_WORDS = {"meta", "instruct", "chat", "hf", "base", "it"}


@dataclass(frozen=True)
class Measurements:
    """Rows of one kind (LLM steps or encoder steps) as parallel arrays, shape (n,)."""

    table: pd.DataFrame  # the rows, with columns gpu, engine (package names), stage, family
    work: LanguageWork | VisionWork  # array fields
    tokens: NDArray[np.float64]  # tokens of the step; tiles when it encodes
    pairs: NDArray[np.float64]  # prefill attention, new token times context token
    kv_tokens: NDArray[np.float64]  # KV tokens that decodes read
    seconds: NDArray[np.float64]


def read(path: Path) -> tuple[pd.DataFrame, dict[str, int]]:
    """Rows of `path` that can be scored, under the package's names, and the number skipped by reason.

    Adds `stage` (the phase) and `family` (rows whose models differ in vocabulary alone share one).
    Raises InputError for an unreadable file, missing columns, times or counts that are not positive, or no usable row.
    """
    table = _checked(path)
    table["gpu"] = table["gpu"].map(lambda name: GPUS.get(name, ""))
    table["profile"] = table["engine"].map(_engine)
    table["stage"] = table["phase"]
    table["family"] = [_family(name, phase) for name, phase in zip(table["model"], table["phase"], strict=True)]
    reasons = {"unknown GPU": table["gpu"] == "", "unknown engine": table["profile"] == ""}
    reasons["unknown model"] = table["family"] == ""
    usable = ~np.logical_or.reduce([np.asarray(each) for each in reasons.values()])
    if not usable.any():
        raise InputError(f"{path}: no row with a known GPU, engine and model")
    skipped = {reason: int(each.sum()) for reason, each in reasons.items() if each.any()}
    return table[usable].reset_index(drop=True), skipped


def language_rows(table: pd.DataFrame) -> Measurements:
    """The LLM steps of `table`."""
    rows = table[table["stage"] != "encode"].reset_index(drop=True)
    keys = zip(rows["model"], rows["tp"], rows["stage"], strict=True)
    works = [_row_work(model, int(tp), stage) for model, tp, stage in keys]
    chunk = rows["stage"].str.extract(r"^mixed(\d+)$", expand=False).astype(float).fillna(0).to_numpy()
    prompts = np.where(rows["stage"] == "prefill", rows["batch"] * rows["prompt_tokens"] ** 2, 0)
    decodes = ((rows["stage"] == "decode") | (chunk > 0)).to_numpy()
    return Measurements(
        table=rows,
        work=LanguageWork(**{each.name: _column(works, each.name) for each in fields(LanguageWork)}),
        tokens=rows["total_new_tokens"].to_numpy(float) + chunk,
        pairs=np.asarray((prompts + chunk**2) / 2, dtype=float),
        kv_tokens=np.where(decodes, rows["batch"] * rows["context"], 0).astype(float),
        seconds=rows["ms"].to_numpy(float) / 1e3,
    )


def encoder_rows(table: pd.DataFrame) -> Measurements:
    """The encoder steps of `table`: context = patches of an image, batch = images."""
    rows = table[table["stage"] == "encode"].reset_index(drop=True)
    keys = zip(rows["model"], rows["context"], rows["tp"], strict=True)
    works = [_image_work(model, int(patches), int(tp)) for model, patches, tp in keys]
    zeros = np.zeros(len(rows))
    return Measurements(
        table=rows,
        work=VisionWork(**{each.name: _column(works, each.name) for each in fields(VisionWork)}),
        tokens=rows["batch"].to_numpy(float),
        pairs=zeros,
        kv_tokens=zeros,
        seconds=rows["ms"].to_numpy(float) / 1e3,
    )


def subset(measurements: Measurements, mask: NDArray[np.bool_]) -> Measurements:
    """The rows where `mask` holds."""
    work = measurements.work
    parts = {each.name: getattr(work, each.name)[mask] for each in fields(work)}
    arrays = {name: getattr(measurements, name)[mask] for name in ("tokens", "pairs", "kv_tokens", "seconds")}
    table = measurements.table[mask].reset_index(drop=True)
    return Measurements(table=table, work=type(work)(**parts), **arrays)


def language(name: str) -> Language | None:
    """The dimensions of the text model called `name`, None if unknown."""
    return _languages().get(_folded(name))


def encoder(name: str) -> Vision | None:
    """The vision encoder of the package's model that begins `name`, None if unknown."""
    folded = _folded(name)
    return next((load_model(each).vision for each in models() if folded.startswith(_folded(each))), None)


def _checked(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_csv(path)
    except (OSError, ValueError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: {' '.join(str(error).split())}") from None
    missing = [name for name in COLUMNS if name not in table.columns]
    if missing:
        raise InputError(f"{path}: no column {', '.join(missing)}; needed are {', '.join(COLUMNS)}")
    for name in ("tp", "batch", "total_new_tokens", "ms", "prompt_tokens", "context"):
        numbers = pd.to_numeric(table[name], errors="coerce").to_numpy(float)
        positive = name not in ("prompt_tokens", "context")
        bad = ~(np.isfinite(numbers) & ((numbers > 0) if positive else (numbers >= 0)))
        if bad.any():
            line, wanted = int(np.argmax(bad)) + 2, "positive" if positive else "0 or more"
            raise InputError(f"{path} line {line}: {name} must be {wanted}, not {table[name].iloc[line - 2]}")
        table[name] = numbers
    return table.astype({"tp": int, "batch": int})


def _engine(name: str) -> str:
    return next((profile for beginning, profile in ENGINES.items() if str(name).startswith(beginning)), "")


def _family(name: str, phase: str) -> str:
    if phase == "encode":
        return _folded(name) if encoder(name) else ""
    found = language(name)
    return str(replace(found, vocab=0)) if found else ""


@cache
def _languages() -> dict[str, Language]:
    document = tomllib.loads(Path(__file__).with_name("architectures.toml").read_text(encoding="utf-8"))
    entries = [(each["names"], record(Language, each["language"], str(each["names"]))) for each in document["model"]]
    return {_folded(name): dimensions for names, dimensions in entries for name in names}


def _folded(name: str) -> str:
    words = re.split(r"[^a-z0-9]+", str(name).rpartition("/")[2].lower())
    return "".join(word for word in words if word not in IGNORED_WORDS)


@cache
def _row_work(name: str, tensor_parallel: int, stage: str) -> LanguageWork:
    """Work of a row's model; `dense_ops` rows have neither output table nor all-reduces."""
    found = language(name)
    assert found is not None, name
    work = language_work(found, tensor_parallel)
    if stage == "dense_ops":
        return replace(work, head_bytes=0.0, reduced_bytes_per_token=0.0, reduces=0, ring_steps=0)
    return work


@cache
def _image_work(name: str, patches: int, tensor_parallel: int) -> VisionWork:
    found = encoder(name)
    assert found is not None, name
    params = next(load_model(each).connector_params for each in models() if load_model(each).vision == found)
    return vision_work(found, patches, params, tensor_parallel)


def _column(works: list[LanguageWork] | list[VisionWork], name: str) -> NDArray[np.float64]:
    return np.array([getattr(work, name) for work in works], dtype=float)
