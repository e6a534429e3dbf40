"""Runs of several seeds: one after another in this process, or each as a task on another machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from slackwise.files import written_whole
from slackwise.traces import Split
from slackwise.tuning.ray_workers import RayTasks
from slackwise.tuning.training.environments import parts
from slackwise.tuning.training.evaluation import Floats
from slackwise.tuning.training.run import check_folder, open_folder, train
from slackwise.tuning.training.settings import Settings
from slackwise.tuning.training.watch import Say

Files = dict[str, bytes]
"""Path within a folder -> content."""


def run_away(
    settings: Settings,
    seed: int,
    split: Split,
    before: Files,
    resume: bool,
    against: Mapping[str, Floats],
    width: int,
) -> tuple[dict[str, Any], Files, list[str]]:
    """`train` on the machine of a cluster: its result, the files that it leaves, and what it said.

    The folder begins with the files `before`. Its episodes are tasks of the same cluster.
    """
    said: list[str] = []
    with TemporaryDirectory() as place:
        folder = Path(place) / "run"
        _unpack(folder, before)
        result = train(settings, seed, folder, said.append, resume, against, RayTasks(width), split)
        return result, _packed(folder), said


def run_on_cluster(
    settings: Settings,
    seeds: Sequence[int],
    out: Path,
    say: Say,
    resume: bool,
    against: Mapping[str, Floats],
    tasks: RayTasks,
) -> list[dict[str, Any]]:
    """Train with every seed, all of them under way at once; folders are written when a run is done.

    Nothing hangs on where a run took place: the same seed leaves what it leaves on this machine. Raises InputError as
    `train`.
    """
    split = parts(settings)
    folders = [out / f"seed-{seed}" for seed in seeds]
    for seed, folder in zip(seeds, folders, strict=True):
        check_folder(settings, seed, folder, resume)
    shared = tasks.keep(split)
    begun = [
        tasks.begin(run_away, settings, seed, shared, _packed(folder), resume, against, tasks.width)
        for seed, folder in zip(seeds, folders, strict=True)
    ]
    results = []
    for seed, folder, waiting in zip(seeds, folders, begun, strict=True):
        result, files, said = waiting()
        _unpack(folder, files)
        open_folder(settings, seed, folder)
        for line in said:
            say(f"seed {seed}: {line}")
        results.append(result)
    return results


def _packed(folder: Path) -> Files:
    found = sorted(path for path in folder.rglob("*") if path.is_file()) if folder.exists() else []
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def _unpack(folder: Path, files: Files) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        with written_whole(folder / name) as part:
            part.write_bytes(content)
