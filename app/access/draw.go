package access

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/CalloraOrg/callora-backend/domain/apikey"
	"github.com/CalloraOrg/callora-backend/domain/fault"
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

const maxPerMinute = 1_000_000

// checkGrant judges what a key shall be good for, and names every wrong field.
func checkGrant(scopes []string, perMinute *int) error {
	var wrong []fault.Detail
	refuse := func(field, code, message string) {
		wrong = append(wrong, fault.Detail{Field: field, Message: message, Code: code})
	}
	switch {
	case scopes != nil && len(scopes) == 0:
		refuse("body.scopes", "TOO_SMALL", `must hold at least one scope; leave it out for all ("*")`)
	case len(scopes) > apikey.MaxScopes:
		refuse("body.scopes", "TOO_BIG", fmt.Sprintf("must hold at most %d scopes", apikey.MaxScopes))
	default:
		for i, s := range scopes {
			if !apikey.ValidScope(s) {
				refuse(fmt.Sprintf("body.scopes[%d]", i), "INVALID_VALUE", "must be "+apikey.ScopeHelp)
			}
		}
	}
	if perMinute != nil && (*perMinute < 1 || *perMinute > maxPerMinute) {
		refuse("body.rateLimitPerMinute", "INVALID_VALUE", fmt.Sprintf("must be a whole number from 1 to %d, or null for no limit of its own", maxPerMinute))
	}
	if wrong != nil {
		return fault.InvalidFields(wrong...)
	}
	return nil
}
