"""Pushing through grafana-client to a server that is as strict as Grafana's documentation."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from dashboards.grafana.datasources import FINGERPRINT, PROMETHEUS_UID, Sources
from dashboards.grafana.files import committed
from dashboards.grafana.folder import BadFolder, Folder
from dashboards.grafana.push import Action, Result, push
from dashboards.grafana.server import BadAddress, Grafana, GrafanaError
from tests.dashboards.grafana.fake_grafana import TOKEN, FakeGrafana, RunningGrafana

SOURCES = Sources("http://prometheus:9090", "http://elasticsearch:9200", "http://127.0.0.1:16686")
FOLDER = Folder()
BOARDS = list(committed().values())
EVERYTHING = 3 + 1 + len(BOARDS)


@pytest.fixture
def client(grafana: RunningGrafana) -> Iterator[Grafana]:
    client = Grafana(grafana.url, TOKEN)
    yield client
    client.close()


def _push(client: Grafana, *, sources: Sources = SOURCES, boards: Any = BOARDS, **options: bool) -> list[Result]:
    return list(push(client, FOLDER, boards, sources.payloads(), **options))


def _actions(results: list[Result]) -> Counter[Action]:
    return Counter(result.action for result in results)


def _changed(boards: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """As a later release of ours has them."""
    return [{**board, "description": "Newer."} for board in boards]


def test_the_first_push_makes_folder_dashboards_and_data_sources(grafana: RunningGrafana, client: Grafana) -> None:
    assert _actions(_push(client)) == {Action.CREATED: EVERYTHING}
    state = grafana.state
    assert state.folders == {"remora": "Remora"}
    assert {saved.folder_uid for saved in state.dashboards.values()} == {"remora"}
    assert set(state.dashboards) == {board["uid"] for board in BOARDS}
    assert set(state.sources) == {"remora-prometheus", "remora-elasticsearch", "remora-jaeger"}
    assert not any(source["isDefault"] for source in state.sources.values())


@pytest.mark.parametrize("versions_as_object", [False, True], ids=["versions as a list", "versions as an object"])
def test_the_second_push_writes_nothing(grafana: RunningGrafana, client: Grafana, versions_as_object: bool) -> None:
    grafana.state.versions_as_object = versions_as_object
    _push(client)
    before = len(grafana.state.writes)
    assert _actions(_push(client)) == {Action.UNCHANGED: EVERYTHING}
    assert len(grafana.state.writes) == before


def test_a_newer_release_updates_what_nobody_changed(grafana: RunningGrafana, client: Grafana) -> None:
    _push(client)
    later = Sources("http://elsewhere:9090", SOURCES.elasticsearch, SOURCES.jaeger)
    results = _push(client, boards=_changed(BOARDS), sources=later)
    assert _actions(results) == {Action.UPDATED: len(BOARDS) + 1, Action.UNCHANGED: 3}
    assert grafana.state.dashboards["remora-mesh"].version == 2
    assert grafana.state.sources[PROMETHEUS_UID]["url"] == "http://elsewhere:9090"


def test_what_a_user_changed_is_kept_while_we_have_nothing_newer(grafana: RunningGrafana, client: Grafana) -> None:
    _push(client)
    grafana.state.edit("remora-mesh", title="Our mesh")
    grafana.state.sources[PROMETHEUS_UID]["url"] = "http://other:9090"
    results = _push(client)
    assert _actions(results)[Action.KEPT] == 2
    assert grafana.state.dashboards["remora-mesh"].content["title"] == "Our mesh"
    assert grafana.state.sources[PROMETHEUS_UID]["url"] == "http://other:9090"
    kept = next(result for result in results if result.uid == "remora-mesh")
    assert "ada" in kept.why
    assert "--overwrite" in kept.why


def test_what_both_changed_is_a_conflict_and_stays(grafana: RunningGrafana, client: Grafana) -> None:
    _push(client)
    grafana.state.edit("remora-mesh", title="Our mesh")
    grafana.state.sources[PROMETHEUS_UID]["jsonData"]["timeInterval"] = "1s"
    later = Sources("http://elsewhere:9090", SOURCES.elasticsearch, SOURCES.jaeger)
    results = _push(client, boards=_changed(BOARDS), sources=later)
    assert {result.uid for result in results if result.action is Action.CONFLICT} == {"remora-mesh", PROMETHEUS_UID}
    assert grafana.state.dashboards["remora-mesh"].content["title"] == "Our mesh"
    assert grafana.state.sources[PROMETHEUS_UID]["url"] == SOURCES.prometheus
    # The others are not held up by it.
    assert _actions(results)[Action.UPDATED] == len(BOARDS) - 1


def test_overwriting_takes_ours(grafana: RunningGrafana, client: Grafana) -> None:
    _push(client)
    grafana.state.edit("remora-mesh", title="Our mesh")
    grafana.state.sources[PROMETHEUS_UID]["url"] = "http://other:9090"
    results = _push(client, overwrite=True)
    assert {result.uid for result in results if result.action is Action.UPDATED} == {"remora-mesh", PROMETHEUS_UID}
    assert grafana.state.dashboards["remora-mesh"].content["title"] == "Remora / Mesh"
    assert grafana.state.sources[PROMETHEUS_UID]["url"] == SOURCES.prometheus
    assert _actions(_push(client)) == {Action.UNCHANGED: EVERYTHING}


def test_somebody_who_saves_between_our_look_and_our_writing_is_not_overwritten(
    grafana: RunningGrafana, client: Grafana
) -> None:
    _push(client)
    grafana.state.ahead["remora-mesh"] = {"title": "Saved just now"}
    results = _push(client, boards=_changed(BOARDS))
    conflict = next(result for result in results if result.action is Action.CONFLICT)
    assert conflict.uid == "remora-mesh"
    assert conflict.why == "The dashboard has been changed by someone else (version-mismatch)"
    assert grafana.state.dashboards["remora-mesh"].content["title"] == "Saved just now"


def test_a_users_own_dashboard_under_our_uid_is_not_touched(grafana: RunningGrafana, client: Grafana) -> None:
    grafana.state.folders["general-stuff"] = "Stuff"
    client.save_dashboard(
        {"id": None, "uid": "remora-mesh", "title": "Mine", "schemaVersion": 39, "panels": []},
        "general-stuff",
        "my own",
        overwrite=False,
    )
    results = _push(client)
    assert [result.uid for result in results if result.action is Action.CONFLICT] == ["remora-mesh"]
    assert grafana.state.dashboards["remora-mesh"].content["title"] == "Mine"


def test_a_dashboard_that_was_moved_stays_where_it_is(grafana: RunningGrafana, client: Grafana) -> None:
    _push(client)
    grafana.state.folders["mine"] = "Mine"
    grafana.state.dashboards["remora-mesh"].folder_uid = "mine"
    _push(client, boards=_changed(BOARDS))
    assert grafana.state.dashboards["remora-mesh"].folder_uid == "mine"
    assert grafana.state.dashboards["remora-mesh"].content["description"] == "Newer."


def test_a_folder_that_was_renamed_keeps_its_name(grafana: RunningGrafana, client: Grafana) -> None:
    _push(client)
    grafana.state.folders["remora"] = "The mesh"
    folder = next(result for result in _push(client) if result.kind == "folder")
    assert folder.action is Action.UNCHANGED
    assert "The mesh" in folder.why
    assert grafana.state.folders == {"remora": "The mesh"}


def test_another_folder_of_our_name_ends_the_push_before_any_dashboard(
    grafana: RunningGrafana, client: Grafana
) -> None:
    grafana.state.folders["theirs"] = "Remora"
    with pytest.raises(GrafanaError, match="same name"):
        _push(client)
    assert grafana.state.dashboards == {}


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_comes_from_provisioning_is_left_to_it(grafana: RunningGrafana, client: Grafana, overwrite: bool) -> None:
    _push(client)
    grafana.state.dashboards["remora-mesh"].provisioned = True
    grafana.state.sources[PROMETHEUS_UID]["readOnly"] = True
    later = Sources("http://elsewhere:9090", SOURCES.elasticsearch, SOURCES.jaeger)
    results = _push(client, boards=_changed(BOARDS), sources=later, overwrite=overwrite)
    conflicts = {result.uid: result.why for result in results if result.action is Action.CONFLICT}
    assert set(conflicts) == {"remora-mesh", PROMETHEUS_UID}
    assert all("provisioning" in why for why in conflicts.values())


def test_a_data_source_of_a_user_by_our_name_is_a_conflict(grafana: RunningGrafana, client: Grafana) -> None:
    client.create_data_source(
        {"name": "Remora Prometheus", "uid": "x", "type": "prometheus", "access": "proxy", "url": "http://mine:9090"}
    )
    results = _push(client)
    conflict = next(result for result in results if result.action is Action.CONFLICT)
    assert (conflict.uid, conflict.why) == (PROMETHEUS_UID, "data source with the same name already exists")
    assert grafana.state.sources["x"]["url"] == "http://mine:9090"


def test_a_data_source_that_somebody_changes_meanwhile_is_a_conflict(grafana: RunningGrafana, client: Grafana) -> None:
    _push(client)

    class Late(Grafana):
        def update_data_source(self, uid: str, payload: dict[str, Any]) -> None:
            grafana.state.sources[uid]["version"] += 1
            super().update_data_source(uid, payload)

    late = Late(grafana.url, TOKEN)
    try:
        later = Sources("http://elsewhere:9090", SOURCES.elasticsearch, SOURCES.jaeger)
        conflict = next(result for result in _push(late, sources=later) if result.action is Action.CONFLICT)
    finally:
        late.close()
    assert "updated by someone else" in conflict.why


def test_every_request_has_the_token_and_no_error_tells_it(grafana: RunningGrafana) -> None:
    wrong = Grafana(grafana.url, "glsa_wrong")
    with pytest.raises(GrafanaError, match="does not know the token") as raised:
        _push(wrong)
    wrong.close()
    assert "glsa_wrong" not in str(raised.value)
    assert grafana.state.users == ["Bearer glsa_wrong"]


@pytest.mark.parametrize("role", ["Viewer", "Editor"])
def test_a_token_that_may_not_is_told_what_it_needs(grafana: RunningGrafana, client: Grafana, role: str) -> None:
    grafana.state.role = role
    with pytest.raises(GrafanaError, match="needs the role Editor, for data sources Admin"):
        _push(client)


def test_an_editors_token_pushes_dashboards_without_data_sources(grafana: RunningGrafana, client: Grafana) -> None:
    grafana.state.role = "Editor"
    assert _actions(_push(client, sources=Sources())) == {Action.CREATED: len(BOARDS) + 1}


def test_a_redirect_is_shown_and_not_followed(grafana: RunningGrafana, client: Grafana) -> None:
    grafana.state.redirect_to = "http://169.254.169.254/latest"
    with pytest.raises(GrafanaError, match=r"leads to http://169\.254\.169\.254/latest: give that address"):
        _push(client)
    assert len(grafana.state.asked) == 1


def test_a_grafana_below_a_path_is_reached_there() -> None:
    running = RunningGrafana(FakeGrafana(prefix="/monitoring/grafana"))
    client = Grafana(running.url + "/", TOKEN)
    try:
        assert client.version() == "12.1.0"
        assert _actions(_push(client)) == {Action.CREATED: EVERYTHING}
    finally:
        client.close()
        running.close()


def test_nobody_there_is_one_line() -> None:
    client = Grafana("http://127.0.0.1:1", TOKEN)
    with pytest.raises(GrafanaError, match=r"cannot reach http://127\.0\.0\.1:1: \[Errno 111\] Connection refused"):
        client.version()
    client.close()


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("grafana:3000", "wanted http://"),
        ("ftp://grafana", "wanted http://"),
        ("http://", "wanted http://"),
        ("http://admin:secret@grafana:3000", "no user and password"),
        ("http://grafana:3000/?orgId=1", "ends with its path"),
    ],
)
def test_what_is_no_address_is_refused_without_showing_secrets(url: str, wanted: str) -> None:
    with pytest.raises(BadAddress, match=wanted) as raised:
        Grafana(url, None)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("title", "uid"),
    [("Remora", "remora"), ("Team A / Mesh!", "team-a-mesh"), ("x" * 60, "x" * 40)],
)
def test_a_folders_uid_follows_from_its_title(title: str, uid: str) -> None:
    assert Folder(title).uid == uid


@pytest.mark.parametrize("title", ["", "///", "x" * 190])
def test_a_title_without_letters_is_refused(title: str) -> None:
    with pytest.raises(BadFolder):
        Folder(title)


def test_the_fingerprint_of_a_data_source_is_of_what_is_sent() -> None:
    first, second = (Sources(url).payloads()[0]["jsonData"][FINGERPRINT] for url in ("http://a:1", "http://b:1"))
    assert first != second
    assert Sources("http://a:1").payloads()[0]["jsonData"][FINGERPRINT] == first
