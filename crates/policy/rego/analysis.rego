# Findings of static, configuration and dynamic analysis: critical ones deny, of the others those that are new here and high.
package humdrum.analysis

blocking if input.environment.vulnerability_scan != "advisory"

open := [f | some f in input.findings; f.kind in {"static", "configuration", "dynamic"}; f.vex == null]

denying := [f | some f in open; weighs(f)]

weighs(f) if f.severity == "critical"

weighs(f) if {
	f.severity == "high"
	f.new
}

deny contains said(f) if {
	blocking
	some f in denying
}

warn contains said(f) if {
	not blocking
	some f in denying
}

warn contains {"rule": "analysis-known", "msg": sprintf("%d more that run here already or are below high", [rest])} if {
	rest := count(open) - count(denying)
	rest > 0
}

said(f) := {
	"rule": sprintf("%s-finding", [f.kind]),
	"msg": sprintf("%s, %s, in %s: %s", [f.rule, f.severity, f.place, f.title]),
	"fingerprint": f.fingerprint,
	"names": f.names,
	"evidence": f.place,
	"since": f.since,
	"fix": sprintf("mend %s, commit, `humdrum ship`", [f.place]),
}
