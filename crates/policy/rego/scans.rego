# Scans: each required kind is there, finished, fresh and, where the environment wants it, attested. No evidence is not "clean".
package humdrum.scans

blocking if input.environment.vulnerability_scan != "advisory"

attested if input.environment.vulnerability_scan == "blocking + attestation"

deny contains problem if {
	blocking
	some problem in problems
}

warn contains problem if {
	not blocking
	some problem in problems
}

problems contains said("missing", kind, sprintf("no %s scan of %s is recorded", [kind, input.artifact]), null) if {
	some kind in input.settings.required_scans
	count([s | some s in input.scans; s.kind == kind]) == 0
}

problems contains said("failed", s.kind, sprintf("%s did not finish: %s", [s.scanner, s.failed]), s.at) if {
	some s in input.scans
	s.failed != null
}

problems contains said("stale", s.kind, sprintf("%s looked %d h ago, at most %d are allowed", [s.scanner, s.age_hours, input.settings.scan_hours_max]), s.at) if {
	some s in input.scans
	s.age_hours > input.settings.scan_hours_max
}

problems contains said("from-future", s.kind, sprintf("%s says that it looked at %s, which is still to come: a clock is wrong", [s.scanner, s.at]), s.at) if {
	some s in input.scans
	s.from_future
}

problems contains said("data-stale", s.kind, sprintf("%s knows advisories until %d h ago, at most %d are allowed", [s.scanner, s.data_age_hours, input.settings.data_hours_max]), s.data_as_of) if {
	some s in input.scans
	s.data_age_hours > input.settings.data_hours_max
}

# Advisories without a date may be of any age.
problems contains said("data-undated", s.kind, sprintf("%s does not say how old its advisories are", [s.scanner]), s.at) if {
	some s in input.scans
	s.kind == "vulnerability"
	s.data_as_of == null
	s.failed == null
}

problems contains said("unattested", s.kind, sprintf("what %s says is not a signed statement that verifies: %s", [s.scanner, s.attestation]), s.at) if {
	attested
	some s in input.scans
	not s.attested
}

said(problem, kind, msg, since) := {
	"rule": sprintf("scan-%s-%s", [problem, kind]),
	"msg": msg,
	"since": since,
	"fix": sprintf("scan again for %s, with fresh data: `humdrum ship`", [kind]),
}
