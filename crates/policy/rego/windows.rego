# Windows: nothing is deployed in a freeze; where there are deploy windows, only in one of them.
package humdrum.windows

deny contains {
	"rule": "window-freeze",
	"msg": sprintf("%s freezes %s until %s: %s", [w.name, input.environment.name, w.until, w.reason]),
	"owner": w.owner,
	"since": w.since,
	"fix": sprintf("ship after %s; for a hotfix: `humdrum waive hotfix --service %s --environment %s --until 2h --reason 'WHY'`", [w.until, input.service, input.environment.name]),
} if {
	some w in input.windows
	w.kind == "freeze"
	w.open
}

deploy := [w | some w in input.windows; w.kind == "deploy"]

deny contains {
	"rule": "window-closed",
	"msg": sprintf("%s is deployed to only in its windows (%s), and none is open", [input.environment.name, concat(", ", [w.name | some w in deploy])]),
	"owner": deploy[0].owner,
	"fix": "ship when one of them is open",
} if {
	count(deploy) > 0
	count([w | some w in deploy; w.open]) == 0
}
