"""An operator asks why it did not switch, and gets a sentence: the real gateway, the real verb."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.conftest import Need
from tests.e2e.house import House, until
from tests.e2e.test_doors import certificate

HELD = (
    "stayed on a: it has been active for",
    "of its min_active_secs (600 s), and 1 waiting for b has waited",
    "; will look again in ",
)


def why(house: House, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the verb beside the gateway, with the same config."""
    command = [sys.executable, "-m", "llmux", "why", *args, "-c", str(house.folder / "config.yaml")]
    return subprocess.run(
        command,
        env=house.environment() | env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def told(house: House, *args: str, **env: str) -> str:
    done = why(house, *args, **env)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_why_it_did_not_switch_is_one_sentence(house: House) -> None:
    """On the terminal and on the route, while the active model may not be left."""
    house.models["a"]["min_active_secs"] = 600
    house.start()
    assert told(house) == "nothing is awake, nobody waits\n"
    house.ask("a")
    house.queue("b", "b1")
    first, *rest = told(house, "b").splitlines()
    assert first.startswith(f"b: {HELD[0]}")
    assert all(part in first for part in HELD)
    assert rest[0] == ""
    assert any("stay" in line and HELD[1] in line for line in rest)
    answer = house.get("/llmux/decisions?model=b&limit=1").json()
    assert [one["rule"] for one in answer["decisions"]] == ["min_active"]
    assert answer["active"] == "a"
    assert answer["why"][0]["sentence"].startswith(HELD[0])


def test_a_switch_is_told_with_its_rule_and_as_json(house: House) -> None:
    house.start()
    house.ask("a")
    house.ask("b")
    shown = json.loads(told(house, "--json", "-n", "1"))
    [one] = shown["decisions"]
    assert (one["rule"], one["policy_rule"], one["decision"]) == ("policy", "oldest", "switch")
    assert (one["model"], one["active"]) == ("b", "a")
    assert one["sentence"].startswith("left a for b: its oldest request has waited ")
    assert house.get("/llmux/decisions?limit=many").status == 400
    assert house.get("/llmux/decisions?model=nobody").status == 404


def test_nobody_there_and_no_such_model_are_told_apart(house: House) -> None:
    """Exit code 1 where no gateway answers, 2 for a model that is not there."""
    house.write()
    gone = why(house)
    assert gone.returncode == 1
    assert f"no gateway answers at http://127.0.0.1:{house.port}: connection refused" in gone.stderr
    house.start()
    unknown = why(house, "nobody")
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert "'nobody' not found" in unknown.stderr


def test_a_gateway_on_every_address_is_asked_on_this_machine(house: House) -> None:
    house.extra["host"] = "0.0.0.0"
    house.start()
    assert told(house) == "nothing is awake, nobody waits\n"


@pytest.mark.parametrize(
    "auth",
    [
        {"keys": ["for-all"], "admin_keys": [{"text": "root", "name": "ops"}]},
        {"keys": ["for-all"], "admin_keys": [{"file": "root.key"}]},
        {"keys": ["for-all"], "admin_keys": [{"env": "ROOT_KEY"}]},
        {"keys": ["for-all"]},
    ],
    ids=["text", "file", "env", "no-admin"],
)
def test_the_key_is_found_by_the_config(house: House, auth: dict[str, object]) -> None:
    """Wherever it stands; without admin keys a key for all models does."""
    (house.folder / "root.key").write_text("root\n")
    house.extra["auth"] = auth
    house.start(env=house.environment() | {"ROOT_KEY": "root"})
    assert told(house, ROOT_KEY="root") == "nothing is awake, nobody waits\n"


def test_a_key_is_brought_where_the_config_has_none_that_can_be_read(house: House) -> None:
    """By the option or the variable; a wrong one is told, and no key is ever shown."""
    digest = "4813494d137e1631bba301d5acab6e7bb7aa74ce1185d456565ef51d737677b2"
    house.extra["auth"] = {"admin_keys": [{"sha256": digest}]}
    house.start()
    assert told(house, "--key", "root") == "nothing is awake, nobody waits\n"
    assert told(house, LLMUX_ADMIN_KEY="root") == "nothing is awake, nobody waits\n"
    for args in ([], ["--key", "s3cret"], ["--key", "s3\u20ac"]):
        refused = why(house, *args)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert "s3" not in refused.stderr
    assert "`--key` or LLMUX_ADMIN_KEY brings" in why(house).stderr


def test_under_tls_only_the_configs_own_certificate_is_believed(house: House, need: Need) -> None:
    """The certificate is for a name; the gateway is asked by its address all the same."""
    certificate(need("openssl"), house.folder)
    house.extra["tls"] = {"cert": "cert.pem", "key": "key.pem"}
    house.launch("-c", str(house.write()))
    until(lambda: why(house).returncode == 0, "the gateway answers under TLS")
    certificate(need("openssl"), house.folder)  # another one: whoever answers has not this
    impostor = why(house)
    assert impostor.returncode == 1
    assert "is not believed" in impostor.stderr
