"""The typed client of a taskgraft service, sync and async: httpx and pydantic, nothing of ours.

with Client("http://127.0.0.1:8000") as client:
    client.score("u1", ["i1", "i2"], tasks=["like"]).scores["like"]
"""

from client.asynchronous import AsyncClient
from client.errors import ClientError
from client.synchronous import Client

__all__ = ["AsyncClient", "Client", "ClientError"]
