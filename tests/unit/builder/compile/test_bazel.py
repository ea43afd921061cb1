"""The bazel command of each version, target and backend, the toolchain files, and what is reported as missing."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
from itertools import product
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import NameOID

from builder.compile.bazel_command import (
    PACKAGED,
    Places,
    invocation,
    missing_archives,
    rc_file,
    spoken,
    undefined_configs,
)
from builder.compile.bazel_toolchain import toolchain_files, write_toolchain
from builder.compile.compilers.base import Commands
from builder.compile.processes import run_logged
from builder.compile.truststore import PASSWORD, trusted_certificates, write_truststore
from builder.digests import Ingredients
from builder.errors import ConfigError
from builder.model.build import Build
from builder.model.recipe import Recipe
from builder.plan import make_build
from builder.settings import configs_dir, load_toml, validate
from builder.targets import Targets
from tests.helpers import DATA
from tests.helpers.builds import RECIPE, build_for, ingredients_for

RECORDED = DATA / "bazel_commands.json"
"""Recorded by `armwheels plan --matrix tensorflow`'s own function and read by eye; see `test_…recorded`."""

PLACES = Places(
    work=Path("/w"), home=Path("/h"), distdir=Path("/h/distdir"), jobs=8, memory=32768, remote_cache=None
)


def _ingredients(recipe: Recipe) -> Ingredients:
    plain = ingredients_for(recipe)
    return ingredients_for(
        recipe,
        tool_digests={**plain.tool_digests, "bazel": "e" * 64},
        stages={**plain.stages, "bazel": 1},
    )


def _tensorflow(targets: Targets, version: str, target: str, backend: str) -> Build:
    recipe = load_toml(Recipe, configs_dir() / "recipes/tensorflow.toml")
    return make_build(
        recipe,
        version=version,
        python="cp311",
        target=target,
        backend=backend,
        required=False,
        targets=targets,
        ingredients=_ingredients(recipe),
    )


@pytest.mark.parametrize(
    ("version", "target", "backend"),
    list(
        product(
            ("2.14.1", "2.20.0"), ("generic", "neoverse-n1", "neoverse-v1"), ("eigen", "onednn", "onednn-acl")
        )
    ),
)
def test_the_command_is_the_recorded_one(targets: Targets, version: str, target: str, backend: str) -> None:
    build = _tensorflow(targets, version, target, backend)
    assert list(invocation(build, PLACES)) == json.loads(RECORDED.read_text())[build.id]


def test_no_architecture_is_named_beside_the_cpu(targets: Targets) -> None:
    command = invocation(_tensorflow(targets, "2.20.0", "neoverse-v1", "onednn-acl"), PLACES)
    assert [word for word in command if "-mcpu" in word] == ["--copt=-mcpu=neoverse-v1"]
    assert not [word for word in command if "-march" in word or "-mtune" in word]
    assert "--config=mkl_aarch64_threadpool" in command
    assert "--copt=-DEIGEN_DEFAULT_L2_CACHE_SIZE=1048576" in command


def test_a_chip_without_a_third_level_gives_its_second(targets: Targets) -> None:
    command = invocation(_tensorflow(targets, "2.14.1", "generic", "eigen"), PLACES)
    assert "--copt=-DEIGEN_DEFAULT_L3_CACHE_SIZE=524288" in command


def test_the_command_is_in_the_digest(targets: Targets) -> None:
    digests = {
        _tensorflow(targets, version, target, backend).compile_digest
        for version, target, backend in product(
            ("2.14.1", "2.20.0"), ("generic", "neoverse-n1"), ("eigen", "onednn")
        )
    }
    assert len(digests) == 8


def test_other_recipes_know_nothing_of_bazel(recipe: Recipe, targets: Targets) -> None:
    assert "bazel" not in json.dumps(build_for(recipe, targets).compile_inputs)


def _demo(**bazel: object) -> Recipe:
    build = {
        "frontend": "bazel",
        "compiler": "gcc",
        "glibc": "2.31",
        "requires": ["setuptools"],
        "bazel": {"versions": {"1.0": {"target": "//:wheel", "wheel": "*.whl"}}, **bazel},
    }
    return validate(Recipe, {**RECIPE, "build": build}, origin="demo.toml")


def test_the_rc_file_names_places_and_nothing_of_the_user(targets: Targets) -> None:
    recipe = _demo(packaged=list(PACKAGED))
    build = make_build(
        recipe,
        version="1.0",
        python="cp311",
        target="neoverse-v1",
        backend="openblas",
        required=False,
        targets=targets,
        ingredients=_ingredients(recipe),
    )
    places = Places(
        work=Path("/w"),
        home=Path("/h"),
        distdir=Path("/d"),
        remote_cache="grpc://cache.example:9092",
        offline=True,
        jobs=2,
        memory=1024,
    )
    lines = rc_file(build, places, {"SOURCE_DATE_EPOCH": "1", "CHECK": "gcc 12"}).splitlines()
    for line in (
        "common --distdir=/d",
        "common --repository_cache=/h/cache/bazel/repository",
        "common --repository_disable_download",
        "common --override_repository=armwheels_toolchain=/w/toolchain",
        "common --override_repository=rules_cc=/usr/share/bazel/rules/cc",
        "build --disk_cache=/h/cache/bazel/actions",
        "build --remote_cache=grpc://cache.example:9092",
        "build '--action_env=CHECK=gcc 12'",
        "build --action_env=SOURCE_DATE_EPOCH=1",
        "build --crosstool_top=@armwheels_toolchain//:suite",
        "build --platforms=@armwheels_toolchain//:linux_aarch64",
    ):
        assert line in lines
    with_network = rc_file(build, PLACES, {})
    assert "disable_download" not in with_network
    assert "remote_cache" not in with_network


def test_a_command_is_spoken_as_a_shell_takes_it() -> None:
    printed = subprocess.run(
        ["/bin/sh", "-c", spoken(("printf", "%s.", "a b", "$HOME"))], capture_output=True, check=True
    )
    assert printed.stdout == b"a b.$HOME."


COMMANDS = Commands(
    **{name: Path(f"/w/bin/aarch64-linux-gnu-{name}") for name in ("cc", "cxx", "ar", "ranlib", "strip")}
)


def _files() -> dict[str, str]:
    return toolchain_files(COMMANDS, "gcc", [Path("/t/gnu"), Path("/t/sysroot")], Path("/t/zig"), Path("/c"))


def test_every_label_of_the_toolchain_is_in_it() -> None:
    build = _files()["BUILD"]
    for name in (
        "cc_aarch64",
        "cc_k8",
        "linux_aarch64",
        "linux_x86_64",
        "suite",
        "toolchain_aarch64",
        "toolchain_k8",
    ):
        assert f'name = "{name}"' in build
    assert '"/t/gnu", "/t/sysroot"' in build
    assert "-march" not in "".join(_files().values())


def test_the_driver_takes_c_for_c(tmp_path: Path) -> None:
    for name in ("cc", "cxx"):
        (tmp_path / name).write_text(f'#!/bin/sh\necho {name} "$@"\n')
        (tmp_path / name).chmod(0o755)
    commands = Commands(
        cc=tmp_path / "cc", cxx=tmp_path / "cxx", ar=tmp_path, ranlib=tmp_path, strip=tmp_path
    )
    folder = tmp_path / "toolchain"
    write_toolchain(folder, toolchain_files(commands, "gcc", [], tmp_path, tmp_path), tmp_path)
    driver = folder / "bin/aarch64-gcc"

    def run(*arguments: str) -> str:
        return subprocess.run(
            [driver, *arguments], capture_output=True, text=True, check=True
        ).stdout.split()[0]

    assert run("-c", "a.c") == "cc"
    assert run("-c", "a.S") == "cc"
    assert run("-c", "a.cc") == "cxx"
    assert run("-o", "program", "@program.params") == "cxx"


def test_a_program_of_the_build_is_linked_as_cxx_only_where_it_must_be(tmp_path: Path) -> None:
    for name, ends in (("zigcc", 1), ("zigcxx", 0)):
        (tmp_path / f"k8-{name}").write_text(f'#!/bin/sh\necho {name}; [ {ends} = 0 ] || [ "$1" = plain ]\n')
        (tmp_path / f"k8-{name}").chmod(0o755)
    driver = tmp_path / "k8-gcc"
    driver.write_text(_files()["bin/k8-gcc"])
    driver.chmod(0o755)
    shared = tmp_path / "shared.params"
    shared.write_text("-o\nx.so\n-shared\n")

    def run(*arguments: str) -> list[str]:
        return subprocess.run([driver, *arguments], capture_output=True, text=True, check=True).stdout.split()

    assert run("plain", "-o", "program", "a.o") == ["zigcc"]
    assert run("-o", "program", "a.o") == ["zigcc", "zigcxx"]
    assert run("plain", f"@{shared}") == ["zigcxx"]
    assert run("plain", "-shared", "a.o") == ["zigcxx"]
    assert run("plain", "-c", "a.cc") == ["zigcxx"]


def test_a_toolchain_that_is_the_same_is_not_written_anew(tmp_path: Path) -> None:
    write_toolchain(tmp_path, _files(), tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("bin/*")}
    os.utime(tmp_path / "bin/k8-gcc", ns=(1, 1))
    write_toolchain(tmp_path, _files(), tmp_path)
    after = {path: path.stat().st_mtime_ns for path in tmp_path.glob("bin/*")}
    assert after == {**before, tmp_path / "bin/k8-gcc": 1}


def test_a_misspelt_configuration_is_answered_with_the_nearest() -> None:
    rc = "build:mkl_aarch64 -c opt\nbuild:mkl_aarch64_threadpool --define=x=y\ncommon:nogcp --define=n=1\n"
    assert undefined_configs(["--config=mkl_aarch64", "--config=nogcp", "--copt=-O3"], rc) == []
    [fault] = undefined_configs(["--config=mkl_arch64_threadpool"], rc)
    assert "'mkl_arch64_threadpool'; did you mean 'mkl_aarch64_threadpool'?" in fault


def test_archives_that_are_missing_are_named() -> None:
    log = (
        "ERROR: An error occurred during the fetch of repository 'bazel_skylib':\n"
        "\tError in download_and_extract: java.io.IOException: Error downloading "
        "[https://mirror.example/skylib.tar.gz, https://example.org/skylib.tar.gz] to /w/temp1/skylib.tar.gz: "
        "Unknown host: example.org\n"
        "java.io.IOException: Failed to download repository @@rules_python: download is disabled.\n"
    )
    assert missing_archives(log * 2) == ["https://example.org/skylib.tar.gz", "rules_python"]
    assert missing_archives("ERROR: no such target '//:x'") == []


@pytest.mark.parametrize(
    ("bazel", "fault"),
    [
        ({"versions": {"2.0": {"target": "//:wheel", "wheel": "*.whl"}}}, "differ in 1.0, 2.0"),
        ({"versions": {"1.0": {"target": "//:wheel"}}}, "exactly one of `packer`"),
        (
            {"versions": {"1.0": {"target": "//:wheel", "packer": "p", "wheel": "w"}}},
            "exactly one of `packer`",
        ),
        ({"packagd": []}, "did you mean 'packaged'"),
    ],
)
def test_faults_of_a_recipe_are_told(bazel: dict[str, object], fault: str) -> None:
    with pytest.raises(ConfigError, match=fault):
        _demo(**bazel)


def test_bazel_and_its_settings_belong_together() -> None:
    for build in (
        {**RECIPE["build"], "bazel": {"versions": {"1.0": {"target": "//:w", "wheel": "w"}}}},
        {**RECIPE["build"], "frontend": "bazel"},
    ):
        with pytest.raises(ConfigError, match="frontend bazel need each other"):
            validate(Recipe, {**RECIPE, "build": build}, origin="demo.toml")


def test_bazels_progress_is_shown(tmp_path: Path) -> None:
    shown: list[tuple[int, int]] = []
    command = ["/bin/sh", "-c", "echo '[1,234 / 25,000] Compiling a.cc'; echo '[7/9] Linking'"]
    run_logged(command, dict(os.environ), tmp_path, lambda what, done, steps: shown.append((done, steps)))
    assert shown == [(0, 0), (1234, 25000), (7, 9)]


def test_java_trusts_what_the_machine_trusts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authorities = [trustme.CA(organization_name=name) for name in ("one", "two")]
    bundle = tmp_path / "bundle.pem"
    bundle.write_bytes(b"".join(one.cert_pem.bytes() for one in [*authorities, authorities[0]]))
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    path = write_truststore(tmp_path / "trust.p12")
    kept = pkcs12.load_pkcs12(path.read_bytes(), PASSWORD.encode()).additional_certs
    names = {
        part.value
        for one in kept
        for part in one.certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    }
    assert (len(kept), names) == (2, {"one", "two"})


def test_where_the_machine_trusts_nobody_certifi_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = ssl.DefaultVerifyPaths(None, None, "SSL_CERT_FILE", "/nowhere", "SSL_CERT_DIR", "/nowhere")
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: nowhere)
    assert len(trusted_certificates()) > 100
