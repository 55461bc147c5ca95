"""A caller of any server that speaks the protocol, and what one documented behaviour came to."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import httpx

from api.doctor.finding import Finding, Verdict
from api.signing import sign

Body: TypeAlias = dict[str, Any]


class Differs(Exception):
    """The server does something else; the text says what was expected and what came."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One documented behaviour.

    Attributes:
        name: what the server is to do.
        check: asks it; raises `Differs`, returns nothing or a detail worth telling.
        is_addition: of Backdrop's own, so that a server need not have it.
    """

    name: str
    check: Callable[[Talk], str | None]
    is_addition: bool = False

    def judge(self, talk: Talk) -> Finding:
        """What came of it."""
        missed = Verdict.NOTE if self.is_addition else Verdict.FAIL
        try:
            detail = self.check(talk) or ""
        except Differs as exc:
            return Finding(self.name, missed, str(exc))
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as exc:
            return Finding(self.name, Verdict.FAIL, f"{type(exc).__name__}: {exc}")
        except (LookupError, TypeError, ValueError, AttributeError) as exc:  # of what came
            return Finding(self.name, missed, f"an answer of another shape: {exc!r}")
        return Finding(self.name, Verdict.OK, detail)


class Talk:
    """Sends requests exactly as told, retrying nothing.

    Args:
        http: with the server's base URL.
        public_key: of the caller.
        private_key: likewise.
    """

    def __init__(self, http: httpx.Client, public_key: str, private_key: str) -> None:
        self.http = http
        self.public_key = public_key
        self._private_key = private_key

    def post(self, body: str) -> Body:
        """The answer to a body as it stands.

        Raises:
            Differs: it has not HTTP status 200, or is no JSON object with a RetCode.
        """
        headers = {"Content-Type": "application/json"}
        response = self.http.post("", content=body.encode(), headers=headers)
        expect("HTTP status", response.status_code, 200)
        try:
            answer = response.json()
        except ValueError:
            raise Differs(f"expected a JSON body, got {response.text[:80]!r}") from None
        if not isinstance(answer, dict) or type(answer.get("RetCode")) is not int:
            raise Differs(f"expected an object with an integer RetCode, got {answer!r:.80}")
        return answer

    def unsigned(self, **fields: Any) -> Body:
        """The answer to these fields alone."""
        return self.post(json.dumps(fields))

    def ask(self, action: str, *, signed_as: str = "Signature", **fields: Any) -> Body:
        """The answer to a signed request, whatever its RetCode."""
        body = {"Action": action, "PublicKey": self.public_key, **fields}
        return self.post(json.dumps({**body, signed_as: sign(body, self._private_key)}))

    def ask_written(self, members: str, signed: Mapping[str, Any], action: str) -> Body:
        """As `ask`, with `members` of the body as JSON text, and the signature of `signed`."""
        common = {"Action": action, "PublicKey": self.public_key}
        common["Signature"] = sign({**common, **signed}, self._private_key)
        return self.post(f"{json.dumps(common)[:-1]}, {members}}}")

    def call(self, action: str, **fields: Any) -> Body:
        """The answer to a signed request that must succeed."""
        answer = self.ask(action, **fields)
        expect(f"RetCode of {action}", answer["RetCode"], 0)
        return answer


def expect(what: str, got: object, wanted: object) -> None:
    """Raises `Differs` unless they are equal, types included."""
    if type(got) is not type(wanted) or got != wanted:
        raise Differs(f"{what}: expected {wanted!r}, got {got!r:.80}")


def expect_types(what: str, fields: Mapping[str, Any], types: Mapping[str, type]) -> None:
    """Raises `Differs` where a field is missing or of another JSON type."""
    for name, kind in types.items():
        if name not in fields:
            raise Differs(f"{what} has no {name}")
        if type(fields[name]) is not kind:
            raise Differs(f"{what}: {name} is {fields[name]!r:.60}, expected {kind.__name__}")


def expect_refusal(answer: Body, ret_code: int, named: str = "") -> None:
    """Raises `Differs` unless the answer is this refusal and names the field."""
    expect("RetCode", answer["RetCode"], ret_code)
    if named not in str(answer.get("Message", "")):
        raise Differs(f"Message: expected {named!r} in it, got {answer.get('Message')!r:.80}")
