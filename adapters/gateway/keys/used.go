package keys

import (
	"sync"
	"time"

	"github.com/CalloraOrg/callora-backend/domain/id"
)

// Used collects the minutes in which keys were used.
type Used struct {
	mu   sync.Mutex
	last map[id.ID]time.Time
}

// Mark notes a use; it takes the lock once a minute for a key.
func (u *Used) Mark(k *Key, now time.Time) {
	minute := now.Unix() / 60
	if seen := k.used.Load(); seen == minute || !k.used.CompareAndSwap(seen, minute) {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.last == nil {
		u.last = map[id.ID]time.Time{}
	}
	u.last[k.ID] = now
}

// Take returns the times of last use noted since the last call, by key id.
func (u *Used) Take() map[id.ID]time.Time {
	u.mu.Lock()
	defer u.mu.Unlock()
	last := u.last
	u.last = nil
	return last
}

// PutBack keeps what could not be reported, unless there is newer news.
func (u *Used) PutBack(last map[id.ID]time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.last == nil {
		u.last = last
		return
	}
	for k, at := range last {
		if u.last[k].Before(at) {
			u.last[k] = at
		}
	}
}
