"""A small workspace through a real Bazel, our toolchain, repair, audit and an emulated install."""

from __future__ import annotations

import hashlib
import http.server
import io
import os
import shutil
import ssl
import subprocess
import tarfile
import tempfile
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from builder.audit import open_wheel
from builder.compile.root import ENTER, enter, why_not
from builder.cpus import load_targets
from builder.emulation.environment import EmulatedPython
from builder.errors import CompileError, ConfigError, ToolboxError
from builder.ingredients import gather_ingredients
from builder.load import load_recipes
from builder.model.build import Build
from builder.plan import make_build
from builder.toolbox.toolbox import Toolbox
from builder.workshop import AuditedWheel, Workshop
from tests.helpers import DATA
from tests.helpers.places import Place, make_place

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

WORKSPACE = DATA / "bazel_workspace"

NOBODY = 65534
"""The user and group of that name on Debian."""

RECIPE = """
name = "bazel-demo"
about = "a small workspace"
build_number = 1
[versions."1.0"]
epoch = 1700000000
source = {{ kind = "archive", url = "bazel-demo.tar", sha256 = "{sha256}" }}
[versions."1.1"]
epoch = 1700000000
source = {{ kind = "archive", url = "bazel-demo.tar", sha256 = "{sha256}" }}
[build]
frontend = "bazel"
compiler = "gcc"
glibc = "2.31"
requires = ["setuptools"]
cflags = ["-O3"]
[build.bazel]
packaged = [
    "rules_cc", "rules_java", "rules_license", "rules_proto", "rules_python", "bazel_skylib", "platforms",
    "bazel_features",
]
[build.bazel.versions."1.0"]
target = "//:wheel"
wheel = "house/*.whl"
[build.bazel.versions."1.1"]
target = "//:pack"
packer = "pack"
[backends.table]
default = true
options = ["--config=table"]
[backends.misspelt]
options = ["--config=tabel"]
[promises]
neoverse-v1 = ["sve"]
[verify]
script = "msgpack_wheel.py"
"""


def not_run(toolbox: Toolbox) -> str:
    """Why a real Bazel cannot be run here; empty if it can."""
    if reason := why_not():
        return reason
    try:
        toolbox.ensure("bazel")
    except ToolboxError as error:
        # Debian's unstable suite keeps a package no longer than it is the newest.
        return str(error)
    return ""


AUTHORITY = trustme.CA()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A folder and its address by HTTPS, under an authority of this test's own."""
    folder = tmp_path_factory.mktemp("https")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given, directory=str(folder))

        def log_message(self, *given: object) -> None:
            pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert("localhost").configure_cert(context)
    AUTHORITY.cert_pem.write_to_path(folder / "authority.pem")
    with http.server.ThreadingHTTPServer(("localhost", 0), Quiet) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"https://localhost:{server.server_port}", folder
        server.shutdown()


@pytest.fixture(scope="module")
def place(
    tmp_path_factory: pytest.TempPathFactory, toolbox: Toolbox, served: tuple[str, Path]
) -> Iterator[Place]:
    if reason := not_run(toolbox):
        pytest.skip(f"not run: {reason}")
    place = make_place(tmp_path_factory.mktemp("bazel"), toolbox)
    (place.home / "cache").mkdir()
    # zig makes its C++ library once, in a minute.
    (toolbox.home / "cache/zig").mkdir(parents=True, exist_ok=True)
    (place.home / "cache/zig").symlink_to(toolbox.home / "cache/zig")
    archives = place.home / "distdir"
    archives.mkdir()
    steps = _tar(archives / "steps-1.0.tar", {"step": b"1\n"})
    tree = {f"bazel-demo/{path.name}": path.read_bytes() for path in sorted(WORKSPACE.iterdir())}
    workspace = tree["bazel-demo/WORKSPACE"].decode()
    workspace = workspace.replace("{sha256}", _sha256(steps)).replace("{url}", f"{served[0]}/{steps.name}")
    archive = _tar(
        place.configs / "recipes/bazel-demo.tar", {**tree, "bazel-demo/WORKSPACE": workspace.encode()}
    )
    text = RECIPE.format(sha256=_sha256(archive))
    (place.configs / "recipes/bazel-demo.toml").write_text(text)
    locks = place.configs / "locks"
    shutil.copyfile(locks / "msgpack-build-cp311.txt", locks / "bazel-demo-build-cp311.txt")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("ARMWHEELS_CONFIGS", str(place.configs))
        patched.setenv("ARMWHEELS_HOME", str(place.home))
        patched.setenv("ARMWHEELS_OFFLINE", "on")
        yield place


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _tar(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o755 if name.endswith(".sh") else 0o644
            tar.addfile(info, io.BytesIO(data))
    return path


def _silent(what: str, done: int, total: int) -> None:
    return None


def _prepared(place: Place, backend: str = "table", version: str = "1.0") -> tuple[Workshop, Build]:
    workshop = Workshop(Toolbox(home=place.home), load_targets())
    recipes = load_recipes()
    build = make_build(
        recipes["bazel-demo"],
        version=version,
        python="cp311",
        target="neoverse-v1",
        backend=backend,
        required=True,
        targets=workshop.targets,
        ingredients=gather_ingredients(recipes, workshop.toolbox.toolchains, workshop.toolbox.pins),
    )
    return workshop, build


@pytest.fixture(scope="module")
def built(place: Place) -> AuditedWheel:
    workshop, build = _prepared(place)
    archive = place.home / "distdir/steps-1.0.tar"
    away = archive.rename(place.home / "away.tar")
    with pytest.raises(CompileError, match="could not get archives that the tree needs") as missing:
        workshop.build(build, _silent)
    assert "\n  steps\n" in str(missing.value)
    assert str(archive.parent) in str(missing.value)
    away.rename(archive)
    return workshop.build(build, _silent)


EXPECTED = f"256 entries, sum {2 * sum(n * n % 97 for n in range(256))}, SVE on"


def test_the_wheel_is_repaired_and_passes_the_audit(built: AuditedWheel) -> None:
    assert built.path.name.startswith("bazel_demo-1.0+neoverse.v1-1_")
    assert "manylinux" in built.path.name
    assert built.audit.passed, built.audit
    optimisation = built.audit.verdict("optimisation")
    assert optimisation.data["levels"] == {"-O3": optimisation.data["units"]}
    assert "Bazel answers actions from its own caches" in optimisation.detail
    passport = open_wheel(built.path).passport
    assert passport is not None
    assert passport["target"] == "neoverse-v1"


def test_the_program_and_the_extension_run_under_emulation(
    place: Place, built: AuditedWheel, tmp_path: Path
) -> None:
    toolbox = Toolbox(home=place.home)
    emulated = EmulatedPython(toolbox, "cp311", "neoverse-v1")
    environment = emulated.create_environment(tmp_path / "env")
    done = emulated.run(
        ["-m", "pip", "install", "--quiet", "--no-index", "--no-deps", str(built.path)],
        environment=environment,
    )
    assert done.returncode == 0, done.stderr
    code = "import bazel_demo as d; print(d.dot(bytes([3]) * 100, bytes([255]) * 100), d.about())"
    done = emulated.run(["-c", code], environment=environment)
    assert done.stdout.strip() == f"-300 {EXPECTED}", done.stderr
    with zipfile.ZipFile(built.path) as archive:
        program = Path(archive.extract("bazel_demo/program", tmp_path))
    program.chmod(0o755)
    command = [str(toolbox.qemu()), "-L", str(toolbox.userland("cp311")), "-cpu", "neoverse-v1", str(program)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    dot = sum((n % 11 - 5) * (n % 7 - 3) for n in range(1000))
    assert done.stdout.strip() == f"{dot}; {EXPECTED}", done.stderr


def test_a_misspelt_configuration_is_answered_with_the_nearest(place: Place) -> None:
    workshop, build = _prepared(place, "misspelt")
    with pytest.raises(ConfigError, match="no configuration 'tabel'; did you mean 'table'"):
        workshop.build(build, _silent)


def test_a_script_packs_the_wheel_and_archives_come_by_https(
    place: Place, built: AuditedWheel, served: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, folder = served
    (place.home / "distdir/steps-1.0.tar").rename(folder / "steps-1.0.tar")
    shutil.rmtree(place.home / "cache/bazel/repository")
    monkeypatch.delenv("ARMWHEELS_OFFLINE")
    workshop, build = _prepared(place, version="1.1")
    with pytest.raises(CompileError, match=r"\(certificate_") as refused:
        workshop.compile(build, _silent)
    assert f"\n  {url}/steps-1.0.tar\n" in str(refused.value)
    monkeypatch.setenv("SSL_CERT_FILE", str(folder / "authority.pem"))
    raw = workshop.compile(build, _silent)
    assert raw.name == "bazel_demo-1.1-cp311-cp311-linux_aarch64.whl"
    with zipfile.ZipFile(raw) as archive:
        assert archive.read("bazel_demo/program")[:4] == b"\x7fELF"


def test_an_ordinary_user_enters_the_root(toolbox: Toolbox) -> None:
    """The suite may run as root, whose namespaces would prove little."""
    if reason := not_run(toolbox):
        pytest.skip(f"not run: {reason}")
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        at = Path(folder)
        command = enter(toolbox.ensure("bazel"), at, [], ["bazel", "--version"], Path("/tmp"))
        if os.getuid() == 0:
            os.chown(at, NOBODY, NOBODY)
            command = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *command]
            reach = ["setpriv", f"--reuid={NOBODY}", "--clear-groups", "test", "-r", str(ENTER)]
            if subprocess.run(reach, check=False).returncode:
                pytest.skip("not run: this checkout is closed to an ordinary user")
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
        assert done.stdout.startswith("bazel 7.7.1"), done.stderr
        assert list(at.iterdir()) == []
