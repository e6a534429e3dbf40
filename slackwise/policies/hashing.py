"""Random choices of a pure function: the uniform draw of a decision, hashed with a salt, gives as many as are needed.

Every intermediate product is cut to 32 bits, so that plain Python (unbounded integers) and machine code agree.
"""

from __future__ import annotations

from slackwise.policies.compilation import policy_helper

WORD = 0xFFFFFFFF
GOLDEN = 0x9E3779B9


@policy_helper
def mixed(word: int) -> int:
    """A bijection of 32-bit words in which each input bit moves every output bit (finalizer of MurmurHash3, 2011)."""
    word ^= word >> 16
    word = (word * 0x85EBCA6B) & WORD
    word ^= word >> 13
    word = (word * 0xC2B2AE35) & WORD
    return word ^ (word >> 16)


@policy_helper
def random_word(draw: float, salt: int) -> int:
    """A 32-bit word from a uniform `draw` in [0, 1); distinct salts give distinct words of one draw."""
    scaled = draw * 4294967296.0
    high = int(scaled)
    low = int((scaled - high) * 2097152.0)
    return mixed((mixed(mixed(high) ^ low) + salt * GOLDEN) & WORD)


@policy_helper
def random_below(draw: float, salt: int, bound: int) -> int:
    """A whole number in [0, bound), uniform to within bound / 2^32."""
    return (random_word(draw, salt) * bound) >> 32


@policy_helper
def among_drawn(draw: float, index: int, size: int, count: int) -> bool:
    """Whether `index` is among `count` distinct indices drawn uniformly from range(size).

    The first `count` swaps of a Fisher-Yates shuffle, followed from where `index` stands: every index sees the same
    shuffle, so exactly min(count, size) of them are told yes.
    """
    position = index
    for turn in range(min(count, size)):
        chosen = turn + random_below(draw, turn, size - turn)
        if chosen == position:
            return True
        if position == turn:
            position = chosen
    return False


@policy_helper
def drawn_at(draw: float, turn: int, size: int) -> int:
    """The index that is drawn at `turn` (from 0): those of `count` turns are what among_drawn says yes to."""
    position = turn + random_below(draw, turn, size - turn)
    for before in range(turn - 1, -1, -1):
        if position == before + random_below(draw, before, size - before):
            position = before
    return position
