"""The workbench's front door: sign-in and the page list."""

from __future__ import annotations

import streamlit as st

from workbench import parts, signin
from workbench.brand import ICON

PAGES = {
    "": [("today", "Today", "home"), ("instance", "Find an image", "search"), ("browser", "Data browser", "travel_explore")],
    "Needs a person": [("held", "Held", "front_hand"), ("deliveries", "Deliveries", "outbox")],
    "Set up": [
        ("rules", "Rules", "alt_route"),
        ("sources", "Sources", "input"),
        ("destinations", "Destinations", "output"),
        ("schedules", "Schedules", "schedule"),
        ("crosswalk_sources", "Crosswalk sources", "database"),
        ("crosswalk_maps", "Crosswalk maps", "swap_horiz"),
        ("alerts", "Alerts", "notifications"),
        ("channels", "Channels", "campaign"),
        ("revisions", "Revisions", "history"),
    ],
    "Ask": [
        ("history", "History", "query_stats"),
        ("whatif", "What if", "history_toggle_off"),
        ("analysis", "Analysis", "troubleshoot"),
    ],
    "Who may": [("people", "People", "group"), ("keys", "API keys", "key"), ("secrets", "Stored secrets", "lock")],
}

st.set_page_config(page_title="Axiom Flow", page_icon=ICON, layout="wide")
parts.style()
signin.gate()
if not signin.may("administer"):  # the API refuses it anyway
    PAGES["Who may"] = [entry for entry in PAGES["Who may"] if entry[0] != "people"]

pages = {
    name: st.Page(f"workbench/pages/{name}.py", title=title, default=name == "today")
    for section in PAGES.values()
    for name, title, _ in section
}
page = st.navigation(list(pages.values()), position="hidden")
with st.sidebar:
    parts.side_bar({head: [(pages[name], icon) for name, _, icon in section] for head, section in PAGES.items()})
    signin.keep_cookie()

with parts.calm():
    parts.entered(page.url_path)
    page.run()
