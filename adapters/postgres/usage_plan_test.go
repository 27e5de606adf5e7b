package postgres

import (
	"strings"
	"testing"
	"time"

	"github.com/CalloraOrg/callora-backend/db/dbtest"
	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/ports"
)

func TestAQueryOfOneDayReadsThePartitionOfThatDayByItsIndex(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	var day time.Time // the first day ahead that has its partition
	if err := db.Get(&day, `SELECT date_trunc('day', now() AT TIME ZONE 'UTC') + INTERVAL '1 day'`); err != nil {
		t.Fatal(err)
	}
	db.MustExec(`SELECT usage_partitions(3)`)
	db.SetMaxOpenConns(1)
	db.MustExec(`SET enable_seqscan = off`) // the tables are empty
	q := ports.UsageQuery{User: id.ID{1}, From: day.Add(time.Hour), To: day.Add(2 * time.Hour)}
	var lines []string
	if err := db.Select(&lines, `EXPLAIN (COSTS OFF) SELECT count(*) FROM usage_events u`+usageWhere, usageArgs(q)...); err != nil {
		t.Fatal(err)
	}
	plan := strings.Join(lines, "\n")
	if want := "usage_events_" + day.Format("20060102"); !strings.Contains(plan, want) || strings.Count(plan, " on usage_events") != 1 {
		t.Errorf("want a scan of %s alone:\n%s", want, plan)
	}
	if strings.Contains(plan, "Seq Scan") {
		t.Errorf("want an index:\n%s", plan)
	}
}
