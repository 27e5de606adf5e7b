package access

import (
	"fmt"
	"slices"
	"strings"

	"github.com/CalloraOrg/callora-backend/domain/apikey"
	"github.com/CalloraOrg/callora-backend/domain/fault"
	"github.com/CalloraOrg/callora-backend/domain/listing"
)

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

// mostNamed bounds how many endpoints an error names.
const mostNamed = 10

// checkSold refuses scopes of endpoints that the API does not sell: a slip would make a key that opens less than it says.
func checkSold(scopes []string, sold []listing.Endpoint) error {
	var wrong []fault.Detail
	for i, s := range scopes {
		if !slices.ContainsFunc(sold, func(e listing.Endpoint) bool { return apikey.Covers(s, e.Method, e.Path) }) {
			wrong = append(wrong, fault.Detail{
				Field: fmt.Sprintf("body.scopes[%d]", i), Message: "must be of an endpoint that the API sells: " + named(sold), Code: "INVALID_VALUE",
			})
		}
	}
	if wrong != nil {
		return fault.InvalidFields(wrong...)
	}
	return nil
}

func named(sold []listing.Endpoint) string {
	var names []string
	for _, e := range sold[:min(len(sold), mostNamed)] {
		names = append(names, e.Method+":"+e.Path)
	}
	text := strings.Join(names, ", ")
	if more := len(sold) - len(names); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}
