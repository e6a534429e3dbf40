"""What may be bought: GPU types with their servers and prices, and the sizes and batches of instances."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from slackwise.errors import InputError
from slackwise.latency.gpu import load_gpu

GPU = "A100-80GB"
SERVERS = 16
UNLIMITED = "none"
MOST_PARALLEL = 8
"""GPUs of a server, which an instance does not span."""

T = TypeVar("T")


@dataclass(frozen=True)
class Hardware:
    """GPU types, the first of which sets the objectives; None for sizes and batches: the usual ones."""

    gpus: tuple[str, ...] = (GPU,)
    servers: tuple[int | None, ...] = (SERVERS,)  # of each type; None: as many as it takes
    prices: tuple[float, ...] | None = None  # of a GPU-hour of each type; None: 1 for all
    parallel: tuple[int, ...] | None = None
    batches: tuple[int, ...] | None = None
    encoder_batches: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if not self.gpus or len(set(self.gpus)) < len(self.gpus):
            raise InputError(f"GPU types {', '.join(self.gpus) or 'none'}: name at least one, each once")
        if len(self.servers) != len(self.gpus) or (self.prices is not None and len(self.prices) != len(self.gpus)):
            raise InputError("servers and prices are given for each GPU type")
        if any(each is not None and each < 1 for each in self.servers):
            raise InputError("of each GPU type there must be at least 1 server")
        if not all(math.isfinite(each) for each in self.prices or ()):
            raise InputError("prices must be finite")
        if any(not 1 <= each <= MOST_PARALLEL for each in self.parallel or ()):
            raise InputError(f"tensor parallelism must be from 1 to {MOST_PARALLEL}")
        if any(each < 1 for each in (*(self.batches or ()), *(self.encoder_batches or ()))):
            raise InputError("batches must be at least 1")

    @classmethod
    def of(
        cls,
        gpus: str | None,
        servers: str,
        prices: str | None,
        parallel: str | None,
        batches: str | None,
        encoder_batches: str | None,
    ) -> Hardware:
        """From words: "A100-80GB,H100", "16" or "A100-80GB=16,H100=none", "A100-80GB=1.8,H100=3.2", "1,2,4".

        Raises InputError for an unknown GPU or what is no such list.
        """
        names = tuple(load_gpu(each).name for each in _split("gpu", gpus)) if gpus else (GPU,)
        counts = _of_types("servers", servers, names, _servers)
        costs = None if prices is None else _of_types("price", prices, names, _price)
        asked = (("tp", parallel), ("batch", batches), ("encoder-batch", encoder_batches))
        return cls(names, counts, costs, *(_whole_numbers(*each) for each in asked))

    @property
    def unit(self) -> str:
        """Of costs."""
        return "GPU-hours" if self.prices is None else "at the prices given"

    def describe(self) -> str:
        """Servers by type: "1 servers", or "16 servers of A100-80GB and 4 of H100"."""
        counts = ["any number of" if each is None else str(each) for each in self.servers]
        if len(self.gpus) == 1:
            return f"{counts[0]} servers"
        first, *rest = [f"{count} servers of {gpu}" for count, gpu in zip(counts, self.gpus, strict=True)]
        return " and ".join([first, *(each.replace(" servers", "") for each in rest)])


DEFAULT_HARDWARE = Hardware()


def _split(name: str, text: str) -> list[str]:
    parts = [each.strip() for each in text.split(",")]
    if not all(parts):
        raise InputError(f"--{name} {text}: an entry is empty")
    return parts


def _whole_numbers(name: str, text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    try:
        return tuple(dict.fromkeys(int(each) for each in _split(name, text)))
    except ValueError:
        raise InputError(f"--{name} {text}: whole numbers with commas between them are needed") from None


def _of_types(name: str, text: str, gpus: Sequence[str], read: Callable[[str, str], T]) -> tuple[T, ...]:
    """One value for all types, or TYPE=VALUE for each of them."""
    if "=" not in text:
        return (read(name, text),) * len(gpus)
    found: dict[str, T] = {}
    for each in _split(name, text):
        gpu, _, value = each.partition("=")
        known = load_gpu(gpu.strip()).name
        if known not in gpus:
            raise InputError(f"--{name} {text}: {known} is none of the GPU types asked for, {', '.join(gpus)}")
        if known in found:
            raise InputError(f"--{name} {text}: {known} stands there twice")
        found[known] = read(name, value.strip())
    missing = [gpu for gpu in gpus if gpu not in found]
    if missing:
        raise InputError(f"--{name} {text}: nothing is said of {', '.join(missing)}")
    return tuple(found[gpu] for gpu in gpus)


def _servers(name: str, text: str) -> int | None:
    if text == UNLIMITED:
        return None
    try:
        return int(text)
    except ValueError:
        raise InputError(f"--{name} {text}: a whole number, or {UNLIMITED} for as many as it takes") from None


def _price(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"--{name} {text}: a number for all GPU types, or TYPE=NUMBER for each") from None
