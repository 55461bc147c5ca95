"""All settings of the service, read once at start and passed down."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    YamlConfigSettingsSource,
)

_TOP = Path(__file__).resolve().parent.parent
_COPY_IN_WHEEL = _TOP / "engine" / "models" / "models.yaml"  # made by setup.py
PACKAGE_MODELS_FILE = _COPY_IN_WHEEL if _COPY_IN_WHEEL.is_file() else _TOP / "models.yaml"


class Settings(BaseSettings):
    """Settings of the service.

    Each is also an environment variable `BACKDROP_<NAME>` or a key of the YAML file that
    `BACKDROP_SETTINGS_FILE` names. Order: arguments, environment, file, default.
    """

    model_config = SettingsConfigDict(env_prefix="BACKDROP_", extra="forbid", frozen=True)

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8600, ge=0, le=65535, description="Port to listen on; 0 picks a free one.")
    data_dir: Path = Field(Path("data"), description="Folder of the task store and the images.")
    models: Path = Field(PACKAGE_MODELS_FILE, description="Path of models.yaml.")
    keys: Annotated[list[SecretStr], NoDecode] = Field(
        default_factory=list,
        description="Key pairs PUBLIC:PRIVATE in addition to those in the store, comma-separated.",
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
    max_image_pixels: int = Field(
        64_000_000, ge=64 * 64, description="Declared pixels of an input image; more is refused."
    )
    max_queued_tasks: int = Field(10_000, ge=1, description="A fuller queue answers 2001.")
    min_free_disk_bytes: int = Field(
        512 * 2**20, ge=0, description="With less free disk space new tasks are answered 2001."
    )

    devices: Annotated[list[str], NoDecode] = Field(
        default_factory=list,
        description="Devices to run on, comma-separated; default every CUDA device, else cpu.",
    )
    max_tasks_per_worker: int = Field(
        8, ge=1, le=64, description="Tasks a worker runs at once, beside one that it claims ahead."
    )
    lease_s: float = Field(15.0, gt=0.5, le=600, description="A silent worker loses its tasks.")
    max_attempts: int = Field(3, ge=1, le=10, description="A task is started at most so often.")
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

    @field_validator("keys", "devices", "webhook_networks", mode="before")
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

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Adds the YAML file below the environment."""
        del dotenv_settings, file_secret_settings
        from os import environ

        named = environ.get("BACKDROP_SETTINGS_FILE")
        if named is None:
            return init_settings, env_settings
        if not Path(named).is_file():
            raise FileNotFoundError(f"BACKDROP_SETTINGS_FILE names {named}, which is not a file")
        try:
            file_settings = YamlConfigSettingsSource(settings_cls, yaml_file=named)
        except (yaml.YAMLError, TypeError, ValueError) as exc:
            raise SettingsError(f"{named}: not a YAML mapping of settings: {exc}") from exc
        unknown = [str(key) for key in file_settings.yaml_data if key not in cls.model_fields]
        if unknown:
            raise SettingsError(f"{named}: there is no setting {', '.join(unknown)}")
        return init_settings, env_settings, file_settings
