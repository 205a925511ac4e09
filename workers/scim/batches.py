"""Many people's changes to one group, made by one request.

While a backlog waits, a change is noted and the person put off, once. Whoever comes next to that group, put off before
or the first without a backlog behind, takes all that is noted, makes the change for all, and notes what came of it: the
others find it done. A job that dies leaves what it took as ``sent``: the person's next attempt sends it again, and
asking twice for a membership is harmless.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple
from uuid import uuid4

from redis import Redis

from lifecycle import keys
from lifecycle.errors import Postponed
from lifecycle.queue import PEOPLE
from workers.scim.exclusive import FREE, HOLD_MILLISECONDS
from workers.scim.moves import Moves

ADD, REMOVE = "add", "remove"
# Fewer waiting jobs are not worth a wait. Those that the target's limit keeps waiting come slowly, so that a batch
# takes longer to gather.
BACKLOG_MIN = 5
WAIT_SECONDS, WAIT_AT_THE_GATE_SECONDS = 2, 10

# What is noted of an account is "STATE WAY FINGERPRINT NAME", by group id.
# KEYS: members, lease, own notes, the lane's queue, who waits for the target.
# ARGV: account, group id, way, rest of the note, token, lease ms, note seconds, batch, least backlog, notes' prefix.
# Answers what to do, and for a flush all accounts and ways.
ASK = """
local account, group, way, rest, token = unpack(ARGV, 1, 5)
local noted = redis.call('HGET', KEYS[3], group)
local state = noted and string.match(noted, '^%a+')
local held = redis.call('EXISTS', KEYS[2]) == 1
local function note(as)
  redis.call('HSET', KEYS[1], account, way)
  redis.call('EXPIRE', KEYS[1], ARGV[7])
  redis.call('HSET', KEYS[3], group, as .. ' ' .. way .. ' ' .. rest)
  redis.call('EXPIRE', KEYS[3], ARGV[7])
end
if state == 'single' then
  redis.call('HDEL', KEYS[3], group)
  return {'alone'}
elseif state == 'noted' or state == 'sent' then
  if held then return {'busy'} end
else
  local gate = redis.call('ZCARD', KEYS[5])
  if redis.call('LLEN', KEYS[4]) + gate >= tonumber(ARGV[9]) then
    note('noted')
    return {gate > 0 and 'wait at the gate' or 'wait'}
  end
  if held or redis.call('HLEN', KEYS[1]) == 0 then return {'alone'} end
end
note('sent')
redis.call('SET', KEYS[2], token, 'PX', ARGV[6])
local again = state == 'sent'
local answer = {'', account, way}
local others = redis.call('HRANDFIELD', KEYS[1], ARGV[8], 'WITHVALUES')
for i = 1, #others, 2 do
  if others[i] ~= account and #answer < 2 * tonumber(ARGV[8]) then
    local notes = ARGV[10] .. others[i]
    local kept = redis.call('HGET', notes, group)
    if kept then
      again = again or string.match(kept, '^sent') ~= nil
      redis.call('HSET', notes, group, 'sent' .. string.match(kept, ' .*'))
      answer[#answer + 1] = others[i]
      answer[#answer + 1] = others[i + 1]
    else
      redis.call('HDEL', KEYS[1], others[i])
    end
  end
end
answer[1] = again and 'flush again' or state == 'noted' and 'flush as noted' or 'flush'
return answer
"""

# KEYS: members, lease. ARGV: token, what came of it, group id, notes' prefix, accounts. Only while the lease is ours.
RECORD = """
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
for i = 5, #ARGV do
  local notes = ARGV[4] .. ARGV[i]
  local kept = redis.call('HGET', notes, ARGV[3])
  if kept and string.match(kept, '^sent') then
    redis.call('HSET', notes, ARGV[3], ARGV[2] .. string.match(kept, ' .*'))
  end
  redis.call('HDEL', KEYS[1], ARGV[i])
end
return 1
"""

# KEYS: own notes. ARGV: account, 1 for who never waits, members' prefix, lease's prefix, names of the groups wanted.
# Takes back what nobody has sent and is not to be done so; answers what may have happened: group id, state, note.
RECALL = """
local wanted, answer = {}, {}
for i = 5, #ARGV do wanted[ARGV[i]] = true end
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  local group = all[i]
  local state, way, _, name = string.match(all[i + 1], '^(%a+) (%a+) (%S+) (.*)$')
  local fits = ARGV[2] == '0' and (way == 'add') == (wanted[name] == true)
  if state == 'done' then
    answer[#answer + 1] = {group, state, all[i + 1]}
  elseif not fits then
    redis.call('HDEL', ARGV[3] .. group, ARGV[1])
    if state == 'sent' then
      local busy = redis.call('EXISTS', ARGV[4] .. group) == 1
      answer[#answer + 1] = {group, busy and 'busy' or state, all[i + 1]}
    else
      redis.call('HDEL', KEYS[1], group)
    end
  end
end
return answer
"""


class State(StrEnum):
    """What may have come of a noted change, as the one whom it is about finds it."""

    DONE = "done"
    SENT = "sent"  # by a job that did not live to say what came of it
    BUSY = "busy"  # another job is at it


SINGLE = "single"


class Note(NamedTuple):
    """What was noted of one membership."""

    group_id: str
    state: State
    way: str
    fingerprint: str
    name: str


@dataclass(frozen=True)
class Change:
    """One account's way into one group, or out of it."""

    group_id: str
    name: str
    account_id: str
    way: str
    fingerprint: str
    """Of all that the target should show of the person, without blanks."""

    def moves(self) -> Moves:
        """Return it as a change of the group's members."""
        return Moves(adds=(self.account_id,)) if self.way == ADD else Moves(removes=(self.account_id,))


class Batch(NamedTuple):
    """All that one job makes for others and itself."""

    token: str
    group_id: str
    accounts: Sequence[str]
    moves: Moves
    sent_before: bool | None
    """Whether some of it may have been made already; None where it is as sure as the attempt is."""


class Batches:
    """The noted changes of one target."""

    def __init__(self, redis: Redis, target: str) -> None:
        """Keep where they are noted."""
        self._redis = redis
        self._target = target
        self._ask = redis.register_script(ASK)
        self._record = redis.register_script(RECORD)
        self._recall = redis.register_script(RECALL)
        self._free = redis.register_script(FREE)
        self._notes = keys.noted(target, "")

    def ask(self, change: Change, size: int) -> Batch | None:
        """Return what to do for all in one request; None where the change goes alone.

        Raises Postponed where it is noted, for another job to make or for this person's next attempt.
        """
        token = uuid4().hex
        answer: Any = self._ask(
            keys=[
                keys.members(self._target, change.group_id),
                keys.group_lease(self._target, change.group_id),
                keys.noted(self._target, change.account_id),
                f"rq:queue:{PEOPLE}",
                keys.waiting(self._target),
            ],
            args=[
                *(change.account_id, change.group_id, change.way, f"{change.fingerprint} {change.name}"),
                *(token, HOLD_MILLISECONDS, keys.NOTES_TTL_SECONDS, size, BACKLOG_MIN, self._notes),
            ],
        )
        turn, *found = [each.decode() for each in answer]
        if turn in WAITS:
            raise _put_off(WAITS[turn])
        return None if turn == "alone" else _batch(token, change.group_id, found, SENT_BEFORE[turn])

    def record(self, batch: Batch, outcome: str | None) -> None:
        """Note what came of a batch, ``done`` or ``single``, and let the group go; None is not known."""
        lease = keys.group_lease(self._target, batch.group_id)
        if outcome is not None:
            members = keys.members(self._target, batch.group_id)
            arguments = [batch.token, outcome, batch.group_id, self._notes, *batch.accounts]
            self._record(keys=[members, lease], args=arguments)
        self._free(keys=[lease], args=[batch.token])

    def recall(self, account_id: str, wanted: Collection[str], *, waits: bool) -> list[Note]:
        """Return what may have come of an account's noted changes; what nobody sent and nobody wants is taken back.

        Of somebody who does not wait, a leaver, all that nobody sent is taken back.
        """
        prefixes = (keys.members(self._target, ""), keys.group_lease(self._target, ""))
        arguments: list[str | int] = [account_id, int(not waits), *prefixes, *sorted(wanted)]
        answer: Any = self._recall(keys=[keys.noted(self._target, account_id)], args=arguments)
        return [_note(*(each.decode() for each in found)) for found in answer]

    def forget(self, account_id: str, group_ids: Collection[str]) -> None:
        """Drop the notes of an account that its own record tells by now."""
        if group_ids:
            self._redis.hdel(keys.noted(self._target, account_id), *group_ids)


SENT_BEFORE = {"flush": None, "flush as noted": False, "flush again": True}
WAITS = {"busy": 1, "wait": WAIT_SECONDS, "wait at the gate": WAIT_AT_THE_GATE_SECONDS}


def _put_off(seconds: int) -> Postponed:
    retry_at = datetime.now(UTC) + timedelta(seconds=seconds)
    return Postponed(
        "this membership goes with those of others, in one request", reason="group_batch", retry_at=retry_at
    )


def _batch(token: str, group_id: str, found: Sequence[str], sent_before: bool | None) -> Batch:
    ways = dict(zip(found[::2], found[1::2], strict=True))
    adds, removes = (tuple(each for each, way in ways.items() if way == asked) for asked in (ADD, REMOVE))
    return Batch(token, group_id, tuple(ways), Moves(adds, removes), sent_before)


def _note(group_id: str, state: str, text: str) -> Note:
    _, way, fingerprint, name = text.split(" ", 3)
    return Note(group_id, State(state), way, fingerprint, name)
