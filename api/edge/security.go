package edge

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/CalloraOrg/callora-backend/domain/id"
)

// A scheme is one way of proving who sends a request: what the spec calls it, and the code that judges the proof.
type scheme struct {
	proves   principal
	defined  openapi3.SecurityScheme // as the spec must define it: type, scheme, in and name
	identify func(r *http.Request) (id.ID, error)
}

// principal is what kind of sender a scheme proves.
type principal string

const (
	user     principal = "a user"
	operator principal = "an operator" // who holds one of the deployment's own keys; the id is zero
)

// schemes are all that there are. What the spec names must be among them.
func (e *Edge) schemes() map[string]scheme {
	bearer := openapi3.SecurityScheme{Type: "http", Scheme: "bearer"}
	return map[string]scheme{
		"bearerAuth": {user, bearer, e.userOfToken},
		"userId":     {user, openapi3.SecurityScheme{Type: "apiKey", In: "header", Name: "x-user-id"}, e.userOfHeader},
		"metricsKey": {operator, bearer, holderOf(e.cfg.MetricsKey)},
	}
}

// access is who may use an operation: anybody, or whom one of the schemes proves.
type access struct {
	open    bool
	proves  principal
	schemes []scheme
}

// openOutsideProduction marks an operation that anybody may use outside production, and in production only with a key.
const openOutsideProduction = "outside production"

// accessOf reads the security of an operation. What it cannot hold to the letter is an error: a scheme that nobody checks
// would be an open door.
func (e *Edge) accessOf(op *openapi3.Operation) (a access, err error) {
	if op.Security == nil {
		return a, errors.New("does not say who may use it")
	}
	ways := *op.Security
	anybody := slices.ContainsFunc(ways, func(way openapi3.SecurityRequirement) bool { return len(way) == 0 })
	switch {
	case anybody && len(ways) > 1 && op.Extensions["x-open"] != openOutsideProduction:
		return a, fmt.Errorf("makes a proof optional, which is not implemented unless x-open is %q", openOutsideProduction)
	case len(ways) == 0, anybody && (len(ways) == 1 || !e.cfg.Production):
		a.open = true
	}
	read := map[string]string{}
	for _, way := range ways {
		if len(way) == 0 {
			continue
		}
		names := slices.Sorted(maps.Keys(way))
		if len(names) > 1 {
			return a, fmt.Errorf("asks for the security schemes %s together, which is not implemented", strings.Join(names, " and "))
		}
		s, err := e.schemeOf(names[0], way[names[0]])
		if err != nil {
			return a, err
		}
		from := s.defined.Type + s.defined.Name
		if other := read[from]; other != "" {
			return a, fmt.Errorf("takes the security schemes %s and %s, which are sent in the same header", other, names[0])
		}
		if len(a.schemes) > 0 && s.proves != a.proves {
			return a, fmt.Errorf("takes %s for %s and another scheme for %s: its handler could not tell them apart", names[0], s.proves, a.proves)
		}
		read[from], a.proves, a.schemes = names[0], s.proves, append(a.schemes, s)
	}
	return a, nil
}

func (e *Edge) schemeOf(name string, scopes []string) (scheme, error) {
	known := e.schemes()
	s, ok := known[name]
	if !ok {
		return s, fmt.Errorf("names the security scheme %s, for which there is no authenticator (there are %s)",
			name, strings.Join(slices.Sorted(maps.Keys(known)), ", "))
	}
	if len(scopes) > 0 {
		return s, fmt.Errorf("asks for scopes of the security scheme %s, which are not implemented", name)
	}
	var in openapi3.SecurityScheme
	if c := e.router.spec.Components; c != nil && c.SecuritySchemes[name] != nil {
		in = *c.SecuritySchemes[name].Value
	}
	if want := s.defined; in.Type != want.Type || in.Scheme != want.Scheme || in.In != want.In || !strings.EqualFold(in.Name, want.Name) {
		return s, fmt.Errorf("names the security scheme %s, which components.securitySchemes must define as %s", name,
			strings.Join(strings.Fields(want.Type+" "+want.Scheme+" "+want.In+" "+want.Name), " "))
	}
	return s, nil
}

// sender returns who sends a request, by the first scheme in which it proves anything. A proof that does not hold is never
// made up for by another. Without any it is errUnauthorized.
func (a access) sender(r *http.Request) (id.ID, error) {
	for _, s := range a.schemes {
		if who, err := s.identify(r); err != errUnauthorized {
			return who, err
		}
	}
	return id.ID{}, errUnauthorized
}
