"""The story of 40-evidence.sh."""

import base64
import contextlib
import json
import os
import pathlib
import sqlite3
import subprocess
import sys
import time

from world import World, fail, must

world = World(sys.argv[1])
world.make_shop(f"  production: {{ port: {world.ports[2]}, rollout: {{ canary: {{ soak: 1s }} }} }}\n")
world.up()
world.commit("hello from the first release")
ship = world.ship()

end = time.monotonic() + 90
while world.outcome(ship) is None and time.monotonic() < end:
    time.sleep(0.1)
shown = world.api(f"/api/v1/ships/{ship}")
must(shown["outcome"] == "promoted", f"the release was not promoted: {shown}")
digest, registry = shown["digest"], f"127.0.0.1:{world.api_port}"
token = (world.data / "token").read_text().strip()
image = f"{registry}/demo-shop@{digest}"

# What docker login would write.
auth = world.folder / "docker" / "config.json"
auth.parent.mkdir()
auth.write_text(json.dumps({"auths": {registry: {"auth": base64.b64encode(f"humdrum:{token}".encode()).decode()}}}))
auth.chmod(0o600)


def tool(*command, check=True, env=None):
    # An unreachable proxy keeps the check off the network: it has to work with the key alone.
    around = os.environ | {"HOME": str(world.folder), "DOCKER_CONFIG": str(auth.parent), "REGISTRY_AUTH_FILE": str(auth), "HTTPS_PROXY": "http://127.0.0.1:9"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=around | (env or {}), cwd=world.folder)
    if check and done.returncode != 0:
        fail(f"`{' '.join(command)}` ended with {done.returncode}\n{done.stdout[-1500:]}{done.stderr[-1500:]}")
    return done


# cosign, by key and offline.
key = ["--key", str(world.data / "keys" / "signing.pub"), "--insecure-ignore-tlog", "--allow-http-registry"]
tool("cosign", "verify", *key, image)
for predicate in ("cyclonedx", "slsaprovenance1", "https://slsa.dev/verification_summary/v1"):
    tool("cosign", "verify-attestation", *key, "--type", predicate, image)
wrong = tool("cosign", "verify-attestation", *key, "--type", "openvex", image, check=False)
must(wrong.returncode != 0, "cosign accepts a predicate that is not there")

# skopeo out to a layout and back under another name: the same bytes.
layout = world.folder / "layout"
tool("skopeo", "copy", "--preserve-digests", "--src-tls-verify=false", f"docker://{image}", f"oci:{layout}:v1")
tool("skopeo", "copy", "--preserve-digests", "--dest-tls-verify=false", f"oci:{layout}:v1", f"docker://{registry}/copied/shop:v1")
found = json.loads(tool("skopeo", "inspect", "--tls-verify=false", f"docker://{registry}/copied/shop:v1").stdout)["Digest"]
must(found == digest, f"the copy is {found}, not {digest}")

# podman pulls it and starts it without a network. It serves until it is stopped; what it says first is enough.
podman = ["podman", "--root", str(world.folder / "p"), "--runroot", str(world.folder / "r"), "--tmpdir", str(world.folder / "t"), "--storage-driver", "vfs"]
conf = {"CONTAINERS_CONF": str(pathlib.Path(__file__).resolve().parents[3] / "scripts" / "containers.conf")}
tool(*podman, "pull", "--quiet", "--tls-verify=false", image, env=conf)
tool(*podman, "run", "--detach", "--name", "shop", "--network", "none", "--env", "PORT=8080", image, env=conf)
try:
    end, said = time.monotonic() + 20, ""
    while "listening on 8080" not in said and time.monotonic() < end:
        said = tool(*podman, "logs", "shop", env=conf).stdout
        time.sleep(0.1)
    must("listening on 8080" in said, f"the container said {said!r}")
finally:
    tool(*podman, "rm", "--force", "--time", "1", "shop", env=conf, check=False)

# One byte at a time.
index = sqlite3.connect(world.data / "registry" / "registry.db", timeout=10)
repository = index.execute("SELECT id FROM repository WHERE name = 'demo-shop'").fetchone()[0]


def verify():
    return world.humdrum("verify", "--json", f"demo-shop@{digest}", check=False)


def flipped(data, at):
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@contextlib.contextmanager
def manifest_changed(of):
    old = index.execute("SELECT body FROM manifest WHERE repository = ? AND digest = ?", (repository, of)).fetchone()[0]
    update = "UPDATE manifest SET body = ? WHERE repository = ? AND digest = ?"
    with index:
        index.execute(update, (flipped(old, old.index(b"sha256:") + 20), repository, of))
    yield
    with index:
        index.execute(update, (old, repository, of))


@contextlib.contextmanager
def blob_changed(of):
    path = next(path for path in (world.data / "registry").rglob("*") if path.is_file() and path.name.endswith(of.split(":")[1]))
    old, mode = path.read_bytes(), path.stat().st_mode
    path.chmod(0o600)
    # In the payload: the text stays JSON.
    path.write_bytes(flipped(old, old.index(b'"payload"') + 40))
    yield
    path.write_bytes(old)
    path.chmod(mode)


kinds = {
    "https://cyclonedx.org/bom": "SBOM",
    "https://slsa.dev/provenance/v1": "provenance",
    "https://sigstore.dev/cosign/sign/v1": "signature",
}
bundles = {}
for (body,) in index.execute("SELECT body FROM manifest WHERE repository = ? AND subject = ?", (repository, digest)):
    manifest = json.loads(body)
    kind = str(manifest.get("annotations", {}).get("dev.sigstore.bundle.predicateType", ""))
    if kind in kinds:
        bundles[kinds[kind]] = manifest["layers"][0]["digest"]
must(set(bundles) == {"SBOM", "provenance", "signature"}, f"the referrers are {bundles}")

accepted = verify()
must(accepted.returncode == 0, f"verify of the untouched image: {accepted.returncode} {accepted.stdout}{accepted.stderr}")
reasons = {}
changes = [("manifest", manifest_changed(digest))] + [(name, blob_changed(of)) for name, of in bundles.items()]
for name, change in changes:
    with change:
        refused = verify()
    must(refused.returncode == 3, f"{name} changed: exit {refused.returncode}, expected 3: {refused.stdout}{refused.stderr}")
    answer = json.loads(refused.stdout.strip().splitlines()[-1])
    reasons[name] = tuple(sorted({(check["name"], check.get("reason")) for check in answer["checks"] if check["outcome"] != "passed"}))
    must(reasons[name], f"{name} changed: no check names it: {answer}")
must(len(set(reasons.values())) == len(reasons), f"the reasons are not told apart: {reasons}")
must(verify().returncode == 0, "the restored image is not accepted")
told = ", ".join(f"{name}: {' + '.join(f'{check} {reason}' for check, reason in why)}" for name, why in reasons.items())
print(f"evidence: cosign accepts signature, SBOM and provenance; copied out and in with the same digest; podman ran it; refused with exit 3 ({told})")
