"""Colour spaces: the model works in sRGB, the subject stays in the space it came in.

All conversions are relative colorimetric with black-point compensation (littleCMS).
"""

from __future__ import annotations

from io import BytesIO

from PIL import Image, ImageCms

from engine.errors import BadImage

_SPACE_OF_MODE = {"L": "GRAY", "RGB": "RGB ", "CMYK": "CMYK"}
# Of the other classes, device links, abstract and named-colour profiles describe no device.
_DEVICE_CLASSES = ("mntr", "scnr", "prtr", "spac")


def foreground_to_srgb(foreground: Image.Image, icc_profile: bytes | None) -> Image.Image:
    """`foreground` with its colours in sRGB and its alpha untouched.

    Args:
        foreground: mode RGBA, straight alpha, in the space of `icc_profile`.
        icc_profile: RGB profile; None means sRGB, and the same object is returned.

    Raises:
        BadImage: `icc_profile` is no RGB profile that can be applied.
    """
    assert foreground.mode == "RGBA"
    if icc_profile is None:
        return foreground
    transform = _transform_to_srgb(icc_profile, "RGB")
    if transform is None:
        raise BadImage("the colour profile is no usable RGB profile", field="icc_profile")
    converted = _apply(transform, foreground.convert("RGB"))
    converted.putalpha(foreground.getchannel("A"))
    return converted


def srgb_to_profile(image: Image.Image, icc_profile: bytes | None) -> Image.Image:
    """`image` converted from sRGB to `icc_profile`.

    Args:
        image: mode RGB, sRGB.
        icc_profile: RGB profile; None means sRGB, and the same object is returned.

    Raises:
        BadImage: `icc_profile` is no RGB profile that can be converted to.
    """
    assert image.mode == "RGB"
    if icc_profile is None:
        return image
    transform = _transform_from_srgb(icc_profile)
    if transform is None:
        raise BadImage("nothing can be converted to the colour profile", field="icc_profile")
    return _apply(transform, image)


def to_srgb(image: Image.Image, icc_profile: bytes | None) -> Image.Image:
    """`image` as sRGB; a profile that is broken or of another colour model is ignored.

    Ignoring is what browsers do: the picture then looks as it does everywhere else.

    Args:
        image: mode L, RGB or CMYK, in the space of `icc_profile`.
        icc_profile: None means sRGB, or for grey and CMYK Pillow's plain conversion.

    Returns:
        Mode RGB.
    """
    assert image.mode in _SPACE_OF_MODE
    transform = None if icc_profile is None else _transform_to_srgb(icc_profile, image.mode)
    return image.convert("RGB") if transform is None else _apply(transform, image)


def is_working_profile(icc_profile: bytes) -> bool:
    """Whether RGB pixels can be converted from the profile to sRGB and back to it.

    Scanner profiles, for one, often lead only one way.
    """
    return (
        _transform_to_srgb(icc_profile, "RGB") is not None
        and _transform_from_srgb(icc_profile) is not None
    )


def _transform_to_srgb(icc_profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """From the profile's space in `mode` to sRGB; None when it does not lead there."""
    return _transform(_open(icc_profile, mode), _srgb(), mode)


def _transform_from_srgb(icc_profile: bytes) -> ImageCms.ImageCmsTransform | None:
    """From sRGB to the profile's RGB space; None when it does not lead there."""
    return _transform(_srgb(), _open(icc_profile, "RGB"), "RGB")


def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


def _open(icc_profile: bytes, mode: str) -> ImageCms.ImageCmsProfile | None:
    """The profile when it parses and describes devices of `mode`'s colour model, else None."""
    try:
        profile = ImageCms.ImageCmsProfile(BytesIO(icc_profile))
    except (OSError, ImageCms.PyCMSError):
        return None
    fits = (
        profile.profile.xcolor_space == _SPACE_OF_MODE[mode]
        and profile.profile.device_class in _DEVICE_CLASSES
    )
    return profile if fits else None


def _transform(
    source: ImageCms.ImageCmsProfile | None, target: ImageCms.ImageCmsProfile | None, mode: str
) -> ImageCms.ImageCmsTransform | None:
    """From `source` in `mode` to RGB of `target`; None when there is no way."""
    if source is None or target is None:
        return None
    try:
        return ImageCms.buildTransform(
            source,
            target,
            mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except ImageCms.PyCMSError:
        return None


def _apply(transform: ImageCms.ImageCmsTransform, image: Image.Image) -> Image.Image:
    converted = ImageCms.applyTransform(image, transform)
    assert converted is not None
    # Pillow notes the target profile in `info`, from where `save` would write it.
    converted.info.clear()
    return converted
