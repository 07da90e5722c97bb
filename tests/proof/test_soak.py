"""A soak says what grows: leaks are found in made-up series, and a short one goes well in truth."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections import Counter

import pytest
from proof.growth import MIB, Sample, growth, kinds, look, more, slope
from proof.soak import Tally, verdict
from proof.visitors import KINDS


def series(per_hour: float, noise: float = 0.2, size: float = 28.0) -> list[Sample]:
    """Half an hour of samples that grow by so many MiB an hour."""
    dice = random.Random(1)
    return [
        Sample(at, int((size + per_hour * at / 3600 + dice.uniform(-noise, noise)) * MIB), 40)
        for at in range(0, 1800, 2)
    ]


def test_a_leak_is_told_from_noise_by_its_slope_and_by_its_growth() -> None:
    for leak in (0.0, 1.0, 10.0):
        seen = growth(series(leak))
        assert seen.slope == pytest.approx(leak, abs=0.3)
        assert seen.grown == pytest.approx(leak * 0.4, abs=0.1)
    assert growth(series(10.0)).grown > growth(series(10.0)).bound


def test_two_mib_or_two_percent_are_allowed_whichever_is_more() -> None:
    assert growth(series(0.0)).bound == 2.0
    assert growth(series(0.0, size=400.0)).bound == pytest.approx(8.0, abs=0.1)


def test_a_slope_needs_a_spread() -> None:
    assert slope([1.0, 1.0], [0.0, 5.0]) == 0.0
    with pytest.raises(ValueError, match="two samples"):
        growth(series(0.0)[:1])


def test_descriptors_are_told_by_what_they_are() -> None:
    before = kinds(os.getpid())
    read, write = os.pipe()
    try:
        assert more(before, kinds(os.getpid())) == {"pipe": 2}
        assert look(os.getpid(), 1.0).descriptors >= before.total() + 2
    finally:
        os.close(read)
        os.close(write)
    assert more(before, kinds(os.getpid())) == {}


def quiet() -> Tally:
    """A tally in which everything is as it should be."""
    held = Counter({"socket": 3, "hook output": 12})
    at_rest = [(sample, held) for sample in (series(0.0)[0], series(0.0)[-1])]
    return Tally(answered=10, samples=series(0.0), at_rest=at_rest)


def test_each_figure_that_is_missed_is_said() -> None:
    told, met = verdict(quiet())
    assert met
    assert "MISSED" not in "\n".join(told)
    leaking = quiet()
    leaking.samples = series(20.0)
    holding = quiet()
    holding.at_rest[1] = (holding.at_rest[1][0], Counter({"socket": 5, "hook output": 12}))
    failing = quiet()
    failing.failures["asks: 502 instead of 200"] += 1
    for tally, word in ((leaking, "MISSED"), (holding, "{'socket': 2}"), (failing, "1 x asks")):
        told, met = verdict(tally)
        assert not met
        assert word in "\n".join(told)


def test_a_tenth_of_the_clients_leave() -> None:
    shares = {kind: share for kind, share, _ in KINDS}
    assert sum(shares.values()) == 100
    assert sum(share for kind, share in shares.items() if kind.startswith("leaves")) == 10


def test_ctrl_c_prints_what_there_is_and_leaves_nothing_behind() -> None:
    """A real gateway under real load, stopped early."""
    work = subprocess.Popen(
        [sys.executable, "-u", "-m", "proof.soak", "--minutes", "0.4", "--clients", "4"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert work.stdout is not None
    said = work.stdout.readline()  # the gateway is up and asked
    work.send_signal(signal.SIGINT)
    rest, _ = work.communicate(timeout=90)
    assert "answered" in said
    assert "\nfailures: 0\n" in said + rest
    assert work.returncode == 130
