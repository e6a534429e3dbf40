"""Where everything is and what it adds up to, taken from a state's lists alone: what its running counts should say."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from slackwise.policies.features import ENCODE, PREFILL
from slackwise.simulator.state import State
from slackwise.simulator.transfer import KIND, KIND_BITS, LOST, TO_QUEUE

Numbers = NDArray[np.int64]


def queued(state: State, instance: int) -> Numbers:
    """Requests that wait on an instance."""
    return numbers(state.queues.ident[instance, : state.engines.queued[instance]])


def queued_jobs(state: State, instance: int) -> Numbers:
    """Encode jobs that wait on an instance."""
    return numbers(state.job_queues.ident[instance, : state.engines.queued_jobs[instance]])


def running_jobs(state: State, instance: int) -> Numbers:
    """Encode jobs in the running step."""
    idents = numbers(at_work(state, instance).ident)
    return ~idents[idents < 0]


def prefilling(state: State, instance: int) -> Numbers:
    """Requests between the first and the last chunk of their prefill."""
    return numbers(state.slots.in_flight[instance, : state.engines.in_flight[instance]])


def decoding(state: State, instance: int) -> Numbers:
    """Requests that decode."""
    return numbers(state.decodes.ident[instance, : state.engines.decodes[instance]])


def at_work(state: State, instance: int) -> Any:
    """SLOT rows of what encodes or prefills in the running step: requests, and jobs as ~job."""
    return state.slots[instance, : state.engines.work[instance]]


def chunks(state: State, instance: int) -> Any:
    """SLOT rows of the requests that encode or prefill in the running step."""
    work = at_work(state, instance)
    return work[work.ident >= 0]


def travelling(state: State) -> Numbers:
    """Requests whose embeddings or KV caches are on their way to a queue."""
    return np.concatenate([delivered(state, TO_QUEUE), delivered(state, LOST)])


def delivered(state: State, kind: int) -> Numbers:
    """Requests, or jobs of a PART, of the deliveries of a kind to come."""
    codes = numbers(state.transfers.ident[: state.clock[0].transfers])
    return codes[(codes >= 0) & (codes & KIND == kind)] >> KIND_BITS


def parked(state: State, group: int) -> Numbers:
    """Requests that wait until an instance of a group is ready, first come first."""
    found, request = [], int(state.groups.parked_first[group])
    for _ in range(int(state.groups.parked[group])):
        found.append(request)
        request = int(state.progress.next_parked[request])
    return numbers(found)


def leaving(state: State, instance: int) -> Numbers:
    """Requests that an instance has prefilled and whose KV caches it still holds for another."""
    return np.flatnonzero(state.progress.holder == instance)


def live_jobs(state: State) -> Numbers:
    """Encode jobs that are queued, running or, with overlap, not yet there without a gap."""
    live = np.ones(len(state.jobs), bool)
    live[state.jobs.free[: state.clock[0].free_jobs]] = False
    return np.flatnonzero(live)


def encoding(state: State) -> Numbers:
    """Requests with jobs that are not queued for prefill yet, nor parked, nor given up."""
    every = range(len(state.instances))
    begun = [part for each in every for part in (queued(state, each), prefilling(state, each))]
    begun += [waiting_for_fleet(state), np.flatnonzero(state.progress.failure != 0)]
    return np.setdiff1d(numbers(state.jobs.request[live_jobs(state)]), np.concatenate(begun))


def waiting_for_fleet(state: State) -> Numbers:
    """Requests that are parked; one that another of its jobs had dropped meanwhile is not counted."""
    found = np.concatenate([parked(state, group) for group in range(len(state.groups))])
    return numbers(found[state.progress.failure[found] == 0])


def places(state: State) -> dict[str, Numbers]:
    """Requests by where they are."""
    found = {
        "failed": np.flatnonzero(state.progress.failure != 0),
        "future": state.arrivals.request[state.clock[0].next_arrival :],
        "encoding": encoding(state),
        "travelling": travelling(state),
        "parked": waiting_for_fleet(state),
        "finished": np.flatnonzero(~np.isnan(state.progress.finish_s)),
    }
    for name, of in (("queued", queued), ("prefilling", prefilling), ("decoding", decoding)):
        found[name] = np.concatenate([of(state, each) for each in range(len(state.instances))])
    return {name: numbers(requests) for name, requests in found.items()}


def held_by_decodes(state: State, instance: int) -> Numbers:
    """KV tokens of each running decode."""
    requests = decoding(state, instance)
    progress = state.progress[requests]
    since = generated(state, instance, requests) - progress.generated
    return numbers(progress.target_tokens + since + progress.image_kv_tokens)


def held_by_prefills(state: State, instance: int) -> int:
    """KV tokens of the unfinished prefills, those of the running step included."""
    tokens = {int(work.ident): int(work.tokens) for work in chunks(state, instance)}
    progress = state.progress[prefilling(state, instance)]
    own = progress.prefilled_tokens + [tokens.get(int(each), 0) for each in prefilling(state, instance)]
    return int(own.sum() + progress.image_kv_tokens[own > 0].sum())


def held_for_others(state: State, instance: int) -> int:
    """KV tokens of prefilled requests that decode elsewhere."""
    progress = state.progress[leaving(state, instance)]
    return int(progress.target_tokens.sum() + progress.image_kv_tokens.sum())


def embeddings(state: State, instance: int) -> int:
    """Tokens in the encoder cache, those of the running step included."""
    there = prefilling(state, instance)
    return int((state.progress.images_cached[there] * state.requests.tokens_per_image[there]).sum())


def kept(state: State, instance: int) -> Numbers:
    """Entries of an instance's cache, oldest first."""
    found, at = [], int(state.engines.oldest[instance])
    while at >= 0:
        found.append(at)
        at = int(state.cached.newer[at])
    return numbers(found)


def alike(state: State, content: int) -> Numbers:
    """Entries of one content."""
    found, at = [], int(state.progress.cached[content])
    while at >= 0:
        found.append(at)
        at = int(state.cached.alike[at])
    return numbers(found)


def generated(state: State, instance: int, requests: Numbers) -> Numbers:
    """Tokens that running decodes have emitted; `progress.generated` is as of their last start."""
    progress = state.progress[requests]
    return numbers(progress.output_tokens - (progress.finish_step - state.engines.decode_steps[instance]))


def facts(state: State, instance: int) -> dict[str, float]:
    """Counts of an instance, by feature of INSTANCE: its encode jobs and its requests together."""
    counted = [job_facts(state, instance), request_facts(state, instance), prefill_facts(state, instance)]
    names = dict.fromkeys(name for each in counted for name in each)
    return {name: sum(each.get(name, 0) for each in counted) for name in names}


def job_facts(state: State, instance: int) -> dict[str, float]:
    """What encode jobs add."""
    waiting, running = queued_jobs(state, instance), running_jobs(state, instance)
    served, pending = (state.jobs[jobs] for jobs in (running, np.concatenate([waiting, running])))
    tokens, tiles = state.requests.tokens_per_image, state.requests.tiles_per_image
    return {
        "waiting": len(waiting),
        "running": len(running),
        "pending_images": pending.images.sum(),
        "pending_image_tokens": (pending.images * tokens[pending.request]).sum(),
        "pending_tiles": (pending.images * tiles[pending.request]).sum(),
        "in_service_image_tokens": (served.images * tokens[served.request]).sum(),
        "in_service_tiles": (served.images * tiles[served.request]).sum(),
    }


def request_facts(state: State, instance: int) -> dict[str, float]:
    """What requests add, whatever they come for."""
    waiting, begun, work = waiting_at(state, instance), prefilling(state, instance), chunks(state, instance)
    return {
        "waiting": len(waiting),
        "running": len(begun) + state.engines.decodes[instance],
        "in_service_prompt_tokens": work.tokens.sum(),
        "in_service_image_tokens": (work.images * state.requests.tokens_per_image[work.ident]).sum(),
        "in_service_tiles": (work.images * state.requests.tiles_per_image[work.ident]).sum(),
    }


def prefill_facts(state: State, instance: int) -> dict[str, float]:
    """What prompts to compute add."""
    if not state.instances.stages[instance] & PREFILL:
        return {}
    there = np.concatenate([waiting_at(state, instance), prefilling(state, instance)])
    requests, progress = state.requests[there], state.progress[there]
    images_left = requests.images_left * bool(state.instances.stages[instance] & ENCODE)
    return {
        "pending_text_tokens": requests.text_tokens.sum(),
        "pending_image_tokens": requests.image_tokens.sum(),
        "pending_prompt_tokens": (progress.target_tokens - progress.prefilled_tokens).sum(),
        "pending_images": images_left.sum(),
        "pending_tiles": (images_left * requests.tiles_per_image).sum(),
    }


def waiting_at(state: State, instance: int) -> Numbers:
    """Requests that wait on an instance or are on their way there."""
    sent = np.concatenate([travelling(state), encoding(state)])
    return np.concatenate([queued(state, instance), sent[state.progress.instance[sent] == instance]])


def numbers(values: Any) -> Numbers:
    """int64, shape (n,)."""
    return np.asarray(values, np.int64)
