"""The client: tokens renewed by themselves, errors as sentences; the sessions that keep it on the server."""

from __future__ import annotations

import socket
import threading

import pytest
from streamlit.testing.v1 import AppTest

from tests.workbench.fake_api import FakeApi
from tests.workbench.test_pages import button
from workbench.client import ApiError, Away, Client, Refused, SignedOut
from workbench.sessions import Sessions


def test_an_expired_token_is_renewed_once_for_all_threads(client: Client, api: FakeApi) -> None:
    api.expire()
    found: list[object] = []

    def ask() -> None:
        found.append(client.get("/status")["node"])

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["node-1"] * 8


def test_without_a_way_to_renew_the_sign_in_is_over(client: Client, api: FakeApi) -> None:
    api.expire()
    api.refreshes.clear()
    with pytest.raises(SignedOut):
        client.get("/status")


def test_problems_come_with_their_places(client: Client) -> None:
    with pytest.raises(Refused) as refused:
        client.save("destinations", None, {"name": "x", "kind": "nothing", "parallel": 99})
    (problem,) = refused.value.problems
    assert problem.loc == ("destinations", "x", "parallel")
    assert refused.value.status == 422


def test_nobody_there_is_said_in_words() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        with pytest.raises(Away, match="does not answer"):
            Client(url).login("ada", "x")


def test_signing_out_ends_the_token_at_the_api(client: Client, api: FakeApi) -> None:
    client.logout()
    assert api.did[-1] == ("logout", "ada")
    with pytest.raises(SignedOut):
        client.get("/status")


# the server-side sessions


def test_a_ticket_leads_to_its_client_until_it_is_closed(client: Client) -> None:
    sessions = Sessions()
    ticket = sessions.open(client)
    assert sessions.find(ticket) is client
    assert sessions.find("guessed") is None
    assert sessions.find("") is None
    sessions.close(ticket)
    assert sessions.find(ticket) is None


def test_the_ticket_itself_is_not_kept(client: Client) -> None:
    sessions = Sessions()
    ticket = sessions.open(client)
    assert ticket not in repr(sessions)


def test_a_code_is_good_once(client: Client) -> None:
    sessions = Sessions()
    ticket = sessions.open(client)
    code = sessions.hand_over(ticket)
    assert sessions.take_over(code) == ticket
    assert sessions.take_over(code) == ""


def test_an_old_code_is_good_for_nothing(client: Client) -> None:
    sessions = Sessions(handover_seconds=-1)
    assert sessions.take_over(sessions.hand_over(sessions.open(client))) == ""


def test_an_idle_or_very_old_ticket_ends(client: Client) -> None:
    for sessions in (Sessions(idle_seconds=-1), Sessions(longest_seconds=-1)):
        assert sessions.find(sessions.open(client)) is None


def test_forgetting_a_client_ends_all_its_tickets(client: Client) -> None:
    sessions = Sessions()
    tickets = [sessions.open(client), sessions.open(client)]
    other = Client(client.url)
    kept = sessions.open(other)
    sessions.forget(client)
    assert [sessions.find(t) for t in tickets] == [None, None]
    assert sessions.find(kept) is other


# the door


def sign_in(app: AppTest, password: str) -> AppTest:
    app.run()
    app.text_input[0].set_value("ada")
    app.text_input[1].set_value(password)
    button(app, "Sign in").click()
    return app.run()


def test_signing_in_leads_to_today_and_out_to_the_door(app: AppTest) -> None:
    at = sign_in(app, "correct horse")
    assert at.title[0].value == "Today"
    button(at, "Sign out").click().run()
    assert [t.label for t in at.text_input] == ["Username", "Password"]
    assert "client" not in at.session_state


def test_a_wrong_password_says_no_more_than_that(app: AppTest) -> None:
    at = sign_in(app, "wrong")
    assert at.error[0].value == "This username and password do not go together."


def test_the_door_says_when_the_api_is_away(app: AppTest, api: FakeApi) -> None:
    api.status_code = 502
    assert "does not answer" in sign_in(app, "correct horse").error[0].value


def test_the_first_password_must_be_changed(app: AppTest, api: FakeApi) -> None:
    api.users["ada"]["must_change"] = True
    at = sign_in(app, "correct horse")
    assert "Choose your own password" in [h.value for h in at.subheader]
    for field, text in zip(at.text_input, ("short", "short"), strict=True):
        field.set_value(text)
    button(at, "Save and go on").click().run()
    assert at.error[0].value == "Take 10 characters or more."
    for field, text in zip(at.text_input, ("battery staple", "battery staple"), strict=True):
        field.set_value(text)
    button(at, "Save and go on").click().run()
    assert at.title[0].value == "Today"
    assert api.users["ada"]["password"] == "battery staple"


def test_two_different_new_passwords_are_not_sent(app: AppTest, api: FakeApi) -> None:
    api.users["ada"]["must_change"] = True
    at = sign_in(app, "correct horse")
    for field, text in zip(at.text_input, ("battery staple", "battery stapel"), strict=True):
        field.set_value(text)
    button(at, "Save and go on").click().run()
    assert at.error[0].value == "The two new passwords differ."
    assert api.users["ada"]["password"] == "correct horse"


def test_a_role_that_may_not_is_told_so(client: Client, api: FakeApi) -> None:
    api.status_code = 403
    with pytest.raises(ApiError) as refused:
        client.get("/status")
    assert refused.value.status == 403
