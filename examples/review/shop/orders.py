"""A small web shop, with mistakes that a reviewer should find and look-alikes that it should not."""

import hashlib
import os
import shlex
import sqlite3

from flask import Flask, redirect, request
from markupsafe import escape

app = Flask(__name__)
BACKUPS = "/srv/shop/backups"


@app.route("/orders")
def find_orders():
    """Mistake: the customer's name is written into the statement."""
    name = request.args.get("name", "")
    rows = sqlite3.connect("shop.db").execute(f"SELECT id FROM orders WHERE customer = '{name}'")
    return {"orders": [row[0] for row in rows]}


@app.route("/orders/safe")
def find_orders_safely():
    """No mistake: the name is a parameter."""
    name = request.args.get("name", "")
    rows = sqlite3.connect("shop.db").execute("SELECT id FROM orders WHERE customer = ?", (name,))
    return {"orders": [row[0] for row in rows]}


@app.route("/orders/sorted")
def sorted_orders():
    """No mistake: what is put into the statement comes from a fixed list."""
    column = request.args.get("by", "id")
    if column not in ("id", "date"):
        column = "id"
    rows = sqlite3.connect("shop.db").execute(f"SELECT id FROM orders ORDER BY {column}")
    return {"orders": [row[0] for row in rows]}


@app.route("/backup", methods=["POST"])
def backup():
    """Mistake: the label reaches a shell. The second command quotes it."""
    label = request.form["label"]
    os.system("tar cf backup.tar " + label)
    os.system("tar cf backup.tar " + shlex.quote(label))
    return "done"


@app.route("/download")
def download():
    """Mistake: the path can lead out of its folder. The second one cannot."""
    name = request.args["name"]
    with open(f"{BACKUPS}/{name}") as file:
        first = file.read()
    with open(f"{BACKUPS}/{os.path.basename(name)}") as file:
        return {"first": first, "second": file.read()}


@app.route("/hello")
def hello():
    """Mistake: the name is part of the page as it came."""
    return "<h1>Hello " + request.args.get("name", "") + "</h1>"


@app.route("/hello/safe")
def hello_safely():
    """No mistake: the name is escaped."""
    return f"<h1>Hello {escape(request.args.get('name', ''))}</h1>"


@app.route("/next")
def go_on():
    """Mistake left standing on purpose, and why."""
    return redirect(request.args["to"])  # quorate: ignore[CWE-601] the proxy in front allows our own hosts only


def etag(body: bytes) -> str:
    """No mistake: the hash is declared not to be for security."""
    return hashlib.md5(body, usedforsecurity=False).hexdigest()
