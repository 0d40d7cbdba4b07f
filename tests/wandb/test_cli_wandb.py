"""`triage-trainer` with a registry in W&B, which goes away and comes back."""

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest

from shared.registry.open import open_registry
from tests.conftest import Trained
from tests.trainer.conftest import Program, Ran
from tests.trainer.fit.test_training import tiny_recipe
from tests.wandb.server.server import WandbServer
from tests.wandb.server.store import ENTITY
from tests.wandb.tracked import write_recipe

URL = f"wandb:{ENTITY}/model/tweet-triage"


@pytest.fixture
def in_wandb(
    program: Program,
    environment: pytest.MonkeyPatch,
    wandb_server: WandbServer,  # noqa: ARG001
) -> Program:
    """Return the program, with its registry in W&B."""
    environment.setenv("TRIAGE_REGISTRY", URL)
    return program


def test_the_whole_way(in_wandb: Program, trained: Trained, wandb_server: WandbServer) -> None:
    assert in_wandb("list") == Ran(0, f"registry {URL} is empty\n", "")
    for number, name in enumerate(("LSTM", "Bidirectional-RNN")):
        ran = in_wandb("register", trained.bundles / name)
        assert ran == Ran(0, f"registered {name} as version {number} (candidate) in {URL}\n", "")
        ran = in_wandb("promote", "candidate", "--reason", "first")
        assert (ran.code, ran.err) == (0, "")
        assert ran.out.endswith(f"production is now version {number} ({name})\n")
    assert in_wandb("rollback") == Ran(0, "production is now version 0 (LSTM)\n", "")
    told = json.loads(in_wandb("list", "--json", "-").out)
    assert [version["aliases"] for version in told["versions"]] == [
        ["production"],
        ["candidate", "previous"],
    ]
    assert [event["action"] for event in told["history"][-2:]] == ["rollback", "rollback"]
    ran = in_wandb("predict", "--version", "production", "Forest fire near La Ronge")
    assert (ran.code, ran.err) == (0, "")
    wandb_server.stop()
    in_wandb("list").is_refused(6, URL)
    wandb_server.start()
    wandb_server.key = "another" * 6
    in_wandb("promote", "candidate").is_refused(5, URL, "WANDB_API_KEY")


@pytest.mark.slow
def test_what_breaks_off_says_so_and_is_completed_by_the_same_command(
    in_wandb: Program, trained: Trained, wandb_server: WandbServer
) -> None:
    for name in ("LSTM", "Bidirectional-RNN"):
        in_wandb("register", trained.bundles / name)
        in_wandb("promote", "candidate")
    force = ("--force", "--reason", "drill")
    steps: list[tuple[tuple[str, ...], str, int, str]] = [
        (("list",), "ProjectArtifacts", 1, "LSTM"),
        (("promote", "0", *force), "AddAliases", 1, "production is now version 0 (LSTM)"),
        (("rollback",), "AddAliases", 1, "production is now version 1 (Bidirectional-RNN)"),
        (
            ("predict", "--version", "production", "fire"),
            "GetArtifactMembershipFileUrls",
            0,
            "fire",
        ),
    ]
    for command, operation, after, said in steps:
        wandb_server.fault(operation, "drop", after=after)
        ran = in_wandb(*command)
        assert ran.code == 6
        (line,) = ran.err.splitlines()
        assert line.startswith(f"error: registry {URL}: ")
        assert "W&B is unreachable or fails" in line
        wandb_server.mend()
        ran = in_wandb(*command)
        assert (ran.code, ran.err) == (0, "")
        assert said in ran.out
    told = json.loads(in_wandb("list", "--json", "-").out)
    aliases = [version["aliases"] for version in told["versions"]]
    assert aliases == [["previous"], ["candidate", "production"]]


@pytest.mark.slow
def test_a_training_is_not_lost_with_wandb(
    in_wandb: Program, few: Path, tmp_path: Path, wandb_server: WandbServer
) -> None:
    recipe = write_recipe(tiny_recipe(), tmp_path / "tiny.toml")
    wandb_server.stop()
    figures = tmp_path / "figures.json"
    bundles = tmp_path / "the bundles"
    arguments = ("--data", few, "--recipe", recipe, "--bundles", bundles, "--json", figures)
    ran = in_wandb("train", *arguments)
    assert ran.code == 6
    assert f"warning: registry {URL}: W&B is unreachable or fails" in ran.err
    last = ran.err.splitlines()[-1]
    assert last.startswith("error: ")
    assert [model["version"] for model in json.loads(figures.read_text())["models"]] == [None]
    wandb_server.start()
    found = re.search(r"this registers it: triage-trainer (.*)", last)
    assert found is not None
    assert in_wandb(*shlex.split(found.group(1))).code == 0
    assert open_registry(URL).resolve("candidate").number == 0


@pytest.mark.slow
def test_a_registration_that_fails_half_way_is_completed(
    in_wandb: Program, trained: Trained, tmp_path: Path, wandb_server: WandbServer
) -> None:
    bundle = Path(shutil.copytree(trained.bundles / "LSTM", tmp_path / "LSTM"))
    for operation in ("CreateArtifactFiles", "LinkArtifact"):
        wandb_server.fault(operation, "error")
        in_wandb("register", bundle).is_refused(6, URL)
        wandb_server.mend()
    assert in_wandb("register", bundle).code == 0
    assert [version.aliases for version in open_registry(URL).versions()] == [("candidate",)]
