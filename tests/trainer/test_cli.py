"""The program `triage-trainer`, called as its user calls it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from shared.bundle.files import MANIFEST
from shared.bundle.load import Bundle
from shared.bundle.quality import Figure
from shared.live import LiveFigures
from shared.registry.folder import FolderRegistry
from tests.conftest import ROOT, SAMPLE, Trained
from tests.trainer.conftest import Program, Ran
from trainer.data.read import read_dataset
from trainer.evaluate.metrics import COLUMNS


class TestList:
    def test_text(self, program: Program, registry: FolderRegistry) -> None:
        ran = program("list")
        assert (ran.code, ran.err) == (0, "")
        (version,) = registry.versions()
        validation = f"{version.manifest.metrics['validation']['accuracy']:.3f}"
        for shown in ("1", "candidate", "production", "tuned", validation):
            assert shown in ran.out.split() or f"{shown}," in ran.out.split()

    def test_names_are_whole_and_columns_explained(
        self, program: Program, registry: FolderRegistry, environment: pytest.MonkeyPatch
    ) -> None:
        alias = "storm-in-northern-alberta-2026"
        registry.promote("1", alias=alias)
        environment.setenv("COLUMNS", "40")
        ran = program("list")
        words = ran.out.split()
        (version,) = registry.versions()
        assert version.manifest.name in words
        assert alias in [word.rstrip(",") for word in words]
        assert "validation, test: accuracy, and the area under the ROC curve" in ran.out

    def test_history(self, program: Program, registry: FolderRegistry) -> None:
        registry.promote("1", alias="canary", reason="[b]try[/b]", forced=True)
        ran = program("list")
        (told,) = [line for line in ran.out.splitlines() if "canary" in line and "promote" in line]
        event = registry.history()[-1]
        assert told.split()[2:] == [event.who, "promote", "(forced)", "canary", "1", "[b]try[/b]"]
        assert " ".join(told.split()[:2]) == event.time.replace("T", " ")[:16]

    @pytest.mark.parametrize("target", ["-", "versions.json"])
    def test_json(
        self, program: Program, registry: FolderRegistry, tmp_path: Path, target: str
    ) -> None:
        path = target if target == "-" else tmp_path / target
        ran = program("list", "--json", path)
        assert (ran.code, ran.err) == (0, "")
        (version,) = registry.versions()
        manifest = version.manifest
        assert json.loads(ran.out if target == "-" else (tmp_path / target).read_text()) == {
            "versions": [
                {
                    "version": 1,
                    "aliases": ["candidate", "production"],
                    "name": manifest.name,
                    "recipe": "tuned",
                    "created": manifest.created,
                    "metrics": manifest.metrics,
                    "labels": 0,
                    "operating_points": msgspec.to_builtins(manifest.operating_points),
                }
            ],
            "history": [msgspec.structs.asdict(event) for event in registry.history()],
        }

    @pytest.mark.parametrize("source", ["-", "live.jsonl"])
    def test_live_figures_are_those_of_the_versions_digest(
        self,
        program: Program,
        registry: FolderRegistry,
        environment: pytest.MonkeyPatch,
        tmp_path: Path,
        source: str,
    ) -> None:
        environment.setenv("COLUMNS", "160")
        (version,) = registry.versions()
        own, other = (
            LiveFigures(
                model="LSTM",
                version=1,
                digest=digest,
                tweets=9000.0,
                labelled=80,
                precision=Figure(value, value - 0.125, value + 0.0625),
                recall=None,
            )
            for digest, value in ((version.digest, 0.625), ("f" * 64, 0.25))
        )
        lines = b"".join(msgspec.json.encode(one) + b"\n" for one in (own, other))
        path = source if source == "-" else tmp_path / source
        (tmp_path / "live.jsonl").write_bytes(lines)
        ran = program("list", "--live", path, stdin=lines)
        assert ran.code == 0
        assert ran.err == (
            f"warning: {path}: LSTM 1 ({'f' * 12}) is not a version of {registry.url}\n"
        )
        assert "0.625 (0.500 to 0.688)" in ran.out
        assert "0.250" not in ran.out
        assert "live: of the stream, estimated from labels of review tweets" in ran.out
        ran = program("list", "--live", path, "--json", "-", stdin=lines)
        (listed,) = json.loads(ran.out)["versions"]
        assert listed["live"] == msgspec.to_builtins(own)

    @pytest.mark.parametrize(
        ("content", "named"),
        [(None, "No such file"), (b"{}", "missing required"), (b"x", "--live")],
    )
    def test_live_figures_that_cannot_be_read_are_refused(
        self, program: Program, tmp_path: Path, content: bytes | None, named: str
    ) -> None:
        path = tmp_path / "live.jsonl"
        if content is not None:
            path.write_bytes(content)
        program("list", "--live", path).is_refused(3, str(path), "triage-worker estimates", named)

    def test_empty_registry(
        self, program: Program, environment: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        folder = tmp_path / "[b]:fire:"  # which Rich would take for its markup
        environment.setenv("TRIAGE_REGISTRY", f"file:{folder}")
        assert program("list") == Ran(0, f"registry file:{folder} is empty\n", "")
        assert not folder.exists()

    def test_registry_of_damaged_versions_is_not_called_empty(
        self, program: Program, registry: FolderRegistry
    ) -> None:
        (registry.folder / "versions" / "1" / MANIFEST).write_text("{")
        said = f"registry {registry.url} has no version that can be read\n"
        assert program("list") == Ran(0, said, "")


class TestPromote:
    def test_number_and_alias(self, program: Program, registry: FolderRegistry) -> None:
        registry.register(registry.folder / "versions" / "1")
        name = registry.resolve("2").manifest.name
        said = f"production is now version 2 ({name})\n"
        assert program("promote", "2", "--reason", "drill") == Ran(0, said, "")
        assert registry.aliases() == {"candidate": 2, "production": 2, "previous": 1}
        assert registry.history()[-1].reason == "drill"
        assert program("promote", "previous").code == 0
        assert registry.aliases()["production"] == 1
        assert program("promote", "1", "--alias", "canary").out.startswith("canary is now version")
        assert registry.aliases()["canary"] == 1

    @pytest.mark.parametrize("version", ["2", "stagin", "0"])
    def test_unknown_version_is_refused(
        self, program: Program, registry: FolderRegistry, version: str
    ) -> None:
        ran = program("promote", version)
        ran.is_refused(5, repr(version), "1, candidate, production", str(registry.folder))
        assert registry.aliases() == {"candidate": 1, "production": 1}


class TestRegister:
    def test_bundle(self, program: Program, registry: FolderRegistry, trained: Trained) -> None:
        bundle = trained.bundles / "LSTM"
        said = f"registered LSTM as version 2 (candidate) in {registry.url}\n"
        assert program("register", bundle) == Ran(0, said, "")
        assert registry.aliases() == {"candidate": 2, "production": 1}
        said = f"registered LSTM as version 3 (trial) in {registry.url}\n"
        assert program("register", bundle, "--alias", "trial") == Ran(0, said, "")
        for alias in ("v3-small", "2nd", "latest_of.May"):
            assert program("register", bundle, "--alias", alias).code == 0

    @pytest.mark.parametrize(
        ("alias", "named"),
        [
            ("production", "expected another alias: `promote` moves it"),
            ("previous", "`promote` and `rollback` move it"),
            ("1", "expected a name"),
            ("7", "expected a name"),
            ("", "expected a name"),
            ("v3", "v3 and the like"),
            ("latest", "latest are those of versions"),
            ("new/model", "ASCII letters, digits, '-', '_' and '.'"),
            ("größer", "ASCII letters"),
            ("a b", "ASCII letters"),
        ],
    )
    def test_alias_that_is_not_to_be_had_is_refused(
        self, program: Program, registry: FolderRegistry, trained: Trained, alias: str, named: str
    ) -> None:
        ran = program("register", trained.bundles / "LSTM", "--alias", alias)
        taken = alias in ("production", "previous")
        ran.is_refused(2, f"--alias {alias if taken else repr(alias)}: ", named)
        if alias != "production":
            program("promote", "1", "--alias", alias).is_refused(2, "--alias ", named)
        assert registry.aliases() == {"candidate": 1, "production": 1}
        assert len(registry.versions()) == 1

    def test_what_is_no_bundle_is_refused(self, program: Program, tmp_path: Path) -> None:
        program("register", tmp_path).is_refused(4, str(tmp_path), "not a complete bundle")


class TestRollback:
    def test_production_and_previous_change_over(
        self, program: Program, registry: FolderRegistry
    ) -> None:
        program("rollback").is_refused(5, "'previous'", registry.url)
        registry.register(registry.folder / "versions" / "1")
        registry.promote("2")
        name = registry.resolve("1").manifest.name
        said = f"production is now version 1 ({name})\n"
        assert program("rollback", "--reason", "worse") == Ran(0, said, "")
        assert registry.aliases() == {"candidate": 2, "production": 1, "previous": 2}
        assert registry.history()[-1].reason == "worse"


class TestEvaluate:
    def test_held_out_part_scores_what_training_said(
        self, program: Program, trained: Trained
    ) -> None:
        ran = program("evaluate", "production", "--data", trained.held_out, "--json", "-")
        assert (ran.code, ran.err) == (0, "")
        (model,) = [model for model in trained.figures["models"] if model["version"] == 1]
        found = json.loads(ran.out)
        assert found.pop("behaviour") == model["quality"]["behaviour"]
        rows = len(read_dataset(trained.held_out).texts)
        threshold = model["operating_points"]["balanced"]["threshold"]
        named = {"version": 1, "name": model["name"], "rows": rows, "threshold": threshold}
        assert (found.pop("part"), found.pop("near_duplicates")) == ("all rows", 0)
        assert found == pytest.approx({**named, **model["test"]}, abs=1e-6)
        for name, point in model["operating_points"].items():
            arguments = ("--data", trained.held_out, "--threshold", name, "--json", "-")
            found = json.loads(program("evaluate", "1", *arguments).out)
            assert found["threshold"] == point["threshold"]
            assert found["recall"] == pytest.approx(point["figures"]["test"]["recall"])

    def test_own_data_is_measured_on_its_test_part(
        self, program: Program, trained: Trained, tmp_path: Path
    ) -> None:
        ran = program("evaluate", "1", "--data", SAMPLE, "--json", "-")
        assert (ran.code, ran.err) == (0, "")
        found = json.loads(ran.out)
        assert (found["part"], found["rows"], found["near_duplicates"]) == ("test part", 192, 0)
        (model,) = [model for model in trained.figures["models"] if model["version"] == 1]
        assert {metric: found[metric] for metric in COLUMNS} == pytest.approx(
            {metric: model["test"][metric] for metric in COLUMNS}, abs=1e-6
        )
        ran = program("evaluate", "1", "--data", SAMPLE, "--json", tmp_path / "figures.json")
        assert (ran.code, ran.err) == (0, "")
        assert "192 tweets (the test part of 640), relevant from" in ran.out
        assert json.loads((tmp_path / "figures.json").read_text()) == found

    def test_training_rows_in_other_data_are_told(self, program: Program, tmp_path: Path) -> None:
        grown = tmp_path / "grown.csv"
        grown.write_text(SAMPLE.read_text("utf-8") + "nothing new,Not Relevant\n", "utf-8")
        ran = program("evaluate", "1", "--data", grown, "--json", "-")
        assert ran.code == 0
        assert ran.err.startswith("warning: ")
        assert "trained on near-duplicates of 448 of these 641 tweets" in ran.err
        found = json.loads(ran.out)
        assert (found["part"], found["rows"], found["near_duplicates"]) == ("all rows", 641, 448)

    def test_text_and_own_columns(self, program: Program, trained: Trained, tmp_path: Path) -> None:
        text = trained.held_out.read_text("utf-8").replace('"Relevant"', '"yes"')
        own = tmp_path / "own.csv"
        own.write_text(text.replace('"text","choose_one"', '"body","disaster"'), "utf-8")
        columns = ("--text-column", "body", "--label-column", "disaster", "--positive", "yes")
        ran = program("evaluate", "1", "--data", own, *columns)
        assert (ran.code, ran.err) == (0, "")
        (model,) = [model for model in trained.figures["models"] if model["version"] == 1]
        for metric in COLUMNS:
            assert f"{model['test'][metric]:.3f}" in ran.out
        program("evaluate", "1", "--data", own).is_refused(3, "'text'", "'body', 'disaster'")

    @pytest.mark.parametrize("path", ["", "missing/figures.json"])
    def test_figures_that_cannot_be_written_are_refused(
        self, program: Program, trained: Trained, tmp_path: Path, path: str
    ) -> None:
        ran = program("evaluate", "1", "--data", trained.held_out, "--json", tmp_path / path)
        ran.is_refused(3, str(tmp_path / path), "cannot be written")
        ran = program("list", "--json", tmp_path / path)
        ran.is_refused(3, str(tmp_path / path), "cannot be written")

    def test_figures_do_not_replace_the_data(
        self, program: Program, trained: Trained, tmp_path: Path
    ) -> None:
        own = shutil.copy(trained.held_out, tmp_path)
        ran = program("evaluate", "1", "--data", own, "--json", own)
        ran.is_refused(2, f"{own} is the labelled data")
        assert Path(own).read_bytes() == trained.held_out.read_bytes()


class TestPredict:
    TEXTS = ("Wildfire near the dam :fire:, evacuate [now]", "my inbox is a disaster 😂")

    def test_text(self, program: Program, bundle: Bundle) -> None:
        ran = program("predict", *self.TEXTS)
        assert (ran.code, ran.err) == (0, "")
        probabilities = bundle.scorer.score(self.TEXTS).tolist()
        threshold = bundle.manifest.threshold
        assert ran.out.splitlines() == [
            f"{p:.3f}  {'relevant    ' if p >= threshold else 'not relevant'}  {text}"
            for p, text in zip(probabilities, self.TEXTS, strict=True)
        ]

    def test_json(self, program: Program, bundle: Bundle) -> None:
        ran = program("predict", "--json", "--version", "candidate", *self.TEXTS)
        assert (ran.code, ran.err) == (0, "")
        lines = [json.loads(line) for line in ran.out.splitlines()]
        assert [line["text"] for line in lines] == list(self.TEXTS)
        found = [line["probability"] for line in lines]
        assert found == pytest.approx(bundle.scorer.score(self.TEXTS).tolist(), abs=1e-6)
        assert [line["relevant"] for line in lines] == [
            p >= bundle.manifest.threshold for p in found
        ]

    def test_standard_input_is_cut_at_line_ends_alone(self, program: Program) -> None:
        ran = program("predict", "--json", stdin="one\u2028two\x0c\r\nthree".encode() + b"\xff\n")
        texts = [json.loads(line)["text"] for line in ran.out.split("\n")[:-1]]
        assert texts == ["one\u2028two\x0c", "three\ufffd"]

    def test_empty_standard_input_is_no_tweet_and_no_error(self, program: Program) -> None:
        assert program("predict", stdin=b"") == Ran(0, "", "")

    @pytest.mark.parametrize("text", ["", " ", "\t\n"])
    def test_empty_text_is_refused(self, program: Program, text: str) -> None:
        program("predict", "a fire", text).is_refused(2, repr(text))

    def test_blank_lines_are_skipped_and_counted(self, program: Program) -> None:
        ran = program("predict", stdin=b"a fire\n\nanother\n")
        assert (ran.code, len(ran.out.splitlines())) == (0, 2)
        assert "1 blank" in ran.err

    def test_missing_alias_is_refused(
        self, program: Program, environment: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        program("predict", "a", "--version", "canary").is_refused(5, "'canary'", "1, candidate")
        environment.setenv("TRIAGE_REGISTRY", f"file:{tmp_path / 'new'}")
        program("predict", "a").is_refused(5, "'production'", "the registry is empty")

    @pytest.mark.parametrize("name", ["weights.safetensors", "vocabulary.json"])
    def test_bundle_with_a_changed_byte_is_refused(
        self, program: Program, registry: FolderRegistry, name: str
    ) -> None:
        path = registry.folder / "versions" / "1" / name
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
        program("predict", "a fire").is_refused(4, str(path), "was changed")
        program("promote", "1", "--alias", "canary").is_refused(4, str(path), "was changed")


class TestSettings:
    @pytest.mark.parametrize("url", ["registry", "s3://bucket/registry", "file:"])
    def test_malformed_registry_is_refused(
        self, program: Program, environment: pytest.MonkeyPatch, url: str
    ) -> None:
        environment.setenv("TRIAGE_REGISTRY", url)
        program("list").is_refused(2, f"TRIAGE_REGISTRY={url!r}", "file:FOLDER")

    def test_unknown_variable_is_refused(
        self, program: Program, environment: pytest.MonkeyPatch
    ) -> None:
        environment.setenv("TRIAGE_REGISTRI", "file:x")
        program("list").is_refused(
            2, "TRIAGE_REGISTRI is not a setting: did you mean TRIAGE_REGISTRY?"
        )

    def test_registry_that_cannot_be_read_is_refused(
        self, program: Program, environment: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        (tmp_path / "file").touch()
        environment.setenv("TRIAGE_REGISTRY", f"file:{tmp_path / 'file'}")
        program("list").is_refused(6, str(tmp_path / "file"))


class TestProcess:
    """The program as a process of its own, which shares no module and no stream with the tests."""

    def run(
        self, *command: str, registry: FolderRegistry, stdin: bytes = b"", encoding: str = "utf-8"
    ) -> Ran:
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("TRIAGE_", "TF_"))}
        ran = subprocess.run(
            [sys.executable, *command],
            cwd=ROOT,
            env={
                **environment,
                "TRIAGE_REGISTRY": f"file:{registry.folder}",
                "PYTHONIOENCODING": encoding,
            },
            input=stdin,
            capture_output=True,
        )
        return Ran(ran.returncode, ran.stdout.decode(), ran.stderr.decode())

    def test_predict_says_nothing_but_its_lines(self, registry: FolderRegistry) -> None:
        stdin = "a fire\ncafé 🔥\n".encode()
        ran = self.run("-m", "trainer.cli", "predict", "--json", registry=registry, stdin=stdin)
        assert (ran.code, ran.err) == (0, "")
        assert [json.loads(line)["text"] for line in ran.out.splitlines()] == ["a fire", "café 🔥"]

    @pytest.mark.parametrize("command", [["list", "--json", "-"], ["predict", "--json", "café 🔥"]])
    def test_json_is_utf8_in_any_locale(self, registry: FolderRegistry, command: list[str]) -> None:
        registry.promote("1", "canary", "café 🔥")
        ran = self.run("-m", "trainer.cli", *command, registry=registry, encoding="latin-1")
        assert (ran.code, ran.err) == (0, "")
        assert "café 🔥" in ran.out

    def test_a_reader_that_has_seen_enough_is_no_error(self, registry: FolderRegistry) -> None:
        reader, writer = os.pipe()
        os.close(reader)
        done = subprocess.run(
            [sys.executable, "-m", "trainer.cli", "list"],
            cwd=ROOT,
            env={**os.environ, "TRIAGE_REGISTRY": registry.url},
            stdout=writer,
            stderr=subprocess.PIPE,
        )
        os.close(writer)
        assert (done.returncode, done.stderr) == (0, b"")

    @pytest.mark.slow
    def test_refusal_is_one_line_without_a_traceback(self, registry: FolderRegistry) -> None:
        data = ("--data", str(SAMPLE), "--label-column", "label")
        ran = self.run("-m", "trainer.cli", "train", *data, registry=registry)
        ran.is_refused(3, "'label'", str(SAMPLE))

    def test_list_and_promote_wait_for_no_framework(self, registry: FolderRegistry) -> None:
        code = (
            "import sys; from trainer.cli import main; main(['list']); main(['promote', '1']);"
            "slow = {'keras', 'tensorflow', 'pandas', 'sklearn'}; print(slow & sys.modules.keys())"
        )
        ran = self.run("-c", code, registry=registry)
        assert (ran.code, ran.err) == (0, "")
        assert ran.out.splitlines()[-2].startswith("production is now version 1")
        assert ran.out.splitlines()[-1] == "set()"
