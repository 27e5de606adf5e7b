package postgres

import (
	"testing"
	"time"

	"github.com/CalloraOrg/callora-backend/db/dbtest"
)

// A cut is noticed, and what was changed meanwhile reported, within this.
const followAgain = 5 * time.Second

func TestAFeedOnASilentNetworkSaysSoAndComesBack(t *testing.T) {
	t.Parallel()
	address := dbtest.URL(t)
	p := dbtest.NewProxy(t, address)
	f := followAt(t, p.URL(), pollEvery)
	direct, err := Open(t.Context(), Config{URL: address})
	if err != nil {
		t.Fatal(err)
	}
	defer direct.Close()
	p.Silence()
	begun := time.Now()
	note(direct, "meanwhile")
	f.awaitTrouble(t)
	p.Heal(t, address)
	f.want(t, "meanwhile")
	if took := time.Since(begun); took > followAgain {
		t.Errorf("reported after %v", took)
	}
}

func TestAListenerThatFallsSilentIsReplaced(t *testing.T) {
	t.Parallel()
	address := dbtest.URL(t)
	p := dbtest.NewProxy(t, address)
	f := &feed{ChangeFeed: newFeed(t, address, time.Hour)}
	f.url = p.URL() // it alone, and no poll would help
	f.follow(t)
	note(f.db, "before")
	f.want(t, "before")
	p.Silence()
	f.awaitTrouble(t)
	note(f.db, "meanwhile")
	p.Heal(t, address)
	f.want(t, "meanwhile")
	note(f.db, "after")
	f.want(t, "after")
}

func TestFollowingEndsWithItsContextOnASilentNetworkToo(t *testing.T) {
	t.Parallel()
	p := dbtest.NewProxy(t, dbtest.URL(t))
	f := &feed{ChangeFeed: newFeed(t, p.URL(), pollEvery)}
	end := f.follow(t)
	p.Silence()
	f.awaitTrouble(t) // a look has failed, and new connections are being tried
	begun := time.Now()
	end()
	if took := time.Since(begun); took > lookTimeout+slack {
		t.Errorf("it ended after %v", took)
	}
}

func (f *feed) awaitTrouble(t *testing.T) {
	t.Helper()
	select {
	case err := <-f.trouble:
		t.Log(err)
	case <-time.After(patience):
		t.Fatal("nobody was told that the network is silent")
	}
}
