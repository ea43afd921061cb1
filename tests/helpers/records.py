"""Records for tests that need no bytes behind them."""

from __future__ import annotations

from hypothesis import strategies as st

from index_server.model import Record, Tuned, sha256_hex


def make_record(
    *,
    project: str = "demo",
    version: str = "1.0",
    python: str = "cp311",
    target: str | None = "neoverse-v1",
    backend: str = "none",
    default_backend: bool = True,
    platform: str = "manylinux_2_28_aarch64",
    digest: str = "3fa9c2d1" + "0" * 56,
    at: str = "2026-11-23T00:00:00.000000Z",
    requires_python: str | None = None,
    label: str = "",
) -> Record:
    """A sound record; ``target=None`` makes one without a passport, ``label`` a wheel variant."""
    local = ""
    if target is not None:
        local = (
            "+generic"
            if label
            else "+" + target.replace("-", ".") + ("" if default_backend else f".{backend}")
        )
    build_tag = f"1_{digest[:8]}" if target else ""
    stem = f"{project}-{version}{local}" + (f"-{build_tag}" if build_tag else "")
    filename = f"{stem}-{python}-{python}-{platform}{f'-{label}' if label else ''}.whl"
    tuned = Tuned(
        build=f"{project}-{version}-{python}-{target}-{backend}",
        recipe=project,
        version=version,
        python=python,
        target=target or "",
        backend=backend,
        default_backend=default_backend,
        wheel_digest=digest,
    )
    return Record(
        project=project,
        name=project,
        filename=filename,
        version=version + local,
        build_tag=build_tag,
        python_tag=python,
        abi_tag=python,
        platform_tag=platform,
        size=1000,
        sha256=sha256_hex(filename.encode()),
        blake2_256="0" * 64,
        metadata_sha256=sha256_hex(b"metadata of " + filename.encode()),
        requires_python=requires_python,
        summary="",
        uploaded_at=at,
        uploaded_by="tests",
        tuned=tuned if target is not None else None,
    )


def any_record() -> st.SearchStrategy[Record]:
    """Records from a small world, so that they meet in cells."""
    return st.builds(
        make_record,
        version=st.sampled_from(["1.0", "2.0"]),
        python=st.sampled_from(["cp311", "cp312"]),
        target=st.sampled_from([None, "generic", "neoverse-n1", "neoverse-v1"]),
        backend=st.sampled_from(["openblas", "acl"]),
        default_backend=st.booleans(),
        platform=st.sampled_from(["manylinux_2_28_aarch64", "manylinux_2_28_x86_64", "any"]),
        digest=st.sampled_from([letter * 64 for letter in "abc"]),
        at=st.sampled_from(["2026-11-22T00:00:00.000000Z", "2026-11-23T00:00:00.000000Z"]),
        requires_python=st.sampled_from([None, ">=3.11", '<"&']),
    )
