package portstest

import (
	"sync"

	"github.com/CalloraOrg/callora-backend/domain/id"
)

// Invalidator notes what it was told to forget. It is ports.Invalidator.
type Invalidator struct {
	mu         sync.Mutex
	Keys, APIs []id.ID
}

// ForgetKey implements ports.Invalidator.
func (i *Invalidator) ForgetKey(key id.ID) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.Keys = append(i.Keys, key)
}

// ForgetAPI implements ports.Invalidator.
func (i *Invalidator) ForgetAPI(api id.ID) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.APIs = append(i.APIs, api)
}
