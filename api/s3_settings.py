"""Settings of an S3-compatible object store for the images."""

from __future__ import annotations

from importlib.util import find_spec
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, SerializationInfo, field_serializer, model_validator
from pydantic_settings import BaseSettings

REVEAL_SECRETS = {"reveal_secrets": True}  # context of a dump that is to hold them
_SECRETS = ("s3_access_key_id", "s3_secret_access_key", "s3_session_token")


class S3Settings(BaseSettings):
    """The part of the settings that says where an object store is and how to talk to it."""

    s3_url: str | None = Field(
        None,
        pattern=r"^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[0-9A-Za-z_-][0-9A-Za-z._-]*)*/?$",
        description="s3://BUCKET or s3://BUCKET/PREFIX for the images; default a local folder. "
        "Needs the extra s3.",
    )
    s3_endpoint: str | None = Field(
        None, description="URL of the object store's service; default that of AWS in s3_region."
    )
    s3_region: str | None = Field(
        None, description="Region; default AWS_REGION, else us-east-1, which others than AWS take."
    )
    s3_access_key_id: SecretStr | None = Field(
        None,
        description="Credentials; default those of the AWS_ environment variables, else of the "
        "web identity, container or instance.",
    )
    s3_secret_access_key: SecretStr | None = Field(None, description="Goes with the access key id.")
    s3_session_token: SecretStr | None = Field(None, description="For temporary credentials.")
    s3_allow_http: bool = Field(
        False, description="Take an s3_endpoint that is not https: images travel in the clear."
    )
    s3_virtual_hosted: bool = Field(
        False, description="The endpoint's host name holds the bucket already."
    )
    s3_timeout_s: float = Field(
        20.0, gt=0, le=300, description="One request to the object store may take so long."
    )
    s3_retry_s: float = Field(
        10.0,
        ge=0,
        le=120,
        description="Refused and broken requests are repeated, ever more slowly, for so long.",
    )
    s3_answer_s: float = Field(
        3.0,
        gt=0,
        le=300,
        description="Where the object store answers nothing small within this time, the API answers "
        "2001 to uploads and 503 to downloads at once until it does.",
    )

    @model_validator(mode="after")
    def _is_whole(self) -> S3Settings:
        if self.s3_url is not None and find_spec("obstore") is None:
            raise ValueError("s3_url needs the extra s3: pip install 'backdrop[s3]'")
        if (self.s3_access_key_id is None) != (self.s3_secret_access_key is None):
            raise ValueError("s3_access_key_id and s3_secret_access_key go together")
        if self.s3_session_token is not None and self.s3_access_key_id is None:
            raise ValueError("s3_session_token goes with s3_access_key_id")
        return self

    @model_validator(mode="after")
    def _endpoint_is_a_url(self) -> S3Settings:
        if self.s3_endpoint is None:
            return self
        url = urlsplit(self.s3_endpoint)
        if url.scheme not in ("http", "https") or not url.hostname or url.username is not None:
            raise ValueError("s3_endpoint is no plain http or https URL")
        if url.scheme == "http" and not self.s3_allow_http:
            raise ValueError("s3_endpoint is not https: set s3_allow_http if that is meant")
        return self

    @field_serializer(*_SECRETS, when_used="json")
    def _for_workers(self, value: SecretStr | None, info: SerializationInfo) -> str | None:
        """Stars, but for who asks with `context=REVEAL_SECRETS`."""
        if value is None:
            return None
        return value.get_secret_value() if info.context == REVEAL_SECRETS else str(value)
