# Secrets in what is to be deployed or in its source: a secret that was seen is spent, wherever it was seen first.
package humdrum.secrets

blocking if input.environment.vulnerability_scan != "advisory"

found := [f | some f in input.findings; f.kind == "secret"; f.vex == null; f.severity != "info"]

deny contains said(f) if {
	blocking
	some f in found
}

warn contains said(f) if {
	not blocking
	some f in found
}

said(f) := {
	"rule": "secret-found",
	"msg": sprintf("%s in %s: %s", [f.rule, f.place, f.title]),
	"fingerprint": f.fingerprint,
	"names": f.names,
	"evidence": f.place,
	"since": f.since,
	"fix": sprintf("revoke the secret where it was issued, take it out of %s, commit, `humdrum ship`", [f.place]),
}
