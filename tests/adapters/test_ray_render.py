"""Rendering: every file of a deployment, checked against Ray's schema; what is refused leaves nothing behind."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from slackwise.adapters.ray import up as ray_up
from slackwise.adapters.ray.commands import engine_arguments
from slackwise.adapters.ray.fleet import FleetPool, fleet_of, placed
from slackwise.adapters.ray.llm_d import endpoint_picker
from slackwise.adapters.ray.render import render
from slackwise.adapters.ray.serve_config import check_schema, serve_config, serve_schema
from slackwise.adapters.ray.target import Target, key_of, read_target
from slackwise.adapters.ray.up import SLOT, emulated, gpus_of, read_document
from slackwise.adapters.vllm.support import installed
from slackwise.cli.main import run
from slackwise.errors import InputError
from slackwise.policies.features import DECODE, ENCODE, PREFILL
from slackwise.policies.winner import Winner, read_winner, write_winner
from slackwise.simulator import isolated, preset

yaml = pytest.importorskip("yaml")

CLUSTER = 'model = "org/InternVL2_5-26B"\ngpus = 16\n[engine]\nmax_model_len = 16384\n'


def winner_of(*settings: str, **provisioning: Any) -> Winner:
    """4 encoders and 3 text instances of TP-4 on 16 GPUs."""
    start = preset("modserve", "InternVL2.5-26B", "A100-80GB", 16)
    cluster = asdict(start.cluster) | {"topology": start.cluster.topology}
    objectives = isolated(start.cluster).to_json()
    policies = start.policies.changed(settings)
    return Winner(policies, "InternVL2.5-26B", "A100-80GB", cluster, objectives, {}, provisioning)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_winner(tmp_path / "winner.json", winner_of("routing=least_requests", "provisioning=modserve_ceil"))
    (tmp_path / "cluster.toml").write_text(CLUSTER, encoding="utf-8")
    return tmp_path


def rendered(folder: Path) -> int:
    names = [str(folder / name) for name in ("winner.json", "cluster.toml", "out")]
    return run(["deploy", "render", names[0], "--cluster", names[1], "--out", names[2], "--json"])


def loaded(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def test_everything_is_written_and_the_bundle_is_the_bundle(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert rendered(folder) == 0
    document = json.loads(capsys.readouterr().out)
    written = sorted(each.name for each in (folder / "out").iterdir())
    assert written == sorted(document["files"])
    assert {"winner.json", "serve.yaml", "vllm-serve.txt", "keda.yaml", "llm-d-pd.yaml"} <= set(written)
    assert read_winner(folder / "out" / "winner.json").policies == read_winner(folder / "winner.json").policies


def test_ray_serve_takes_the_configuration_and_would_not_take_a_broken_one(folder: Path) -> None:
    schema = serve_schema()
    if schema is None:
        pytest.skip("Ray Serve is not installed: make test-ray")
    assert rendered(folder) == 0
    document = loaded(folder / "out" / "serve.yaml")
    schema.model_validate(document)
    document["applications"][0]["deployments"][0]["max_ongoing_requests"] = 0
    with pytest.raises(ValueError, match="max_ongoing_requests"):
        schema.model_validate(document)


def test_the_application_has_the_bundles_pools_router_and_sizing_and_listens_on_loopback(folder: Path) -> None:
    assert rendered(folder) == 0
    document = loaded(folder / "out" / "serve.yaml")
    application = document["applications"][0]
    assert document["http_options"]["host"] == "127.0.0.1"
    assert application["autoscaling_policy"]["policy_kwargs"]["gpu_budget"] == 16
    pools = {each["name"]: each for each in application["deployments"]}
    tp = {each["name"]: each["tensor_parallel"] for each in application["args"]["pools"]}
    assert set(tp) == {"e", "pd"}
    sizing = pools["e"]["autoscaling_config"]
    assert (sizing["min_replicas"], sizing["upscale_delay_s"], sizing["downscale_delay_s"]) == (1, 0.0, 0.0)
    assert sizing["max_replicas"] == 16 - tp["pd"]
    assert pools["pd"]["request_router_config"]["request_router_class"].endswith("PolicyRouter")


def test_a_fleet_that_does_not_change_gets_fixed_counts_and_no_scaler() -> None:
    winner, target = winner_of("provisioning=fixed_ratio"), Target("m", 16)
    pools = fleet_of(winner, target)
    application = serve_config(winner, pools, target, "b")["applications"][0]
    assert "autoscaling_policy" not in application
    assert [each["num_replicas"] for each in application["deployments"]] == [*(pool.instances for pool in pools), 1]


def test_every_instance_has_a_command_with_its_gpus_its_port_and_its_connectors(folder: Path) -> None:
    assert rendered(folder) == 0
    text = (folder / "out" / "vllm-serve.txt").read_text(encoding="utf-8")
    lines = [shlex.split(each) for each in text.splitlines() if each.startswith("CUDA")]
    pools = fleet_of(read_winner(folder / "winner.json"), read_target(folder / "cluster.toml"))
    assert len(lines) == sum(pool.instances for pool in pools)
    assert len({line[line.index("--port") + 1] for line in lines}) == len(lines)
    roles = {json.loads(line[line.index("--ec-transfer-config") + 1])["ec_role"] for line in lines}
    assert roles == {"ec_producer", "ec_consumer"}
    for line in lines:
        gpus = line[0].removeprefix("CUDA_VISIBLE_DEVICES=").split(",")
        assert len(gpus) == int(line[line.index("--tensor-parallel-size") + 1])
        assert ("--scheduler-cls" in line) != ("--mm-encoder-only" in line)
        assert "--host 127.0.0.1" in " ".join(line)


def test_no_gpu_is_given_twice_and_what_does_not_pack_is_refused() -> None:
    pools = (FleetPool("e", ENCODE, 4, 1, 4, 4), FleetPool("pd", PREFILL | DECODE, 3, 4, 3, 3))
    gpus = [(each.server, gpu) for each in placed(pools, Target("m", 16)) for gpu in each.gpus]
    assert len(set(gpus)) == len(gpus) == 16
    with pytest.raises(InputError, match="do not pack"):
        placed((FleetPool("pd", PREFILL | DECODE, 2, 4, 2, 2),), Target("m", 8, server_gpus=6))


@pytest.mark.parametrize(
    ("stages", "ec", "kv"),
    [
        (ENCODE, "ec_producer", None),
        (PREFILL | DECODE, "ec_consumer", None),
        (PREFILL, "ec_consumer", "kv_producer"),
        (DECODE, None, "kv_consumer"),
        (ENCODE | PREFILL, None, "kv_producer"),
        (ENCODE | PREFILL | DECODE, None, None),
    ],
)
def test_connectors_follow_from_the_stages(stages: int, ec: str | None, kv: str | None) -> None:
    made = engine_arguments(FleetPool("x", stages, 1, 1, 1, 1), Target("m", 1), "b")
    assert made.get("ec_transfer_config", {}).get("ec_role") == ec
    assert made.get("kv_transfer_config", {}).get("kv_role") == kv


def test_weights_that_llm_d_has_scorers_for_are_exported() -> None:
    policies = winner_of("routing=weighted_score", "routing.requests=2", "routing.kv=0.5").policies
    document = endpoint_picker(policies, FleetPool("pd", PREFILL | DECODE, 1, 1, 1, 1))
    plugins = document["schedulingProfiles"][0]["plugins"]
    weights = {each["pluginRef"]: each.get("weight") for each in plugins}
    assert weights["queue-scorer"] == weights["running-requests-size-scorer"] == 2.0
    assert weights["kv-cache-utilization-scorer"] == 0.5
    assert {each["type"] for each in document["plugins"]} == set(weights)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("routing=predicted_completion", "routing = predicted_completion"),
        ("routing.image_tokens=3", "routing.image_tokens = 3"),
    ],
)
def test_what_llm_d_cannot_say_is_named(
    folder: Path, capsys: pytest.CaptureFixture[str], setting: str, words: str
) -> None:
    write_winner(folder / "winner.json", winner_of("routing=weighted_score", setting))
    assert rendered(folder) == 0
    assert words in capsys.readouterr().err
    assert not (folder / "out" / "llm-d-pd.yaml").exists()
    (folder / "cluster.toml").write_text("router_weights = true\n" + CLUSTER, encoding="utf-8")
    (folder / "out" / "winner.json").unlink()
    assert rendered(folder) == 2
    assert not (folder / "out" / "winner.json").exists()


def test_a_scaled_object_holds_the_bounds_of_its_pool(folder: Path) -> None:
    assert rendered(folder) == 0
    objects = list(yaml.safe_load_all((folder / "out" / "keda.yaml").read_text(encoding="utf-8")))
    pools = fleet_of(read_winner(folder / "winner.json"), read_target(folder / "cluster.toml"))
    bounds = [(each["spec"]["minReplicaCount"], each["spec"]["maxReplicaCount"]) for each in objects]
    assert bounds == [(pool.least, pool.most) for pool in pools]
    assert {each["spec"]["triggers"][0]["metadata"]["pool"] for each in objects} == {pool.name for pool in pools}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('model = "m"\ngpus = 15\n', "need 16 GPUs, the cluster has 15"),
        ('model = "m"\n', "lacks gpus"),
        ('model = "m"\ngpus = 16\nhosts = "x"\n', "did you mean 'host'"),
        ('model = "m"\ngpus = "16"\n', "cluster.gpus"),
        ('model = "m"\ngpus = true\n', "cluster.gpus"),
        ('model = "m"\ngpus = 16\nport = 70000\n', "cluster.port"),
        ('model = "m"\ngpus = 16\nhost = "a b"\n', "cluster.host"),
        ('model = "m"\ngpus = 16\nmodel = "n"\n', "is not TOML"),
        ('model = "m\\n--x"\ngpus = 16\n', "one line"),
        ('model = "m"\ngpus = 16\n[engine]\nport = 1\n', "engine.port"),
        ('model = "m"\ngpus = 16\n[engine]\n"a b" = 1\n', "no name of an engine argument"),
        ('model = "m"\ngpus = 16\n[engine]\nx = [1]\n', "engine.x"),
    ],
)
def test_a_bad_cluster_is_refused_in_one_line_and_nothing_is_written(
    folder: Path, capsys: pytest.CaptureFixture[str], text: str, words: str
) -> None:
    (folder / "cluster.toml").write_text(text, encoding="utf-8")
    assert rendered(folder) == 2
    complaint = capsys.readouterr().err
    assert words in complaint
    assert complaint.count("\n") == 1
    assert not (folder / "out").exists()


@pytest.mark.parametrize("change", [{"pools": []}, {"pools": [{"stages": "X", "instances": 1}]}, {"pools": 3}])
def test_a_bundle_without_pools_that_can_be_read_is_refused(folder: Path, change: dict[str, Any]) -> None:
    winner = winner_of()
    write_winner(folder / "winner.json", replace(winner, cluster=winner.cluster | change))
    assert rendered(folder) == 2
    assert not (folder / "out").exists()


def test_words_of_the_cluster_reach_a_shell_as_words() -> None:
    pool = FleetPool("epd", ENCODE | PREFILL | DECODE, 1, 1, 1, 1)
    from slackwise.adapters.ray.commands import command

    target = Target("m; rm -rf $HOME", 1, engine={"trust_remote_code": False})
    words = shlex.split(command(placed((pool,), target)[0], 8100, target, "b'$(x)"))
    assert words[3] == "m; rm -rf $HOME"
    assert "--no-trust-remote-code" in words


def test_the_emulated_application_passes_the_schema_and_holds_the_gpus_of_the_bundle(folder: Path) -> None:
    assert rendered(folder) == 0
    document = emulated(read_document(folder / "out"), folder / "out", 10.0, 8123)
    check_schema(document)
    application = document["applications"][0]
    widths = {pool["name"]: pool["tensor_parallel"] for pool in application["args"]["pools"]}
    for deployment in application["deployments"]:
        resources = deployment["ray_actor_options"].get("resources", {})
        assert resources.get(SLOT) == widths.get(deployment["name"])
    assert document["http_options"] == {"host": "127.0.0.1", "port": 8123}
    assert gpus_of(document) == 16


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(["up", "out"], "vLLM is needed", marks=pytest.mark.skipif(installed() is not None, reason="vLLM")),
        (["up", "nowhere", "--emulate"], "slackwise deploy render writes it"),
        (["status", "out"], "nothing is up"),
        (["down", "out"], "nothing is up"),
    ],
)
def test_what_cannot_be_started_or_reached_is_said_in_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert rendered(folder) == 0
    capsys.readouterr()
    command, name, *options = arguments
    assert run(["deploy", command, str(folder / name), *options]) == 2
    complaint = capsys.readouterr().err
    assert words in complaint
    assert complaint.count("\n") == 1


def test_the_key_is_handed_to_engines_by_its_variable_alone(tmp_path: Path) -> None:
    files = render(winner_of(), Target("m", 64, api_key_env="OUR_KEY"), tmp_path).files
    lines = [line for line in files["vllm-serve.txt"].splitlines() if line and not line.startswith("#")]
    assert all(line.startswith('VLLM_API_KEY="$OUR_KEY" ') for line in lines)
    with pytest.raises(InputError, match="holds no key"):
        key_of("OUR_KEY", {"OUR_KEY": " "})
    with pytest.raises(InputError, match="no name"):
        Target("m", 64, api_key_env="$(ls)")


def test_engines_are_put_on_gpus_with_the_bundle_of_their_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_up, "installed", lambda: "0.32.0")
    assert rendered(folder) == 0
    moved = (folder / "out").rename(folder / "moved")
    for cpu, held in ((False, {"num_gpus": 4}), (True, {"resources": {SLOT: 4}})):
        document = ray_up.with_engines(read_document(moved), moved, cpu)
        application = document["applications"][0]
        options = {each["name"]: each["ray_actor_options"] for each in application["deployments"]}
        assert held.items() <= options["pd"].items()
        settings = application["args"]["engines"]["pd"]["additional_config"]["slackwise"]
        assert settings["bundle"] == str(moved / "winner.json")
        check_schema(document)
    engine = application["args"]["engines"]["pd"]
    engine["kv_transfer_config"] = {"kv_role": "kv_producer"}
    with pytest.raises(InputError, match="pools pd"):
        ray_up.with_engines(document, moved, True)
