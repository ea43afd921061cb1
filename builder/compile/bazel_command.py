"""The command line and the rc file of a build by Bazel. Pure.

The command line has the options that belong to the wheel: configuration, target, flags and the number of jobs. The
rc file has those that belong to the machine: toolchain, caches, the folder of archives. All options are those of
Bazel 6 and 7 (bazel.build, "Command-line reference").
"""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from builder.compile.bazel_toolchain import REPOSITORY
from builder.compile.truststore import PASSWORD
from builder.model.build import Build

BAZEL_VERSION = 1
"""Raise this by hand when the driver calls Bazel differently. It enters the compile digest."""

INSTALL = "/usr/share/bazel"
"""The folder of Debian's package, inside Bazel's root, with repositories that Bazel would otherwise download."""

PACKAGED = {
    "bazel_features": "tools/features",
    "bazel_skylib": "tools/skylib",
    "platforms": "tools/platforms",
    "rules_cc": "rules/cc",
    "rules_java": "rules/java",
    "rules_license": "rules/license",
    "rules_proto": "rules/proto",
    "rules_python": "rules/python",
}
"""The folders below :data:`INSTALL` of the repositories in Debian's packages."""

_JAVA = "/usr/lib/jvm/java-21-openjdk-amd64"


@dataclass(frozen=True, kw_only=True)
class Places:
    """The folders of a build and its limits; ``memory`` is in MiB, for all jobs together."""

    work: Path
    home: Path
    distdir: Path
    remote_cache: str | None = None
    offline: bool = False
    jobs: int
    memory: int

    @property
    def rc(self) -> Path:
        return self.work / "armwheels.bazelrc"

    @property
    def truststore(self) -> Path:
        return self.work / "truststore.p12"

    @property
    def toolchain(self) -> Path:
        return self.work / "toolchain"

    @property
    def output(self) -> Path:
        return self.work / "bazel"

    @property
    def tree(self) -> Path:
        return self.work / "src"


def invocation(build: Build, places: Places, options: Iterable[str] | None = None) -> tuple[str, ...]:
    """The command line, to be run in the tree; ``options`` are those of the build with their folders filled in.

    The wrappers add ``-mcpu`` even without the option. It is given here for the reader and so that it is part of
    the key of cached actions.
    """
    settings = build.recipe.build.bazel
    if settings is None:
        raise ValueError(f"recipe {build.recipe.name} is not built by Bazel")
    return (
        # One process that ends with its command, instead of a server that stays.
        *("bazel", "--batch", "--nosystem_rc", "--nohome_rc", f"--bazelrc={places.rc}"),
        *(f"--output_base={places.output}", "build"),
        *(f"--copt={flag}" for flag in build.flags),
        *(f"--copt={flag}" for flag in build.recipe.build.cflags),
        *(build.options if options is None else options),
        *(f"--jobs={places.jobs}", f"--local_ram_resources={places.memory}"),
        settings.versions[build.version].target,
    )


def rc_file(build: Build, places: Places, variables: Mapping[str, str]) -> str:
    """The rc file of a build; actions get ``variables`` and nothing else of the environment."""
    settings = build.recipe.build.bazel
    packaged = settings.packaged if settings else ()
    cache = places.home / "cache/bazel"
    here = f"@{REPOSITORY}//"
    lines = [
        f"startup --install_base={INSTALL}",
        "startup --trust_install_base",
        f"startup --server_javabase={_JAVA}",
        f"startup --host_jvm_args=-Djava.io.tmpdir={places.work / 'tmp'}",
        # The Java of the root has no certificates of its own.
        f"startup --host_jvm_args=-Djavax.net.ssl.trustStore={places.truststore}",
        "startup --host_jvm_args=-Djavax.net.ssl.trustStoreType=PKCS12",
        f"startup --host_jvm_args=-Djavax.net.ssl.trustStorePassword={PASSWORD}",
        "common --noenable_bzlmod",
        "common --enable_workspace",
        f"common --repository_cache={cache / 'repository'}",
        f"common --distdir={places.distdir}",
        *(["common --repository_disable_download"] if places.offline else []),
        f"common --override_repository={REPOSITORY}={places.toolchain}",
        *(f"common --override_repository={name}={INSTALL}/{PACKAGED[name]}" for name in packaged),
        "build --curses=no",
        "build --show_progress_rate_limit=20",
        "build --spawn_strategy=local",
        "build --incompatible_strict_action_env",
        f"build --disk_cache={cache / 'actions'}",
        *([f"build --remote_cache={places.remote_cache}"] if places.remote_cache else []),
        # Older trees choose the toolchain by CPU, newer ones by platform.
        "build --incompatible_enable_cc_toolchain_resolution",
        f"build --platforms={here}:linux_aarch64",
        f"build --host_platform={here}:linux_x86_64",
        f"build --extra_toolchains={here}:toolchain_aarch64,{here}:toolchain_k8",
        "build --cpu=aarch64",
        "build --host_cpu=k8",
        f"build --crosstool_top={here}:suite",
        f"build --host_crosstool_top={here}:suite",
        *(
            f"build {shlex.quote(f'--action_env={name}={value}')}"
            for name, value in sorted(variables.items())
        ),
        *(
            f"build {shlex.quote(f'--host_action_env={name}={value}')}"
            for name, value in sorted(variables.items())
        ),
    ]
    return "\n".join(lines) + "\n"


def spoken(command: Iterable[str]) -> str:
    """A command as a shell reads it, one option on each line."""
    first, *rest = [shlex.quote(word) for word in command]
    return " \\\n  ".join([first, *rest])


_CONFIG = re.compile(r"^\s*(?:build|common)(?::([\w.-]+))?\s+(.*)", re.MULTILINE)


def undefined_configs(options: Iterable[str], rc_text: str) -> list[str]:
    """A message for each ``--config`` that the tree's rc file does not define, with the nearest name."""
    known = {name for name, _ in _CONFIG.findall(rc_text) if name}
    faults = []
    for option in options:
        name = option.removeprefix("--config=")
        if name == option or name in known:
            continue
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        advice = f"; did you mean '{near[0]}'?" if near else ""
        faults.append(f"the tree's .bazelrc defines no configuration '{name}'{advice}")
    return faults


_DOWNLOAD = re.compile(
    r"Error downloading \[([^\]]+)\]|Failed to download repository @*([^\s:]+): download is disabled"
)


def missing_archives(log: str) -> list[str]:
    """The archives that Bazel could not get, from its log: one URL for each, the upstream project's own.

    Without downloads, Bazel reports only the name of the repository.
    """
    found = [
        address.rpartition(",")[2].strip() or repository for address, repository in _DOWNLOAD.findall(log)
    ]
    return list(dict.fromkeys(found))
