// Package ports holds what the use cases need of the world, in their own words.
package ports

import (
	"time"

	"github.com/CalloraOrg/callora-backend/domain/id"
)

// Clock tells the time.
type Clock func() time.Time

// NewID makes a new UUIDv7.
type NewID func() id.ID
