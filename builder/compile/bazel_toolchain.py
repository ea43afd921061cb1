"""A C++ toolchain for Bazel: the compiler wrappers as a ``cc_toolchain`` in a repository of its own.

A tree can choose it by platform (``--platforms``, ``--extra_toolchains``) or, as older trees do, by
``--crosstool_top`` and ``--cpu`` (bazel.build, "C++ toolchain configuration"). The wrappers are inputs of every
action, so that a cached result always comes from the same compiler.

zig compiles the programs that run during the build (:func:`~builder.compile.compilers.zig.host_scripts`).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from builder.compile.compilers.base import Commands
from builder.compile.compilers.zig import host_scripts

REPOSITORY = "armwheels_toolchain"

_TOOLS = ("ar", "cpp", "dwp", "gcc", "gcov", "ld", "nm", "objcopy", "objdump", "strip")

_DRIVER = """\
#!/bin/sh
# Bazel knows one compiler for C and C++; a C++ compiler takes .c for C++ and finds other headers.
for argument; do
    case "$argument" in *.c|*.S|*.s) exec {cc} "$@";; esac
done
exec {cxx} "$@"
"""

_CONFIG = '''\
"""cc_toolchain_config: one tool a name, no flag but those a wheel needs anywhere."""

load("@rules_cc//cc:defs.bzl", "CcToolchainConfigInfo")
load("@bazel_tools//tools/build_defs/cc:action_names.bzl", "ACTION_NAMES")
load(
    "@bazel_tools//tools/cpp:cc_toolchain_config_lib.bzl",
    "feature",
    "flag_group",
    "flag_set",
    "tool_path",
    "with_feature_set",
)

_COMPILE = [
    ACTION_NAMES.c_compile,
    ACTION_NAMES.cpp_compile,
    ACTION_NAMES.assemble,
    ACTION_NAMES.preprocess_assemble,
]
_LINK = [
    ACTION_NAMES.cpp_link_executable,
    ACTION_NAMES.cpp_link_dynamic_library,
    ACTION_NAMES.cpp_link_nodeps_dynamic_library,
]

def _always(name, actions, flags, more = []):
    sets = [flag_set(actions = actions, flag_groups = [flag_group(flags = flags)])] if flags else []
    return feature(name = name, enabled = True, flag_sets = sets + more)

def _impl(ctx):
    redacted = ["-Wno-builtin-macro-redefined"] + [
        "-D__%s__=\\"redacted\\"" % name
        for name in ["DATE", "TIME", "TIMESTAMP"]
    ]
    opt = flag_set(
        actions = _COMPILE,
        flag_groups = [flag_group(flags = ["-O2", "-DNDEBUG"])],
        with_features = [with_feature_set(features = ["opt"])],
    )
    return cc_common.create_cc_toolchain_config_info(
        ctx = ctx,
        toolchain_identifier = "armwheels-" + ctx.attr.cpu,
        host_system_name = "local",
        target_system_name = ctx.attr.cpu + "-linux-gnu",
        target_cpu = ctx.attr.cpu,
        target_libc = "glibc",
        compiler = ctx.attr.compiler,
        abi_version = "unknown",
        abi_libc_version = "unknown",
        tool_paths = [tool_path(name = name, path = ctx.attr.prefix + name) for name in ctx.attr.tools],
        cxx_builtin_include_directories = ctx.attr.includes,
        features = [
            feature(name = "opt"),
            feature(name = "dbg"),
            feature(name = "supports_pic", enabled = True),
            feature(name = "supports_dynamic_linker", enabled = True),
            _always("armwheels_compile", _COMPILE, ["-fstack-protector"], [opt]),
            _always("armwheels_link", _LINK, ["-lm"]),
            _always("unfiltered_compile_flags", _COMPILE, redacted),
        ],
    )

cc_toolchain_config = rule(
    implementation = _impl,
    attrs = {
        "compiler": attr.string(mandatory = True),
        "cpu": attr.string(mandatory = True),
        "includes": attr.string_list(),
        "prefix": attr.string(mandatory = True),
        "tools": attr.string_list(mandatory = True),
    },
    provides = [CcToolchainConfigInfo],
)
'''

_BUILD = """\
load("@rules_cc//cc:defs.bzl", "cc_library", "cc_toolchain", "cc_toolchain_suite")
load(":cc_toolchain_config.bzl", "cc_toolchain_config")

package(default_visibility = ["//visibility:public"])

platform(
    name = "linux_aarch64",
    constraint_values = ["@platforms//cpu:aarch64", "@platforms//os:linux"],
)

platform(
    name = "linux_x86_64",
    constraint_values = ["@platforms//cpu:x86_64", "@platforms//os:linux"],
)

# The headers of the target's Python; the same file everywhere says which version that is.
cc_library(
    name = "python_headers",
    hdrs = glob(["python/**/*.h"]),
    includes = ["python"],
)
{toolchains}
cc_toolchain_suite(
    name = "suite",
    toolchains = {{"aarch64": ":cc_aarch64", "k8": ":cc_k8"}},
)
"""

_TOOLCHAIN = """
filegroup(
    name = "bin_{cpu}",
    srcs = glob(["bin/{cpu}-*"]),
)

cc_toolchain_config(
    name = "config_{cpu}",
    compiler = "{compiler}",
    cpu = "{cpu}",
    includes = [{includes}],
    prefix = "bin/{cpu}-",
    tools = [{tools}],
)

cc_toolchain(
    name = "cc_{cpu}",
    all_files = ":bin_{cpu}",
    ar_files = ":bin_{cpu}",
    as_files = ":bin_{cpu}",
    compiler_files = ":bin_{cpu}",
    dwp_files = ":bin_{cpu}",
    linker_files = ":bin_{cpu}",
    objcopy_files = ":bin_{cpu}",
    strip_files = ":bin_{cpu}",
    toolchain_config = ":config_{cpu}",
)

toolchain(
    name = "toolchain_{cpu}",
    exec_compatible_with = ["@platforms//cpu:x86_64", "@platforms//os:linux"],
    target_compatible_with = ["@platforms//cpu:{constraint}", "@platforms//os:linux"],
    toolchain = ":cc_{cpu}",
    toolchain_type = "@bazel_tools//tools/cpp:toolchain_type",
)
"""


def toolchain_files(
    commands: Commands, compiler: str, includes: Iterable[Path], zig: Path, zig_cache: Path
) -> dict[str, str]:
    """The text of each file of the repository, by its path in it; those below ``bin/`` are programs. Pure.

    ``includes`` are the folders where compilers find headers by themselves. Bazel requires that any other header is
    declared.
    """
    scripts = {
        "aarch64-gcc": _DRIVER.format(cc=commands.cc, cxx=commands.cxx),
        "aarch64-ar": f'#!/bin/sh\nexec {commands.ar} "$@"\n',
        "aarch64-strip": f'#!/bin/sh\nexec {commands.strip} "$@"\n',
        **{f"k8-{name}": text for name, text in host_scripts(zig, zig_cache).items()},
    }
    for cpu in ("aarch64", "k8"):
        for tool in _TOOLS:
            refusal = f"#!/bin/sh\necho '{tool} is no part of this toolchain' >&2\nexit 1\n"
            scripts.setdefault(f"{cpu}-{tool}", refusal)
    tools = ", ".join(f'"{tool}"' for tool in _TOOLS)
    listed = ", ".join(f'"{folder}"' for folder in dict.fromkeys(includes))
    toolchains = "".join(
        _TOOLCHAIN.format(
            cpu=cpu,
            constraint=constraint,
            compiler=name,
            tools=tools,
            includes=listed,
        )
        for cpu, constraint, name in (("aarch64", "aarch64", compiler), ("k8", "x86_64", "zig"))
    )
    return {
        "WORKSPACE": f'workspace(name = "{REPOSITORY}")\n',
        "BUILD": _BUILD.format(toolchains=toolchains),
        "cc_toolchain_config.bzl": _CONFIG,
        **{f"bin/{name}": text for name, text in scripts.items()},
    }


def write_toolchain(folder: Path, files: dict[str, str], python_headers: Path) -> None:
    """Write the repository into ``folder``; a file with the same content keeps its modification time."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
        if name.startswith("bin/"):
            path.chmod(0o755)
    link = folder / "python"
    if not link.is_symlink():
        link.symlink_to(python_headers)
