"""The command line: lists take ``--json``; exit 1 when what was asked failed, 2 when the configuration is wrong."""

import getpass
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from redis.exceptions import RedisError

from gatepost import calls, show
from gatepost.check import look
from gatepost.demo import run_demo
from gatepost.listen.command import listen
from gatepost.options import ConfigOption, HostOption, JsonOption, PortOption
from gatepost.private_redis import NotStarted
from gatepost.processes import Child, Supervisor, python
from lifecycle import __version__, hearing, subscriber_view
from lifecycle.config import CONFIG_VARIABLE, Config, config_path, load
from lifecycle.errors import GatepostError, Malformed, Misconfigured, Unknown
from lifecycle.failures import RETRIED
from lifecycle.holds import TRIED_AGAIN
from lifecycle.log import set_up_logs
from lifecycle.outbox_scripts import REPLAYED_MAX
from lifecycle.pages import PAGE_DEFAULT
from lifecycle.queue import LANES, connect
from lifecycle.records import Records
from lifecycle.replay import Replay, Replayed
from lifecycle.settlement import DROPPED, RELEASED
from lifecycle.signal import iso
from lifecycle.times import ago, moment_of

EXIT_FAILED, EXIT_MISCONFIGURED = 1, 2
URL_DEFAULT = "http://127.0.0.1:8080"
ACTOR = "command"
SAID = {
    RELEASED: "released",
    DROPPED: "dropped",
    TRIED_AGAIN: "offered again; no safety limit holds it, so there is none to overrule",
}

app = typer.Typer(
    help="Hears that someone joined, moved or left, and makes every target agree.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

UrlOption = Annotated[str, typer.Option("--url", envvar="GATEPOST_URL", help="A running receiver.")]
ActorOption = Annotated[
    str | None, typer.Option("--as", envvar="GATEPOST_ACTOR", help="Who acts; else the user of this machine.")
]
LimitOption = Annotated[int, typer.Option(min=1, max=500, help="At most so many.")]


@contextmanager
def _told() -> Iterator[None]:
    """Turn every error of ours into a sentence and an exit code."""
    try:
        yield
    except Misconfigured as error:
        print(show.plain(error.message), file=sys.stderr)
        raise typer.Exit(EXIT_MISCONFIGURED) from error
    except (GatepostError, calls.CallFailed, NotStarted) as error:
        print(show.plain(str(error)), file=sys.stderr)
        raise typer.Exit(EXIT_FAILED) from error
    except RedisError as error:
        print(show.plain(f"Redis does not answer: {error}"), file=sys.stderr)
        raise typer.Exit(EXIT_FAILED) from error


def _opened(config: str | None) -> tuple[Config, Records]:
    found = load(config_path(config))
    return found, Records(connect(found.redis.url, patient=False), found)


@app.command()
def demo(
    *,
    once: Annotated[
        bool, typer.Option("--once", help="End after the story; exit 1 if it did not end as told.")
    ] = False,
    port: Annotated[int | None, typer.Option(min=1, max=65_535, help="The receiver's port.")] = None,
    data: Annotated[Path | None, typer.Option(help="Keep everything in this folder.")] = None,
) -> None:
    """Run a whole world on this machine and send a signed joiner-mover-leaver story through it."""
    with _told():
        raise typer.Exit(run_demo(once=once, port=port, data=data))


@app.command()
def up(host: HostOption = "127.0.0.1", port: PortOption = 8080, config: ConfigOption = None) -> None:
    """Run the receiver and every lane's workers on this machine, and restart what dies."""
    set_up_logs("up", logging.INFO)
    with _told():
        path = config_path(config).resolve()
        found = load(path)
    environment = {CONFIG_VARIABLE: str(path)}
    children = [Child("service", python("service", "--host", host, "--port", str(port)))]
    for lane in LANES:
        number = getattr(found.workers, lane)
        children += [Child(f"{lane}-{place}", python("workers", "--lane", lane)) for place in range(number)]
    raise typer.Exit(Supervisor(children, environment).run())


@app.command()
def serve(host: HostOption = "127.0.0.1", port: PortOption = 8080, config: ConfigOption = None) -> None:
    """Run one receiver."""
    _become(python("service", "--host", host, "--port", str(port)), config)


@app.command()
def work(lane: Annotated[str, typer.Option(help=f"One of: {', '.join(LANES)}.")], config: ConfigOption = None) -> None:
    """Run one worker process of one lane."""
    _become(python("workers", "--lane", lane), config)


def _become(command: list[str], config: str | None) -> None:
    """Replace this process, so that signals and exit codes are the program's own."""
    path = str(config_path(config).resolve())
    os.execve(command[0], command, {**os.environ, CONFIG_VARIABLE: path})  # noqa: S606 - a command of ours


@app.command()
def check(*, json: JsonOption = False, config: ConfigOption = None) -> None:
    """Look at the configuration, Redis and every target: each line ok or what to do; exit 1 if any is wrong."""
    with _told():
        lines = list(look(config_path(config)))
    good = all(line.ok is not False for line in lines)
    show.as_json({"ok": good, "items": [asdict(line) for line in lines]}) if json else show.check(lines)
    if not good:
        raise typer.Exit(EXIT_FAILED)


@app.command()
def send(
    source: Annotated[str, typer.Argument(help="A source of the configuration.")],
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="The body to sign and send.")],
    to: Annotated[str, typer.Option("--to", help="A receiver, or a whole address with a path.")] = URL_DEFAULT,
    config: ConfigOption = None,
) -> None:
    """Sign a sample notice as that source would and send it."""
    with _told():
        answer = calls.send(to, calls.signed(config_path(config), source, file))
    print(show.plain(f"{answer.status} {answer.body.decode('utf-8', 'replace')}".strip()))
    if not 200 <= answer.status < 300:  # noqa: PLR2004 - any success
        raise typer.Exit(EXIT_FAILED)


app.command()(_told()(listen))


@app.command()
def handshake(
    source: Annotated[str, typer.Argument(help="A source of the configuration.")],
    *,
    forget: Annotated[bool, typer.Option("--forget", help="Forget the token, so that another can come.")] = False,
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Show the token that a source handed over, for you to confirm at the vendor; only you see it."""
    with _told():
        found = load(config_path(config))
        if source not in found.sources:
            names = ", ".join(sorted(found.sources)) or "none"
            raise Misconfigured([f"sources: found no {source!r}; allowed: {names}"])
        redis = connect(found.redis.url, patient=False)
        token = hearing.handshake(redis, source)
        if token is None:
            raise Unknown(f"source {source!r} has handed over no token", reason="handshake_none")
        if forget:
            hearing.forget_handshake(redis, source)
    if json:
        show.as_json({"source": source, "token": token.token, "at": iso(token.at), "forgotten": forget})
    else:
        print(f"{source} handed over a token {ago(datetime.now(UTC) - token.at)}{': forgotten' if forget else ''}")
        print(token.token)


@app.command()
def manual(
    adapter: Annotated[str | None, typer.Argument(help="The name of a page; none: all names.")] = None,
    *,
    out: Annotated[Path | None, typer.Option(help="Write every page into this folder, as Markdown.")] = None,
) -> None:
    """Show a page: of a source or directory, with its set-up, secrets and promises; or `signals`, on receiving them."""
    with _told():
        pages = calls.pages()
        if adapter is not None and adapter not in pages:
            raise Unknown(f"no page called {adapter!r}; there are: {', '.join(sorted(pages))}", reason="page_unknown")
    if out is not None:
        for name, text in pages.items():
            path = out / f"{name}.md"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        print(f"{len(pages)} pages in {out}")
    elif adapter is not None:
        print(pages[adapter], end="")
    else:
        print("\n".join(sorted(pages)))


@app.command()
def events(
    *,
    state: Annotated[str | None, typer.Option(help="Only events in this state.")] = None,
    source: Annotated[str | None, typer.Option(help="Only events of this source.")] = None,
    person: Annotated[str | None, typer.Option(help="Only events of this person.")] = None,
    limit: LimitOption = PAGE_DEFAULT,
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """List events, newest first."""
    with _told():
        page = _opened(config)[1].events(state=state, source=source, person=person, limit=limit)
    show.as_json({"items": page.items, "next": page.next}) if json else show.events(page.items)


@app.command()
def why(event: str, *, json: JsonOption = False, config: ConfigOption = None) -> None:
    """Explain one event step by step: each request's method, path and answer."""
    with _told():
        found, records = _opened(config)
        explained = records.event(event, list(found.sources))
    show.as_json(explained) if json else show.why(explained)


@app.command()
def person(key: str, *, json: JsonOption = False, config: ConfigOption = None) -> None:
    """Show one person by external id, user name or e-mail address: what is known, accounts, last events."""
    with _told():
        found = _opened(config)[1].person(key)
    show.as_json(found) if json else show.person(found)


@app.command()
def restore(key: str, *, actor: ActorOption = None, json: JsonOption = False, config: ConfigOption = None) -> None:
    """Take back who left, by external id, user name or e-mail address, with the groups and roles that were taken away.

    Works for `policy.restore_within` after the suspension. From the person's next event on the policy's word counts.
    """
    with _told():
        found, records = _opened(config)
        event = records.restore(key, found.policy.restore_within, actor=actor or _user())
    kept = {"restored": event.person, "event": event.ref}
    words = f"{event.person}: on the way back; see gatepost why {event.ref}"
    show.as_json(kept) if json else print(show.plain(words))


@app.command()
def failed(*, limit: LimitOption = PAGE_DEFAULT, json: JsonOption = False, config: ConfigOption = None) -> None:
    """List what waits for a person: notices set aside, events failed or held, signals never taken, targets stopped."""
    with _told():
        page = _opened(config)[1].failures(limit=limit)
    show.as_json({"items": page.items, "next": page.next}) if json else show.failures(page.items)


@app.command()
def retry(ids: list[str], url: UrlOption = URL_DEFAULT, actor: ActorOption = None, config: ConfigOption = None) -> None:
    """Try again what failed, by the ids that `gatepost failed` shows; an event's own id will do.

    A target goes on as it is: its present schema is the accepted one, and its circuit is closed.
    """
    set_up_logs("retry")
    _each(ids, lambda failure_id: _retried(failure_id, url, actor or _user(), config))


def _each(ids: list[str], act: Callable[[str], str]) -> None:
    """Act on each and say what came of it; one that fails does not stop the rest."""
    wrong = False
    for each in ids:
        try:
            with _told():
                print(show.plain(f"{each}: {act(each)}"))
        except typer.Exit:
            wrong = True
    if wrong:
        raise typer.Exit(EXIT_FAILED)


def _retried(failure_id: str, url: str, actor: str, config: str | None) -> str:
    found, records = _opened(config)
    what = failure_id.partition(":")[0]
    if what == "notice":
        return _notice_retried(found, url, failure_id)
    if what not in RETRIED:
        failure_id = f"event:{records.ref(failure_id, list(found.sources))}"
    records.retry(failure_id, actor=actor)
    return "goes on" if what == "target" else "offered again"


def _notice_retried(found: Config, url: str, failure_id: str) -> str:
    if not found.service.admin_tokens:
        raise Malformed("a notice is read again by the receiver, which needs service.admin_tokens", reason="no_token")
    answer = calls.retry_by_receiver(url, found.service.admin_tokens[0].value, failure_id)
    body: dict[str, Any] = answer.json()
    if answer.status != 202:  # noqa: PLR2004 - accepted
        raise Malformed(str(body.get("detail", answer.status)), reason="retry_refused")
    return "read again"


@app.command()
def held(*, limit: LimitOption = PAGE_DEFAULT, json: JsonOption = False, config: ConfigOption = None) -> None:
    """List what is held until a person rules of it: by a safety limit, or as it could be about somebody else."""
    with _told():
        page = _opened(config)[1].holds(limit=limit)
    show.as_json({"items": page.items, "next": page.next}) if json else show.holds(page.items)


@app.command()
def release(ids: list[str], actor: ActorOption = None, config: ConfigOption = None) -> None:
    """Let held events go on, by the ids that `gatepost held` shows: past the safety limit, as far as still wanted.

    What is held for another reason is only tried again: no release makes sure whom it is about.
    """
    _each(ids, lambda event_id: _ruled(event_id, RELEASED, actor, config))


@app.command()
def drop(ids: list[str], actor: ActorOption = None, config: ConfigOption = None) -> None:
    """Take held events back, by the ids that `gatepost held` shows: they are ignored, and nothing is taken away.

    A notice that was set aside and that nobody needs to read is forgotten, by the id that `gatepost failed` shows.
    """
    _each(ids, lambda event_id: _ruled(event_id, DROPPED, actor, config))


def _ruled(event_id: str, verdict: str, actor: str | None, config: str | None) -> str:
    found, records = _opened(config)
    return SAID[records.rule(event_id, list(found.sources), verdict, actor=actor or _user())]


@app.command()
def subscribers(*, limit: LimitOption = PAGE_DEFAULT, json: JsonOption = False, config: ConfigOption = None) -> None:
    """List who is told of outcomes, and how each stands: failing, paused, disabled, what waits."""
    with _told():
        found = load(config_path(config))
        redis = connect(found.redis.url, patient=False)
        page = subscriber_view.shown(redis, found, datetime.now(UTC), limit=limit)
    show.as_json({"items": page.items, "next": page.next}) if json else show.subscribers(page.items)


@app.command()
def signals(  # noqa: PLR0913 - its filters
    *,
    signal_type: Annotated[str | None, typer.Option("--type", help="Only signals of this type.")] = None,
    subscriber: Annotated[str | None, typer.Option(help="Only signals that went to this subscriber.")] = None,
    state: Annotated[str | None, typer.Option(help="Only signals of which a delivery is in this state.")] = None,
    person: Annotated[str | None, typer.Option(help="Only signals of this person.")] = None,
    signal: Annotated[str | None, typer.Option("--id", help="This signal alone, with every attempt's answer.")] = None,
    limit: LimitOption = PAGE_DEFAULT,
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """List signals, newest first, with what came of each way to a subscriber; or show one, attempt by attempt."""
    given = {"type": signal_type, "subscriber": subscriber, "state": state, "person": person}
    wanted = {name: value for name, value in given.items() if value is not None}
    with _told():
        if signal is not None:
            if wanted:
                raise Malformed("--id names one signal, and stands alone", reason="filter_malformed")
            one = _opened(config)[1].signal(signal)
            show.as_json(one) if json else show.signal(one)
            return
        page = _opened(config)[1].signals(wanted, limit=limit)
    show.as_json({"items": page.items, "next": page.next}) if json else show.signals(page.items)


@app.command()
def replay(
    subscriber: Annotated[str, typer.Argument(help="A name that `gatepost subscribers` shows.")],
    *,
    since: Annotated[str | None, typer.Option(help="All since then: 2026-03-02T09:00:00Z.")] = None,
    signal: Annotated[str | None, typer.Option("--id", help="This signal, whatever the filters say.")] = None,
    failed: Annotated[bool, typer.Option("--failed", help="All that it never took.")] = False,
    actor: ActorOption = None,
    config: ConfigOption = None,
) -> None:
    """Send signals to one subscriber again, under the ids that they have, with all attempts before them."""
    set_up_logs("replay")
    with _told():
        if [since, signal, failed or None].count(None) != 2:  # noqa: PLR2004 - of three
            raise Malformed("one of --since, --id and --failed says what is replayed", reason="replay_malformed")
        found = load(config_path(config))
        replaying = Replay(connect(found.redis.url, patient=False), found, subscriber)
        by = actor or _user()
        if since is not None:
            replayed = replaying.all_since(moment_of(since), actor=by)
        else:
            replayed = replaying.failed(actor=by) if signal is None else replaying.one(signal, actor=by)
    waits = "delivery waits" if replayed.enlisted == 1 else "deliveries wait"
    print(f"{subscriber}: {replayed.enlisted} {waits} that did not")
    if replayed.is_full:
        print(_full(subscriber, replayed), file=sys.stderr)
        raise typer.Exit(EXIT_FAILED)


def _full(subscriber: str, replayed: Replayed) -> str:
    rest = f"--since {replayed.next.isoformat()}" if replayed.next else "the same"
    return f"{subscriber}: no room for the rest, as {REPLAYED_MAX:,} wait already; replay {rest} when it took some"


def _user() -> str:
    """Name whoever types; a container may know no user."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ACTOR


@app.command()
def version() -> None:
    """Print the version."""
    print(__version__)
