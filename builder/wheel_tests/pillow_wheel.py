"""Runs inside the emulated environment: each format written and read back, and the image operations."""

import io
from typing import Any

from kit import report

LOSSLESS: dict[str, dict[str, Any]] = {
    "PNG": {},
    "TIFF": {"compression": "tiff_lzw"},
    "WEBP": {"lossless": True},
    "JPEG2000": {},
}
FEATURES = ("jpg", "zlib", "libtiff", "webp", "jpg_2000", "freetype2", "littlecms2")


def image(width: int = 97, height: int = 61) -> Any:
    from PIL import Image

    red = Image.linear_gradient("L").resize((width, height))
    green = Image.radial_gradient("L").resize((width, height))
    return Image.merge("RGB", (red, green, red.rotate(180)))


def check_features() -> tuple[bool, str]:
    from PIL import features

    found = {name: features.version(name) if features.check(name) else None for name in FEATURES}
    return all(found.values()), ", ".join(f"{name} {version}" for name, version in found.items())


def check_lossless() -> tuple[bool, str]:
    from PIL import Image

    original, sizes = image(), {}
    for kind, options in LOSSLESS.items():
        file = io.BytesIO()
        original.save(file, kind, **options)
        sizes[kind] = file.tell()
        with Image.open(io.BytesIO(file.getvalue())) as read:
            if read.convert("RGB").tobytes() != original.tobytes():
                return False, f"{kind} changed the image"
    return True, str(sizes)


def check_jpeg() -> tuple[bool, str]:
    from PIL import Image, ImageChops, ImageStat

    original, file = image(), io.BytesIO()
    original.save(file, "JPEG", quality=95, subsampling=0)
    with Image.open(io.BytesIO(file.getvalue())) as read:
        worst = max(ImageStat.Stat(ImageChops.difference(original, read)).mean)
    return worst < 1, f"mean difference of a channel {worst:.2f}, {file.tell()} bytes"


def check_resize() -> tuple[bool, str]:
    from PIL import Image, ImageStat

    original = image(400, 300)
    means = [
        ImageStat.Stat(original.resize((50, 40), how)).mean
        for how in (Image.Resampling.BOX, Image.Resampling.LANCZOS)
    ]
    off = max(abs(a - b) for mean in means for a, b in zip(mean, ImageStat.Stat(original).mean, strict=True))
    return off < 1, f"means differ by {off:.3f}"


def check_filter() -> tuple[bool, str]:
    from PIL import Image, ImageFilter

    flat = Image.new("RGB", (40, 40), (10, 120, 250))
    same = flat.filter(ImageFilter.GaussianBlur(3)).getcolors() == [(1600, (10, 120, 250))]
    edges = image().filter(ImageFilter.FIND_EDGES).getbbox()
    return same and edges is not None, "a blurred plain image is plain"


def check_text() -> tuple[bool, str]:
    from PIL import Image, ImageDraw, ImageFont

    canvas = Image.new("L", (200, 40))
    ImageDraw.Draw(canvas).text((5, 5), "Armwheels", fill=255, font=ImageFont.load_default(20))
    box = canvas.getbbox()
    return box is not None and box[2] - box[0] > 60, f"the text covers {box}"


def check_profile() -> tuple[bool, str]:
    from PIL import Image, ImageCms

    lab = ImageCms.profileToProfile(
        Image.new("RGB", (4, 4), (255, 0, 0)),
        ImageCms.createProfile("sRGB"),
        ImageCms.createProfile("LAB"),
        outputMode="LAB",
    )
    lightness = lab.getpixel((0, 0))[0] / 2.55
    return 52 < lightness < 56, f"L* of red is {lightness:.1f}"  # 53.2 (IEC 61966-2-1, D65 white)


if __name__ == "__main__":
    report(
        {
            "features": check_features,
            "lossless": check_lossless,
            "jpeg": check_jpeg,
            "resize": check_resize,
            "filter": check_filter,
            "text": check_text,
            "profile": check_profile,
        },
        vital="features",
    )
