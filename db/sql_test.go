package db_test

import (
	"regexp"
	"strings"
	"time"

	"github.com/CalloraOrg/callora-backend/domain/id"
)

// born is the time of all ids in the tests' SQL: of today, so that events go to today's partition.
var born = time.Now()

// nouns are the ids that {x} stands for in the tests' SQL; {new} is one that no row has.
var nouns = []string{"user", "developer", "vault", "api", "endpoint", "key", "lease", "node", "event", "settlement", "new"}

// sqlOf puts the ids in.
func sqlOf(text string) string {
	pairs := make([]string, 0, 2*len(nouns))
	for i, noun := range nouns {
		u := id.FirstAt(born)
		u[15] = byte(i + 1)
		pairs = append(pairs, "{"+noun+"}", "'"+u.String()+"'")
	}
	return strings.NewReplacer(pairs...).Replace(text)
}

var ofPartition = regexp.MustCompile(`^usage_events_\d{8}_pkey$`)

// sameConstraint compares names; that of a daily partition's primary key depends on the day.
func sameConstraint(got, want string) bool {
	return got == want || want == "usage_events_20" && ofPartition.MatchString(got)
}
