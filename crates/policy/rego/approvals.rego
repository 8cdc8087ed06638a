# Approvals: enough people of each role agreed, none of them the author, none too long ago.
package humdrum.approvals

deny contains said(lack) if {
	not input.approvals.follows
	some lack in input.approvals.lacking
}

# A person is still asked after this check.
warn contains said(lack) if {
	input.approvals.follows
	some lack in input.approvals.lacking
}

said(lack) := {
	"rule": "approval-lacks",
	"msg": sprintf("%d of %d approvals by %s%s", [lack.given, lack.needed, lack.role, refused(lack)]),
	"owner": lack.role,
	"fix": sprintf("one of %s approves: `humdrum approve %s/%s`", [who(lack), input.service, input.environment.name]),
}

who(lack) := concat(", ", lack.members) if {
	count(lack.members) > 0
} else := sprintf("the role %s (nobody has it yet)", [lack.role])

refused(lack) := sprintf(" (%s)", [concat("; ", lack.not_counted)]) if {
	count(lack.not_counted) > 0
} else := ""
