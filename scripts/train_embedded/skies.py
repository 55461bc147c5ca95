"""Skies: of a picture of their own, and above every landscape."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from scripts.train_embedded import clouds
from scripts.train_embedded.canvas import Array, Canvas, mix, smoothstep
from scripts.train_embedded.light import TIMES_OF_DAY, Light, daylight
from scripts.train_embedded.palette import rgb
from scripts.train_embedded.scene import Scene
from scripts.train_embedded.words import either, say

WEATHERS = ("clear", "cloudy", "overcast", "stormy")


@dataclass(frozen=True, slots=True, eq=False)
class Sky:
    """A sky and what it lets fall on the land below.

    Attributes:
        image: (H, W, 3); below the horizon it goes on in the horizon's colour.
        phrases: what it looks like, the main phrase first.
        light: of its sun or moon.
        horizon_color: (3,) of the haze in front of far things.
        low_color: (3,) of the sky a little above the horizon.
        zenith_color: (3,) of the uppermost sky, which water far from the sun mirrors.
        sun: (x, y) of the sun or moon in units, maybe outside the picture.
        weather: one of WEATHERS.
        colors: ("sky", colour name) if it has one colour.
    """

    image: Array
    phrases: tuple[str, ...]
    light: Light
    horizon_color: Array
    low_color: Array
    zenith_color: Array
    sun: tuple[float, float]
    weather: str
    colors: tuple[tuple[str, str], ...] = ()

    @property
    def cloudy(self) -> bool:
        """Whether clouds show."""
        return self.weather != "clear"

    @property
    def overcast(self) -> bool:
        """Whether clouds hide the sun."""
        return self.weather in ("overcast", "stormy")


@dataclass(frozen=True, slots=True, eq=False)
class _Tones:
    """Colours of one sky: (3,) each, `stops` from the horizon to the zenith."""

    hue: str
    stops: tuple[Array, ...]
    lit: Array
    shade: Array
    glow: Array


_TIMED_SKIES = {
    "sunrise": ("sunrise sky", "dawn sky"),
    "sunset": ("sunset sky", "sunset sky", "evening sky"),
    "dusk": ("dusk sky", "twilight sky"),
}

_TONES: dict[str, tuple[_Tones, ...]] = {
    "sunrise": (
        _Tones(
            "pink",
            (rgb(255, 222, 190), rgb(250, 190, 192), rgb(212, 168, 208), rgb(138, 148, 208)),
            rgb(255, 226, 214),
            rgb(190, 146, 178),
            rgb(255, 226, 178),
        ),
        _Tones(
            "peach",
            (rgb(255, 228, 178), rgb(252, 208, 172), rgb(214, 196, 204), rgb(128, 164, 212)),
            rgb(255, 236, 214),
            rgb(196, 166, 178),
            rgb(255, 232, 180),
        ),
    ),
    "day": (
        _Tones(
            "blue",
            (rgb(206, 230, 246), rgb(150, 200, 240), rgb(88, 156, 226), rgb(38, 102, 194)),
            rgb(255, 255, 253),
            rgb(150, 170, 202),
            rgb(255, 252, 236),
        ),
        _Tones(
            "blue",
            (rgb(198, 230, 246), rgb(134, 198, 240), rgb(64, 144, 220), rgb(20, 84, 178)),
            rgb(255, 255, 255),
            rgb(140, 166, 204),
            rgb(255, 253, 242),
        ),
        _Tones(
            "blue",
            (rgb(222, 236, 246), rgb(176, 212, 242), rgb(124, 180, 232), rgb(72, 134, 208)),
            rgb(255, 255, 252),
            rgb(168, 184, 210),
            rgb(255, 250, 232),
        ),
    ),
    "sunset": (
        _Tones(
            "orange",
            (rgb(255, 196, 96), rgb(252, 146, 84), rgb(200, 98, 110), rgb(82, 70, 132)),
            rgb(255, 176, 112),
            rgb(122, 76, 112),
            rgb(255, 222, 140),
        ),
        _Tones(
            "pink",
            (rgb(255, 206, 160), rgb(250, 164, 164), rgb(214, 128, 182), rgb(104, 94, 176)),
            rgb(255, 188, 178),
            rgb(150, 98, 154),
            rgb(255, 224, 176),
        ),
        _Tones(
            "gold",
            (rgb(255, 222, 132), rgb(250, 194, 118), rgb(214, 168, 136), rgb(112, 128, 164)),
            rgb(255, 220, 154),
            rgb(160, 124, 120),
            rgb(255, 236, 170),
        ),
    ),
    "dusk": (
        _Tones(
            "purple",
            (rgb(238, 158, 136), rgb(184, 116, 156), rgb(100, 78, 152), rgb(34, 36, 96)),
            rgb(196, 124, 158),
            rgb(66, 54, 112),
            rgb(250, 176, 140),
        ),
        _Tones(
            "navy",
            (rgb(176, 156, 168), rgb(104, 116, 170), rgb(52, 74, 142), rgb(18, 32, 84)),
            rgb(128, 128, 176),
            rgb(38, 50, 102),
            rgb(226, 180, 158),
        ),
    ),
    "night": (
        _Tones(
            "navy",
            (rgb(44, 64, 112), rgb(28, 46, 92), rgb(16, 28, 66), rgb(8, 14, 40)),
            rgb(88, 104, 148),
            rgb(20, 30, 62),
            rgb(120, 138, 180),
        ),
    ),
}


def draw_sky(
    c: Canvas,
    rng: np.random.Generator,
    *,
    horizon: float,
    time_of_day: str,
    weather: str | None = None,
    azimuth: float | None = None,
) -> Sky:
    """A sky down to its horizon.

    Args:
        c: the canvas.
        rng: the picture's generator.
        horizon: y of the horizon in units; beyond the lower edge if only sky is to show.
        time_of_day: one of TIMES_OF_DAY.
        weather: one of WEATHERS; drawn to suit the time by default.
        azimuth: of the sun or moon, -1 left to 1 right; drawn by default.
    """
    weather = weather or str(rng.choice(("clear", "cloudy", "cloudy")))
    hidden = weather in ("overcast", "stormy")
    light = daylight(rng, time_of_day, overcast=hidden)
    if azimuth is not None:
        light = replace(light, azimuth=azimuth)
    choices = _TONES[time_of_day]
    tones = choices[int(rng.integers(len(choices)))]
    if hidden:
        tones = _subdued(tones, weather, time_of_day)
    sun = _sun_position(c, light, horizon)
    image = _gradient(c, tones, horizon)
    if time_of_day == "night" and not hidden:
        image = _stars(c, rng, image, horizon)
    if not hidden:
        image = _shine(c, image, tones, sun, time_of_day)
    image, details = _with_clouds(c, rng, image, tones, sun, weather, light, horizon)
    phrases, colors = _describe(rng, tones, time_of_day, weather, details)
    return Sky(
        image=np.clip(image, 0, 1),
        phrases=phrases,
        light=light,
        horizon_color=tones.stops[0],
        low_color=tones.stops[1],
        zenith_color=tones.stops[-1],
        sun=sun,
        weather=weather,
        colors=colors,
    )


def sky(c: Canvas, rng: np.random.Generator) -> Scene:
    """Nothing but sky, the camera raised above the horizon."""
    time_of_day = str(rng.choice(TIMES_OF_DAY, p=(0.13, 0.47, 0.2, 0.1, 0.1)))
    weather = str(rng.choice(WEATHERS, p=(0.2, 0.6, 0.1, 0.1)))
    if weather in ("overcast", "stormy") and time_of_day in ("sunrise", "dusk", "night"):
        time_of_day = "day"
    above = draw_sky(
        c,
        rng,
        horizon=c.height * float(rng.uniform(1.02, 1.25)),
        time_of_day=time_of_day,
        weather=weather,
    )
    return Scene(above.image, "sky", above.phrases, above.light, above.colors)


def _sun_position(c: Canvas, light: Light, horizon: float) -> tuple[float, float]:
    """Where the sun or moon stands: by day mostly above the picture, else low in it."""
    x = c.width * (0.5 + 0.42 * light.azimuth)
    if light.time_of_day == "day":
        return x, -0.06 - 0.2 * light.elevation
    if light.time_of_day == "night":
        return x, 0.30 * horizon * (1.1 - light.elevation) + 0.04
    if light.time_of_day == "dusk":
        return x, horizon + 0.04
    return x, min(horizon - 0.03 - 0.5 * light.elevation, 0.9 * c.height)


def _gradient(c: Canvas, tones: _Tones, horizon: float) -> Array:
    """Sky without clouds: `tones.stops` from the horizon up."""
    height = np.clip((horizon - c.y) / max(min(horizon, 1.0), 0.45), 0, 1) ** np.float32(0.85)
    places = np.array((0.0, 0.22, 0.52, 1.0), np.float32)
    stops = np.stack(tones.stops)
    column = np.stack([np.interp(height[:, 0], places, stops[:, i]) for i in range(3)], axis=-1)
    return np.broadcast_to(column[:, None].astype(np.float32), (*c.x.shape, 3))


def _subdued(tones: _Tones, weather: str, time_of_day: str) -> _Tones:
    """Colours under a closed sky: grey, and dark before a storm."""
    dark = np.float32(0.62 if weather == "stormy" else 1.0)
    gray = rgb(206, 212, 220) if weather == "overcast" else rgb(176, 190, 208)
    level = {"sunrise": 0.88, "day": 1.0, "sunset": 0.8, "dusk": 0.5, "night": 0.26}[time_of_day]

    def fade(color: Array, keep: float) -> Array:
        flat = gray * np.float32(level)
        return (keep * color + (1 - keep) * flat).astype(np.float32)

    stops = tuple(fade(stop, 0.3) * (1 if i == 0 else dark) for i, stop in enumerate(tones.stops))
    lit = fade(tones.lit, 0.35) * (0.5 + 0.5 * dark)
    shade = fade(tones.shade, 0.4) * (0.85 * dark)
    return _Tones(tones.hue, stops, lit, shade.astype(np.float32), fade(tones.glow, 0.5))


def _shine(
    c: Canvas, image: Array, tones: _Tones, sun: tuple[float, float], time_of_day: str
) -> Array:
    """The glow around the sun or moon and its disc."""
    distance = c.distance(*sun)
    if time_of_day in ("sunrise", "sunset"):
        band = np.hypot(0.55 * (c.x - np.float32(sun[0])), c.y - np.float32(sun[1]))
        image = mix(image, tones.glow, 0.75 * np.exp(-((band / 0.26) ** 1.3)))
        image = mix(image, rgb(255, 246, 220), 0.9 * np.exp(-((distance / 0.075) ** 1.2)))
        return mix(image, rgb(255, 252, 238), c.aa(distance - 0.032))
    if time_of_day == "dusk":
        band = np.hypot(0.45 * (c.x - np.float32(sun[0])), c.y - np.float32(sun[1]))
        return mix(image, tones.glow, 0.6 * np.exp(-((band / 0.26) ** 1.4)))
    if time_of_day == "night":
        image = mix(image, rgb(110, 130, 180), 0.6 * np.exp(-((distance / 0.13) ** 1.1)))
        return mix(image, rgb(244, 242, 228), c.aa(distance - 0.042))
    return mix(image, tones.glow, 0.75 * np.exp(-((distance / 0.34) ** 1.2)))


def _stars(c: Canvas, rng: np.random.Generator, image: Array, horizon: float) -> Array:
    """Soft dots of several brightnesses, and now and then a faint Milky Way."""
    field = np.zeros_like(c.x)
    count = int(rng.integers(70, 150) * c.width * c.height)
    columns = rng.integers(0, c.width_px, count)
    rows = rng.integers(0, c.height_px, count)
    field[rows, columns] = rng.uniform(0.3, 1.0, count) ** 3
    dots = c.blur(field, 0.0042)
    dots = dots / np.float32(2 / (2 * np.pi * (0.0042 * c.unit_px) ** 2) / 2)
    dots = dots * smoothstep(0.0, 0.25, horizon - c.y)
    if rng.random() < 0.5:
        slope, offset = rng.uniform(-1.2, 1.2), rng.uniform(0.2, 0.8)
        away = (c.y - offset * c.height) - slope * (c.x - c.width / 2)
        band = np.exp(-((away / 0.22) ** 2)) * (0.75 + 0.22 * c.noise(rng, 5, octaves=4))
        image = image + 0.22 * band[..., None] * rgb(170, 160, 220)
    return image + (np.clip(dots, 0, 1)[..., None] * rgb(255, 250, 240))


def _with_clouds(
    c: Canvas,
    rng: np.random.Generator,
    image: Array,
    tones: _Tones,
    sun: tuple[float, float],
    weather: str,
    light: Light,
    horizon: float,
) -> tuple[Array, tuple[str, ...]]:
    """The sky with the clouds of its weather, and their phrases."""
    low_sun = light.time_of_day in ("sunrise", "sunset", "dusk")
    if weather == "clear":
        return image, ()
    if weather in ("overcast", "stormy"):
        layer = clouds.deck(c, rng, horizon=horizon, broken=0.0)
        contrast = 1.5 if weather == "stormy" else 1.0
        layer = replace(layer, lit=0.62 + contrast * (layer.lit - 0.62))
        return _paint(image, layer, tones), ()
    form = rng.random()
    if form < (0.3 if low_sun else 0.12):
        streaks = clouds.cirrus(c, rng, horizon=horizon)
        return mix(image, tones.lit, 0.8 * streaks), ("wispy clouds",)
    if form < (0.65 if low_sun else 0.2):
        layer = clouds.deck(c, rng, horizon=horizon, broken=float(rng.uniform(0.7, 1.05)))
        layer = _part(c, layer, sun) if light.time_of_day == "night" else layer
        return _paint(image, _kindle(c, layer, sun, light), tones), ("scattered clouds",)
    if rng.random() < 0.35:
        image = mix(image, tones.lit, 0.4 * clouds.cirrus(c, rng, horizon=horizon))
    amount = float(rng.uniform(0.2, 1.0))
    layer = clouds.cumulus(c, rng, horizon=horizon, azimuth=light.azimuth, amount=amount)
    if low_sun:
        layer = _kindle(c, layer, sun, light)
    if light.time_of_day == "night":
        layer = _part(c, layer, sun)
    word = "fluffy clouds" if light.time_of_day != "day" else "white clouds"
    return _paint(image, layer, tones), (word,)


def _kindle(
    c: Canvas, layer: clouds.Clouds, sun: tuple[float, float], light: Light
) -> clouds.Clouds:
    """Clouds before a low sun: glowing edges near it, dark bodies away from it."""
    if light.time_of_day in ("day", "night"):
        return layer
    near = np.exp(-((c.distance(*sun) / 0.5) ** 2))
    edge = 1 - np.abs(2 * layer.cover - 1)
    lit = layer.lit * (0.72 + 0.4 * near) + 0.5 * edge * near
    return replace(layer, lit=np.clip(lit, 0, 1))


def _part(c: Canvas, layer: clouds.Clouds, moon: tuple[float, float]) -> clouds.Clouds:
    """The layer with a gap around the moon, for a caption that names it must show it."""
    return replace(layer, cover=layer.cover * smoothstep(0.05, 0.17, c.distance(*moon)))


def _paint(image: Array, layer: clouds.Clouds, tones: _Tones) -> Array:
    """The layer in the sky's colours."""
    body = mix(tones.shade, tones.lit, layer.lit[..., None])
    body = mix(body, tones.stops[0], 0.6 * layer.haze)
    return mix(image, body, 0.98 * layer.cover)


def _describe(
    rng: np.random.Generator,
    tones: _Tones,
    time_of_day: str,
    weather: str,
    details: tuple[str, ...],
) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    """Phrases of a sky and its colour, if it has one."""
    if weather == "overcast":
        return (either(rng, "overcast sky", "cloudy gray sky", "gray sky"),), ()
    if weather == "stormy":
        return (either(rng, "stormy sky", "dramatic sky"), "dark clouds"), ()
    if time_of_day == "night":
        return (either(rng, "night sky", "starry sky"), "stars", "moon", *details), ()
    main = f"{say(rng, tones.hue)} sky"
    if time_of_day != "day" and rng.random() < 0.4:
        main = either(rng, *_TIMED_SKIES[time_of_day])
    if weather == "clear" and rng.random() < 0.6:
        details = (either(rng, "clear sky", "cloudless"),)
    return (main, *details), (("sky", tones.hue),)
