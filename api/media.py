"""Image bytes in and out: Base64, uploaded files to pixels, results to PNG files.

Decoding reads nothing but the bytes it is given, checks the declared size before it decodes, and
raises `BadImage` whatever is wrong with them, and `MemoryError` where this machine is too small.
"""

from __future__ import annotations

import binascii
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from PIL import Image
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.WebPImagePlugin import WebPImageFile

from api.png import (
    MAX_ICC_BYTES,
    PNG_SIGNATURE,
    Pixels,
    Unusable,
    check_size,
    orientation_of,
    read_png,
)
from api.png_encoder import png_file
from backdrop import __version__
from engine.color import is_working_profile, to_srgb
from engine.errors import BadImage
from engine.job import AnySampler, DistilledSampler, Sampler

_WHITE = (255, 255, 255)
# A progressive JPEG costs its whole area once per scan, so a small file of many empty scans can take
# hours. Encoders write about ten, embedded previews some more.
_MAX_JPEG_SCANS = 64

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_WEB_UI_SAMPLERS: dict[AnySampler, str] = {
    Sampler.EULER: "Euler",
    Sampler.EULER_ANCESTRAL: "Euler a",
    Sampler.DPMPP_2M: "DPM++ 2M",
    Sampler.DPMPP_2M_KARRAS: "DPM++ 2M Karras",
    Sampler.UNIPC: "UniPC",
    Sampler.LMS: "LMS",
    Sampler.HEUN: "Heun",
    Sampler.DDIM: "DDIM",
    DistilledSampler.LCM: "LCM",
    DistilledSampler.TCD: "TCD",
}


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """An uploaded image, ready for a `GenerationJob`.

    Attributes:
        image: 8 bit, upright; mode RGBA with straight alpha for a foreground, RGB for a reference.
        icc_profile: RGB profile `image` is in; None means sRGB.
    """

    image: Image.Image
    icc_profile: bytes | None


def image_bytes(text: str, *, field: str = "ImageList") -> bytes:
    """The file in plain Base64 or a data URL (`data:image/png;base64,...`).

    White space is ignored; a data URL's media type too, since the content tells what it is.

    Raises:
        BadImage: neither of the two, or empty.
    """
    if text[:5].lower() == "data:":
        head, comma, text = text.partition(",")
        if not comma or not head.lower().endswith(";base64"):
            raise BadImage("the data URL is not Base64", field=field)
    try:
        packed = text.encode("ascii").translate(None, b" \t\r\n\f\v")
        data = binascii.a2b_base64(packed, strict_mode=True)
    except (UnicodeEncodeError, binascii.Error) as exc:
        raise BadImage("the image is not valid Base64", field=field) from exc
    if not data:
        raise BadImage("the image is empty", field=field)
    return data


def decode_foreground(data: bytes, *, max_pixels: int, field: str) -> DecodedImage:
    """A foreground file as 8-bit straight RGBA.

    An RGB profile that colours can be converted to and from is kept with the pixels. Any other that
    can be applied (grey, scanner) is applied here; a broken one, or one of another colour model, is
    dropped as browsers do. Of an animated PNG the still picture is taken.

    Args:
        data: a PNG file with transparency, of any bit depth and colour type.
        max_pixels: a file that declares more is refused before it is decoded.
        field: named by the error.

    Raises:
        BadImage: not such a file, or damaged, too large, or fully opaque.
    """
    with _refusing(field):
        if not data.startswith(PNG_SIGNATURE):
            raise Unusable("a foreground must be a PNG file with transparency")
        pixels = read_png(data, max_pixels=max_pixels)
        if pixels.alpha is None or pixels.alpha.getextrema()[0] == 255:
            raise Unusable("the foreground has no transparent pixel, so nothing could be painted")
        color, icc_profile = pixels.color, pixels.icc_profile
        if icc_profile is None or color.mode != "RGB" or not is_working_profile(icc_profile):
            color, icc_profile = to_srgb(color, icc_profile), None
        image = Image.merge("RGBA", (*color.split(), pixels.alpha))
        return DecodedImage(_upright(image, pixels.orientation), icc_profile)


def decode_reference(data: bytes, *, max_pixels: int, field: str) -> DecodedImage:
    """A background reference as 8-bit sRGB.

    Its profile is applied (CMYK included), a broken one ignored; transparency is laid over white;
    of several frames or pictures the first is taken.

    Args:
        data: a PNG, JPEG or WebP file.
        max_pixels: a file that declares more is refused before it is decoded.
        field: named by the error.

    Raises:
        BadImage: not such a file, or damaged or too large.
    """
    with _refusing(field):
        pixels = _reader(data)(data, max_pixels=max_pixels)
        image = to_srgb(pixels.color, pixels.icc_profile)
        if pixels.alpha is not None:
            white = Image.new("RGB", image.size, _WHITE)
            image = Image.composite(image, white, pixels.alpha)
        return DecodedImage(_upright(image, pixels.orientation), None)


def encode_png(
    image: Image.Image, *, icc_profile: bytes | None, parameters: Mapping[str, Any] | None
) -> bytes:
    """An 8-bit RGB PNG file.

    Args:
        image: mode RGB.
        icc_profile: embedded; None means sRGB and embeds nothing.
        parameters: of a `GeneratedImage`, written as `parameters_text` into the text chunk
            `parameters`; None or empty writes none.
    """
    text = None
    if parameters:
        # No text chunk can hold NUL or a lone surrogate.
        text = parameters_text(parameters).replace("\0", "\N{REPLACEMENT CHARACTER}")
        text = text.encode("utf-8", "replace").decode()
    return png_file(image, icc_profile=icc_profile, text=text)


def parameters_text(parameters: Mapping[str, Any]) -> str:
    """Generation parameters as Stable Diffusion web UIs write them into their images.

    The prompt with `<lora:name:weight>` for each sub-model, a line `Negative prompt: ...` when there
    is one, and a line `Steps: 10, Sampler: Euler, ...`. Absent parameters are left out.
    """
    loras = "".join(f" <lora:{name}:{weight:g}>" for name, weight in parameters.get("adapters", ()))
    lines = [f"{parameters.get('prompt', '')}{loras}"]
    if parameters.get("negative_prompt"):
        lines.append(f"Negative prompt: {parameters['negative_prompt']}")
    settings = {key: value for key, value in _settings(parameters) if value is not None}
    lines.append(", ".join(f"{key}: {_quoted(value)}" for key, value in settings.items()))
    return "\n".join(lines)


def _settings(parameters: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The last line's names and values in their usual order; None where there is nothing to say."""
    get = parameters.get
    width, height = get("width_px"), get("height_px")
    strength, clip_skip = get("strength"), get("clip_skip")
    yield "Steps", get("num_inference_steps")
    yield "Sampler", _WEB_UI_SAMPLERS.get(get("sampler", ""), get("sampler"))
    yield "CFG scale", get("guidance_scale")
    yield "Seed", get("seed")
    yield "Size", None if width is None or height is None else f"{width}x{height}"
    yield "Model", get("model_name")
    yield "Denoising strength", None if strength == 1 else strength
    yield "Clip skip", None if clip_skip == 1 else clip_skip
    yield "Note", "; ".join(get("notes", ())) or None
    yield "Version", f"Backdrop {__version__}"


def _quoted(value: object) -> str:
    """`value` as readers of the comma-separated line expect it: quoted where it would split."""
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return json.dumps(text, ensure_ascii=False) if any(c in text for c in ',:\n"') else text


@contextmanager
def _refusing(field: str) -> Iterator[None]:
    """Turns everything that goes wrong with a file into `BadImage`; no memory is no fault of it."""
    try:
        yield
    except Unusable as exc:
        raise BadImage(str(exc), field=field) from exc
    except MemoryError:
        raise
    except Exception as exc:  # decoders raise from OSError to IndexError on hostile files
        raise BadImage("the image cannot be decoded", field=field) from exc


def _reader(data: bytes) -> Callable[..., Pixels]:
    """The decoder for the file's first bytes."""
    if data.startswith(PNG_SIGNATURE):
        return read_png
    if data.startswith(b"\xff\xd8\xff"):
        return _read_jpeg
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _read_webp
    raise Unusable("a reference must be a PNG, JPEG or WebP file")


def _read_jpeg(data: bytes, *, max_pixels: int) -> Pixels:
    if data.count(b"\xff\xda") > _MAX_JPEG_SCANS:
        raise Unusable("it has too many scans")
    # Called directly, since `Image.open` would apply Pillow's process-wide pixel limit on top.
    return _pixels(JpegImageFile(BytesIO(data)), max_pixels)


def _read_webp(data: bytes, *, max_pixels: int) -> Pixels:
    return _pixels(WebPImageFile(BytesIO(data)), max_pixels)


def _pixels(image: ImageFile, max_pixels: int) -> Pixels:
    check_size(*image.size, max_pixels)
    image.load()
    icc_profile = image.info.get("icc_profile")
    if icc_profile is not None and len(icc_profile) > MAX_ICC_BYTES:
        icc_profile = None
    alpha = image.getchannel("A") if image.mode == "RGBA" else None
    color = image.convert("RGB") if image.mode == "RGBA" else image
    try:
        orientation = orientation_of(image.getexif())
    except Exception:  # damaged EXIF is no reason to refuse a picture
        orientation = 1
    return Pixels(color, alpha, icc_profile, orientation)


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    """`image` turned as its EXIF orientation asks, without leftovers of its file in `info`."""
    upright = image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image
    upright.info.clear()
    return upright
