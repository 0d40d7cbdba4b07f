"""The operations on sweeps: create one, and tell its agents what to try."""

import json
import math
import random
from typing import Any

import yaml

from tests.wandb.server.store import ENTITY, Store, Sweep, new_id

Answer = dict[str, Any]


class Sweeps:
    """Each method answers one GraphQL operation, of its own name, from the operation's variables.

    Parameters are drawn at random, whatever the sweep's method is.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def upsert_sweep(self, variables: Answer) -> Answer:
        entity, project = variables.get("entityName") or ENTITY, variables["projectName"]
        self._store.add_project(entity, project)
        name = new_id("sweep").replace(":", "")
        sweep = Sweep(entity, project, name, yaml.safe_load(variables["config"]))
        self._store.sweeps[name] = sweep
        info = {"id": f"Project:{project}", "name": project}
        told = {"name": name, "project": {**info, "entity": {"id": "Entity:1", "name": entity}}}
        return {"upsertSweep": {"sweep": told, "configValidationWarnings": []}}

    def create_agent(self, variables: Answer) -> Answer:
        agent = new_id("Agent")
        self._store.agents[agent] = self._store.sweep(variables["sweep"])
        return {"createAgent": {"agent": {"id": agent}}}

    def heartbeat(self, variables: Answer) -> Answer:
        agent = variables["id"]
        sweep = self._store.agents[agent]
        commands: list[Answer] = []
        if sweep.state != "RUNNING":
            commands.append({"type": "exit"})
        elif not any(json.loads(variables["runState"]).values()):
            trial = new_id("trial").replace(":", "")
            drawn = random.Random(len(sweep.trials))
            sweep.trials[trial] = {
                name: _draw(parameter, drawn)
                for name, parameter in sweep.config["parameters"].items()
            }
            told = {name: {"value": value} for name, value in sweep.trials[trial].items()}
            commands.append({"type": "run", "run_id": trial, "args": told})
        answer = {"agent": {"id": agent}, "commands": json.dumps(commands)}
        return {"agentHeartbeat": answer}


def _draw(parameter: Answer, drawn: random.Random) -> Any:
    if "value" in parameter:
        return parameter["value"]
    if "values" in parameter:
        return drawn.choice(parameter["values"])
    low, high = parameter["min"], parameter["max"]
    if parameter["distribution"] == "log_uniform_values":
        return math.exp(drawn.uniform(math.log(low), math.log(high)))
    if parameter["distribution"] == "int_uniform":
        return drawn.randint(low, high)
    return drawn.uniform(low, high)
