package upstream

import (
	"time"
)

// take returns a connection to an upstream that can serve a call, nil when there is none: the one that was used last is the
// likeliest to be open still.
func (t *Transport) take(from origin) *conn {
	for {
		c := t.pop(from)
		if c == nil || c.fresh() {
			return c
		}
		_ = c.Close() // closed by the upstream, or it sent what nobody asked for
	}
}

func (t *Transport) pop(from origin) *conn {
	t.mu.Lock()
	defer t.mu.Unlock()
	kept := t.idle[from]
	if len(kept) == 0 {
		return nil
	}
	last := len(kept) - 1
	c := kept[last]
	kept[last] = nil
	t.idle[from] = kept[:last]
	t.kept--
	return c
}

// put keeps a connection for later calls, unless it has been used for long enough.
func (t *Transport) put(c *conn) {
	c.since = time.Now()
	old := !c.until.IsZero() && c.since.After(c.until)
	t.mu.Lock()
	full := len(t.idle[c.origin]) >= t.MaxIdlePerHost
	var gone *conn
	if !full && !old {
		if t.kept == t.MaxIdle {
			gone = t.evict()
		}
		t.kept++
		if t.idle == nil {
			t.idle = map[origin][]*conn{}
		}
		t.idle[c.origin] = append(t.idle[c.origin], c)
		if t.tidy == nil {
			t.tidy = time.AfterFunc(t.IdleFor/2, func() { t.sweep(t.IdleFor) })
		}
	}
	t.mu.Unlock()
	if full || old {
		gone = c
	}
	if gone != nil {
		_ = gone.Close() // it has served
	}
}

// evict takes out the oldest connection of some upstream: a map's order is random.
func (t *Transport) evict() *conn {
	for from, kept := range t.idle {
		if len(kept) > 0 {
			t.idle[from] = kept[1:]
			t.kept--
			return kept[0]
		}
	}
	return nil
}

// sweep closes connections that have been idle for so long, and comes back while there are others.
func (t *Transport) sweep(idleFor time.Duration) {
	var old []*conn
	t.mu.Lock()
	left := time.Now().Add(-idleFor)
	for from, kept := range t.idle {
		n := 0 // the first have been idle the longest
		for n < len(kept) && !kept[n].since.After(left) {
			n++
		}
		old = append(old, kept[:n]...)
		t.kept -= n
		if n == len(kept) {
			delete(t.idle, from)
			continue
		}
		t.idle[from] = append([]*conn(nil), kept[n:]...)
	}
	if t.tidy != nil {
		t.tidy.Stop()
		t.tidy = nil
	}
	if len(t.idle) > 0 {
		t.tidy = time.AfterFunc(t.IdleFor/2, func() { t.sweep(t.IdleFor) })
	}
	t.mu.Unlock()
	for _, c := range old {
		_ = c.Close() // nobody uses it
	}
}
