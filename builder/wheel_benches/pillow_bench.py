"""Pillow: codecs, and operations on pixels."""

import io
from collections.abc import Callable, Iterator
from typing import Any

from kit import Run, Unavailable, Workload, main


def _picture(width: int = 128, height: int = 96) -> Any:
    """Gradients with noise over them, the same every time."""
    from PIL import Image

    red = Image.linear_gradient("L").resize((width, height))
    green = Image.radial_gradient("L").resize((width, height))
    blue = Image.frombytes("L", (width, height), bytes(_noise(width * height)))
    return Image.merge("RGB", (red, green, blue))


def _noise(count: int) -> Iterator[int]:
    """Numbers from 128 to 143 without an order, by a linear congruential generator."""
    state = 7
    for _ in range(count):
        state = (state * 1103515245 + 12345) % 2**31
        yield 128 + (state >> 16) % 16


def _writing(kind: str, feature: str = "", **options: object) -> Callable[[], Run]:
    def prepare() -> Run:
        _need(feature)
        picture = _picture()
        return lambda: picture.save(io.BytesIO(), kind, **options)

    return prepare


def _reading(kind: str, feature: str = "", **options: object) -> Callable[[], Run]:
    def prepare() -> Run:
        from PIL import Image

        _need(feature)
        file = io.BytesIO()
        _picture().save(file, kind, **options)
        raw = file.getvalue()

        def run() -> None:
            with Image.open(io.BytesIO(raw)) as image:
                image.load()

        return run

    return prepare


def _need(feature: str) -> None:
    from PIL import features

    if feature and not features.check(feature):
        raise Unavailable(f"built without {feature}")


def _on_pixels(work: Callable[[Any], object]) -> Callable[[], Run]:
    def prepare() -> Run:
        picture = _picture()
        return lambda: work(picture)

    return prepare


def _resize(picture: Any) -> object:
    from PIL import Image

    return picture.resize((80, 60), Image.Resampling.LANCZOS)


def _blur(picture: Any) -> object:
    from PIL import ImageFilter

    return picture.filter(ImageFilter.GaussianBlur(2))


def _sharpen(picture: Any) -> object:
    from PIL import ImageFilter

    return picture.filter(ImageFilter.SHARPEN)


def _rotate(picture: Any) -> object:
    from PIL import Image

    return picture.rotate(30, Image.Resampling.BILINEAR)


def _blend(picture: Any) -> object:
    from PIL import Image

    return Image.alpha_composite(picture.convert("RGBA"), picture.rotate(180).convert("RGBA"))


def _text() -> Run:
    from PIL import Image, ImageDraw, ImageFont

    _need("freetype2")
    canvas, font = Image.new("L", (300, 60)), ImageFont.load_default(18)
    return lambda: ImageDraw.Draw(canvas).text((4, 4), "Armwheels, tuned", fill=255, font=font)


WORKLOADS = (
    Workload("jpeg-read", "128 x 96 pixels, quality 85", _reading("JPEG", quality=85)),
    Workload("jpeg-write", "128 x 96 pixels, quality 85", _writing("JPEG", quality=85)),
    Workload("png-read", "128 x 96 pixels", _reading("PNG")),
    Workload("png-write", "128 x 96 pixels", _writing("PNG")),
    Workload("webp-read", "128 x 96 pixels, quality 80", _reading("WEBP", "webp", quality=80)),
    Workload("tiff-read", "128 x 96 pixels, LZW", _reading("TIFF", "libtiff", compression="tiff_lzw")),
    Workload("resize", "128 x 96 to 80 x 60 pixels, Lanczos", _on_pixels(_resize)),
    Workload("blur", "Gaussian, radius 2", _on_pixels(_blur)),
    Workload("sharpen", "a kernel of 3 x 3", _on_pixels(_sharpen)),
    Workload("rotate", "30 degrees, bilinear", _on_pixels(_rotate)),
    Workload("convert-grey", "RGB to L", _on_pixels(lambda picture: picture.convert("L"))),
    Workload("convert-hsv", "RGB to HSV", _on_pixels(lambda picture: picture.convert("HSV"))),
    Workload("composite", "two images with transparency", _on_pixels(_blend)),
    Workload("quantize", "256 colours", _on_pixels(lambda picture: picture.quantize(256))),
    Workload("text", "16 characters of 18 pixels", _text),
)

if __name__ == "__main__":
    main("PIL.Image", WORKLOADS)
