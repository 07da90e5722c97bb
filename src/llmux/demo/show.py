"""What the demo's visitor sees: three models asked at once, taking turns, answering.

It asks like any client, shows what comes as it comes, and judges whether each answer came from
the model that was asked. It does not know how gateway and engines are set up (`stage`).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from types import FrameType

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from llmux.demo.cast import QUESTION, TOYS, Cast, CastError, llamas
from llmux.demo.stage import Event, Stage, StageError


@dataclass
class Asked:
    """One request and what has come back so far."""

    model: str
    cast: Cast = TOYS
    state: str = "waiting"
    answer: str = ""
    first: float | None = None
    """Seconds until the first word."""
    named: set[str] = field(default_factory=set)
    """What the chunks say about which model they come from."""

    @property
    def right(self) -> bool:
        """Whether the answer is whole and came from the model that was asked."""
        whole = self.state == "answered" and self.cast.knows(self.model, self.answer)
        return whole and self.named == {self.model}


class Show:
    """Prints events as lines, and above all of them the answers as they grow."""

    def __init__(self, console: Console, cast: Cast) -> None:
        self.console = console
        self.cast = cast
        self.asked = [Asked(model, cast) for model in cast.arguments]
        self._start = time.monotonic()
        self._live: Live | None = None
        self.over = False
        """Whether the show is over and what happens now is only tidying up."""

    def begin(self) -> None:
        """Set the clock to zero."""
        self._start = time.monotonic()

    @property
    def clock(self) -> float:
        """Seconds since the show began."""
        return time.monotonic() - self._start

    def hear(self, event: Event) -> None:
        """Show what the gateway says if it is about a switch."""
        if self.over:
            return
        model = str(event.get("model", ""))
        match event.get("event"):
            case "switch_started" if event.get("from") == "idle":
                self.line("switch", f"nobody is awake, waking {event['to']}", "cyan")
            case "switch_started":
                self.line("switch", f"from {event['from']} to {event['to']}", "cyan")
            case "hook_completed" if event.get("hook") == "sleep":
                seconds = float(event["duration_secs"])
                self.line("asleep", f"{model}, its sleep hook took {seconds:.1f} s", "blue")
            case "switch_abandoned":
                self.line("stays", f"{event['from']}: nobody waits for {event['to']} now", "cyan")
            case "model_activated":
                seconds = float(event["duration_secs"])
                self.line("awake", f"{model}, the switch took {seconds:.1f} s", "green")
            case "hook_failed" | "switch_failed" | "sleep_hook_failed":
                self.line("failed", str(event.get("message")), "red")
            case _:
                pass

    def line(self, what: str, text: str, style: str) -> None:
        """Print one line with the time."""
        row = Text(f"{self.clock:6.1f} s  ")
        row.append(f"{what:<8}", style=f"bold {style}")
        row.append(text)
        self.console.print(row, highlight=False, soft_wrap=True)
        self.refresh()

    @contextlib.contextmanager
    def live(self) -> Iterator[None]:
        """Keep the growing answers below the lines while this lasts."""
        with Live(console=self.console, auto_refresh=False, transient=True) as self._live:
            self.refresh()
            yield
        self._live = None

    def refresh(self) -> None:
        """Draw the growing answers anew."""
        if self._live is not None and self.console.is_terminal:
            self._live.update(Group(Text(), self.table(answers=True)), refresh=True)

    def table(self, *, answers: bool) -> Table:
        """Return who was asked and how far the answer is, and what came back if `answers`."""
        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column("model", no_wrap=True)
        table.add_column("state", no_wrap=True)
        table.add_column("first word", justify="right", no_wrap=True)
        if answers:
            table.add_column("answer")
        for one in self.asked:
            first = "" if one.first is None else f"{one.first:.1f} s"
            row = [one.model, one.state, first]
            table.add_row(*row, *([Text(one.answer)] if answers else []))
        return table


async def ask(port: int, one: Asked) -> AsyncIterator[tuple[str, str]]:
    """Ask for one streamed answer; yield pieces of it, each with the model it names.

    Raises OSError or ValueError, with a sentence, where there is no such answer.
    """
    messages = [{"role": "user", "content": QUESTION}]
    asked = {"model": one.model, "stream": True, "messages": messages, **one.cast.asking}
    body = json.dumps(asked).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:%d\r\nconnection: close\r\n"
            b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
            % (port, len(body), body)
        )
        head = await reader.readuntil(b"\r\n\r\n")
        if head.split()[1:2] != [b"200"]:
            status = head.decode(errors="replace").splitlines()[0]
            raise ValueError(f"{status}: {(await reader.read(2000)).decode(errors='replace')}")
        async for line in _lines(reader):
            if line.startswith(b"data: {"):
                chunk = json.loads(line[6:])
                yield chunk["choices"][0]["delta"].get("content") or "", str(chunk["model"])
            elif line.startswith(b"data: [DONE]"):
                return
        raise ValueError("the answer ended in the middle")
    finally:
        writer.close()


async def _lines(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """Take the chunks away from around a body and yield its lines."""
    rest = b""
    while size := int((await reader.readline()).split(b";")[0], 16):
        *lines, rest = (rest + await reader.readexactly(size)).split(b"\n")
        await reader.readline()
        for line in lines:
            yield line


async def _follow(show: Show, port: int, one: Asked) -> None:
    begun = show.clock
    try:
        async for piece, model in ask(port, one):
            one.named.add(model)
            if piece and one.first is None:
                one.first = show.clock - begun
                one.state = "answering"
            one.answer += piece
            show.refresh()
        one.state = "answered"
        show.line("answer", f"{one.model}: {one.answer.strip()}", "yellow")
    except (OSError, ValueError, LookupError, EOFError) as error:
        one.state = "failed"
        show.line("failed", f"{one.model}: {error}", "red")


async def _round(show: Show, port: int) -> bool:
    show.begin()
    show.line("ask", f"{', '.join(show.cast.arguments)}, all at once: {QUESTION}", "magenta")
    with show.live():
        await asyncio.gather(*(_follow(show, port, one) for one in show.asked))
    return all(one.right for one in show.asked)


def _commands(url: str, cast: Cast) -> list[str]:
    first, second, _ = cast.arguments
    post = "-H 'content-type: application/json' -d"
    hello = '"messages": [{"role": "user", "content": "Hello!"}]'
    hello += "".join(f', "{name}": {value}' for name, value in cast.asking.items())
    return [
        f"curl -N {url}/v1/chat/completions {post} "
        f'\'{{"model": "{first}", "stream": true, {hello}}}\'',
        f'curl {url}/v1/chat/completions {post} \'{{"model": "{second}", {hello}}}\'',
        f"curl -s {url}/metrics | grep llmux_switch_total",
    ]


def _invite(console: Console, url: str, cast: Cast) -> None:
    console.print("\nNow you, in another terminal:\n", style="bold")
    for command in _commands(url, cast):
        console.print(f"  {command}\n", markup=False, highlight=False, soft_wrap=True)
    console.print(f"Any OpenAI client will do: base_url is {url}/v1", highlight=False)
    console.print("The switches are shown here as they happen. Ctrl-C ends it all.\n")


async def _play(console: Console, stop: Stop, cast: Cast, *, once: bool, port: int) -> int:
    acting = asyncio.create_task(_act(console, cast, once=once, port=port))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({acting, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not acting.done():
        console.print("\nTaking everything away...")
        acting.cancel()
    await asyncio.wait({acting})
    if acting.cancelled():
        return 130 if once else 0
    return acting.result()


async def _act(console: Console, cast: Cast, *, once: bool, port: int) -> int:
    show = Show(console, cast)
    try:
        async with Stage(cast, port, show.hear) as stage:
            try:
                return await _scenes(show, stage, once=once, port=port)
            finally:
                show.over = True
    except StageError as error:
        console.print(f"llmux demo: {error}", markup=False, highlight=False)
        return 1


async def _scenes(show: Show, stage: Stage, *, once: bool, port: int) -> int:
    console = show.console
    if stage.port != port:
        console.print(f"Port {port} is taken, so the demo is on {stage.port}.")
    if show.cast.note:
        console.print(show.cast.note)
    console.print(f"A gateway listens on {stage.url}, and all models are asleep.\n")
    right = await _round(show, stage.port)
    console.print()
    console.print(show.table(answers=False))
    if not right:
        console.print("\nNot every answer came from the right model.", style="bold red")
    if once:
        return 0 if right else 1
    _invite(console, stage.url, show.cast)
    words = await stage.ended()
    console.print(f"The gateway has ended:\n{words}", markup=False, highlight=False)
    return 1


class Stop:
    """Hears the signals that end the demo, from before its loop begins until after its end.

    A loop's own handlers would give SIGINT back its deadly meaning while the last steps run.
    """

    def __init__(self) -> None:
        self._heard = False
        self._waiting: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._hear)

    def ignore(self) -> None:
        """Hear nothing more, for good: Python's own last steps would let a signal kill."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)

    async def wait(self) -> None:
        """Return when the demo should end."""
        event = asyncio.Event()
        self._waiting = asyncio.get_running_loop(), event
        if not self._heard:
            await event.wait()

    def _hear(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self._heard = True
        if self._waiting is not None:
            loop, event = self._waiting
            with contextlib.suppress(RuntimeError):  # the loop has ended already
                loop.call_soon_threadsafe(event.set)


def run(once: bool = False, port: int | None = None, *, llamacpp: bool = False) -> int:
    """Show the demo and return its exit code; until Ctrl-C, or one round if `once`.

    `port` is where its gateway should listen (3000 if None); the next free one is taken. With
    `llamacpp` the models are real llama.cpp servers. From here on SIGINT, SIGTERM and SIGHUP do
    no more to the process than end the demo: exit next.
    """
    console = Console()
    try:
        cast = llamas() if llamacpp else TOYS
    except CastError as error:
        console.print(f"llmux demo: {error}", markup=False, highlight=False, soft_wrap=True)
        return 1
    stop = Stop()
    try:
        return asyncio.run(_play(console, stop, cast, once=once, port=port or 3000))
    finally:
        stop.ignore()
