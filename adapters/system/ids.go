package system

import (
	"github.com/google/uuid"

	"github.com/CalloraOrg/callora-backend/domain/id"
)

func init() {
	uuid.EnableRandPool() // one read of the system's randomness for many ids; ids are names, not secrets
}

// NewID makes a UUIDv7. Ids of one process ascend, also within a millisecond.
func NewID() id.ID { return id.ID(uuid.Must(uuid.NewV7())) }
