"""Every Redis key of ours, its type and how long it lives. RQ's own keys begin with ``rq:`` and are RQ's to describe.

==========================================  ======  ===================================================================
key                                         type    holds, and how long
==========================================  ======  ===================================================================
gatepost:event:SOURCE:ID                    hash    doc, person, state, deliveries, reason, detail, ruling, deaths,
                                                    reading, looked, due_at, reply. Its existence is the seen-mark.
                                                    No expiry while open or stuck, then RETENTION
gatepost:trace:SOURCE:ID                    list    the event's timeline, JSON lines; lives as long as the event
gatepost:mailbox:PERSON                     list    refs of events that are not settled; gone when empty
gatepost:unread:PERSON                      list    refs of thin events that were not looked up yet; gone when empty
gatepost:lease:PERSON                       string  token of the job that works on this person; LEASE
gatepost:settled:PERSON                     string  the last attempt that kept its lease; a minute
gatepost:working                            zset    WORKER|PERSON by the end of its lease; until it is freed
gatepost:alive:WORKER                       string  that a worker process lives; ALIVE
gatepost:leader                             string  the worker process that sweeps; a second and a half
gatepost:popped                             zset    RQ's jobs that were popped by when that was seen; until they end
gatepost:resumed:NAME                       string  that this was just offered again; three seconds
gatepost:due                                zset    refs of scheduled events by when they are due; until then
gatepost:person:KEY                         string  the person, JSON; never expires: it is what we know
gatepost:person-events:PERSON               zset    refs by time received; trimmed to RETENTION
gatepost:alias:NAME                         string  person key of a user name or e-mail address; never expires
gatepost:events, gatepost:events:STATE      zset    refs by time received; final ones trimmed to RETENTION
gatepost:open:LANE                          zset    refs of events kept or postponed by time received; until settled
gatepost:failures                           zset    event:REF, notice:ID, signal:ITEM:SUBSCRIBER by time; until
                                                    retried, and signals for RETENTION
gatepost:holds                              zset    refs of events of which something is held, by since when; until
                                                    ruled, or moot
gatepost:window:LIMIT[:TARGET]              zset    persons counted for a safety limit by when; the limit's window
gatepost:episode:LIMIT[:TARGET]             string  when a limit began to hold, its alarm's name; until it held nobody
                                                    for a whole window
gatepost:known[:TARGET]                     set     persons with a live account anywhere; who has one on that target
gatepost:link:KEY                           string  key of the person that this one was found to be; never expires
gatepost:notice:ID                          hash    a notice set aside whole; until it was read after all
gatepost:aside:SOURCE                       hash    bytes of each of its notices set aside, by id; as long
gatepost:signal:ID                          hash    type, body, person, event, target, facts, deliveries, and
                                                    those replayed to who was not among them; RETENTION
gatepost:signals                            zset    signal ids by time made; trimmed to RETENTION
gatepost:outbox                             stream  ids of signals that are not fanned out yet; until then
gatepost:lines:SUBSCRIBER                   zset    its lines by when the first of each is due, or until when it is on
                                                    its way; until delivered
gatepost:replays:SUBSCRIBER                 zset    lines that a replay began, by when; until there is room among the
                                                    others, or something happens to that person
gatepost:line:SUBSCRIBER:PERSON             list    items of a person's signals that it has still to hear, in order
gatepost:polled:SUBSCRIBER                  list    items that it has still to come for, in order; until it did
gatepost:delivery:ITEM:SUBSCRIBER           hash    state, attempts made, next attempt, line; RETENTION
gatepost:attempts:ITEM:SUBSCRIBER           list    each attempt, JSON; RETENTION
gatepost:failed:SUBSCRIBER                  zset    items that it never took by time; until replayed, or for
                                                    RETENTION
gatepost:subscriber:NAME                    hash    how it stands: deliveries that wait, since when it fails, its
                                                    circuit, whether and why it is paused or disabled; until deleted
gatepost:subscribers                        hash    those made by the API, JSON by name, secrets sealed; until deleted
gatepost:subscriber-names                    set     who subscribes, for the metrics
gatepost:subscribers-revision               string  counts every change of who subscribes to what; never expires
gatepost:subscribers-lock                   string  whoever makes or deletes one now; a minute
gatepost:vault-salt                         string  the salt of the keys that seal; never expires
gatepost:streams                            hash    the streams of Shared Signals receivers, JSON by id, each with its
                                                    authorization sealed; until deleted, marked meanwhile
gatepost:excluded:STREAM                    set     subjects that its receiver removed from it; until added again
gatepost:verified:STREAM                    string  that its receiver just asked for a verification; a minute
gatepost:ssf-token:DIGEST                   string  whose a receiver's token is, JSON, by its SHA-256; until it expires
gatepost:ssf-tries:KIND:BUCKET              string  how often a client asked for something of late; a minute
gatepost:owners:TARGET                      hash    person key by account id, as settled; never expires
gatepost:groups:TARGET                      hash    group id by display name, the ids that policy names; GROUPS_TTL
gatepost:capabilities:TARGET                string  what a target says it can and has, JSON; CAPABILITIES_TTL
gatepost:discovering:TARGET                 string  who asks it, or that it was asked in vain; a minute
gatepost:proof:TARGET                       string  whether its look-ups find who is there; PROOF_TTL
gatepost:baseline:TARGET                    string  the managed attributes as last accepted, JSON; never expires
gatepost:stopped:TARGET                     string  why a target gets nothing but suspensions, JSON; until accepted
gatepost:circuit:TARGET                     hash    failures in a row, until when nothing is sent; until it closes
gatepost:waiting:TARGET                     zset    persons who wait for the gate, leavers first; until let in
gatepost:needs:TARGET                       hash    requests that each of them needs; as long
gatepost:granted:TARGET                     hash    permit of each person let in, until the job takes it
gatepost:used:CREDENTIAL                    zset    requests of the last minute by time sent; two minutes
gatepost:pace:CREDENTIAL                    hash    when the next is due, until when all wait; two hours
gatepost:token:CREDENTIAL                   string  the bearer, encrypted; as long as it lives
gatepost:token-lock:CREDENTIAL              string  whoever fetches it now; seconds
gatepost:rests:CREDENTIAL[:LIMIT]           string  until when a directory asked all to wait; until then
gatepost:targets                            set     the names of the configured targets, for the metrics
gatepost:members:TARGET:GROUP               hash    add or remove by account id, until one PATCH does it; NOTES_TTL
gatepost:noted:TARGET:ACCOUNT               hash    what came of it, by group id; NOTES_TTL
gatepost:group-lease:TARGET:GROUP           string  token of the job that changes this group; seconds
gatepost:groups-missing:TARGET              set     names of groups that were looked for in vain; a minute
gatepost:groups-nested:TARGET               string  the nesting that was made of late; NESTED_TTL
gatepost:groups-replaced:TARGET             string  that members leave a group by PUT there; GROUPS_TTL
gatepost:bulk-rests:TARGET                  string  that many requests in one did not work; minutes to an hour
gatepost:metrics                            hash    counters of the whole fleet; never expires, but those of a
                                                    subscriber go with it
gatepost:ready                              string  written by the readiness probe; a minute
gatepost:heard:SOURCE                       hash    when it was heard last, and by which secret or key first and
                                                    last; never expires
gatepost:upkeep:SOURCE                      list    what it said of itself and nobody read yet; UPKEEP_TTL
gatepost:handshake:SOURCE                   string  a token that it handed over once; HANDSHAKE_TTL
gatepost:jwks:SOURCE                        string  its issuer's public keys as last fetched; never expires
gatepost:sources                            set     the names of the configured sources, for the metrics
gatepost:watch:SOURCE                       hash    since when it is watched, its tasks, and how each stands, JSON;
                                                    never expires
gatepost:watching:SOURCE                    string  token of the process that works on its tasks now; seconds
gatepost:replies                            zset    refs of events of which a source waits to hear, by when it is told;
                                                    until it was told, or waits no longer
gatepost:replying                           string  token of the process that tells them; seconds
==========================================  ======  ===================================================================
"""

from lifecycle.event import State

RETENTION_SECONDS = 90 * 86_400
LEASE_MILLISECONDS = 4_000
ALIVE_MILLISECONDS = 3_000
GROUPS_TTL_SECONDS = 3_600
GROUPS_MISSING_TTL_SECONDS = 60
NESTED_TTL_SECONDS = 3_600
PROOF_TTL_SECONDS = 3_600
CAPABILITIES_TTL_SECONDS = 7 * 86_400
NOTES_TTL_SECONDS = 3_600
READY_TTL_SECONDS = 60
SETTLED_TTL_SECONDS = 60
HANDSHAKE_TTL_SECONDS = 7 * 86_400
UPKEEP_TTL_SECONDS = 7 * 86_400

EVENTS = "gatepost:events"
FAILURES = "gatepost:failures"
HOLDS = "gatepost:holds"
SIGNALS = "gatepost:signals"
METRICS = "gatepost:metrics"
READY = "gatepost:ready"
TARGETS = "gatepost:targets"
WORKING = "gatepost:working"
LEADER = "gatepost:leader"
POPPED = "gatepost:popped"
DUE = "gatepost:due"
OUTBOX = "gatepost:outbox"
SUBSCRIBERS = "gatepost:subscribers"
REVISION = "gatepost:subscribers-revision"
SUBSCRIBERS_LOCK = "gatepost:subscribers-lock"
SALT = "gatepost:vault-salt"
STREAMS = "gatepost:streams"
SUBSCRIBER_NAMES = "gatepost:subscriber-names"
SOURCES = "gatepost:sources"
REPLIES = "gatepost:replies"
REPLYING = "gatepost:replying"


def event(ref: str) -> str:
    """Name an event's record."""
    return f"gatepost:event:{ref}"


def trace(ref: str) -> str:
    """Name an event's timeline."""
    return f"gatepost:trace:{ref}"


def events(state: State) -> str:
    """Name the index of one state."""
    return f"gatepost:events:{state}"


def open_events(lane: str) -> str:
    """Name the index of a lane's events that are to be worked on."""
    return f"gatepost:open:{lane}"


def mailbox(person: str) -> str:
    """Name a person's unsettled events."""
    return f"gatepost:mailbox:{person}"


def unread(person: str) -> str:
    """Name a person's thin events that wait for a look into a directory."""
    return f"gatepost:unread:{person}"


def lease(person: str) -> str:
    """Name the lock of one person."""
    return f"gatepost:lease:{person}"


def settled(person: str) -> str:
    """Name which attempt was settled last, of those that go on."""
    return f"gatepost:settled:{person}"


def alive(worker: str) -> str:
    """Name the heartbeat of a worker process."""
    return f"gatepost:alive:{worker}"


def resumed(name: str) -> str:
    """Name that somebody's job was just offered again."""
    return f"gatepost:resumed:{name}"


def person(key: str) -> str:
    """Name a person's record."""
    return f"gatepost:person:{key}"


def person_events(key: str) -> str:
    """Name the index of a person's events."""
    return f"gatepost:person-events:{key}"


def alias(name: str) -> str:
    """Name the way from a user name or address to a person; letter case does not count there."""
    return f"gatepost:alias:{name.lower()}"


def link(key: str) -> str:
    """Name the way from a key to the person that it was found to be."""
    return f"gatepost:link:{key}"


def window(limit: str, target: str | None) -> str:
    """Name who was counted of late for a limit, of all targets or of one."""
    return f"gatepost:window:{limit}" + (f":{target}" if target else "")


def episode(limit: str, target: str | None) -> str:
    """Name since when a limit holds changes."""
    return f"gatepost:episode:{limit}" + (f":{target}" if target else "")


def known(target: str | None) -> str:
    """Name the people with a live account, on any target or on one."""
    return "gatepost:known" + (f":{target}" if target else "")


def notice(notice_id: str) -> str:
    """Name a notice that was set aside."""
    return f"gatepost:notice:{notice_id}"


def aside(source: str) -> str:
    """Name how large a source's notices are that were set aside."""
    return f"gatepost:aside:{source}"


def signal(signal_id: str) -> str:
    """Name a signal."""
    return f"gatepost:signal:{signal_id}"


def delivery(item: str, subscriber: str) -> str:
    """Name one item's way to one subscriber."""
    return f"gatepost:delivery:{item}:{subscriber}"


def attempts(item: str, subscriber: str) -> str:
    """Name the record of each attempt of a delivery."""
    return f"gatepost:attempts:{item}:{subscriber}"


def lines(subscriber: str) -> str:
    """Name the lines before a subscriber."""
    return f"gatepost:lines:{subscriber}"


def replays(subscriber: str) -> str:
    """Name the lines that are before a subscriber because of a replay alone, and come after the others."""
    return f"gatepost:replays:{subscriber}"


def line(subscriber: str, person: str) -> str:
    """Name what a subscriber has still to hear of one person."""
    return f"gatepost:line:{subscriber}:{person}"


def polled(subscriber: str) -> str:
    """Name what a subscriber has still to come for."""
    return f"gatepost:polled:{subscriber}"


def failed(subscriber: str) -> str:
    """Name what a subscriber never took."""
    return f"gatepost:failed:{subscriber}"


def subscriber(name: str) -> str:
    """Name how a subscriber stands."""
    return f"gatepost:subscriber:{name}"


def excluded(stream: str) -> str:
    """Name the subjects that a stream does not tell of."""
    return f"gatepost:excluded:{stream}"


def verified(stream: str) -> str:
    """Name that a verification of a stream was just asked for."""
    return f"gatepost:verified:{stream}"


def ssf_token(digest: str) -> str:
    """Name whose a token is."""
    return f"gatepost:ssf-token:{digest}"


def ssf_tries(kind: str, bucket: str) -> str:
    """Name how often a client asked for something of a kind of late."""
    return f"gatepost:ssf-tries:{kind}:{bucket}"


def groups(target: str) -> str:
    """Name the cached group ids of a target."""
    return f"gatepost:groups:{target}"


def owners(target: str) -> str:
    """Name who has which account of a target."""
    return f"gatepost:owners:{target}"


def capabilities(target: str) -> str:
    """Name what a target says of itself."""
    return f"gatepost:capabilities:{target}"


def discovering(target: str) -> str:
    """Name the leave to ask a target what it can."""
    return f"gatepost:discovering:{target}"


def baseline(target: str) -> str:
    """Name the managed attributes as last accepted."""
    return f"gatepost:baseline:{target}"


def stopped(target: str) -> str:
    """Name why a target is stopped."""
    return f"gatepost:stopped:{target}"


def circuit(target: str) -> str:
    """Name a target's circuit."""
    return f"gatepost:circuit:{target}"


def waiting(target: str) -> str:
    """Name who waits for a target."""
    return f"gatepost:waiting:{target}"


def needs(target: str) -> str:
    """Name how many requests each of them needs."""
    return f"gatepost:needs:{target}"


def granted(target: str) -> str:
    """Name who was let in and has not come yet."""
    return f"gatepost:granted:{target}"


def used(credential: str) -> str:
    """Name the requests of the last minute."""
    return f"gatepost:used:{credential}"


def pace(credential: str) -> str:
    """Name when a credential may be used next."""
    return f"gatepost:pace:{credential}"


def token(credential: str) -> str:
    """Name a credential's bearer."""
    return f"gatepost:token:{credential}"


def rests(credential: str, limit: str = "") -> str:
    """Name the moment until which a directory asked everybody with this credential, and limit, to wait."""
    return f"gatepost:rests:{credential}:{limit}" if limit else f"gatepost:rests:{credential}"


def token_lock(credential: str) -> str:
    """Name whoever fetches a credential's bearer."""
    return f"gatepost:token-lock:{credential}"


def members(target: str, group_id: str) -> str:
    """Name what is to happen to a group's members."""
    return f"gatepost:members:{target}:{group_id}"


def noted(target: str, account_id: str) -> str:
    """Name what was noted of an account's memberships for one PATCH of many."""
    return f"gatepost:noted:{target}:{account_id}"


def group_lease(target: str, group: str) -> str:
    """Name the lock of one group, by its id or for its creation by its name."""
    return f"gatepost:group-lease:{target}:{group}"


def groups_missing(target: str) -> str:
    """Name the groups that a target did not have a moment ago."""
    return f"gatepost:groups-missing:{target}"


def groups_nested(target: str) -> str:
    """Name the nesting that was made of late."""
    return f"gatepost:groups-nested:{target}"


def groups_replaced(target: str) -> str:
    """Name whether a target's groups are replaced when somebody leaves them."""
    return f"gatepost:groups-replaced:{target}"


def bulk_rests(target: str) -> str:
    """Name whether a target's bulk endpoint is left alone for now."""
    return f"gatepost:bulk-rests:{target}"


def proof(target: str) -> str:
    """Name whether a target's look-ups find who is there."""
    return f"gatepost:proof:{target}"


def heard(source: str) -> str:
    """Name when a source was heard last, and by what."""
    return f"gatepost:heard:{source}"


def upkeep(source: str) -> str:
    """Name what a source said of itself."""
    return f"gatepost:upkeep:{source}"


def handshake(source: str) -> str:
    """Name the token that a source handed over."""
    return f"gatepost:handshake:{source}"


def jwks(source: str) -> str:
    """Name the public keys of a source's issuer."""
    return f"gatepost:jwks:{source}"


def watch(source: str) -> str:
    """Name how a source is watched."""
    return f"gatepost:watch:{source}"


def watching(source: str) -> str:
    """Name whoever works on the tasks of a source."""
    return f"gatepost:watching:{source}"
