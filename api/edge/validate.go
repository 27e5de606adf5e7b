package edge

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"

	"github.com/CalloraOrg/callora-backend/adapters/httpkit"
	"github.com/CalloraOrg/callora-backend/domain/fault"
)

// validation checks requests against the spec and reports all that is wrong with one. Users have been judged before.
var validation = &openapi3filter.Options{
	MultiError: true, AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, SkipSettingDefaults: true, KeepValidatedValue: true,
}

// valid lets requests pass that are as the spec says.
func (e *Edge) valid(op *operation, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		read := e.readBody
		if op.route.Operation.RequestBody == nil {
			read = e.readNoBody
		}
		if err := read(w, r); err != nil {
			WriteError(w, r, err)
			return
		}
		query, details := op.query(r.URL.RawQuery)
		r.URL.RawQuery = query.Encode() // what is checked below is what the handler reads
		params := map[string]string{}
		for _, p := range op.parameters {
			if p.In == openapi3.ParameterInPath {
				params[p.Name] = r.PathValue(p.Name)
			}
		}
		err := openapi3filter.ValidateRequest(r.Context(), &openapi3filter.RequestValidationInput{
			Request: r, PathParams: params, QueryParams: query, Route: op.route, Options: validation,
		})
		more, err := detailsOf(err)
		if details = append(details, more...); err == nil && len(details) > 0 {
			err = fault.InvalidFields(details...)
		}
		if err != nil {
			WriteError(w, r, err)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// readBody takes the whole body in, which is to be small and JSON.
func (e *Edge) readBody(w http.ResponseWriter, r *http.Request) error {
	if r.ContentLength > e.cfg.BodyLimit {
		return errTooLarge // without reading any of it
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, e.cfg.BodyLimit))
	if err == nil { // the deadline was the body's; from here on the server watches the connection for a caller who leaves
		exchangeOf(r.Context()).bodyRead = true
		_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	}
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return errTooLarge
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return httpkit.ErrTooSlow.Because(err)
	}
	media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch {
	case err != nil:
		return errBodyEnded.Because(err)
	case len(body) > 0 && media != "application/json":
		return errMedia
	}
	if len(body) > 0 {
		if wrong := checkJSON(body); wrong != nil {
			return fault.InvalidFields(wrong...)
		}
	}
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	return nil
}

// readNoBody holds an operation that takes no body to that: what was sent would be ignored, and its sender would not know. An
// empty object says nothing, and many clients send one. The body of a GET means nothing anyway (RFC 9110 9.3.1).
func (e *Edge) readNoBody(_ http.ResponseWriter, r *http.Request) error {
	if r.ContentLength == 0 || r.Method == http.MethodGet || r.Method == http.MethodHead {
		return nil
	}
	const most = 64
	body, err := io.ReadAll(io.LimitReader(r.Body, most+1))
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return httpkit.ErrTooSlow.Because(err)
	case err != nil:
		return errBodyEnded.Because(err)
	}
	if text := strings.TrimSpace(string(body)); len(body) > most || text != "" && text != "{}" {
		return errNoBody
	}
	return nil
}

// query reads the query parameters that the operation knows: an empty one is absent, one that is given twice is refused,
// and numbers are written with digits alone. A name that is a known one but for its case and separators is a slip, and is
// refused; other unknown names are what links pick up on their way, and do not matter.
func (op *operation) query(raw string) (url.Values, []fault.Detail) {
	given, err := url.ParseQuery(raw)
	if err != nil && slices.ContainsFunc(op.parameters, func(p *openapi3.Parameter) bool { return p.In == openapi3.ParameterInQuery }) {
		return url.Values{}, []fault.Detail{{Field: "query", Message: "must be percent-encoded name=value pairs joined by &", Code: "INVALID_QUERY"}}
	}
	var wrong []fault.Detail
	known := url.Values{}
	var names []string
	for _, p := range op.parameters {
		if p.In == openapi3.ParameterInQuery {
			names = append(names, p.Name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		i := slices.IndexFunc(names, func(k string) bool { return folded(k) == folded(name) })
		if i >= 0 && !slices.Contains(names, name) {
			wrong = append(wrong, fault.Detail{
				Field: "query" + step(name), Message: fmt.Sprintf("is not known here: did you mean %q?", names[i]), Code: "UNKNOWN_FIELD",
			})
		}
	}
	for _, p := range op.parameters {
		values := given[p.Name]
		refuse := func(code, message string) {
			wrong = append(wrong, fault.Detail{Field: "query." + p.Name, Message: p.Name + " " + message, Code: code})
		}
		switch {
		case p.In != openapi3.ParameterInQuery || len(values) == 0 || (len(values) == 1 && values[0] == ""):
		case len(values) > 1:
			refuse("INVALID_VALUE", "must be given once")
		case p.Schema.Value.Type.Is(openapi3.TypeInteger) && strings.Trim(values[0], "0123456789") != "":
			refuse("INVALID_VALUE", "must be a non-negative integer")
		case p.Schema.Value.Type.Is(openapi3.TypeInteger) && tooBig(values[0]):
			refuse("TOO_BIG", "must be <= 2147483647")
		default:
			known.Set(p.Name, values[0])
		}
	}
	return known, wrong
}

func tooBig(digits string) bool {
	_, err := strconv.ParseInt(digits, 10, 32)
	return err != nil
}
