"""
Who we are to a registry: what `docker login` has kept, in the docker config or with a helper program.

Formats: config.json of the docker command ("auths", "credsStore", "credHelpers"); the protocol of credential helpers,
https://github.com/docker/docker-credential-helpers.
"""

import base64
import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parigot_oci.errors import Problem, RegistryError

WAIT = 30.0
"""Seconds that a helper may take: it may ask the user for a password."""
HUB = "https://index.docker.io/v1/"
"""What the docker config calls Docker Hub."""
_TOKEN = "<token>"


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """A user with a password; or, where there is no user, a `token` that a registry takes for others."""

    user: str = ""
    password: str = ""
    token: str = ""


def config_file(env: Mapping[str, str] = os.environ) -> Path:
    """The docker config, where the docker command has it."""
    return Path(env.get("DOCKER_CONFIG") or Path.home() / ".docker") / "config.json"


def credentials(host: str, config: Path) -> Credentials | None:
    """What is kept for a registry ("registry.example:5000"), None where nothing is. RegistryError: it cannot be read."""
    said = _read(config)
    names = [HUB] if host in {"docker.io", "registry-1.docker.io"} else [host, f"https://{host}", f"https://{host}/v2/"]
    for name in names:
        if helper := _of(said, "credHelpers").get(name):
            return _asked(str(helper), name)
    if helper := said.get("credsStore"):
        for name in names:
            if found := _asked(str(helper), name):
                return found
    for name in names:
        if name in _of(said, "auths"):
            return _kept(_of(said, "auths")[name], host, config)
    return None


def _read(config: Path) -> Mapping[str, Any]:
    try:
        value = json.loads(config.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        what = f"the docker config cannot be read: {error}"
        raise RegistryError(
            Problem(what=what, file=str(config), hint="mend it, or name another by DOCKER_CONFIG")
        ) from error
    return value if isinstance(value, dict) else {}


def _of(value: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = value.get(key)
    return found if isinstance(found, dict) else {}


def _kept(entry: Any, host: str, config: Path) -> Credentials | None:
    if not isinstance(entry, dict):
        return None
    if entry.get("identitytoken"):
        return Credentials(token=str(entry["identitytoken"]))
    user, password = str(entry.get("username") or ""), str(entry.get("password") or "")
    if entry.get("auth"):
        try:
            user, _, password = base64.b64decode(str(entry["auth"]), validate=True).decode().partition(":")
        except ValueError as error:
            what = f"what it keeps for {host} is no user and password in base64"
            raise RegistryError(Problem(what=what, file=str(config), hint=f"docker login {host}")) from error
    return Credentials(user=user, password=password.rstrip("\0")) if user else None


def _asked(helper: str, name: str) -> Credentials | None:
    """What a helper keeps for a name; None where it says that it keeps nothing, the one failure that is none."""
    program = f"docker-credential-{helper}"
    hint = "the docker config names this helper: see that it works, or take it out"
    if "/" in helper or "\0" in helper:
        raise RegistryError(Problem(what=f"{helper!r} is no name of a credential helper, but a path", hint=hint))
    try:
        done = subprocess.run(
            [program, "get"],
            input=name,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=WAIT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise RegistryError(Problem(what=f"{program} has not answered within {WAIT:g} s", hint=hint)) from None
    except OSError as error:
        raise RegistryError(Problem(what=f"{program} cannot be started: {error.strerror}", hint=hint)) from error
    if done.returncode:
        said = (done.stdout + done.stderr).strip()
        if "credentials not found" in said.lower():
            return None
        raise RegistryError(Problem(what=f"{program}: {said[:500] or done.returncode}", hint=hint))
    try:
        value = json.loads(done.stdout)
        user, secret = str(value["Username"]), str(value["Secret"])
    except (ValueError, KeyError, TypeError) as error:
        raise RegistryError(Problem(what=f"{program} has not answered as a helper does", hint=hint)) from error
    return Credentials(token=secret) if user == _TOKEN else Credentials(user=user, password=secret)
