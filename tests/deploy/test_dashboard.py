"""The dashboard is whole: every panel explains itself and has its own place."""

import itertools

from tests.deploy.dashboard import DASHBOARD, PANELS, queries

COLUMNS = 24


def test_every_panel_explains_itself() -> None:
    assert len(PANELS) > 20
    for panel in PANELS:
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["targets"]
        for target in panel["targets"]:
            assert target["datasource"]["uid"] == "${datasource}"
    titles = [panel["title"] for panel in DASHBOARD["panels"]]
    assert len(set(titles)) == len(titles)


def test_every_panel_has_a_place_of_its_own() -> None:
    places = [panel["gridPos"] for panel in DASHBOARD["panels"]]
    cells = [
        set(itertools.product(range(p["x"], p["x"] + p["w"]), range(p["y"], p["y"] + p["h"])))
        for p in places
    ]
    assert sum(map(len, cells)) == len(set.union(*cells))
    assert all(p["x"] + p["w"] <= COLUMNS for p in places)
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)


def test_no_variable_is_left_over() -> None:
    names = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    assert names == {"datasource", "instance"}
    for query in queries("1m").values():
        assert "$" not in query
        assert 'job="tweet-triage"' in query or 'job="tweet-triage-desk"' in query
