"""The protocol's documented behaviours that cost nothing to try, and Backdrop's additions."""

from __future__ import annotations

from api.doctor.talk import Body, Differs, Rule, Talk, expect, expect_refusal, expect_types

NOBODY = "doctor-unknown-key"
NO_TASK = "0" * 20
DETAIL_TYPES = {
    "TaskUID": str,
    "Action": str,
    "Status": str,
    "ImgList": list,
    "Seed": int,
    "TxtList": list,
    "ConsumeApiPoint": int,
    "ErrorCode": int,
    "ErrorMassage": str,
}
LEGACY_TYPES = {
    "TaskType": str,
    "TaskStatus": str,
    "FinalPictureUrls": list,
    "TaskErrorMsg": str,
    "TaskErrorCode": int,
}
MODEL_MAPS = ("MainModels", "LoraModels", "EmbeddingModels", "HypernetworkModels")


def _answers(talk: Talk) -> None:
    talk.unsigned()


def _success(talk: Talk) -> None:
    answer = talk.call("ListModels")
    expect("Action", answer.get("Action"), "ListModels")
    expect("Message", answer.get("Message"), "")


def _echo(talk: Talk) -> None:
    answer = talk.call("ListRunningTasks", request_uuid="doctor-1")
    expect("request_uuid", answer.get("request_uuid"), "doctor-1")
    refused = talk.ask("ListTasksDetails", request_uuid="doctor-2")
    expect("request_uuid of a refusal", refused.get("request_uuid"), "doctor-2")


def _no_echo(talk: Talk) -> None:
    if "request_uuid" in talk.call("ListRunningTasks"):
        raise Differs("a request_uuid came that was not sent")


def _missing_action(talk: Talk) -> None:
    expect_refusal(talk.unsigned(PublicKey=talk.public_key), 160)


def _missing_signature(talk: Talk) -> None:
    expect_refusal(talk.unsigned(Action="ListModels", PublicKey=talk.public_key), 170)


def _unknown_key(talk: Talk) -> None:
    body = {"Action": "ListModels", "PublicKey": NOBODY, "Signature": "0" * 40}
    expect_refusal(talk.unsigned(**body), 172)


def _wrong_signature(talk: Talk) -> None:
    body = {"Action": "ListModels", "PublicKey": talk.public_key, "Signature": "0" * 40}
    expect_refusal(talk.unsigned(**body), 171)


def _unknown_action(talk: Talk) -> None:
    expect_refusal(talk.ask("NoSuchAction"), 161, "NoSuchAction")


def _order(talk: Talk) -> None:
    """The unsigned learn nothing of actions and parameters."""
    key = talk.public_key
    expect_refusal(talk.unsigned(Action="NoSuchAction", PublicKey=key), 170)
    expect_refusal(talk.unsigned(Action="NoSuchAction", PublicKey=key, Signature="0" * 40), 171)
    expect_refusal(talk.unsigned(Action="NoSuchAction", PublicKey=NOBODY, Signature="0" * 40), 172)


def _missing_parameter(talk: Talk) -> None:
    expect_refusal(talk.ask("ListTasksDetails"), 220, "TaskUIDList")


def _wrong_parameter(talk: Talk) -> None:
    expect_refusal(talk.ask("ListTasksDetails", TaskUIDList="x"), 230, "TaskUIDList")


def _fallback_name(talk: Talk) -> None:
    answer = talk.ask("ListModels", signed_as="signature")
    expect("RetCode", answer["RetCode"], 0)


def _nested(talk: Talk) -> None:
    """Unknown fields are signed and ignored."""
    extra = {"b": [1, {"z": True, "a": ["x", 0.75]}], "A": {}, "é蓝": ""}
    talk.call("ListModels", Doctor=extra)


def _floats(talk: Talk) -> None:
    for written in ("42.0", "0.00001", "1e-05", "0.3"):
        signed = {"Doctor": float(written)}
        answer = talk.ask_written(f'"Doctor": {written}', signed, "ListModels")
        expect(f"RetCode with {written}", answer["RetCode"], 0)


def _float_forms(talk: Talk) -> None:
    for signed_text in ("0.00001", "1e-05"):
        answer = talk.ask_written('"Doctor": 0.00001', {"Doctor": signed_text}, "ListModels")
        expect(f"RetCode with {signed_text} signed", answer["RetCode"], 0)


def _nulls(talk: Talk) -> None:
    for signed in ({"Doctor": ""}, {}):
        answer = talk.ask_written('"Doctor": null', signed, "ListModels")
        expect("RetCode", answer["RetCode"], 0)


def _unknown_task(talk: Talk) -> None:
    uids = [NO_TASK, "nobody's"]
    details = talk.call("ListTasksDetails", TaskUIDList=uids).get("TaskDetailList")
    if not isinstance(details, list) or [each.get("TaskUID") for each in details] != uids:
        raise Differs(f"expected one TaskDetail for each id in order, got {details!r:.80}")
    for detail in details:
        expect("Status", detail.get("Status"), "Error")
        expect("ErrorCode", detail.get("ErrorCode"), 1203)


def _detail(talk: Talk) -> None:
    [detail] = talk.call("ListTasksDetails", TaskUIDList=[NO_TASK])["TaskDetailList"]
    expect_types("TaskDetail", detail, DETAIL_TYPES)


def _running(talk: Talk) -> None:
    expect_types("the answer", talk.call("ListRunningTasks"), {"TaskUIDList": list})


def _models(talk: Talk) -> str:
    answer = talk.call("ListModels")
    expect_types("the answer", answer, dict.fromkeys(MODEL_MAPS, dict))
    for code, model in answer["MainModels"].items():
        expect("ModelCode", model.get("ModelCode"), code)
    return ", ".join(answer["MainModels"])


def _balance(talk: Talk) -> str:
    answer = talk.call("GetCreditBalance")
    names = ("TotalCredits", "UsedCredits", "ExpireTimestamp")
    expect_types("the answer", answer, dict.fromkeys(names, int))
    return f"{answer['TotalCredits'] - answer['UsedCredits']} left"


def _legacy_list(talk: Talk) -> None:
    [detail] = talk.call("ListGenerateTaskDetail", TaskUIDs=[NO_TASK])["TaskDetailList"]
    expect_types("TaskDetail", detail, {"TaskUid": str, **LEGACY_TYPES})


def _legacy_single(talk: Talk) -> None:
    answer: Body = talk.call("GetGenerateTaskDetail", TaskUID=NO_TASK)
    expect_types("the answer", answer, LEGACY_TYPES)


def _other_method(talk: Talk) -> None:
    expect("HTTP status", talk.http.get("").status_code, 405)


def _cancel(talk: Talk) -> None:
    [detail] = talk.call("CancelTask", TaskUID=NO_TASK)["TaskDetailList"]
    expect("ErrorCode", detail.get("ErrorCode"), 1203)


def _watch(talk: Talk) -> None:
    answer = talk.call("WatchTask", TaskUID=NO_TASK)
    response = talk.http.get(answer["EventsUrl"])
    kind = response.headers.get("Content-Type", "").partition(";")[0]
    expect("Content-Type", kind, "text/event-stream")
    if "event: end" not in response.text:
        raise Differs(f"expected an end event, got {response.text!r:.80}")


ANSWERS = Rule("it answers a POST with HTTP 200 and a RetCode", _answers)
FREE_RULES = (
    Rule("a success has RetCode 0, the plain Action and an empty Message", _success),
    Rule("request_uuid is echoed, in refusals too", _echo),
    Rule("no request_uuid comes back where none was sent", _no_echo),
    Rule("160 where Action is missing", _missing_action),
    Rule("170 where Signature is missing", _missing_signature),
    Rule("172 for an unknown PublicKey", _unknown_key),
    Rule("171 for a wrong Signature", _wrong_signature),
    Rule("161 for an unknown Action", _unknown_action),
    Rule("170, 172 and 171 come before 161", _order),
    Rule("220 names a missing parameter", _missing_parameter),
    Rule("230 names a parameter of the wrong type", _wrong_parameter),
    Rule("nested, empty and non-ASCII values are signed by the rule", _nested),
    Rule("floats are signed as plain decimals, 42.0 as 42", _floats),
    Rule("floats signed with an exponent are accepted too", _float_forms),
    Rule("null is signed as empty, or left out", _nulls),
    Rule("`signature` stands in for Signature", _fallback_name),
    Rule("ListTasksDetails answers unknown tasks with Error 1203, in order", _unknown_task),
    Rule("a TaskDetail has every field, ErrorMassage so spelled", _detail),
    Rule("ListRunningTasks gives TaskUIDList", _running),
    Rule("ListModels gives four maps by ModelCode", _models),
    Rule("GetCreditBalance gives three integers", _balance),
    Rule("ListGenerateTaskDetail gives the older fields, TaskUid so spelled", _legacy_list),
    Rule("GetGenerateTaskDetail gives them flat", _legacy_single),
    Rule("405 for other methods", _other_method),
    Rule("CancelTask", _cancel, is_addition=True),
    Rule("WatchTask and its event stream", _watch, is_addition=True),
)
