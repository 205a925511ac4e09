"""What signals say, and what filters may ask of them: one list."""

import json
from datetime import timedelta

from redis import Redis

from lifecycle import keys, outbox
from lifecycle.event import Kind, State
from lifecycle.filters import DATA_FIELDS
from lifecycle.safety import LEAVERS, REASONS
from lifecycle.settlement import Delivery, Kept, Ruling
from lifecycle.subscribers import Subscribers
from lifecycle.windows import Full
from tests.conftest import MakeConfig
from tests.seed import SALT
from tests.workers.stories import AT, BO, event, person
from workers.alarms import alarms
from workers.allowance import Excess
from workers.outbox.recorder import GONE, disabled
from workers.outcome import Result
from workers.scim.client import Conversation
from workers.screen import LeftOut
from workers.signals import given_up, signals_for
from workers.task import Agreement


def test_filters_know_every_field_that_a_signal_may_have(redis: Redis, config: MakeConfig) -> None:
    """One that is missing could not be asked for, and one too many would hide a misspelling."""
    bo, cause = person("left", **BO), event(Kind.LEAVER, "left")
    held = Excess(LEAVERS, Full("crm", "1", 5, 5, 100), timedelta(hours=1), frozenset())
    results = [
        Result("crm", State.APPLIED, Agreement(None, change="suspended"), Conversation(lambda: None), None, None),
        Result("desk", State.FAILED, Agreement(None), Conversation(lambda: None), "reason", "why"),
        Result("hold", State.HELD, Agreement(None), Conversation(lambda: None), "reason", "why", excesses=(held,)),
    ]
    ruled = Ruling("released", "anna", AT.isoformat())
    kept = Kept(cause, State.HELD, {"crm": Delivery(State.HELD, reason=REASONS[LEAVERS])}, ruled)
    siem = {"url": "https://siem.example", "secrets": ["env:SIEM_WHSEC"]}
    redis.set(keys.SALT, SALT)
    test = Subscribers(redis, config(subscribers={"siem": siem})).test("siem", AT, actor="anna")
    tested = outbox.told(redis, test)
    assert tested is not None

    signals = [
        *signals_for(bo, cause, results, AT),
        given_up(bo, cause, LeftOut(State.FAILED, "reason"), AT),
        *alarms(bo, [kept], results, cause, AT),
        disabled("siem", GONE, AT),
    ]

    assert {each.type for each in signals} == {
        "person.suspended",
        "delivery.failed",
        "safety.held",
        "safety.released",
        "subscriber.disabled",
    }
    said = {name for each in signals for name in json.loads(each.body)["data"]} | set(tested.data)
    assert said == set(DATA_FIELDS)
