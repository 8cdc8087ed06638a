"""Gates as a person meets them: dry run, an own policy, a waiver and its end, a policy that does not load."""

import json
import pathlib
import random
import string
import sys

from world import World, must

POLICY = """package team

deny contains {"rule": "team-frozen", "msg": "the shop is frozen by its team", "fix": "ask team shop"} if {
\tinput.service == "demo-shop"
\tinput.environment.name == "production"
}

test_it if count(deny) == 1 with input as {"service": "demo-shop", "environment": {"name": "production"}}
"""


ADVISORY = {
    "id": "TEST-2026-1", "modified": "2026-11-01T00:00:00Z", "summary": "a library of the test's own",
    "severity": [{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}],
    "affected": [{"package": {"ecosystem": "Debian:12", "name": "libc6"}, "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "99"}]}]}],
}
FILES = "/app/demo-shop: target/release/demo-shop"


def main():
    world = World(pathlib.Path(sys.argv[1]))
    world.make_shop(f"  production: {{ port: {world.ports[2]}, instances: 1, rollout: {{ all_at_once: {{}} }}, soak: 1s }}\n")
    world.commit("hello")
    world.up()
    must(world.shipped() == "promoted", "the first release was not promoted")

    def check(*more):
        done = world.humdrum("gate", "check", "HEAD", "--env", "production", "--json", *more, at=world.shop, check=False)
        must(done.stdout, f"`humdrum gate check` ended with {done.returncode} and said only {done.stderr}")
        return done.returncode, json.loads(done.stdout.strip().splitlines()[-1])

    code, said = check()
    must(code == 0 and not said["refused"], f"the release that runs would be refused: {said}")
    reported = {one["code"] for one in said["results"] if one.get("reported")}
    must("scan-missing-vulnerability" in reported, f"a missing scan is not reported: {reported}")
    must("scan-missing-secret" not in reported, f"the build searched for secrets: {reported}")

    policies = world.data / "policies"
    policies.mkdir()
    (policies / "team.rego").write_text(POLICY)
    recorded = world.folder / "facts.json"
    code, said = check("--record", str(recorded))
    denials = [one for one in said["results"] if not one["passed"]]
    must(code == 3 and [one["code"] for one in denials] == ["team-frozen"], f"exit {code}: {denials}")
    must(all(denials[0][key] for key in ("evidence", "since", "owner", "fix", "waive")), str(denials))
    must(world.humdrum("gate", "test", str(recorded), check=False).returncode == 3, "recorded facts pass")

    world.commit("hello again")
    must(world.shipped() == "refused", "a refused release was shipped")
    text = world.humdrum("explain", "last").stdout
    must("team-frozen" in text and "humdrum waive team-frozen" in text, text)

    world.humdrum("waive", "team-frozen", "--service", "demo-shop", "--env", "production", "--until", "1h", "--reason", "agreed")
    must("team-frozen for demo-shop in production" in world.humdrum("waivers").stdout, "the waiver is not listed")
    must(world.shipped() == "promoted", "a waived release was refused")
    world.humdrum("waivers", "revoke", "w-1", "--why", "over")
    must(check()[0] == 3, "a revoked waiver counts")
    kinds = [row["kind"] for row in world.api("/api/v1/feed?limit=1000") if row["kind"].startswith("waiver_")]
    must(kinds == ["waiver_granted", "waiver_revoked"], f"the feed has {kinds}")

    (policies / "team.rego").write_text('package team\ndeny contains "x" if http.send({})\n')
    done = world.humdrum("gate", "policies", check=False)
    must(done.returncode == 2 and "team.rego:2:22" in done.stderr and "http.send" in done.stderr, done.stderr)
    code, said = check()
    must(code == 3 and any(one.get("code") == "policy-builtin" for one in said["results"]), str(said["results"]))

    settings = "gates: { vulnerability_scan: { production: blocking } }\n"
    (policies / "team.rego").unlink()
    (policies / "data.yaml").write_text(settings)
    code, said = check()
    missing = sorted(one["code"] for one in said["results"] if not one["passed"])
    must(missing == ["scan-missing-licence", "scan-missing-vulnerability"], str(missing))

    # An advisory about a library of the image: found at the next check, without a new build or release.
    settings = settings.replace("blocking }", "blocking }, required_scans: [vulnerability, secret]")
    (policies / "data.yaml").write_text(settings)
    (world.folder / "osv").mkdir()
    (world.folder / "osv" / "TEST-1.json").write_text(json.dumps(ADVISORY))
    world.humdrum("advisories", "import", str(world.folder / "osv"))
    code, said = check()
    denied = {one["code"]: one for one in said["results"] if not one["passed"]}
    must(code == 3 and "vulnerability-critical" in denied, str(denied))
    must("update pkg:deb/debian/libc6@" in denied["vulnerability-critical"]["fix"] and " to 99" in denied["vulnerability-critical"]["fix"], str(denied))

    # A secret in the image. It is put together here, so that this file holds none.
    token = "ghp_" + "".join(random.Random(7).choices(string.ascii_letters + string.digits, k=36))
    (world.shop / "config.env").write_text(f"TOKEN={token}\n")
    manifest = (world.shop / "humdrum.yaml").read_text()
    must(FILES in manifest, "the manifest has another form")
    (world.shop / "humdrum.yaml").write_text(manifest.replace(FILES, FILES + ", /app/config.env: config.env"))
    world.commit("hello with a secret")
    must(world.shipped() == "refused", "a release with a secret was shipped")
    code, said = check()
    denied = [one for one in said["results"] if one.get("code") == "secret-found"]
    must(code == 3 and denied and "app/config.env" in denied[0]["what"], str(said["results"]))
    must(token not in json.dumps(said), "the secret is shown")
    world.humdrum("down")


main()
