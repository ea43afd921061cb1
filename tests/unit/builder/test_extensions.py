"""A framework's extension: its own folder as source, the framework's wheel to compile against, what is refused."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from types import SimpleNamespace

import jsonschema
import pytest

from builder.compile.compilers.base import Commands
from builder.compile.frontends import build_variables
from builder.compile.layout import lay_out_framework
from builder.emulation.verify import requirements_beside
from builder.errors import CompileError, ConfigError, SourceError, VerifyError
from builder.ingredients import recipe_expectations
from builder.load import load_recipes
from builder.locks import requirements_lock
from builder.model.libraries import Framework
from builder.model.recipe import Recipe
from builder.repair.passport import make_passport
from builder.settings import configs_dir, validate
from builder.source import origin, pin_folders, prepare, source_digest
from builder.targets import Targets
from tests.helpers.builds import RECIPE, build_for, tarball

SHA = "d" * 64
EXTENDS = {
    "name": "torch",
    "version": "2.6.0",
    "filename": "torch-2.6.0-cp311-cp311-manylinux_2_28_aarch64.whl",
    "sha256": SHA,
    "headers": ["torch/include"],
    "libraries": ["torch/lib/libtorch_cpu.so", "torch/lib/libc10.so"],
}


def _recipe(**changed: object) -> Recipe:
    return validate(Recipe, {**RECIPE, **changed}, origin="demo.toml")


def _folder(tmp_path: Path) -> Path:
    folder = tmp_path / "kernels"
    (folder / "demo").mkdir(parents=True)
    (folder / "setup.py").write_text("import setuptools\n")
    (folder / "demo/op.cpp").write_text("int a;\n")
    return folder


def _from(folder: Path, **changed: object) -> Recipe:
    source = {"kind": "folder", "path": str(folder), **changed}
    return _recipe(versions={"1.0": {"epoch": 1_700_000_000, "source": source}})


class TestFolder:
    def test_its_files_are_the_pin_wherever_it_lies(self, tmp_path: Path) -> None:
        folder = _folder(tmp_path)
        first = source_digest(pin_folders(_from(folder)).versions["1.0"])
        for leftover in ("build/x.o", "demo/__pycache__/x.pyc", "demo.egg-info/PKG-INFO", ".git/HEAD"):
            (folder / leftover).parent.mkdir(parents=True, exist_ok=True)
            (folder / leftover).touch()
        moved = folder.rename(tmp_path / "elsewhere")
        assert source_digest(pin_folders(_from(moved)).versions["1.0"]) == first
        (moved / "demo/op.cpp").write_text("int b;\n")
        assert source_digest(pin_folders(_from(moved)).versions["1.0"]) != first

    def test_it_is_copied_without_what_builds_left(self, tmp_path: Path) -> None:
        folder = _folder(tmp_path)
        (folder / "build").mkdir()
        (folder / "build/op.o").touch()
        source = pin_folders(_from(folder)).versions["1.0"]
        tree = prepare("demo", source, tmp_path / "home")
        found = sorted(path.relative_to(tree).as_posix() for path in tree.rglob("*") if path.is_file())
        assert found == ["demo/op.cpp", "setup.py"]
        assert origin(source) == ("kernels", source.source.sha256)

    def test_what_changes_after_the_plan_is_refused(self, tmp_path: Path) -> None:
        folder = _folder(tmp_path)
        source = pin_folders(_from(folder)).versions["1.0"]
        (folder / "demo/op.cpp").write_text("int b;\n")
        with pytest.raises(SourceError, match="changed after the run had begun"):
            prepare("demo", source, tmp_path / "home")

    def test_a_stated_pin_is_held(self, tmp_path: Path) -> None:
        with pytest.raises(SourceError, match="the recipe pins dddd"):
            pin_folders(_from(_folder(tmp_path), sha256=SHA))

    def test_links_and_empty_folders_are_refused(self, tmp_path: Path) -> None:
        folder = _folder(tmp_path)
        (folder / "link.cpp").symlink_to("/etc/hostname")
        with pytest.raises(SourceError, match="no symbolic links"):
            pin_folders(_from(folder))
        (tmp_path / "empty").mkdir()
        with pytest.raises(SourceError, match="contains no sources"):
            pin_folders(_from(tmp_path / "empty"))

    def test_files_of_a_tarball_lie_beside_its_own(self, tmp_path: Path) -> None:
        folder, home = _folder(tmp_path), tmp_path / "home"
        pin = tarball(
            home,
            "big_1.orig.tar.xz",
            {"big-1/LICENSE": "yes\n", "big-1/core/a.cc": "int a;\n", "big-1/b": ""},
        )
        taken = {"path": "pool/b/big_1.orig.tar.xz", "sha256": pin, "keep": ["LICENSE", "core/a.cc"]}
        source = pin_folders(_from(folder, taken=[taken])).versions["1.0"]
        tree = prepare("demo", source, home)
        assert (tree / "core/a.cc").read_text() == "int a;\n"
        assert {path.name for path in tree.iterdir()} == {"LICENSE", "core", "demo", "setup.py"}
        name, sha256 = origin(source)
        assert name == "kernels, big_1.orig.tar.xz"
        alone = pin_folders(_from(folder)).versions["1.0"]
        assert sha256 != origin(alone)[1]
        assert source_digest(source) != source_digest(alone)

    @pytest.mark.parametrize(
        ("keep", "reason"),
        [(["core/gone.cc"], "has no core/gone.cc"), (["setup.py"], "and the folder both have setup.py")],
    )
    def test_a_file_that_is_not_there_or_twice_is_refused(
        self, tmp_path: Path, keep: list[str], reason: str
    ) -> None:
        home = tmp_path / "home"
        pin = tarball(home, "big_1.orig.tar.xz", {"big-1/setup.py": "", "big-1/b": ""})
        taken = {"path": "pool/b/big_1.orig.tar.xz", "sha256": pin, "keep": keep}
        source = pin_folders(_from(_folder(tmp_path), taken=[taken])).versions["1.0"]
        with pytest.raises(SourceError, match=reason):
            prepare("demo", source, home)

    def test_a_missing_one_is_told_with_the_faults_of_other_recipes(self, configs: Path) -> None:
        source = '[versions."1.0"]\nepoch = 1700000000\nsource = { kind = "folder", path = "nowhere" }\n'
        head = 'name = "one"\nabout = "x"\nbuild_number = 1\n'
        rest = (
            '[build]\nfrontend = "setuptools"\ncompiler = "gcc"\nrequires = []\n'
            '[backends.none]\ndefault = true\n[verify]\nscript = "x.py"\n'
        )
        (configs / "recipes/one.toml").write_text(head + source + rest)
        (configs / "recipes/two.toml").write_text("oops")
        with pytest.raises(ConfigError, match=r"one\.toml: .*nowhere: no such folder") as caught:
            load_recipes()
        assert "two.toml" in str(caught.value)


class TestFramework:
    def test_without_its_hash_no_recipe(self) -> None:
        lacking = {key: value for key, value in EXTENDS.items() if key != "sha256"}
        with pytest.raises(ConfigError, match=r"extends\.sha256: the key is missing"):
            _recipe(extends=lacking)
        with pytest.raises(ConfigError, match=r"(?s)extends\.sha256: .*extends\.headers: "):
            _recipe(extends={**EXTENDS, "sha256": "short", "headers": []})
        with pytest.raises(ConfigError, match="did you mean 'libraries'"):
            _recipe(extends={**EXTENDS, "librarys": ["x"]})

    def test_it_enters_the_digest_of_extensions_alone(self, targets: Targets) -> None:
        assert "extends" not in build_for(_recipe(), targets).compile_inputs
        digests = {
            build_for(_recipe(extends={**EXTENDS, "sha256": digit * 64}), targets).compile_digest
            for digit in "de"
        }
        assert len(digests) == 2

    @pytest.mark.parametrize(
        ("target", "expected"),
        [
            ("neoverse-v1", "65536 1048576 33554432, 256"),
            ("a64fx", "65536 8388608 8388608, 512"),
            ("neoverse-n1", "65536 1048576 33554432, 0"),
        ],
    )
    def test_its_build_is_told_of_the_target(self, targets: Targets, target: str, expected: str) -> None:
        asked = {**RECIPE["build"], "environment": {"CPU": "{l1d} {l2} {l3}, {vector-bits}"}}
        build = build_for(_recipe(build=asked), targets, target)
        assert build.environment == {"CPU": expected}
        assert build.compile_inputs["facts"] == build.environment
        assert "facts" not in build_for(_recipe(), targets, target).compile_inputs

    def _home(self, tmp_path: Path, *members: str) -> SimpleNamespace:
        wheel = tmp_path / "downloads" / SHA / EXTENDS["filename"]
        wheel.parent.mkdir(parents=True)
        with zipfile.ZipFile(wheel, "w") as archive:
            for member in members:
                archive.writestr(member, "x")
        return SimpleNamespace(home=tmp_path)

    def test_headers_and_libraries_are_unpacked_and_nothing_else(self, tmp_path: Path) -> None:
        members = ("torch/include/ATen/ATen.h", "torch/lib/libc10.so", "torch/lib/libtorch_cpu.so")
        toolbox = self._home(tmp_path, *members, "torch/lib/libshm.so", "torch/__init__.py")
        folder = lay_out_framework(Framework(**EXTENDS), toolbox)
        found = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("[!.]*") if p.is_file())
        assert found == sorted(members)

    def test_what_the_wheel_lacks_is_named(self, tmp_path: Path) -> None:
        toolbox = self._home(tmp_path, "torch/include/ATen/ATen.h", "torch/lib/libc10.so")
        with pytest.raises(CompileError, match=r"has no torch/lib/libtorch_cpu\.so, which the recipe names"):
            lay_out_framework(Framework(**EXTENDS), toolbox)

    def test_the_build_is_told_where_it_lies(self, tmp_path: Path, targets: Targets) -> None:
        commands = Commands(**{name: tmp_path / name for name in ("cc", "cxx", "ar", "ranlib", "strip")})
        toolbox = SimpleNamespace(
            home=tmp_path,
            python_headers=lambda _: tmp_path / "headers",
            pins=SimpleNamespace(digest=lambda _: ""),
            toolchains=SimpleNamespace(compilers={"zig": SimpleNamespace(tools=())}),
        )
        (tmp_path / "env/lib/python3.11/site-packages").mkdir(parents=True)
        variables = [
            build_variables(
                build_for(recipe, targets), commands, toolbox, tmp_path, tmp_path / "env/bin/python", 1
            )
            for recipe in (_recipe(), _recipe(extends=EXTENDS))
        ]
        folder = tmp_path / f"frameworks/torch-2.6.0-{SHA[:12]}"
        assert "LDFLAGS" not in variables[0]
        assert variables[1]["CPPFLAGS"] == f"{variables[0]['CPPFLAGS']} -isystem {folder}/torch/include"
        assert variables[1]["LDFLAGS"] == f"-L{folder}/torch/lib"

    def test_the_passport_names_it(self, targets: Targets) -> None:
        pinned = SimpleNamespace(name="ziglang", version="0.17.1", sha256="c" * 64)
        toolbox = SimpleNamespace(pins=SimpleNamespace(files=lambda part: (pinned,)))
        passport = make_passport(build_for(_recipe(extends=EXTENDS), targets), (), toolbox)
        schema = json.loads((configs_dir() / "passport.schema.json").read_text())
        jsonschema.validate(passport, schema, cls=jsonschema.Draft202012Validator)
        assert passport["extends"] == {"name": "torch", "version": "2.6.0", "sha256": SHA}

    def test_each_python_has_a_wheel_of_its_own(self, targets: Targets) -> None:
        other = {"filename": "torch-2.6.0-cp313-cp313-manylinux_2_28_aarch64.whl", "sha256": "e" * 64}
        recipe = _recipe(extends={**EXTENDS, "pythons": {"cp313": other}})
        on_311 = build_for(recipe, targets)
        assert on_311.framework == Framework.model_validate(EXTENDS)
        # What other Pythons have leaves this one's wheels as they are.
        assert on_311.compile_digest == build_for(_recipe(extends=EXTENDS), targets).compile_digest
        framework = recipe.extends.on("cp313")
        assert (framework.filename, framework.sha256) == (other["filename"], other["sha256"])
        assert framework.headers == ("torch/include",)

    def test_its_libraries_are_the_audit_s_to_know(self) -> None:
        toolchains = SimpleNamespace(compilers={"zig": SimpleNamespace(allow=())})
        supplied = recipe_expectations(_recipe(extends=EXTENDS), "generic", toolchains).supplied
        assert supplied is not None
        assert (supplied.requirement, supplied.libraries) == (
            "torch==2.6.0",
            ("libtorch_cpu.so", "libc10.so"),
        )

    def test_tests_run_with_the_very_wheel_it_was_compiled_against(self, configs: Path) -> None:
        recipe = _recipe(extends=EXTENDS)
        assert recipe.test_requires == ("torch==2.6.0",)
        toolbox = SimpleNamespace(home=configs)
        with pytest.raises(VerifyError, match="no pinned test requirements"):
            requirements_beside(recipe, "cp311", toolbox)
        lock = requirements_lock("demo", "tests", "cp311")
        lock.parent.mkdir()
        lock.write_text(f"torch==2.6.0 --hash=sha256:{'e' * 64}\n")
        with pytest.raises(VerifyError, match="does not pin torch-2"):
            requirements_beside(recipe, "cp311", toolbox)


def test_the_shipped_extensions_agree_with_their_locks_and_their_metadata() -> None:
    extensions = [recipe for recipe in load_recipes().values() if recipe.extends]
    names = {"torch-int8-linear", "tensorflow-bf16-matmul", "tensorflow-tuned-kernels", "torch-tuned-kernels"}
    others = {"torchvision", "torchaudio"}  # their own sources, whose setup.py reads a variable
    assert {recipe.name for recipe in extensions} == names | others
    for recipe in extensions:
        for python in ("cp311", *recipe.extends.pythons):
            assert f"-{python}-" in recipe.extends.on(python).filename
            assert (
                recipe.extends.on(python).sha256
                in requirements_lock(recipe.name, "tests", python).read_text()
            )
        if recipe.name in others:
            assert recipe.build.environment["PYTORCH_VERSION"] == recipe.extends.version
            continue
        for version in recipe.versions.values():
            pyproject = (configs_dir().parent / version.source.path / "pyproject.toml").read_text()
            assert f'dependencies = ["{recipe.extends.requirement}"]' in pyproject
