package gateway

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/CalloraOrg/callora-backend/adapters/gateway/keys"
	"github.com/CalloraOrg/callora-backend/domain/apikey"
	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/listing"
	"github.com/CalloraOrg/callora-backend/ports"
)

// An API that cannot be read must not keep a revoked key or another API's old price alive.
func TestWhatCannotBeReadHoldsNothingElseUp(t *testing.T) {
	t.Parallel()
	h := open(t, echo)
	h.get("/cheap").want(t, 200, "")
	h.store.set(func(s *fakeStore) { s.sick = h.api.ID })
	renamed := h.api
	renamed.Slug = "renamed"
	h.store.setAPI(renamed)
	h.tell(change(h.api.ID))
	if h.gw.table.Find("weather") == nil {
		t.Error("an API that could not be read is gone")
	}
	h.store.changeKey(h.key, func(k *apikey.Key) { k.RevokedAt = time.Now() })
	h.tell(ports.Change{Kind: ports.ChangedKey, Subject: h.key[:16]})
	h.get("/cheap").want(t, 403, "FORBIDDEN")

	h.store.set(func(s *fakeStore) { s.sick = id.ID{} })
	eventually(t, "it is read when it can be", func() bool { return h.gw.table.Find("renamed") != nil && h.gw.table.Find("weather") == nil })
	if h.logs.FilterMessageSnippet("could not be read").Len() == 0 {
		t.Error("nobody was told")
	}
}

// lateStore has its routes only at the second time of asking.
type lateStore struct {
	*fakeStore
	asked int
}

func (s *lateStore) ActiveAPIs(ctx context.Context) ([]listing.API, error) {
	if s.asked++; s.asked == 1 {
		return nil, errAway
	}
	return s.fakeStore.ActiveAPIs(ctx)
}

func TestRoutesAreLoadedAsSoonAsTheyCanBe(t *testing.T) {
	t.Parallel()
	h := open(t, echo, func(_ *Config, d *Deps) { d.Routes = &lateStore{fakeStore: d.Routes.(*fakeStore)} })
	h.get("/cheap").want(t, 200, "")
	if h.logs.FilterMessageSnippet("could not be loaded").Len() != 1 {
		t.Error("nobody was told")
	}
}

// hangingStore answers when its caller gives up.
type hangingStore struct {
	*fakeStore
	asked chan struct{}
}

func (s *hangingStore) ActiveAPIs(ctx context.Context) ([]listing.API, error) {
	close(s.asked)
	<-ctx.Done()
	return nil, ctx.Err()
}

// quietFeed follows, and has no news.
type quietFeed struct{}

func (quietFeed) Follow(ctx context.Context, started chan<- struct{}, _ func([]ports.Change, time.Time)) error {
	close(started)
	<-ctx.Done()
	return ctx.Err()
}

func TestALoadThatIsCutByTheNodesEndIsNoError(t *testing.T) {
	t.Parallel()
	core, logs := observer.New(zapcore.DebugLevel)
	store := &hangingStore{newFakeStore(), make(chan struct{})}
	g, err := New(Config{}, Deps{Routes: store, Keys: store.fakeStore, Changes: quietFeed{}, Now: time.Now, Log: zap.New(core)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	<-store.asked
	stop()
	if err := <-done; err != nil {
		t.Errorf("it stopped with %v", err)
	}
	if logs.Len() > 0 {
		t.Errorf("it said %v", logs.All())
	}
}

// deafFeed cannot follow.
type deafFeed struct{ err error }

func (f deafFeed) Follow(ctx context.Context, _ chan<- struct{}, _ func([]ports.Change, time.Time)) error {
	if f.err == nil {
		<-ctx.Done()
		return ctx.Err()
	}
	return f.err
}

func TestRunTellsWhyItStopped(t *testing.T) {
	t.Parallel()
	store := newFakeStore()
	for _, tt := range []struct{ broken, want error }{{errAway, errAway}, {nil, nil}} {
		g, err := New(Config{}, Deps{Routes: store, Keys: store, Changes: deafFeed{tt.broken}, Now: time.Now})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		if tt.broken == nil {
			cancel()
		}
		if err := g.Run(ctx); !errors.Is(err, tt.want) {
			t.Errorf("%v, want %v", err, tt.want)
		}
		cancel()
	}
}

func TestTheLastUseOfKeysIsReported(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 1, 0, 0, 5, 0, time.UTC)
	var reported []map[id.ID]time.Time
	var failure error
	g, err := New(Config{}, Deps{Now: func() time.Time { return now }, MarkUsed: func(_ context.Context, used map[id.ID]time.Time) error {
		reported = append(reported, used)
		return failure
	}})
	if err != nil {
		t.Fatal(err)
	}
	flush := func(want int, wantErr error) {
		t.Helper()
		if n, err := g.FlushUsed(t.Context()); n != want || !errors.Is(err, wantErr) {
			t.Errorf("%d, %v; want %d, %v", n, err, want, wantErr)
		}
	}
	a, b := &keys.Key{Key: apikey.Key{ID: newID()}}, &keys.Key{Key: apikey.Key{ID: newID()}}
	flush(0, nil)
	g.used.Mark(a, now)
	g.used.Mark(a, now.Add(time.Second)) // the same minute
	g.used.Mark(b, now)
	failure = errAway
	flush(0, errAway)
	g.used.Mark(b, now.Add(time.Minute))
	failure = nil
	flush(2, nil)
	if last := reported[len(reported)-1]; !last[a.ID].Equal(now) || !last[b.ID].Equal(now.Add(time.Minute)) {
		t.Errorf("after a failure %v was reported", last)
	}
	g.used.Mark(b, now.Add(time.Minute+time.Second))
	flush(0, nil)

	failure = errAway
	g.used.Mark(a, now.Add(time.Hour))
	flush(0, errAway) // nothing came meanwhile
	failure = nil
	flush(1, nil)
	g.deps.MarkUsed = nil
	g.used.Mark(a, now.Add(2*time.Hour))
	flush(0, nil)
}
