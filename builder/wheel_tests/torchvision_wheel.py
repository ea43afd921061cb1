"""Runs inside the emulated environment: are this torchvision's operations, image codecs and detectors right?

Operations are compared with plain Python or with a case whose result is known, and images with what Pillow reads of
the same bytes. Detectors have random weights, and their results are held to what every detector promises. One JSON
line a check.
"""

import io
import math
from functools import partial
from importlib.metadata import version
from typing import Any

from kit import Result, report


def numbers(torch: Any, shape: tuple[int, ...], seed: int, span: int = 251) -> Any:
    """A tensor of whole numbers from 0 to ``span - 1``, the same on every machine."""
    n = torch.arange(math.prod(shape), dtype=torch.int64)
    return ((3 * n * n + seed * n) % 65521 % span).reshape(shape)


def check_import(_: Any) -> Result:
    import torchvision
    from torchvision.extension import _has_ops

    expected = version("torchvision").split("+")[0]
    found = torchvision.__version__.split("+")[0]
    return _has_ops() and found == expected, f"torchvision {torchvision.__version__}, operations {_has_ops()}"


def overlap(a: list[float], b: list[float]) -> float:
    """Intersection over union of two boxes."""
    wide = min(a[2], b[2]) - max(a[0], b[0])
    high = min(a[3], b[3]) - max(a[1], b[1])
    both = max(wide, 0) * max(high, 0)
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def check_nms(torch: Any) -> Result:
    corners = numbers(torch, (200, 2), 7, 90).double()
    boxes = torch.cat([corners, corners + 5 + numbers(torch, (200, 2), 11, 40).double()], 1)
    scores = (numbers(torch, (200,), 13, 65521)).double()
    plain: list[int] = []
    listed = boxes.tolist()
    for one in sorted(range(200), key=lambda index: -float(scores[index])):
        if all(overlap(listed[one], listed[kept]) <= 0.4 for kept in plain):
            plain.append(one)
    found = torch.ops.torchvision.nms(boxes, scores, 0.4).tolist()
    return found == plain and 5 < len(plain) < 195, f"{len(found)} of 200 boxes, {len(plain)} in plain Python"


def check_roi_align(torch: Any) -> Result:
    from torchvision.ops import roi_align

    # Bilinear samples of a plane are exact, so that the mean of a bin is the plane at its middle.
    y, x = torch.meshgrid(torch.arange(20.0), torch.arange(24.0), indexing="ij")
    plane = (3 * x + 5 * y + 1)[None, None]
    box = torch.tensor([[0.0, 2.0, 3.0, 14.0, 15.0]])
    found = roi_align(plane, box, (4, 6), sampling_ratio=2, aligned=True)[0, 0]
    middles = [
        [3 * (2 + 12 * (c + 0.5) / 6 - 0.5) + 5 * (3 + 12 * (r + 0.5) / 4 - 0.5) + 1 for c in range(6)]
        for r in range(4)
    ]
    error = float((found - torch.tensor(middles)).abs().max())
    return error < 1e-4, f"largest error {error:.1e} (below 1e-4)"


def check_roi_pool(torch: Any) -> Result:
    from torchvision.ops import ps_roi_pool, roi_pool

    image = numbers(torch, (1, 4, 16, 16), 17).float()
    box = torch.tensor([[0.0, 0.0, 0.0, 7.0, 7.0]])
    most = roi_pool(image, box, 2)[0]
    expected = torch.nn.functional.max_pool2d(image[0, :, :8, :8], 4)
    parts = ps_roi_pool(image, box, 2)[0, 0]
    means = [
        float(image[0, 2 * r + c, 4 * r : 4 * r + 4, 4 * c : 4 * c + 4].mean())
        for r in (0, 1)
        for c in (0, 1)
    ]
    error = float((parts.flatten() - torch.tensor(means)).abs().max())
    return bool(
        (most == expected).all()
    ) and error < 1e-4, f"maxima exact, means off by {error:.1e} (below 1e-4)"


def check_deform_conv(torch: Any) -> Result:
    from torchvision.ops import deform_conv2d

    image, weight = (
        numbers(torch, (1, 4, 12, 12), 19, 9).double(),
        numbers(torch, (6, 4, 3, 3), 23, 7).double(),
    )
    offset = torch.zeros(1, 18, 10, 10, dtype=torch.float64)
    plain = deform_conv2d(image, offset, weight)
    straight = bool((plain == torch.nn.functional.conv2d(image, weight)).all())
    # All samples one pixel to the right: a convolution of the moved image.
    offset[:, 1::2] = 1
    moved = torch.nn.functional.conv2d(torch.nn.functional.pad(image[..., 1:], (0, 1)), weight)
    shifted = bool((deform_conv2d(image, offset, weight) == moved).all())
    return straight and shifted, f"without offsets {straight}, one pixel to the right {shifted}"


def pixels(torch: Any) -> Any:
    """A picture of three channels with soft changes, as photographs have."""
    y, x = torch.meshgrid(torch.arange(40), torch.arange(56), indexing="ij")
    return torch.stack([4 * x, 5 * y, 2 * (x + y)]).clamp(0, 255).to(torch.uint8)


def written(image: Any, kind: str, **options: Any) -> tuple[Any, Any]:
    """The bytes that Pillow writes of a picture, and the picture that it reads of them again."""
    import numpy
    import torch
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(image.permute(1, 2, 0).numpy()).save(file, kind, **options)
    again = torch.from_numpy(numpy.asarray(Image.open(file).convert("RGB")).copy()).permute(2, 0, 1)
    return torch.frombuffer(bytearray(file.getvalue()), dtype=torch.uint8), again


def check_codecs(torch: Any) -> Result:
    from torchvision import io as images

    image, apart = pixels(torch), {}
    for kind, read, limit, options in (
        ("PNG", images.decode_png, 0, {}),
        ("JPEG", images.decode_jpeg, 4, {"quality": 95, "subsampling": 0}),
        ("WEBP", images.decode_webp, 0, {"lossless": True}),
        ("GIF", images.decode_gif, 0, {}),
    ):
        data, expected = written(image, kind, **options)
        difference = int((read(data).int() - expected.int()).abs().max())
        apart[kind] = (difference, limit)
    png = images.decode_png(images.encode_png(image))
    apart["PNG written"] = (int((png.int() - image.int()).abs().max()), 0)
    jpeg = images.decode_jpeg(images.encode_jpeg(image, quality=95))
    apart["JPEG written"] = (int((jpeg.int() - image.int()).abs().max()), 24)
    told = ", ".join(f"{kind} {difference}" for kind, (difference, _) in apart.items())
    return all(found <= limit for found, limit in apart.values()), f"largest differences: {told}"


def broken_promises(torch: Any, found: dict[str, Any], size: tuple[int, int], threshold: float) -> list[str]:
    """What every detector promises, and this result does not keep."""
    boxes, scores, labels = (found[name].tolist() for name in ("boxes", "scores", "labels"))
    faults = [] if boxes else ["no box"]
    if not bool(torch.isfinite(found["boxes"]).all()) or not bool(torch.isfinite(found["scores"]).all()):
        return [*faults, "values that are no numbers"]
    if any(not (0 <= l <= r <= size[1] and 0 <= t <= b <= size[0]) for l, t, r, b in boxes):  # noqa: E741
        faults.append("boxes outside of the picture")
    if scores != sorted(scores, reverse=True):
        faults.append("scores that are not sorted")
    pairs = [(i, j) for i in range(len(boxes)) for j in range(i) if labels[i] == labels[j]]
    if any(overlap(boxes[i], boxes[j]) > threshold + 1e-3 for i, j in pairs):
        faults.append("boxes of one label that overlap")
    return faults


def check_detector(torch: Any, name: str, threshold: float, **settings: Any) -> Result:
    from torchvision.models import detection

    torch.manual_seed(20261129)
    model = getattr(detection, name)(weights=None, weights_backbone=None, num_classes=5, **settings).eval()
    picture = pixels(torch).float()[None, :, :, :48][0] / 255
    with torch.inference_mode():
        first = model([picture])[0]
        again = model([picture])[0]
    faults = broken_promises(torch, first, (40, 48), threshold)
    faults += (
        []
        if all(torch.equal(first[key], again[key]) for key in first)
        else ["another result the second time"]
    )
    told = f"{len(first['boxes'])} boxes, best score {float(first['scores'][:1].sum()):.3f}"
    return not faults, "; ".join([told, *faults])


if __name__ == "__main__":
    import torch

    report(
        {
            "import": partial(check_import, torch),
            "nms": partial(check_nms, torch),
            "roi align": partial(check_roi_align, torch),
            "roi pool": partial(check_roi_pool, torch),
            "deformable convolution": partial(check_deform_conv, torch),
            "image codecs": partial(check_codecs, torch),
            "detector, ssdlite": partial(
                check_detector, torch, "ssdlite320_mobilenet_v3_large", 0.55, detections_per_img=60
            ),
            "detector, faster rcnn": partial(
                check_detector,
                torch,
                "fasterrcnn_mobilenet_v3_large_320_fpn",
                0.5,
                box_score_thresh=0.0,
                box_detections_per_img=60,
            ),
        },
        vital="import",
    )
