package catalog

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/CalloraOrg/callora-backend/domain/fault"
	"github.com/CalloraOrg/callora-backend/domain/listing"
	"github.com/CalloraOrg/callora-backend/domain/money"
	"github.com/CalloraOrg/callora-backend/ports"
)

// The most of everything, in characters where it is text.
const (
	maxName        = 200
	maxCategory    = 64
	maxDescription = 5000
	maxNote        = 1000 // an endpoint's description
	maxURL         = 2048
	maxEndpoints   = 200
)

// maxPrice is far above any real price, and low enough that sums of it stay in range.
var maxPrice = money.MustParse("1000000")

// reader turns an input into an API and collects every wrong field on the way.
type reader struct{ wrong []fault.Detail }

func (r *reader) refuse(field, code, message string) {
	r.wrong = append(r.wrong, fault.Detail{Field: "body." + field, Message: message, Code: code})
}

func read(ctx context.Context, in PublishInput, upstreams ports.UpstreamCheck) (listing.API, error) {
	r := &reader{}
	api := listing.API{
		Name: r.text("name", in.Name, 1, maxName), Description: r.text("description", in.Description, 0, maxDescription),
		Category: r.text("category", in.Category, 1, maxCategory), Slug: r.slug(in.Slug),
		BaseURL: r.baseURL(ctx, in.BaseURL, upstreams), LogoURL: in.LogoURL, Endpoints: r.endpoints(in.Endpoints),
	}
	if in.LogoURL != "" {
		r.webURL("logo_url", in.LogoURL)
	}
	if r.wrong != nil {
		return listing.API{}, fault.InvalidFields(r.wrong...)
	}
	return api, nil
}

// text trims a text and judges its length. Line breaks and tabs are the only control characters of a longer one.
func (r *reader) text(field, s string, least, most int) string {
	s = strings.TrimSpace(s)
	switch n := utf8.RuneCountInString(s); {
	case n < least:
		r.refuse(field, "TOO_SMALL", "must not be empty")
	case n > most:
		r.refuse(field, "TOO_BIG", fmt.Sprintf("must have at most %d characters", most))
	case !utf8.ValidString(s) || strings.ContainsFunc(s, func(c rune) bool { return isControl(c) && (least > 0 || !strings.ContainsRune("\n\r\t", c)) }):
		r.refuse(field, "INVALID_FORMAT", "must not contain control characters")
	}
	return s
}

func isControl(c rune) bool { return c < ' ' || c == 0x7f }

func (r *reader) slug(s string) string {
	if s != "" && !listing.ValidSlug(s) {
		r.refuse("slug", "INVALID_FORMAT",
			fmt.Sprintf("must be 1 to %d lower-case letters, digits and single dashes between them, and not read as an id", listing.MaxSlug))
	}
	return s
}

// baseURL is judged for its form first; only a well-formed one is worth a name look-up.
func (r *reader) baseURL(ctx context.Context, s string, upstreams ports.UpstreamCheck) string {
	u, ok := r.webURL("base_url", s)
	switch {
	case !ok:
	case u.RawQuery != "" || u.ForceQuery || strings.Contains(s, "#"):
		r.refuse("base_url", "INVALID_FORMAT", "must not have a query or a fragment: calls bring their own")
	default:
		if message := upstreams.CheckUpstream(ctx, s); message != "" {
			r.refuse("base_url", "UPSTREAM_BLOCKED", message)
		}
	}
	return s
}

func (r *reader) webURL(field, s string) (*url.URL, bool) {
	u, err := url.Parse(s)
	if err != nil || len(s) > maxURL || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" || u.User != nil ||
		strings.TrimSpace(s) != s {
		r.refuse(field, "INVALID_FORMAT",
			fmt.Sprintf("must be an http or https URL of at most %d characters, without user name and password", maxURL))
		return nil, false
	}
	return u, true
}

func (r *reader) endpoints(in []PublishEndpoint) []listing.Endpoint {
	switch {
	case len(in) == 0:
		r.refuse("endpoints", "TOO_SMALL", "must hold at least one endpoint")
	case len(in) > maxEndpoints:
		r.refuse("endpoints", "TOO_BIG", fmt.Sprintf("must hold at most %d endpoints", maxEndpoints))
		return nil
	}
	out := make([]listing.Endpoint, len(in))
	first := map[string]int{}
	for i, e := range in {
		at := fmt.Sprintf("endpoints[%d]", i)
		out[i] = listing.Endpoint{
			Method: r.method(at, e.Method), Path: r.path(at, e.Path), Price: r.price(at, e.Price),
			Description: r.text(at+".description", e.Description, 0, maxNote),
		}
		key := e.Method + " " + listing.PathKey(e.Path)
		if j, taken := first[key]; taken {
			r.refuse(at, "DUPLICATE", fmt.Sprintf("sells the same method and path as endpoints[%d]", j))
			continue
		}
		first[key] = i
	}
	return out
}

func (r *reader) method(at, m string) string {
	switch m {
	case "GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", listing.AnyMethod:
	default:
		r.refuse(at+".method", "INVALID_VALUE", `must be one of GET, POST, PUT, PATCH, DELETE, HEAD, OPTIONS, or "*" for all`)
	}
	return m
}

func (r *reader) path(at, p string) string {
	if err := listing.CheckPath(p); err != nil {
		r.refuse(at+".path", "INVALID_FORMAT", err.Error())
	}
	return p
}

func (r *reader) price(at, s string) money.Amount {
	refuse := func(code, message string) { r.refuse(at+".price_per_call_usdc", code, message) }
	p, err := money.Parse(s)
	switch {
	case strings.HasPrefix(s, "-"), errors.Is(err, money.ErrSyntax):
		refuse("INVALID_FORMAT", `must be an amount of USDC such as "0.01": not negative, with at most 7 decimals`)
	case errors.Is(err, money.ErrPrecision):
		refuse("INVALID_FORMAT", "must have at most 7 decimals: that is one stroop, the smallest amount there is")
	case err != nil, maxPrice.Less(p):
		refuse("TOO_BIG", "must be at most "+maxPrice.String())
	}
	return p
}
