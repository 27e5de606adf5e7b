package postgres

import (
	"slices"
	"testing"
	"time"

	"github.com/CalloraOrg/callora-backend/db/dbtest"
)

func TestFollowingSurvivesACrashOfTheServer(t *testing.T) {
	t.Parallel()
	server := dbtest.NewServer(t)
	f := followAt(t, server.DatabaseURL(), 20*time.Millisecond)
	note(f.db, "before")
	f.want(t, "before")
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	select { // it keeps looking in vain
	case <-f.trouble:
	case <-time.After(patience):
		t.Error("nobody was told that the server is away")
	}
	if err := server.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	var unreached error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		if unreached = f.db.PingContext(t.Context()); unreached == nil {
			break
		}
	}
	if unreached != nil {
		t.Fatal(unreached)
	}
	note(f.db, "after")
	for !slices.Contains(subjects(f.next(t)), "after") { // "before" may come again
	}
}
