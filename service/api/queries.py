"""What a request's query may say; a name that would otherwise be ignored in silence is refused."""

from typing import Any

from starlette.requests import Request

from lifecycle.errors import Malformed
from lifecycle.pages import PAGE_DEFAULT, PAGE_MAX

LIMIT_DIGITS_MAX = 9


def query(request: Request, *allowed: str) -> dict[str, str]:
    """Return the query's values. Raises Malformed for a name that is not allowed."""
    unknown = sorted(set(request.query_params) - set(allowed))
    if unknown:
        raise Malformed(f"unknown parameter {unknown[0]!r}; allowed: {', '.join(allowed)}", reason="parameter_unknown")
    return dict(request.query_params)


def paging(found: dict[str, str]) -> dict[str, Any]:
    """Return the cursor and the size of a page. Raises Malformed."""
    limit = found.get("limit", str(PAGE_DEFAULT))
    if not (limit.isascii() and limit.isdigit() and len(limit) <= LIMIT_DIGITS_MAX and 1 <= int(limit) <= PAGE_MAX):
        raise Malformed(f"limit is a number from 1 to {PAGE_MAX}", reason="limit_malformed")
    return {"after": found.get("after"), "limit": int(limit)}


def filters(found: dict[str, str], *names: str) -> dict[str, Any]:
    """Return those of the filters that are given."""
    return {name: found[name] for name in names if name in found}
