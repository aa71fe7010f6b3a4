"""The workbench as one ASGI app: the Streamlit pages, and the route by which the browser gets its session cookie.

`streamlit run workbench/server.py` starts it. (`streamlit run streamlit_app.py` works too; there, a reload signs out.)
A page cannot set an HttpOnly cookie, and a cookie set by JavaScript could be read by JavaScript: hence the route.
"""

from __future__ import annotations

import sys
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from streamlit.starlette import App

root = Path(__file__).resolve().parent.parent
if str(root) not in sys.path:  # `streamlit run` puts only this folder there
    sys.path.insert(0, str(root))

from workbench.log import setup_logging  # noqa: E402
from workbench.sessions import COOKIE, sessions  # noqa: E402

__all__ = ["app"]

SAME_SITE = {"same-origin", "none", ""}
"""`Sec-Fetch-Site`: "" from browsers that do not send it; they cannot send our JSON cross-site without leave either."""


async def session(request: Request) -> Response:
    """POST {"code"}: set the cookie for a sign-in just made. DELETE: end the session and clear the cookie."""
    if request.headers.get("sec-fetch-site", "") not in SAME_SITE:
        return Response(status_code=403)
    if request.method == "DELETE":
        sessions.close(request.cookies.get(COOKIE, ""))
        answer = Response(status_code=204)
        answer.delete_cookie(COOKIE, path="/")
        return answer
    if request.headers.get("content-type") != "application/json":
        return Response(status_code=415)
    try:
        body = await request.json()
    except ValueError:
        body = None
    ticket = sessions.take_over(str(body.get("code", ""))) if isinstance(body, dict) else ""
    if not ticket:
        return Response(status_code=403)
    answer = Response(status_code=204)
    secure = request.url.scheme == "https"
    answer.set_cookie(COOKIE, ticket, path="/", httponly=True, samesite="strict", secure=secure)
    return answer


setup_logging()
app = App(root / "streamlit_app.py", routes=[Route("/session", session, methods=["POST", "DELETE"])])
