"""Config files as people have them: names, scalars and formats that 2.4.0 took, served for real."""

from __future__ import annotations

import json

from tests.e2e.conftest import Build


def test_models_with_names_that_yaml_would_like_to_change(build: Build) -> None:
    """`123`, `off` and `7b` are names, and so is what has slashes, spaces and quotes in it."""
    names = ["123", "off", "7b", "facebook/opt-125m", "null", "1e3", "über mäßig", 'a "b" $c']
    house = build(*names)
    lines = ["port: " + str(house.port), "models:"]
    for name, keys in house.models.items():
        plain = name in {"123", "off", "7b", "facebook/opt-125m", "null", "1e3"}
        lines += [f"  {name if plain else json.dumps(name)}:", f"    port: {keys['port']}"]
        for hook in ("wake", "sleep"):
            lines += [f"    {hook}: |", *(f"      {line}" for line in keys[hook].splitlines())]
        lines += ["    alive: true"]
    house.write("\n".join(lines))
    house.start()
    assert [one["id"] for one in house.get("/v1/models").json()["data"]] == sorted(names)
    for name in names:
        assert house.ask(name).who == name
    house.assert_one_awake()


def test_a_hook_that_is_called_true_is_the_shells_true(build: Build) -> None:
    """`wake: true` is the text `true`, and a hook that is a number is a command of that name."""
    house = build("a")
    house.write(
        f"port: {house.port}\nmodels:\n  a:\n    port: {house.ports['a']}\n"
        "    wake: true\n    sleep: 0\n    alive: yes\n"
    )
    house.extra["bounds"] = {"wake_timeout_secs": 1}
    house.start()
    answer = house.request("GET", "/v1/models/a")
    assert answer.json()["id"] == "a"


def test_a_json_config(build: Build) -> None:
    """Any ending but .yaml and .yml is JSON."""
    house = build("a", "b")
    path = house.write(name="config.json")
    house.start("-c", str(path))
    assert house.ask("a").who == "a"
    assert house.ask("b").who == "b"


def test_unknown_keys_do_not_stop_serve(build: Build) -> None:
    """What an old or a newer file has beside what we know is told and passed over."""
    house = build("a")
    house.models["a"]["gpu"] = 0
    house.extra["metrics_port"] = 9090
    house.start()
    assert house.ask("a").who == "a"
    told = " ".join(str(one["message"]) for one in house.logged("config_notice", 2))
    assert "gpu" in told and "metrics_port" in told
