package access

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/CalloraOrg/callora-backend/domain/apikey"
	"github.com/CalloraOrg/callora-backend/domain/fault"
	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/ports"
)

// draws bounds how often a taken prefix is drawn anew. The prefix has 32 random bits: with a million keys one draw in
// four thousand meets another key, five in a row never do.
const draws = 5

// drawUntilFree gives key a fresh secret and stores it, again while its prefix is taken.
func drawUntilFree(random io.Reader, key *apikey.Key, store func() error) (plain string, err error) {
	for range draws {
		plain, key.Prefix, key.Hash, err = apikey.Generate(random)
		if err != nil {
			return "", err
		}
		if err = store(); !errors.Is(err, apikey.ErrPrefixTaken) {
			return plain, err
		}
	}
	return "", fmt.Errorf("%d drawn prefixes in a row were taken", draws) // the random source must be broken
}

// moment is now as the store keeps it, to the microsecond: so a key shows the same times in every answer.
func moment(now ports.Clock) time.Time { return now().Truncate(time.Microsecond) }

// forget makes this node's gateway forget a key that has ended, or may have: unless the store refused, its outcome may be
// unknown.
func forget(gateway ports.Invalidator, key id.ID, err error) {
	if err == nil || fault.KindOf(err) == fault.Internal || fault.KindOf(err) == fault.Unavailable {
		gateway.ForgetKey(key)
	}
}
