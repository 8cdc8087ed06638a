# Licences: what the licence scan finds denies, unless `licences_allowed` lists it.
package humdrum.licences

blocking if input.environment.vulnerability_scan != "advisory"

allowed := {licence | some licence in input.settings.licences_allowed}

found := [f |
	some f in input.findings
	f.kind == "licence"
	f.vex == null
	f.severity != "info"
	not f.rule in allowed
]

deny contains said(f) if {
	blocking
	some f in found
}

warn contains said(f) if {
	not blocking
	some f in found
}

said(f) := {
	"rule": "licence-denied",
	"msg": sprintf("%s is under %s: %s", [what(f), f.rule, f.title]),
	"fingerprint": f.fingerprint,
	"names": f.names,
	"evidence": f.link,
	"since": f.since,
	"fix": sprintf("replace %s, or add %s to licences_allowed after legal review", [what(f), f.rule]),
}

what(f) := f.package if {
	f.package != null
} else := f.place
