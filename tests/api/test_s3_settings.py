"""What may be said about an object store, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from api.blobs import LocalBlobs, open_blobs
from api.settings import Settings

PAIR = {"s3_access_key_id": SecretStr("id"), "s3_secret_access_key": SecretStr("hidden")}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"s3_url": "bucket"}, "s3_url"),
        ({"s3_url": "https://bucket/x"}, "s3_url"),
        ({"s3_url": "s3://B"}, "s3_url"),
        ({"s3_url": "s3://bucket/../x y"}, "s3_url"),
        ({"s3_url": "s3://bucket/a/../b"}, "s3_url"),
        ({"s3_endpoint": "store:9000"}, "s3_endpoint"),
        ({"s3_endpoint": "https://user:password@store"}, "s3_endpoint"),
        ({"s3_endpoint": "http://store:9000"}, "s3_allow_http"),
        ({"s3_access_key_id": SecretStr("id")}, "s3_secret_access_key"),
        ({"s3_session_token": SecretStr("t")}, "s3_session_token"),
        ({"s3_timeout_s": 0}, "s3_timeout_s"),
        ({"s3_answer_s": 0}, "s3_answer_s"),
        ({"result_urls": "presigned"}, "s3_url"),
        ({"result_urls": "inline"}, "result_urls"),
    ],
)
def test_a_wrong_setting_is_named(changes: dict[str, Any], named: str):
    with pytest.raises(ValidationError, match=named):
        Settings(**changes)


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("api.s3_settings.find_spec", lambda _: None)
    with pytest.raises(ValidationError, match=r"backdrop\[s3\]"):
        Settings(s3_url="s3://bucket")


def test_the_environment_gives_them(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("BACKDROP_S3_URL", "s3://bucket/some/prefix")
    monkeypatch.setenv("BACKDROP_S3_SECRET_ACCESS_KEY", "hidden")
    monkeypatch.setenv("BACKDROP_S3_ACCESS_KEY_ID", "id")
    settings = Settings()
    assert settings.s3_url == "s3://bucket/some/prefix"
    assert settings.s3_secret_access_key == SecretStr("hidden")


def test_they_decide_where_blobs_lie(tmp_path):
    pytest.importorskip("obstore")
    from api.blobs.s3 import S3Blobs

    assert isinstance(open_blobs(Settings(data_dir=tmp_path)), LocalBlobs)
    opened = open_blobs(Settings(s3_url="s3://bucket/a/b", **PAIR))
    assert isinstance(opened, S3Blobs)
    [url] = opened.signed_urls(["out/1.png"], expires_in_s=60)
    assert url.startswith("https://s3.us-east-1.amazonaws.com/bucket/a/b/out/1.png?")
    assert "hidden" not in url


def test_an_endpoint_without_tls_is_taken_only_when_that_is_meant():
    assert Settings(s3_endpoint="http://store:9000", s3_allow_http=True).s3_endpoint


def test_without_its_own_settings_the_usual_variables_give_the_credentials(monkeypatch):
    pytest.importorskip("obstore")
    from api.blobs.s3 import open_s3

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "from-the-environment")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden")
    monkeypatch.setenv("AWS_REGION", "eu-north-1")
    [url] = open_s3(Settings(s3_url="s3://bucket")).signed_urls(["a"], expires_in_s=60)
    assert url.startswith("https://s3.eu-north-1.amazonaws.com/bucket/a?")
    assert "from-the-environment" in url
