from __future__ import annotations

import api.errors
from backdrop.client import errors
from tests.api.wire import subclasses


def test_every_refusal_of_the_server_has_an_error_of_its_own():
    codes = {each.ret_code for each in subclasses(api.errors.ApiError) - {api.errors.ApiError}}
    assert codes <= errors.REFUSALS.keys()


def test_every_task_error_of_the_server_has_an_error_of_its_own():
    codes = {value for name, value in vars(api.errors).items() if name.startswith("TASK_")}
    assert codes == errors.FAILURES.keys()
