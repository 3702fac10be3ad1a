"""
A registry: what is asked of it, and in which order.

What it has is not sent again: an index that is there means all of it is; a layer is asked for, then taken over from the
repository of another node, then sent. The index comes last, so that nobody ever finds half an image. Formats: the OCI
distribution specification 1.1; for tokens, https://distribution.github.io/distribution/spec/auth/token/.
"""

import base64
import json
import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urljoin

from parigot_oci.credentials import Credentials, config_file, credentials
from parigot_oci.errors import Problem, RegistryError
from parigot_oci.https import Answer, BrokenError, Client, NotTrustedError, is_local
from parigot_oci.image import INDEX, MANIFEST, BuiltImage, Index, as_json, built, described
from parigot_oci.layers import sha256

TRIES = 4
"""So often a request is made that failed for reasons that pass, a second apart, then two, then four."""
_PASSING = {429, 500, 502, 503, 504}
_DOCKER = "application/vnd.docker.distribution.manifest"
_MANIFESTS = ", ".join((INDEX, MANIFEST, f"{_DOCKER}.list.v2+json", f"{_DOCKER}.v2+json"))


@dataclass(frozen=True, kw_only=True)
class Registry:
    """
    A registry that answered. `host` as in image names; `prefix`: goes before the names of images, "" or
    "team/". `tokens`: what it gave for which scope.
    """

    host: str
    prefix: str
    who: Credentials | None
    client: Client
    say: Callable[[str], None]
    tokens: dict[str, str] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)
    """Digest of a blob -> a repository that has it."""

    @property
    def url(self) -> str:
        """Where it is."""
        return self.client.url

    def greeted(self) -> "Registry":
        """It, once it has said that it is a registry, or wants a login: for before any work is done. RegistryError."""
        self._expected(self.client.ask("GET", f"{self.url}/v2/"), {200, 401}, "to say that it is a registry")
        return self

    def build(self, index: Index) -> BuiltImage:
        """Uploads what is missing. RegistryError."""
        repository = self.prefix + index.name
        if not self._has(repository, index):
            blobs = {blob.digest: blob for image in index.images for blob in image.blobs}
            for blob in blobs.values():
                self._blob(repository, blob.digest, blob.size, blob.path)
            for data in (b"{}", *(image.config for image in index.images), *(bill.document for bill in index.bills)):
                self._blob(repository, f"sha256:{sha256(data)}", len(data), data)
            for image in index.images:
                self._manifest(repository, image.digest, MANIFEST, image.manifest)
            for bill in index.bills:
                self._bill(repository, bill.manifest)
            self._manifest(repository, index.tag, INDEX, index.data)
        for image in index.images:
            self.places.update((blob.digest, repository) for blob in image.blobs)
        return built(index, f"{self.host}/{repository}@{index.digest}", remote=True)

    def manifest(self, repository: str, reference: str) -> bytes:
        """What a tag or a digest names. RegistryError, also where it is not what the digest says."""
        path = f"{repository}/manifests/{reference}"
        content = self._expected(self._ask("GET", path, repository, accept=_MANIFESTS), {200}, path).content
        return self._checked(content, reference) if ":" in reference else content

    def blob(self, repository: str, digest: str) -> bytes:
        """A blob of at most MOST bytes. RegistryError, also where it is not what its digest says."""
        path = f"{repository}/blobs/{digest}"
        return self._checked(self._expected(self._ask("GET", path, repository), {200}, path).content, digest)

    def _checked(self, content: bytes, digest: str) -> bytes:
        if f"sha256:{sha256(content)}" != digest:
            raise RegistryError(Problem(what=f"{self.host} gave something else for {digest}", hint="do not trust it"))
        return content

    # --- parts of an upload ------------------------------------------------------------------------------------------

    def _has(self, repository: str, index: Index) -> bool:
        """Under its tag: which also keeps it from being collected."""
        found = self._ask("HEAD", f"{repository}/manifests/{index.tag}", repository, push=True, accept=INDEX)
        return found.status == 200 and found.headers.get("docker-content-digest") == index.digest

    def _blob(self, repository: str, digest: str, size: int, data: Path | bytes) -> None:
        if self._ask("HEAD", f"{repository}/blobs/{digest}", repository, push=True).status == 200:
            return
        start, other = f"{repository}/blobs/uploads/", self.places.get(digest)
        if size >= 1 << 20:
            self.say(f"uploading {size / 1e6:.0f} MB to {self.host}/{repository}")
        for attempt in range(TRIES):  # each from its beginning: nobody knows what the last one has left behind
            if other and other != repository:
                begun = self._ask("POST", f"{start}?mount={digest}&from={other}", repository, push=True, source=other)
            else:
                begun = self._ask("POST", start, repository, push=True)
            if begun.status == 201:  # taken over
                return
            target = self._place(self._expected(begun, {202}, start), start, digest)
            done = self._ask("PUT", target, repository, push=True, data=data, tries=1, broken=attempt < TRIES - 1)
            if done.status not in _PASSING or attempt == TRIES - 1:
                self._expected(done, {201}, target)
                return
            time.sleep(1 << attempt)

    def _place(self, begun: Answer, start: str, digest: str) -> str:
        """Where an upload goes to that has begun: of this registry, or of whom it names."""
        place = begun.headers.get("location", "")
        target = urljoin(f"{self.url}/v2/{start}", place)
        if not place or not self.client.is_private(target):
            what = f"{self.host} wants uploads to go to {place or 'no place at all'}"
            hint = "a proxy in front of it has to tell it that it is reached by https (X-Forwarded-Proto)"
            raise RegistryError(Problem(what=what, hint=hint))
        return f"{target}{'&' if '?' in target else '?'}digest={digest}"

    def _manifest(self, repository: str, reference: str, kind: str, data: bytes) -> Answer:
        path = f"{repository}/manifests/{reference}"
        return self._expected(self._ask("PUT", path, repository, push=True, data=data, content=kind), {201}, path)

    def _bill(self, repository: str, manifest: bytes) -> None:
        """Registries that keep no list of who refers to an image have it under a tag (referrers tag schema)."""
        said = json.loads(manifest)
        done = self._manifest(repository, f"sha256:{sha256(manifest)}", MANIFEST, manifest)
        if done.headers.get("oci-subject"):
            return
        tag = str(said["subject"]["digest"]).replace(":", "-")
        found = self._ask("GET", f"{repository}/manifests/{tag}", repository, push=True, accept=INDEX)
        others = json.loads(found.content)["manifests"] if found.status == 200 else []
        mine = described(MANIFEST, manifest) | {"artifactType": said["artifactType"]}
        if all(each["digest"] != mine["digest"] for each in others):
            listed = as_json({"schemaVersion": 2, "mediaType": INDEX, "manifests": [*others, mine]})
            self._manifest(repository, tag, INDEX, listed)

    # --- requests ----------------------------------------------------------------------------------------------------

    def _ask(
        self,
        method: str,
        path: str,
        repository: str,
        *,
        push: bool = False,
        source: str = "",
        data: Path | bytes | None = None,
        accept: str = "",
        content: str = "application/octet-stream",
        tries: int = TRIES,
        broken: bool = False,
    ) -> Answer:
        """
        One request, repeated where that may help; with a token for what it needs. `source`: is read as well. `broken`: a
        connection that broke is told as an answer which passes, even by the last try.
        """
        url = path if path.startswith("http") else f"{self.url}/v2/{path}"
        scope = f"repository:{repository}:{'pull,push' if push else 'pull'}"
        scopes = [scope, *([f"repository:{source}:pull"] if source else [])]
        headers = {"Accept": accept} if accept else {}
        headers |= {"Content-Type": content} if data is not None else {}
        ours = url.startswith(f"{self.url}/")  # who we are is nobody else's business
        for attempt in range(tries):
            last = attempt == tries - 1
            try:
                answer = self.client.ask(
                    method, url, data=data, headers=headers | (self._known(scopes) if ours else {})
                )
                if ours and answer.status == 401 and self._learn(answer, scopes):
                    answer = self.client.ask(method, url, data=data, headers=headers | self._known(scopes))
            except BrokenError:
                if last and not broken:
                    raise
                answer = _BROKEN
            if answer.status not in _PASSING or last:
                return answer
            time.sleep(1 << attempt)
        raise AssertionError("the last attempt is given back")

    def _known(self, scopes: list[str]) -> dict[str, str]:
        found = self.tokens.get(" ".join(scopes)) or self.tokens.get("")
        return {"Authorization": found} if found else {}

    def _learn(self, answer: Answer, scopes: list[str]) -> bool:
        """Takes what the registry asks for; False where we have nothing to give."""
        scheme, _, rest = answer.headers.get("www-authenticate", "").partition(" ")
        asked = dict(re.findall(r'(\w+)="([^"]*)"', rest))
        if scheme.lower() == "basic" and self.who and self.who.user and "" not in self.tokens:
            secret = base64.b64encode(f"{self.who.user}:{self.who.password}".encode()).decode()
            self.tokens[""] = f"Basic {secret}"
            return True
        if scheme.lower() == "bearer" and "realm" in asked:
            self.tokens[" ".join(scopes)] = f"Bearer {self._token(asked, scopes)}"
            return True
        return False

    def _token(self, asked: Mapping[str, str], scopes: list[str]) -> str:
        realm, service = asked["realm"], asked.get("service", "")
        if not self.client.is_private(realm):
            what = f"{self.host} wants the password to go to {realm}, in plain text"
            raise RegistryError(Problem(what=what, hint="do not trust it"))
        if self.who and self.who.token:
            form = {"grant_type": "refresh_token", "refresh_token": self.who.token, "service": service}
            form |= {"client_id": "parigot-oci", "scope": " ".join(scopes)}
            said = self.client.ask("POST", realm, data=form, follow=False)  # wherever it led, the token would go along
        else:
            basic = (self.who.user, self.who.password) if self.who else None
            query = [("service", service), *(("scope", scope) for scope in scopes)]
            said = self.client.ask("GET", realm, query=query, basic=basic)
        try:
            value = json.loads(said.content) if said.status == 200 else {}
            return str(value.get("token") or value["access_token"])
        except (ValueError, KeyError, AttributeError) as error:
            raise self._refused(said, realm) from error

    def _expected(self, answer: Answer, wanted: set[int], what: str) -> Answer:
        if answer.status not in wanted:
            raise self._refused(answer, what)
        return answer

    def _refused(self, answer: Answer, what: str) -> RegistryError:
        """With the registry's own words, and what can be done."""
        try:
            said = "; ".join(f"{each['code']}: {each['message']}" for each in json.loads(answer.content)["errors"])
        except (ValueError, KeyError, TypeError):
            said = answer.content[:200].decode(errors="replace").strip()
        shown = re.sub(r"\?.*", "", what)
        problem = f"{self.host} refused {shown}: {answer.status} {said}".strip()
        who = f"as {self.who.user}" if self.who and self.who.user else "with a token" if self.who else "as nobody"
        hints = {
            401: f"you are asking {who}: docker login {self.host}",
            403: f"you are asking {who}, who may not do that there",
            404: "is the name right? some registries want repositories to be made first",
            413: "its limit for uploads is too low for a layer",
            429: "it is asked too often: try again later",
        }
        return RegistryError(Problem(what=problem, hint=hints.get(answer.status, "its log may say why")))


_BROKEN = Answer(status=503, headers={}, content=b"")


def at(
    place: str,
    say: Callable[[str], None] = lambda _text: None,
    *,
    config: Path | None = None,
    certs: Path = Path("/etc/docker/certs.d"),
) -> Registry:
    """
    The registry of `HOST[/PREFIX]`. Plain HTTP is for one on this machine alone, as docker has
    it. RegistryError.
    """
    host, _, prefix = place.removeprefix("https://").strip("/").partition("/")
    if not re.fullmatch(r"[A-Za-z0-9.-]+(:\d+)?|\[[0-9a-f:]+](:\d+)?", host) or not re.fullmatch(
        r"([a-z0-9]+([._-]+[a-z0-9]+)*(/|$))*", prefix
    ):
        hint = "it looks like registry.example, registry.example:5000 or registry.example/team"
        raise RegistryError(Problem(what=f"{place} names no registry", hint=hint))
    authority = str(file) if (file := certs / host / "ca.crt").is_file() else ""
    url = "https://registry-1.docker.io" if host == "docker.io" else f"https://{host}"
    client = _local(host, authority) if is_local(host) else Client(host, url, authority=authority)
    who = credentials(host, config or config_file())
    return Registry(host=host, prefix=f"{prefix}/" if prefix else "", who=who, client=client, say=say)


def _local(host: str, authority: str) -> Client:
    """On this machine: without TLS where it has none, and by no proxy."""
    authority = authority or os.environ.get("REQUESTS_CA_BUNDLE", "")
    client = Client(host, f"https://{host}", authority=authority, proxies=False)
    try:
        client.ask("GET", f"{client.url}/v2/")
    except NotTrustedError as error:
        if "certificate" in str(error.__cause__).lower():
            return client  # it does have one, and a request will say what is wrong with it
    except RegistryError:
        pass
    else:
        return client
    return Client(host, f"http://{host}", proxies=False)
