"""Two configs are compared by the names that stand in the file."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmux.config import Config, ModelConfig, PolicyConfig
from llmux.config.changes import Changes, asked_otherwise, compare, obeyed
from llmux.config.doors import TlsConfig
from llmux.runtime.hooks import HookSpec

A = ModelConfig(8001, "wake a", "sleep a")
B = ModelConfig(8002, "wake b", "sleep b")
OLD = Config(models={"a": A, "b": B})


def changed(**keys: Any) -> Config:
    """The old config with other keys at the top."""
    return replace(OLD, **keys)


@pytest.mark.parametrize(
    ("new", "what"),
    [
        (OLD, Changes((), (), (), ())),
        (changed(models={"b": B, "c": A}), Changes(("c",), ("a",), (), ())),
        (
            changed(models={"a": replace(A, port=9, wake="other"), "b": B}),
            Changes((), (), ("models.a.port", "models.a.wake"), ()),
        ),
        (
            changed(bounds=replace(OLD.bounds, max_queue=None)),
            Changes((), (), ("bounds.max_queue",), ()),
        ),
        (
            changed(host="::1", port=1, state="off", hooks=replace(OLD.hooks, cwd="process")),
            Changes((), (), (), ("host", "port", "state", "hooks.cwd")),
        ),
        (
            changed(tls=TlsConfig("cert.pem", "key.pem")),
            Changes((), (), (), ("tls.cert", "tls.key")),
        ),
    ],
)
def test_what_has_changed_is_named_as_in_the_file(new: Config, what: Changes) -> None:
    """And what can only be had by a restart is kept apart."""
    assert compare(OLD, new) == what


def test_a_certificate_that_moves_needs_no_restart() -> None:
    """Only one that comes or goes does."""
    old, new = (changed(tls=TlsConfig(f"{one}.pem", f"{one}.key")) for one in "ab")
    assert compare(old, new).changed == ("tls.cert", "tls.key")
    assert obeyed(old, new).tls == new.tls
    assert obeyed(OLD, new).tls == OLD.tls


def test_the_policy_has_changed_with_its_name_or_its_options() -> None:
    """Its bounds are the board's."""
    for policy, other in (
        (PolicyConfig("balance"), True),
        (PolicyConfig(options={"x": 1}), True),
        (PolicyConfig(min_active_secs=5.0), False),
    ):
        assert compare(OLD, changed(policy=policy)).policy is other


def test_how_a_model_is_asked_depends_on_what_stands_above_it() -> None:
    """`bounds.alive_timeout_secs` is every model's that has none of its own."""
    own = changed(models={"a": replace(A, alive_timeout_secs=5.0), "b": B})
    new = replace(own, bounds=replace(own.bounds, alive_timeout_secs=9.0))
    assert asked_otherwise(own, new) == {"b"}


@given(st.data())
def test_after_a_reload_nothing_is_left_to_change_but_what_needs_a_restart(
    data: st.DataObject,
) -> None:
    """Whatever has changed, following it twice changes nothing the second time."""
    pick = data.draw
    models = {
        name: ModelConfig(pick(st.integers(1, 3)), pick(st.sampled_from("xy")), "s")
        for name in pick(st.sets(st.sampled_from("abc"), min_size=1))
    }
    new = changed(
        models=models,
        port=pick(st.sampled_from([3000, 4000])),
        host=pick(st.sampled_from(["127.0.0.1", "::1"])),
        bounds=replace(OLD.bounds, max_queue=pick(st.sampled_from([1, 1024]))),
    )
    first, second = compare(OLD, new), compare(obeyed(OLD, new), new)
    assert second == Changes((), (), (), first.restart)
    assert set(first.added) == models.keys() - OLD.models.keys()
    assert set(first.removed) == OLD.models.keys() - models.keys()


@pytest.mark.parametrize(
    ("key", "value", "change"),
    [
        ("port", 9, "renew"),
        ("wake", "other", "renew"),
        ("sleep", "other", "mend"),
        ("kill", "other", "mend"),
        ("alive", "other", "none"),
        ("wake_timeout", 9.0, "none"),
        ("sleep_timeout", None, "none"),
    ],
)
def test_which_changes_have_to_wait_until_the_model_sleeps(
    key: str, value: Any, change: str
) -> None:
    """What is up was woken by the old wake on the old port; bounds hold at once."""
    old = HookSpec("a", 8001, "wake", "sleep")
    new = replace(old, **{key: value})
    assert old.change_to(new) == change
    assert old.meanwhile(new).wake_timeout == new.wake_timeout
    assert old.meanwhile(new).wake == "wake"
