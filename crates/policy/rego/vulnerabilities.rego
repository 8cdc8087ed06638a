# Known vulnerabilities in what is to be deployed.
#
# Critical ones deny, whoever else has them and whether or not there is a fix. Below critical, those deny that are new
# here and have a fixed version: those can be mended. The rest is reported. What a verified VEX statement settles does
# not count. An unknown severity counts as high. Where the environment says `advisory`, all of it is only reported.
package humdrum.vulnerabilities

blocking if input.environment.vulnerability_scan != "advisory"

open := [f | some f in input.findings; f.kind == "vulnerability"; f.vex == null]

critical := [f | some f in open; f.severity == "critical"]

fixable := [f | some f in open; f.new; f.fixed_in != null; not f.severity in {"critical", "info"}]

deny contains said(f, "vulnerability-critical") if {
	blocking
	some f in critical
}

deny contains said(f, "vulnerability-new") if {
	blocking
	some f in fixable
}

warn contains said(f, "vulnerability-critical") if {
	not blocking
	some f in critical
}

warn contains said(f, "vulnerability-new") if {
	not blocking
	some f in fixable
}

warn contains {"rule": "vulnerability-known", "msg": sprintf("%d more below critical that run here already or have no fixed version", [rest])} if {
	rest := (count(open) - count(critical)) - count(fixable)
	rest > 0
}

said(f, rule) := {
	"rule": rule,
	"msg": sprintf("%s, %s: %s", [f.rule, f.severity, f.title]),
	"fingerprint": f.fingerprint,
	"names": f.names,
	"evidence": f.link,
	"since": f.since,
	"fix": fix(f),
}

fix(f) := sprintf("update %s to %s", [what(f), f.fixed_in]) if {
	f.fixed_in != null
} else := sprintf("no version of %s mends it: remove it, or state in a VEX document why it does not apply", [what(f)])

what(f) := f.package if {
	f.package != null
} else := f.place
