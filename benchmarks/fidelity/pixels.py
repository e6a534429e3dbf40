"""What it costs to hand the pixels of an image to the processes of an instance's GPUs, as two engines do it.

    python benchmarks/fidelity/pixels.py [--publish]          # needs torch and pyzmq

vLLM 0.7.2 packs float32 pixels with pickle in the process of the first GPU and sends them over loopback TCP to that of
each further GPU in turn. Today's, measured if it is installed, writes bfloat16 pixels to memory that all share.
An image is one of Llama 3.2: 4 tiles of 560 x 560. Of REPEATS, after as many to warm up, the least seconds count and
the median CPU seconds. With fewer cores than processes the receivers wait for each other, so what each further GPU adds
is taken from the sender's CPU seconds: it sends to one after the other.
"""

from __future__ import annotations

import argparse
import multiprocessing
import pickle
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
import zmq
from report import tell

from slackwise.latency.model import load_model

MODEL = load_model("Llama-3.2-11B")
REPEATS = 25
PAUSE_S = 0.02
PATIENCE_S = 60.0
FURTHER_GPUS = (1, 3, 7)
IMAGES = (1, 2)
"""Of a message."""
SHARED_BYTES = 16 * 1024 * 1024
"""A message that today's engine puts into shared memory, at most."""


@dataclass(frozen=True)
class Measured:
    """Seconds of one message: from the sender's first step to the last receiver's last; CPU seconds of the sender."""

    way: str
    images: int
    receivers: int
    size: int  # bytes of pixels
    seconds: float
    sender_s: float

    def line(self) -> str:
        cells = f"{self.way} | {self.images} | {self.receivers} | {self.size / 1e6:.1f}"
        return f"| {cells} | {1e3 * self.seconds:.1f} | {1e3 * self.sender_s:.1f} |"


def pixels(images: int, dtype: torch.dtype) -> torch.Tensor:
    """Colour values of `images` images, shape (images, tiles, 3, side, side)."""
    side = MODEL.vision.tile_px
    return torch.zeros(images, MODEL.vision.max_tiles, 3, side, side, dtype=dtype)


def packed(images: int, receivers: int) -> Measured:
    """The way of vLLM 0.7.2: pickle, one TCP stream a receiver, unpickle."""
    data = pixels(images, torch.float32)
    with zmq.Context() as context, context.socket(zmq.XPUB) as sender:
        sender.setsockopt(zmq.XPUB_VERBOSE, True)
        sender.setsockopt(zmq.RCVTIMEO, round(1e3 * PATIENCE_S))
        port = sender.bind_to_random_port("tcp://127.0.0.1")

        def send() -> None:
            sender.send(pickle.dumps({"pixel_values": data}, protocol=pickle.HIGHEST_PROTOCOL))

        def ready() -> None:
            for _ in range(receivers):
                sender.recv()

        return _measured("vllm-0.7-host", images, data.nbytes, send, ready, _unpack, [port] * receivers)


def _unpack(port: int, messages: int, done: Any) -> None:
    with zmq.Context() as context, context.socket(zmq.SUB) as receiver:
        receiver.setsockopt_string(zmq.SUBSCRIBE, "")
        receiver.connect(f"tcp://127.0.0.1:{port}")
        for _ in range(messages):
            pickle.loads(receiver.recv())
            done.put(time.perf_counter())


def shared(images: int, receivers: int) -> Measured:
    """The way of today's engine, by its own code: a ring in shared memory, larger messages over TCP."""
    from vllm.distributed.device_communicators.shm_broadcast import MessageQueue

    queue = MessageQueue(receivers, receivers, max_chunk_bytes=SHARED_BYTES)
    data = list(pixels(images, torch.bfloat16))
    handles = [(queue.export_handle(), rank) for rank in range(receivers)]
    size = sum(each.nbytes for each in data)
    return _measured("vllm", images, size, lambda: queue.enqueue(data), queue.wait_until_ready, _dequeue, handles)


def _dequeue(handle: tuple[Any, int], messages: int, done: Any) -> None:
    from vllm.distributed.device_communicators.shm_broadcast import MessageQueue

    queue = MessageQueue.create_from_handle(*handle)
    queue.wait_until_ready()
    for _ in range(messages):
        queue.dequeue()
        done.put(time.perf_counter())


def _measured(
    way: str,
    images: int,
    size: int,
    send: Callable[[], None],
    ready: Callable[[], None],
    receive: Callable[[Any, int, Any], None],
    given: list[Any],
) -> Measured:
    """Send again and again to one process each that runs `receive` on what it is `given`."""
    context = multiprocessing.get_context("spawn")
    done = context.Queue()
    processes = [context.Process(target=receive, args=(each, 2 * REPEATS, done), daemon=True) for each in given]
    for each in processes:
        each.start()
    ready()
    seconds, sender_s = [], []
    for _ in range(2 * REPEATS):
        begin, cpu = time.perf_counter(), time.process_time()
        send()
        last = max(done.get(timeout=PATIENCE_S) for _ in processes)
        time.sleep(PAUSE_S)  # the sender's own thread may still be at it
        seconds.append(last - begin)
        sender_s.append(time.process_time() - cpu)
    for each in processes:
        each.join()
    return Measured(way, images, len(given), size, min(seconds[REPEATS:]), float(np.median(sender_s[REPEATS:])))


def rates(found: list[Measured]) -> str:
    """Bytes a second to a second GPU, and to each further one, of the way of vLLM 0.7.2: over all numbers of images."""
    first = [each.size / each.seconds for each in found if each.receivers == 1]
    further = []
    for images in sorted({each.images for each in found}):
        some = [each for each in found if each.images == images]
        slope = np.polyfit([each.receivers for each in some], [each.sender_s for each in some], 1)[0]
        further.append(some[0].size / slope)
    return (
        f"As constants of `vllm-0.7-host`: {np.median(first):.2g} bytes/s to the process of a second GPU, "
        f"{np.median(further):.2g} to each further one."
    )


def main(given: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--publish", action="store_true", help="write the table into docs/latency.md")
    options = parser.parse_args(given)
    torch.set_num_threads(1)
    then = [packed(images, receivers) for images in IMAGES for receivers in FURTHER_GPUS]
    now = []
    if find_spec("vllm") is not None:  # its first process only schedules: every GPU's process receives
        now = [shared(images, receivers + 1) for images in IMAGES for receivers in FURTHER_GPUS]
    head = "| engine | images | receivers | MB | ms until the last has them | ms of the sender's CPU |"
    table = "\n".join([head, "| --- |" + " ---: |" * 5, *(each.line() for each in then + now)])
    body = f"{table}\n\n{rates(then)}"
    tell("pixels", body, options.publish)
    return 0


if __name__ == "__main__":
    sys.exit(main())
