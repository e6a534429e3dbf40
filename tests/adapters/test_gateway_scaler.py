"""KEDA's external scaler over real gRPC, with servers that show metrics: the joint decision, pool by pool."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from slackwise.adapters.gateway.deployment import Deployment, read_deployment
from slackwise.adapters.gateway.externalscaler import SERVICE, handler, scaler_messages
from slackwise.adapters.gateway.reports import judged, report_of
from slackwise.adapters.gateway.scaler import Scaler, ScalerService
from slackwise.adapters.gateway.scrape import MOST_BYTES, read_samples, read_services
from slackwise.adapters.ray.workload import work_for
from slackwise.cli.main import run
from slackwise.errors import InputError
from slackwise.policies.features import DECODE, ENCODE, PREFILL
from slackwise.policies.winner import write_winner

from .deployed import deployed, wanting
from .servers import Shown, by_class, histogram, server

grpc = pytest.importorskip("grpc")
pytest.importorskip("httpx")
pytest.importorskip("yaml")

CACHE = 'vllm:cache_config_info{block_size="16",num_gpu_blocks="100"} 1.0'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return deployed(tmp_path, wanting(3, 1))


@pytest.fixture
def shown() -> Iterator[dict[str, list[tuple[Shown, int]]]]:
    """Two encoders and a text server that show metrics: pool -> (what it shows, port)."""
    with ExitStack() as stack:
        started = [(pool, Shown({"vllm:num_requests_waiting": 0.0}, [CACHE])) for pool in ("e", "e", "pd")]
        found: dict[str, list[tuple[Shown, int]]] = {"e": [], "pd": []}
        for pool, each in started:
            found[pool].append((each, stack.enter_context(server(each))))
        yield found


def read(folder: Path, shown: dict[str, list[tuple[Shown, int]]]) -> Deployment:
    return read_deployment(folder, [f"{pool}=127.0.0.1:{port}" for pool, each in shown.items() for _, port in each])


@asynccontextmanager
async def asked(scaler: Scaler) -> AsyncIterator[Callable[[str, str], Awaitable[Any]]]:
    """`ask(method, pool)` over a gRPC channel."""
    remote = grpc.aio.server()
    remote.add_generic_rpc_handlers((handler(ScalerService(scaler, poll_s=0.01)),))
    port = remote.add_insecure_port("127.0.0.1:0")
    await remote.start()
    messages = scaler_messages()
    answers = {
        "IsActive": "IsActiveResponse",
        "GetMetricSpec": "GetMetricSpecResponse",
        "GetMetrics": "GetMetricsResponse",
    }
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:

        async def ask(method: str, pool: str) -> Any:
            reference = messages["ScaledObjectRef"](name="s", namespace="n", scalerMetadata={"pool": pool})
            if method == "StreamIsActive":
                call = channel.unary_stream(
                    f"/{SERVICE}/{method}",
                    request_serializer=lambda each: each.SerializeToString(),
                    response_deserializer=messages["IsActiveResponse"].FromString,
                )
                return await anext(aiter(call(reference, timeout=5.0)))
            request = reference
            if method == "GetMetrics":
                request = messages["GetMetricsRequest"](scaledObjectRef=reference, metricName=f"slackwise-{pool}")
            call = channel.unary_unary(
                f"/{SERVICE}/{method}",
                request_serializer=lambda each: each.SerializeToString(),
                response_deserializer=messages[answers[method]].FromString,
            )
            return await call(request, timeout=5.0)

        yield ask
    await remote.stop(0)


async def looked(deployment: Deployment) -> None:
    import httpx

    async with httpx.AsyncClient(trust_env=False) as http:
        await deployment.feed.look(http)


def test_every_pool_is_answered_from_one_decision_that_takes_one_step_at_a_time(
    folder: Path, shown: dict[str, list[tuple[Shown, int]]]
) -> None:
    async def run() -> None:
        deployment = read(folder, shown)
        scaler = Scaler(deployment)
        async with asked(scaler) as ask:
            with pytest.raises(grpc.aio.AioRpcError) as early:
                await ask("GetMetrics", "e")
            assert early.value.code() == grpc.StatusCode.UNAVAILABLE
            await looked(deployment)
            await scaler.decide()
            values = {pool: (await ask("GetMetrics", pool)).metricValues[0] for pool in ("e", "pd")}
            assert {
                pool: (each.metricName, each.metricValue, each.metricValueFloat) for pool, each in values.items()
            } == {
                "e": ("slackwise-e", 3, 3.0),
                "pd": ("slackwise-pd", 1, 1.0),
            }
            spec = (await ask("GetMetricSpec", "pd")).metricSpecs[0]
            assert (spec.metricName, spec.targetSize, spec.targetSizeFloat) == ("slackwise-pd", 1, 1.0)
            assert (await ask("IsActive", "e")).result is True
            assert (await ask("StreamIsActive", "e")).result is True
            await scaler.decide()
            assert scaler.targets == {"e": 3, "pd": 1}, "a third encoder is on its way: nothing else moves"
            with pytest.raises(grpc.aio.AioRpcError) as strange:
                await ask("GetMetrics", "x")
            assert strange.value.code() == grpc.StatusCode.INVALID_ARGUMENT
            assert "e, pd" in strange.value.details()

    asyncio.run(run())


def test_a_scaler_that_begins_again_takes_what_is_there_and_a_server_that_fails_is_not_ready(
    folder: Path, shown: dict[str, list[tuple[Shown, int]]]
) -> None:
    async def run() -> None:
        write_winner(folder / "winner.json", wanting(1, 1))
        deployment = read(folder, shown)
        scaler = Scaler(deployment)
        shown["e"][1][0].status = 503
        await looked(deployment)
        await scaler.decide()
        assert scaler.targets == {"e": 2, "pd": 1}, "nothing moves while a server does not answer"
        shown["e"][1][0].status = 200
        await looked(deployment)
        await scaler.decide()
        assert scaler.targets == {"e": 1, "pd": 1}

    asyncio.run(run())


def test_a_new_bundle_in_the_folder_is_followed_and_a_bad_one_is_not(
    folder: Path, shown: dict[str, list[tuple[Shown, int]]]
) -> None:
    async def run() -> None:
        deployment = read(folder, shown)
        scaler = Scaler(deployment)
        await looked(deployment)
        (folder / "winner.json").write_text("{", encoding="utf-8")
        await scaler.decide()
        assert (scaler.targets["e"], deployment.bundle.version) == (3, 1)
        assert "JSON" in deployment.bundle.error
        write_winner(folder / "winner.json", wanting(2, 1))
        await scaler.decide()
        await scaler.decide()
        assert deployment.bundle.version == 2
        assert scaler.decision is not None
        assert scaler.decision.wanted == (2, 1)

    asyncio.run(run())


def test_what_the_servers_show_reaches_the_policy(folder: Path, shown: dict[str, list[tuple[Shown, int]]]) -> None:
    async def run() -> None:
        deployment = read(folder, shown)
        scaler = Scaler(deployment)
        text, encoder = shown["pd"][0][0], shown["e"][0][0]
        text.lines += by_class("requests_total", 10, 0)
        await looked(deployment)
        await scaler.decide()
        encoder.values |= {"vllm:num_requests_waiting": 3.0, "vllm:num_requests_running": 1.0}
        text.values |= {
            "vllm:num_requests_waiting": 4.0,
            "vllm:num_requests_running": 2.0,
            "vllm:kv_cache_usage_perc": 0.25,
            "slackwise:pending_text_tokens": 500.0,
            "slackwise:pending_image_tokens": 100.0,
            "slackwise:backlog_s": 1.5,
            "slackwise:images_total": 12.0,
            "slackwise:image_tokens_total": 1200.0,
            "slackwise:text_tokens_total": 700.0,
        }
        text.lines[1:] = [*by_class("requests_total", 14, 6), *by_class("first_tokens_total", 8, 2)]
        text.lines += by_class("ttft_met_total", 6, 1)
        await looked(deployment)
        await scaler.decide()
        e, pd = scaler.decider.views
        assert (e.waiting, e.running, e.ready) == (3, 1, 2)
        assert e.backlog_s == pytest.approx(
            4 * work_for(wanting(3, 1), 1).encode_s(deployment.feed.work["e"].image(1)[1])
        )
        assert (pd.waiting, pd.running, pd.backlog_s, pd.pending_tokens) == (4, 2, 1.5, 600.0)
        assert pd.kv_used == 0.25
        assert pd.ttft_attainment == e.ttft_attainment == 0.7
        first = pd.rates[0]
        passed_s = 6 / first.image_requests_per_s
        assert (first.text_requests_per_s, first.images_per_s) == pytest.approx((4 / passed_s, 12 / passed_s))

    asyncio.run(run())


def test_a_histogram_gives_the_share_within_an_objective_in_proportion_within_a_bucket() -> None:
    counts = {"0.05": 10.0, "0.1": 30.0, "+Inf": 40.0}
    lines = histogram("vllm:request_time_per_output_token_seconds", counts)
    samples = read_samples("\n".join([*lines, *histogram("vllm:time_to_first_token_seconds", counts)]))
    for limit, met in ((0.05, 10.0), (0.075, 20.0), (0.1, 30.0), (7.0, 30.0)):
        objectives = {"text_tbt_s": limit, "image_tbt_s": 9.0, "text_ttft_s": 9.0, "image_ttft_s": limit}
        found = judged(samples, objectives)
        assert found["tbt_judged"] == found["ttft_judged"] == 40.0
        assert found["tbt_met"] == found["ttft_met"] == pytest.approx(met)


def test_without_the_plug_in_requests_count_as_text_and_nothing_pending_is_made_up() -> None:
    text = "vllm:num_requests_waiting 2\nvllm:prompt_tokens_total 900\nvllm:generation_tokens_total 80\n"
    text += (
        'vllm:request_success_total{finished_reason="stop"} 3\nvllm:request_success_total{finished_reason="length"} 4\n'
    )
    report = report_of(read_samples(text), PREFILL | DECODE, work_for(wanting(1, 1), 4))
    assert (report["text_requests"], report["text_tokens"], report["output_tokens"]) == (7.0, 900.0, 80.0)
    assert (report["waiting"], report["backlog_s"], report["pending_tokens"]) == (2.0, 0.0, 0.0)
    encoder = report_of(read_samples(text), ENCODE, work_for(wanting(1, 1), 1))
    assert encoder["pending_images"] == 2.0
    assert "text_requests" not in encoder


@pytest.mark.parametrize("text", ["vllm:num_requests_waiting{ 1", "vllm:num_requests_waiting one", "slackwise:"])
def test_a_server_with_other_text_counts_as_one_that_does_not_answer(text: str) -> None:
    with pytest.raises(InputError, match="text form"):
        read_samples(text)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda shown: setattr(shown, "lines", ["slackwise:images_total x"]),
        lambda shown: setattr(shown, "lines", ["#" * (MOST_BYTES + 1)]),
        lambda shown: setattr(shown, "status", 404),
    ],
)
def test_metrics_that_cannot_be_read_end_nothing(
    folder: Path, shown: dict[str, list[tuple[Shown, int]]], spoil: Callable[[Shown], None]
) -> None:
    spoil(shown["e"][0][0])
    deployment = read(folder, shown)
    asyncio.run(looked(deployment))
    answered = [each.report is not None for each in deployment.feed.pools["e"].values()]
    assert sorted(answered) == [False, True]


@pytest.mark.parametrize(
    ("servers", "words"),
    [
        (["e"], "POOL=HOST:PORT"),
        (["e=h:99999"], "POOL=HOST:PORT"),
        (["e=http://h:1"], "POOL=HOST:PORT"),
        (["x=h:1"], "pools are e, pd"),
        (["e=h:1"], "no servers are given for pd"),
    ],
)
def test_servers_that_do_not_fit_are_refused_in_one_line(servers: list[str], words: str) -> None:
    with pytest.raises(InputError, match=words) as refused:
        read_services(servers, ["e", "pd"], None)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere", "--servers", "e=h:1"], "slackwise deploy render writes it"),
        (["out", "--servers", "e=127.0.0.1:1"], "no servers are given for pd"),
        (["out", "--servers", "e=127.0.0.1:1", "--servers", "pd=127.0.0.1:1", "--listen", "nonsense"], "cannot listen"),
    ],
)
def test_the_command_refuses_in_one_line(
    folder: Path, capfd: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    name, *options = arguments
    assert run(["deploy", "scaler", str(folder if name == "out" else folder / name), *options]) == 2
    complaint = [line for line in capfd.readouterr().err.splitlines() if line.startswith("slackwise")]
    assert len(complaint) == 1
    assert words in complaint[0]
