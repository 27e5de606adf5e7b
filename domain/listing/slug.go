package listing

import (
	"strings"

	"github.com/CalloraOrg/callora-backend/domain/id"
)

// MaxSlug is the most characters of a slug.
const MaxSlug = 80

// ValidSlug reports whether s can name an API in a call's path: lower-case letters, digits and single dashes between
// them. What reads as an id is none, so that a link by id never means two APIs.
func ValidSlug(s string) bool {
	if _, err := id.Parse(s); err == nil || len(s) > MaxSlug {
		return false
	}
	return s != "" && s == slugify(s)
}

// SlugOf makes a slug from an API's name, at most most characters long.
func SlugOf(name string, most int) string {
	s := slugify(strings.ToLower(name))
	if len(s) > most {
		s = strings.TrimRight(s[:most], "-")
	}
	if !ValidSlug(s) {
		return "api"
	}
	return s
}

// slugify keeps a-z and 0-9 and puts one dash for whatever stands between them.
func slugify(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9')
	}), "-")
}
