# Code review: where it is required, somebody other than the author looked at this very commit.
package humdrum.review

reviewers := [who |
	some who in input.review.by
	input.review.commit == input.commit
	input.author != null
	who != input.author
]

deny contains {
	"rule": "review-missing",
	"msg": sprintf("nobody but the author has reviewed commit %s", [input.commit]),
	"fix": "have the commit reviewed and record who did",
} if {
	input.settings.review_required
	count(reviewers) == 0
}
