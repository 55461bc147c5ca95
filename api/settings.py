"""All settings of the service, read once at start and passed down."""

from __future__ import annotations

import json
import re
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SecretsSettingsSource,
    SettingsConfigDict,
    SettingsError,
    YamlConfigSettingsSource,
)

from api.process import is_installed
from api.s3_settings import REVEAL_SECRETS, S3Settings
from api.wire_types import field_path

_TOP = Path(__file__).resolve().parent.parent
_COPY_IN_WHEEL = _TOP / "engine" / "models" / "models.yaml"  # made by setup.py
SECRETS = ("keys", "key_secrets", "key_secret_file")  # fields that only the API needs
MAX_DRAIN_S = 3600.0
KEY_SECRET = re.compile(r"[0-9a-fA-F]{64}")
PACKAGE_MODELS_FILE = _COPY_IN_WHEEL if _COPY_IN_WHEEL.is_file() else _TOP / "models.yaml"


class Settings(S3Settings):
    """Settings of the service.

    Each is also an environment variable `BACKDROP_<NAME>`, a file of that name in the folder that
    `BACKDROP_SECRETS_DIR` names, or a key of the YAML file that `BACKDROP_SETTINGS_FILE` names.
    Order: arguments, environment, secrets, file, default.
    """

    model_config = SettingsConfigDict(env_prefix="BACKDROP_", extra="forbid", frozen=True)

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8600, ge=0, le=65535, description="Port to listen on; 0 picks a free one.")
    data_dir: Path = Field(Path("data"), description="Folder of the task store and the images.")
    database_url: SecretStr | None = Field(
        None,
        description="Where the task store is: postgresql://USER:PASSWORD@HOST/NAME or sqlite:///FILE;"
        " default a SQLite file in data_dir.",
    )
    models: Path = Field(PACKAGE_MODELS_FILE, description="Path of models.yaml.")
    keys: Annotated[list[SecretStr], NoDecode] = Field(
        default_factory=list,
        description="Key pairs PUBLIC:PRIVATE in addition to those in the store, comma-separated.",
    )
    key_secrets: Annotated[list[SecretStr], NoDecode] = Field(
        default_factory=list,
        description="32 random bytes as 64 hex digits: private keys are stored sealed with them. "
        "After a comma earlier ones, whose keys are sealed anew at the next start.",
    )
    key_secret_file: Path | None = Field(
        None, description="File that holds the key secrets instead, one a line."
    )
    public_base_url: str | None = Field(
        None, description="Base of result URLs; default the bound address, never the Host header."
    )

    max_body_bytes: int = Field(64 * 2**20, ge=2**16, description="Larger request bodies get 413.")
    max_bodies_in_flight_bytes: int = Field(
        512 * 2**20,
        ge=2**16,
        description="While the uploads in flight add up to more, further ones are answered 2001.",
    )
    min_upload_bytes_per_s: int = Field(
        32 * 2**10,
        ge=1,
        description="A body that comes more slowly on average gets 408 once upload_grace_s is up.",
    )
    upload_grace_s: float = Field(30.0, gt=0, description="Time that any body may take.")
    max_image_pixels: int = Field(
        64_000_000, ge=64 * 64, description="Declared pixels of an input image; more is refused."
    )
    max_queued_tasks: int = Field(10_000, ge=1, description="A fuller queue answers 2001.")
    max_queued_cost_per_device: float = Field(
        100_000.0,
        gt=0,
        description="While more million pixels x steps wait for each live device, further tasks "
        "are answered 2001.",
    )
    max_queued_per_key: int | None = Field(
        None,
        ge=1,
        description="So many tasks of a key wait at once, unless it has a limit of its own; "
        "further ones are answered 2001. Default no limit.",
    )
    min_free_disk_bytes: int = Field(
        512 * 2**20, ge=0, description="With less free disk space new tasks are answered 2001."
    )
    max_requests_per_s: float | None = Field(
        None,
        gt=0,
        description="Lasting rate of one key's requests at all API processes; beyond it they are "
        "answered 153. Default no limit.",
    )
    request_burst: int = Field(
        20, ge=1, description="Requests that a rested key may make at once under that limit."
    )
    idempotency_keys: bool = Field(
        False, description="Requests of one IdempotencyKey make one task, within records_keep_s."
    )

    devices: Annotated[list[str], NoDecode] = Field(
        default_factory=list,
        description="Devices to run on, comma-separated; default every CUDA device, else cpu.",
    )
    max_tasks_per_worker: int = Field(
        8, ge=1, le=64, description="Tasks a worker runs at once, beside one that it claims ahead."
    )
    cpu_threads: int | None = Field(
        None,
        ge=1,
        description="Threads of a worker's CPU kernels; default every core it may use for the "
        "device cpu, 1 beside a GPU. Set it where a container's CPU limit is lower.",
    )
    lease_s: float = Field(15.0, gt=0.5, le=600, description="A silent worker loses its tasks.")
    max_attempts: int = Field(3, ge=1, le=10, description="A task is started at most so often.")
    run_limit_s: float = Field(
        3600.0, gt=0, description="A task that runs for longer without an end is stopped."
    )
    drain_s: float = Field(
        0.0,
        ge=0,
        le=MAX_DRAIN_S,
        description="A worker that is asked to end may finish what runs for so long; the rest it"
        " gives back.",
    )
    max_running_per_key: int | None = Field(
        None,
        ge=1,
        description="So many tasks of a key run at once, unless it has a limit of its own.",
    )
    child_silence_s: float = Field(
        600.0, gt=0, description="A compute child that reports nothing for so long is replaced."
    )
    warm_spare: bool = Field(True, description="Keep a second child ready to take over.")
    batch_invariant: bool = Field(
        False, description="Equal row count in every forward: bit-equal images in any batch."
    )
    dtype: Literal["float32", "float16", "bfloat16"] | None = Field(
        None,
        description="Precision of the models; default float16 on GPUs that are quick in it, else "
        "float32.",
    )
    kernels: Literal["eager", "compiled"] = Field(
        "eager",
        description="compiled has torch compile the UNet's blocks when they first run, which takes "
        "seconds to minutes; forwards with LoRAs or DeepFusion run eagerly all the same.",
    )
    max_latent_area: int | None = Field(
        None,
        ge=1,
        description="Latent cells (of 8x8 pixels) of one UNet forward, over all images that share "
        "it; default by the device.",
    )
    device_cache_bytes: int | None = Field(
        None,
        ge=0,
        description="Device memory that loaded checkpoints may take; default 60 % of a GPU's, on "
        "the CPU half of the machine's.",
    )
    host_cache_bytes: int | None = Field(
        None,
        ge=0,
        description="Host memory for copies of checkpoints that went off the GPU; default a "
        "quarter of the machine's, shared by its GPUs.",
    )
    encoding_cache_bytes: int | None = Field(
        None,
        ge=0,
        description="Memory of each worker for encoded images and prompts that may come again; "
        "default 256 MiB.",
    )
    write_parameters: bool = Field(
        True, description="Write the generation parameters into each PNG's text chunk."
    )

    queue_keep_s: float = Field(
        24 * 3600, gt=0, description="A task that still waits after this time expires."
    )
    images_keep_s: float = Field(24 * 3600, gt=0, description="Result images are kept so long.")
    records_keep_s: float = Field(7 * 24 * 3600, gt=0, description="Task records are kept so long.")
    default_size_px: int | None = Field(
        None,
        ge=64,
        le=2560,
        description="Canvas side when Width and Height are absent; default the foreground's size.",
    )
    points_per_megapixel_step: float = Field(
        1.0, ge=0, description="Base price of a million pixels, a step, an image, in points."
    )
    log_format: Literal["text", "json"] = Field(
        "text", description="json writes one object a line, with request_uuid and task_uid."
    )
    metrics_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="Port of the Prometheus page /metrics, 0 for a free one; unset serves none.",
    )
    metrics_host: str = Field(
        "127.0.0.1",
        description="Address of the page; it is open to whoever can reach it.",
    )
    otlp_endpoint: str | None = Field(
        None,
        pattern="^https?://",
        description="Base URL of an OpenTelemetry collector that gets a trace of every task; needs "
        "the extra otel. Unset: no traces.",
    )
    result_urls: Literal["streamed", "presigned"] = Field(
        "streamed",
        description="streamed: result URLs lead to this service; presigned: to the object store "
        "itself, which s3_url must name, by URLs that it signs.",
    )
    docs: bool = Field(True, description="Serve the OpenAPI page at /docs.")
    ui: bool = Field(
        False, description="Serve the page at /ui, for people with a key pair; needs the extra ui."
    )
    webhooks: bool = Field(
        False,
        description="Call the WebhookUrl of a request once its task has ended. While it is off, no "
        "request makes the service connect anywhere.",
    )
    webhook_networks: Annotated[list[IPv4Network | IPv6Network], NoDecode] = Field(
        default_factory=list,
        description="Networks beside the public internet that webhooks may call, such as "
        "10.1.0.0/16, comma-separated.",
    )

    @field_validator("keys", "key_secrets", "devices", "webhook_networks", mode="before")
    @classmethod
    def _split_commas(cls, value: object) -> object:
        return [part for part in value.split(",") if part] if isinstance(value, str) else value

    @field_validator("keys")
    @classmethod
    def _are_pairs(cls, value: list[SecretStr]) -> list[SecretStr]:
        for pair in value:
            public, colon, private = pair.get_secret_value().partition(":")
            if not (public and colon and private):
                raise ValueError("a key is written PUBLIC:PRIVATE, both not empty")
        return value

    @field_validator("otlp_endpoint")
    @classmethod
    def _can_be_sent(cls, value: str | None) -> str | None:
        if value is not None and not is_installed("opentelemetry.exporter.otlp.proto.http"):
            raise ValueError("needs the extra otel: pip install 'backdrop[otel]'")
        return value

    @field_validator("key_secrets")
    @classmethod
    def _are_secrets(cls, value: list[SecretStr]) -> list[SecretStr]:
        if not all(KEY_SECRET.fullmatch(secret.get_secret_value()) for secret in value):
            raise ValueError("a secret is written as 64 hex digits")
        return value

    @field_validator("key_secret_file")
    @classmethod
    def _stands_alone(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if value is not None and info.data.get("key_secrets"):
            raise ValueError("key_secrets are given too: give one of both")
        return value

    @field_validator("database_url")
    @classmethod
    def _is_a_url(cls, value: SecretStr | None) -> SecretStr | None:
        text = "" if value is None else value.get_secret_value()
        if value is not None and not text.startswith(("postgresql", "sqlite:///")):
            raise ValueError("a database's URL starts with postgresql:// or sqlite:///")
        return value

    @field_validator("max_bodies_in_flight_bytes")
    @classmethod
    def _holds_one_body(cls, value: int, info: ValidationInfo) -> int:
        if value < info.data.get("max_body_bytes", 0):
            raise ValueError("less than max_body_bytes")
        return value

    @field_validator("records_keep_s")
    @classmethod
    def _outlives_the_images(cls, value: float, info: ValidationInfo) -> float:
        if value < info.data.get("images_keep_s", 0):
            raise ValueError("less than images_keep_s, but images are found through their record")
        return value

    def for_worker(self) -> str:
        """These settings as JSON for a worker process: none of `SECRETS`.

        But the password of the database and the credentials of the object store, in the clear.
        """
        url = None if self.database_url is None else self.database_url.get_secret_value()
        settings = self.model_dump(
            mode="json", exclude={*SECRETS, "database_url"}, context=REVEAL_SECRETS
        )
        return json.dumps({**settings, "database_url": url})

    @field_validator("result_urls")
    @classmethod
    def _has_what_signs(cls, value: str, info: ValidationInfo) -> str:
        if value == "presigned" and info.data.get("s3_url") is None:
            raise ValueError("presigned URLs need an object store: set s3_url")
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Adds the folder of secrets and the YAML file below the environment."""
        del dotenv_settings, file_secret_settings
        from os import environ

        above: tuple[PydanticBaseSettingsSource, ...] = (init_settings, env_settings)
        secrets = environ.get("BACKDROP_SECRETS_DIR")
        if secrets is not None:
            if not Path(secrets).is_dir():
                raise FileNotFoundError(f"BACKDROP_SECRETS_DIR names {secrets}, not a folder")
            above += (SecretsSettingsSource(settings_cls, secrets_dir=secrets),)
        named = environ.get("BACKDROP_SETTINGS_FILE")
        if named is None:
            return above
        if not Path(named).is_file():
            raise FileNotFoundError(f"BACKDROP_SETTINGS_FILE names {named}, which is not a file")
        try:
            file_settings = YamlConfigSettingsSource(settings_cls, yaml_file=named)
        except (yaml.YAMLError, TypeError, ValueError) as exc:
            raise SettingsError(f"{named}: not a YAML mapping of settings: {exc}") from exc
        unknown = [str(key) for key in file_settings.yaml_data if key not in cls.model_fields]
        if unknown:
            raise SettingsError(f"{named}: there is no setting {', '.join(unknown)}")
        return *above, file_settings


def what_is_wrong(error: ValidationError) -> str:
    """The settings that were refused and why, in one line and without their values."""
    reasons = [
        f"{field_path(each['loc'])}: {each['msg'].removeprefix('Value error, ')}"
        for each in error.errors(include_input=False, include_url=False)
    ]
    return f"setting {'; '.join(reasons)}"
