"""models.yaml -> validated entries.

Paths are relative to the file; `package:NAME` names a model shipped inside this package.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    model_validator,
)

from engine.checkpoint_info import CheckpointInfo, Declared, read_checkpoint_info
from engine.entry_check import check_files, check_steps
from engine.errors import (
    MislabelledModel,
    RegistryError,
    UnknownLora,
    UnknownModel,
    WeightsUnavailable,
)
from engine.families import ModelFamily
from engine.few_steps import FewSteps
from engine.hub_source import HubSource
from engine.job import Sampler
from engine.model_paths import PACKAGED_MODELS as PACKAGED_MODELS
from engine.model_paths import ModelFolder, ModelPath
from engine.models_file_errors import readable_lines
from engine.pipeline_info import PipelineInfo, is_pipeline_folder, read_pipeline_info
from engine.step_spacing import StepSpacing
from engine.sub_models import HYPERNETWORK_REASON, SubModel
from engine.translation_model import TranslationModel

Offload = Literal["none", "model", "sequential"]


class MainModel(BaseModel):
    """One main checkpoint: where it lies, what it is, and its defaults.

    Attributes:
        name: the ModelCode clients use.
        path: diffusers folder (model_index.json and one subfolder a component), or a single file
            in the original layout.
        family: sd1, sd2, sdxl, or pipeline for all others. This and the next four are told by the
            files in most cases; what they tell must agree with what is written here.
        in_channels: 9 for inpainting checkpoints, 4 for ordinary ones.
        prediction_type: what the UNet predicts.
        rescale_betas_zero_snr: whether it was trained to zero terminal SNR.
        timestep_spacing: how samplers pick their timesteps.
        config: diffusers folder whose configs describe a single file of unusual architecture;
            its weights are not read.
        allow_pickle: read a pickled file, by torch's weights-only loader; needs family and
            in_channels.
        native_size_px: side of the square canvas the checkpoint was trained on.
        num_inference_steps: default denoising steps, 6..100.
        sampler: default sampler.
        guidance_scale: default guidance, 1..30; 1 switches it off where it is classifier-free.
        two_pass_area_ratio: canvases above so many times the native area take two passes: the
            first composes at the native area, the second refines the upscaled result.
        refine_strength: 0..1, noise strength of the second pass.
        tile_size_px: longest side of the tiles that the UNet sees of such a canvas at a time,
            a multiple of 64; None: one and a half times the native side.
        min_area_ratio: canvases below so many times the native area are painted at the native
            area and reduced; 0: none.
        step_spacing: which noise levels the steps of its jobs go through: trailing, or
            align_your_steps (SD 1.x and SDXL); None leaves it to the checkpoint's scheduler config.
            The sampler dpmpp_2m_karras always keeps its own.
        guidance_cutoff: above 0, at most 1: share of the steps of a pass that are guided; the
            others run the conditional row alone, at half the work.
        few_steps: other settings for jobs of few steps; None for none.
        shared_vae: VAE folder or file used unless a job asks for the checkpoint's own; None: its
            own.
        offload: of a pipeline, what stays in host memory until it is needed: none, model (one
            component at a time on the device) or sequential (one layer at a time, slow).
        trigger_words: words the model was trained to react to, shown to clients.
        source: where `backdrop models pull` gets it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, max_length=200)
    path: ModelPath
    family: ModelFamily | None = None
    in_channels: Literal[4, 9] | None = None
    prediction_type: Literal["epsilon", "v_prediction"] | None = None
    rescale_betas_zero_snr: bool | None = None
    timestep_spacing: Literal["leading", "linspace", "trailing"] | None = None
    config: ModelFolder | None = None
    allow_pickle: bool = False
    native_size_px: int = Field(ge=64, le=2048)
    num_inference_steps: int = Field(10, ge=6, le=100)
    sampler: Sampler = Sampler.EULER
    guidance_scale: float = Field(7.5, ge=1, le=30)
    two_pass_area_ratio: float = Field(2.0, ge=1)
    refine_strength: float = Field(0.45, gt=0, lt=1)
    tile_size_px: int | None = Field(None, ge=64, le=2560, multiple_of=64)
    min_area_ratio: float = Field(0.5, ge=0, le=1)
    step_spacing: StepSpacing | None = None
    guidance_cutoff: float = Field(1.0, gt=0, le=1)
    few_steps: FewSteps | None = None
    shared_vae: ModelPath | None = None
    offload: Offload = "none"
    trigger_words: tuple[str, ...] = ()
    source: HubSource | None = None

    @model_validator(mode="after")
    def _is_a_diffusers_folder_or_a_file(self, info: ValidationInfo) -> MainModel:
        if info.context is not None and not info.context.get("must_exist", True):
            return self
        if self.path.is_dir() and not (self.path / "model_index.json").is_file():
            raise ValueError(f"path: {self.path} holds no model_index.json")
        if self.path.is_dir() and self.config is not None:
            raise ValueError("config: a diffusers folder brings its own configs")
        return self

    @property
    def checkpoint_info(self) -> CheckpointInfo:
        """`info` of a model of a UNet family."""
        info = self.info
        assert isinstance(info, CheckpointInfo), f"{self.name!r} is a pipeline"
        return info

    @property
    def declared(self) -> Declared:
        """What this entry says about its files."""
        return Declared(
            family=None if self.family == "pipeline" else self.family,
            in_channels=self.in_channels,
            prediction_type=self.prediction_type,
            rescale_betas_zero_snr=self.rescale_betas_zero_snr,
            timestep_spacing=self.timestep_spacing,
            config=self.config,
            allow_pickle=self.allow_pickle,
        )

    @property
    def info(self) -> CheckpointInfo | PipelineInfo:
        """Facts of the checkpoint, kept after the first look.

        Raises:
            WeightsUnavailable: its files are broken.
        """
        if is_pipeline_folder(self.path):
            return read_pipeline_info(self.path)
        if self.family == "pipeline":
            raise MislabelledModel(
                f"{self.path}: is of a UNet family, models.yaml says family pipeline"
            )
        return read_checkpoint_info(self.path, self.declared)


class ModelsFile(BaseModel):
    """All that models.yaml holds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    default_model: str
    models: tuple[MainModel, ...] = Field(min_length=1)
    sub_models: tuple[SubModel, ...] = ()
    translation: TranslationModel | None = None

    @property
    def all_sub_models(self) -> tuple[SubModel, ...]:
        """Those that clients may name, then the LoRAs of `few_steps`."""
        few_steps = (model.few_steps for model in self.models if model.few_steps is not None)
        return (*self.sub_models, *(each.lora for each in few_steps if each.lora is not None))


class Registry:
    """All registered models.

    Attributes:
        models: main models by name, in file order.
        default_model: the one used when a request names none.
        sub_models: LoRAs, embeddings and hypernetworks by name, in file order.
        translation: the model that translates prompts; None leaves it to the glossary.
        unusable: by name, a line on each model or sub-model whose weight file is damaged or of
            another kind. It stays registered, and its jobs are refused or fail with that line.
    """

    def __init__(
        self,
        models: Mapping[str, MainModel],
        default_model: str,
        *,
        sub_models: Mapping[str, SubModel] | None = None,
        translation: TranslationModel | None = None,
        unusable: Mapping[str, str] | None = None,
    ) -> None:
        self.models = dict(models)
        self.default_model = default_model
        self.sub_models = dict(sub_models or {})
        self.translation = translation
        self.unusable = dict(unusable or {})

    def main_model(self, name: str) -> MainModel:
        """The entry of that name.

        Raises:
            UnknownModel: there is none.
        """
        try:
            return self.models[name]
        except KeyError:
            raise UnknownModel(f"no main model is named {name!r}", field="model_name") from None

    def sub_model(self, name: str) -> SubModel:
        """The entry of that name.

        Raises:
            UnknownLora: there is none.
        """
        try:
            return self.sub_models[name]
        except KeyError:
            raise UnknownLora(f"no sub-model is named {name!r}", field="adapters") from None


def load_registry(path: Path) -> Registry:
    """Reads and validates a models.yaml, and looks at the headers of the files it names.

    Raises:
        RegistryError: the file is missing, no YAML, or an entry is wrong; the message names file,
            entry and key. A damaged weight file is no mistake of models.yaml: it goes to
            `Registry.unusable`, and the other models are served.
    """
    parsed = read_models_file(path)
    unusable: dict[str, str] = {}
    for model in parsed.models:
        where = f"{path}: models: entry {model.name!r}"
        try:
            check_files(model)
        except WeightsUnavailable as exc:
            if isinstance(exc, MislabelledModel) or model.path.is_dir():
                raise RegistryError(f"{where}: path: {exc}") from exc
            unusable[model.name] = str(exc)
            continue
        try:
            check_steps(model)
        except MislabelledModel as exc:
            raise RegistryError(f"{where}: {exc}") from exc
        except WeightsUnavailable as exc:
            unusable[model.name] = str(exc)
    for sub_model in parsed.sub_models:
        try:
            sub_model.trained_on()
        except MislabelledModel as exc:
            where = f"{path}: sub_models: entry {sub_model.name!r}"
            raise RegistryError(f"{where}: path: {exc}") from exc
        except WeightsUnavailable as exc:
            unusable[sub_model.name] = str(exc)
        if sub_model.kind == "hypernetwork":
            unusable[sub_model.name] = HYPERNETWORK_REASON
    return Registry(
        {model.name: model for model in parsed.models},
        parsed.default_model,
        sub_models={sub_model.name: sub_model for sub_model in parsed.sub_models},
        translation=parsed.translation,
        unusable=unusable,
    )


def read_models_file(path: Path, *, must_exist: bool = True) -> ModelsFile:
    """Reads and validates a models.yaml by itself.

    Args:
        path: of the file.
        must_exist: whether the paths it names must be there.

    Raises:
        RegistryError: as `load_registry`.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise RegistryError(f"{path}: cannot be read ({exc.strerror})") from exc
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as exc:
        reason = " ".join(str(exc).split())
        raise RegistryError(f"{path}: not valid YAML ({reason})") from exc
    if not isinstance(content, dict):
        raise RegistryError(f"{path}: expected the keys 'default_model' and 'models'")
    context = {"folder": path.resolve().parent, "must_exist": must_exist}
    try:
        parsed = ModelsFile.model_validate(content, context=context)
    except ValidationError as exc:
        raise RegistryError("\n".join(readable_lines(path, content, exc))) from exc
    names = Counter(model.name for model in parsed.models)
    names.update(sub_model.name for sub_model in parsed.all_sub_models)
    for name, count in names.items():
        if count > 1:
            raise RegistryError(f"{path}: the name {name!r} is used twice")
    if all(model.name != parsed.default_model for model in parsed.models):
        raise RegistryError(f"{path}: default_model: no entry is named {parsed.default_model!r}")
    return parsed
