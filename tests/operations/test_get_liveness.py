"""GET /health/live."""

from tests.applications import application


def test_200_while_requests_are_answered(client):
    response = client.get("/api/health/live")

    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.json() == {"status": "ok"}


def test_200_also_without_a_database(tmp_path):
    with application(SQLALCHEMY_DATABASE_URI=f"sqlite:///{tmp_path}/no/such/folder/api.db") as app:
        response = app.test_client().get("/api/health/live")

    assert response.status_code == 200
    assert response.json() == {"status": "ok"}
