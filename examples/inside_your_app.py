"""Your own ASGI app, with models that take turns behind the same port.

    uvicorn --app-dir examples inside_your_app:app

`SwitchLayer` stands around the app: a request that names one of the models in its JSON body waits
for it and is relayed, all else is the app's business. It is a plain ASGI callable; with Starlette
or FastAPI it is `app.add_middleware(SwitchLayer, switcher=switcher)`.
"""

from __future__ import annotations

from pathlib import Path

from llmux.build import build_hooks, build_policy, lane_settings
from llmux.config import load_config
from llmux.http.asgi import Receive, Scope, Send, SwitchLayer
from llmux.runtime.switcher import ModelSwitcher

config = load_config(Path(__file__).with_name("models.yaml")).config
policy = build_policy(config)
hooks = build_hooks(config)
switcher = ModelSwitcher(hooks, policy, settings=lane_settings(config, policy))


async def yours(scope: Scope, receive: Receive, send: Send) -> None:
    """Be the app that you have already; this one has a page that says who is awake."""
    if scope["type"] == "lifespan":
        await live(receive, send)
        return
    found = scope["path"] == "/"
    text = f"{switcher.active_model() or 'nobody'} is awake\n" if found else "not found\n"
    body = text.encode()
    fields = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200 if found else 404, "headers": fields})
    await send({"type": "http.response.body", "body": body})


async def live(receive: Receive, send: Send) -> None:
    """Begin and end with the server: at the end the model that is awake is put to sleep."""
    await receive()
    switcher.start()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    awake = switcher.active_model()
    await switcher.stop()
    await app.close()
    if awake is not None:
        await hooks.run_sleep(awake)
    await send({"type": "lifespan.shutdown.complete"})


app = SwitchLayer(yours, switcher)
