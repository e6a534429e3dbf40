"""A configuration survives TOML, and a bad file is one line that names what is wrong."""

from __future__ import annotations

import re
import tomllib
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from slackwise.errors import InputError
from slackwise.policies.winner import Winner, write_winner
from slackwise.simulator import PRESETS, disaggregated, preset
from slackwise.simulator.configuration_file import (
    configuration_from,
    read_configuration,
    read_faults,
    read_tuned,
    write_toml,
)
from slackwise.simulator.faults import Fault, Faults

MODEL = "Llama-3.2-11B-Vision"
WHOLE = """
name = "mine"
[cluster]
link = "tcp"
servers = 3
preprocess_workers = 16
placement = "spread"
image_size = [448, 672]
[[cluster.pools]]
stages = "E"
instances = 4
engine = "transformers"
[[cluster.pools]]
stages = "PD"
instances = 2
tensor_parallel = 4
[policies]
encode_routing = "least_image_tokens"
encode_batching = "fcfs"
chunking = { name = "per_image", knobs = { fan_out = "none" } }
routing = "least_requests"
batching = { name = "least_slack", knobs = { aging = 0.5 } }
"""


def read(folder: Path, text: str) -> object:
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return read_configuration(path, MODEL, "A100-80GB", 16)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_comes_back_from_its_toml(name: str) -> None:
    written = preset(name, "InternVL2.5-26B", "H100", 32)
    assert configuration_from(tomllib.loads(write_toml(written)), MODEL, "A100-80GB", 16) == written


def test_provisioning_is_read_and_written_back(tmp_path: Path) -> None:
    path, more = tmp_path / "mine.toml", 'provisioning = "gain_cost"\n[provisioning]\ngpu_cap = 20\nstart_s = 30\n'
    path.write_text(WHOLE.replace("instances = 2", "instances = 2\nmost = 3") + more, encoding="utf-8")
    found = read_configuration(path, MODEL, "A100-80GB", 16)
    assert (found.provisioning.gpu_cap, found.provisioning.start_s, found.provisioning.least) == (20, 30, 1)
    assert [pool.ceiling for pool in found.cluster.pools] == [4, 3]
    assert found.policies.provisioning.name == "gain_cost"
    assert configuration_from(tomllib.loads(write_toml(found)), MODEL, "A100-80GB", 16) == found


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("gpu_kap = 20", "unknown key of provisioning 'gpu_kap': did you mean 'gpu_cap'?"),
        ("gpu_cap = 20.5", "provisioning.gpu_cap = 20.5 must be a whole number"),
        ("start_s = true", "provisioning.start_s = True must be a number"),
    ],
)
def test_a_wrong_setting_of_provisioning_is_named(line: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        read(tmp_path, f"{WHOLE}[provisioning]\n{line}\n")
    assert words in str(error.value)


def test_servers_written_out_are_read_and_written_back(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(WHOLE.replace('"spread"', "[[0, 0, 1, 1], [0, 2]]"), encoding="utf-8")
    found = read_configuration(path, MODEL, "A100-80GB", 16)
    assert found.cluster.placed == (0, 0, 1, 1, 0, 2)
    assert configuration_from(tomllib.loads(write_toml(found)), MODEL, "A100-80GB", 16) == found


def test_a_whole_file_is_read_with_the_model_of_the_command_line(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(WHOLE, encoding="utf-8")
    found = read_configuration(path, "InternVL2.5-26B", "h100", 16)
    assert (found.name, found.cluster.model, found.cluster.gpu) == ("mine", "InternVL2.5-26B", "H100")
    assert (found.cluster.link, found.cluster.image_size, found.cluster.gpus) == ("tcp", (448, 672), 12)
    assert found.policies.batching.knobs["aging"] == 0.5
    assert found.policies.chunking.knobs["fan_out"] is None
    assert configuration_from(tomllib.loads(write_toml(found)), MODEL, "A100-80GB", 16) == found


def test_a_base_is_a_preset_with_changes_named_after_the_file(tmp_path: Path) -> None:
    path = tmp_path / "faster.toml"
    path.write_text('base = "modserve"\n[cluster]\nlink = "nvlink"\n[policies]\nbatching = "edf"\n', encoding="utf-8")
    found = read_configuration(path, MODEL, "A100-80GB", 16)
    start = preset("modserve", MODEL)
    assert found.name == "faster"
    assert found.cluster.pools == disaggregated(MODEL, "A100-80GB", 16, engine="vllm-0.7").pools
    assert found.cluster.link == "nvlink"
    assert found.policies == start.policies.changed(["batching=edf"])


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('name = "mine"', 'nam = "mine"', "did you mean 'name'"),
        ('link = "tcp"', 'lnk = "tcp"', "did you mean 'link'"),
        ('link = "tcp"', 'link = "infinibnd"', "did you mean 'infiniband'"),
        ('link = "tcp"', 'model = "InternVL2.5-62B"', "did you mean 'InternVL2.5-26B'"),
        ('stages = "PD"', 'stages = "DP"', "unknown kind of instance 'DP'"),
        ("instances = 4", "instance = 4", "did you mean 'instances'"),
        ("instances = 4", 'instances = "four"', "must be a whole number"),
        ("instances = 4", "instances = 0", "at least 1 instance"),
        ('engine = "transformers"', 'engine = "transformer"', "did you mean 'transformers'"),
        ("servers = 3", "servers = 1", "4 x TP-1 \\+ 2 x TP-4 need 2 servers of 8 GPUs, not 1"),
        ("servers = 3", "servers = 2.5", "must be a whole number"),
        ("preprocess_workers = 16", "preprocess_workers = true", "must be a whole number"),
        ('"spread"', '"spreed"', "did you mean 'spread'"),
        ('"spread"', "[0, 1]", "must be a rule or, for each pool"),
        ("[448, 672]", "448", r"must be \[width, height\]"),
        ('routing = "least_requests"', 'rooting = "least_requests"', "did you mean 'routing'"),
        ('routing = "least_requests"', "", "lacks routing"),
        ('routing = "least_requests"', "routing = 7", "must be a table"),
        ('"least_slack"', '"least_slak"', "did you mean 'least_slack'"),
        ('"least_slack"', '"os:getcwd"', "is a module"),
        ("aging = 0.5", "agin = 0.5", "did you mean 'aging'"),
        ("aging = 0.5", "aging = 9.5", "0.0 to 2.0"),
        ('stages = "PD"', 'stages = "E"', "needs a decode stage"),
        ('name = "mine"', 'base = "modsrv"', "did you mean 'modserve'"),
        ("[cluster]", "[cluster", "is not TOML"),
    ],
)
def test_a_bad_file_is_named_with_its_fault(tmp_path: Path, old: str, new: str, words: str) -> None:
    assert old in WHOLE
    with pytest.raises(InputError, match=words) as raised:
        read(tmp_path, WHOLE.replace(old, new))
    assert "mine.toml" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_winner_is_a_configuration_and_its_cluster_is_checked(tmp_path: Path) -> None:
    tuned = preset("modserve", MODEL)
    cluster = asdict(tuned.cluster) | {"topology": "E+PD"}
    winner = Winner(tuned.policies, MODEL, "A100-80GB", cluster, objectives={}, scores={})
    write_winner(tmp_path / "winner.json", winner)
    found = read_tuned(tmp_path / "winner.json")
    assert (found.name, found.cluster, found.policies) == ("winner", tuned.cluster, tuned.policies)
    with pytest.raises(InputError, match="tuned for GPU A100-80GB, not H100"):
        read_tuned(tmp_path / "winner.json", gpu="H100")
    assert read_tuned(tmp_path / "winner.json", gpu="H100", force=True).cluster == replace(tuned.cluster, gpu="H100")
    write_winner(tmp_path / "capped.json", replace(winner, provisioning={"gpu_cap": 32}))
    assert read_tuned(tmp_path / "capped.json").provisioning.gpu_cap == 32
    write_winner(tmp_path / "broken.json", replace(winner, cluster={"topology": "E+PD"}))
    with pytest.raises(InputError, match="lacks pools"):
        read_tuned(tmp_path / "broken.json")


def test_an_absent_file_a_folder_and_binary_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "binary.toml").write_bytes(b"\xff\x00")
    for name, words in (("none.toml", "no such file"), ("", "cannot be read"), ("binary.toml", "not TOML")):
        with pytest.raises(InputError, match=words):
            read_configuration(tmp_path / name, MODEL, "A100-80GB", 16)


FAULTS = """
base = "vllm"
[faults]
mtbf_s = 3600
loss = 0.001
[[faults.listed]]
time_s = 60
instance = 1
kind = "slow"
seconds = 30.0
factor = 2.0
"""


def test_faults_are_read_and_written(tmp_path: Path) -> None:
    path = tmp_path / "faulty.toml"
    path.write_text(FAULTS)
    found = read_configuration(path, MODEL, "A100-80GB", 16)
    assert found.faults == Faults(mtbf_s=3600, loss=0.001, listed=(Fault(60, 1, "slow", 30.0, 2.0),))
    assert configuration_from(tomllib.loads(write_toml(found)), MODEL, "A100-80GB", 16) == found
    assert read_faults(str(path)) == found.faults
    assert read_faults("mtbf_s=3600, loss=1e-3") == replace(found.faults, listed=())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("mtbf=3600", "unknown key of faults 'mtbf': did you mean 'mtbf_s'?"),
        ("loss=2", "faults.loss = 2 is not allowed: 0 to 1"),
        ("loss", "'loss' is not understood: write --faults mtbf_s=3600"),
        ("nowhere.toml", "nowhere.toml: no such file"),
    ],
)
def test_faults_that_are_not_understood_are_refused(text: str, words: str) -> None:
    with pytest.raises(InputError, match=re.escape(words)):
        read_faults(text)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("kind =", "knid ="), "unknown key of faults.listed 'knid': did you mean 'kind'?"),
        (("instance = 1", "instance = 1.5"), "faults.listed.instance = 1.5 must be a whole number"),
        (("seconds = 30.0\n", ""), "faults.listed lacks seconds"),
        (("[[faults.listed]]", "[faults.listed]"), "faults.listed is a list of tables"),
        (('"slow"', '"slwo"'), "unknown fault 'slwo': did you mean 'slow'?"),
    ],
)
def test_a_fault_written_by_hand_that_is_wrong_is_refused(tmp_path: Path, change: tuple[str, str], words: str) -> None:
    path = tmp_path / "faulty.toml"
    path.write_text(FAULTS.replace(*change))
    with pytest.raises(InputError, match=re.escape(words)):
        read_configuration(path, MODEL, "A100-80GB", 16)
