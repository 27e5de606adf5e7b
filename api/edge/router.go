package edge

import (
	"errors"
	"fmt"
	"net/http"
	"path"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/routers"
)

// router serves the operations of the spec and nothing else. It is the one place that matches paths, so that what is
// checked of a request is always checked for the operation that serves it.
type router struct {
	http.ServeMux

	spec     *openapi3.T
	accessOf func(*openapi3.Operation) (access, error)
	wrap     func(op *operation, next http.Handler) http.Handler
	served   map[string]bool
	wrong    []error
}

// operation is an operation of the spec, as the layers around its handler need it.
type operation struct {
	route      *routers.Route
	parameters []*openapi3.Parameter
	access     access
}

// HandleFunc mounts the handler of an operation, for example at "GET /api/apis/{id}".
func (m *router) HandleFunc(pattern string, handler func(http.ResponseWriter, *http.Request)) {
	method, template, _ := strings.Cut(pattern, " ")
	item := m.spec.Paths.Value(template)
	if item == nil || item.GetOperation(method) == nil {
		m.wrong = append(m.wrong, fmt.Errorf("%s is served and not in the spec", pattern))
		return
	}
	op := &operation{route: &routers.Route{Spec: m.spec, Path: template, PathItem: item, Method: method, Operation: item.GetOperation(method)}}
	for _, p := range op.route.Operation.Parameters {
		op.parameters = append(op.parameters, p.Value)
	}
	var err error
	if op.access, err = m.accessOf(op.route.Operation); err != nil {
		m.wrong = append(m.wrong, fmt.Errorf("%s %w", pattern, err))
	}
	m.served[pattern] = true
	m.ServeMux.Handle(pattern, m.wrap(op, http.HandlerFunc(handler)))
}

// complete is an error when the spec and the mounted handlers differ, or when the spec asks for what is not implemented.
func (m *router) complete() error {
	for template, item := range m.spec.Paths.Map() {
		for method := range item.Operations() {
			if pattern := method + " " + template; !m.served[pattern] {
				m.wrong = append(m.wrong, fmt.Errorf("%s is in the spec and not served", pattern))
			}
		}
	}
	return errors.Join(m.wrong...)
}

// ServeHTTP serves a request, or answers that there is no such path or method. A path that is not clean is unknown: it is
// not redirected. CONNECT to a host is a method that
// nothing here has.
func (m *router) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodConnect && r.URL.Path == "" {
		w.Header().Set("Allow", "")
		WriteError(w, r, errMethod)
		return
	}
	if r.URL.Path != path.Clean(r.URL.Path) {
		WriteError(w, r, errNotFound)
		return
	}
	refusal, pattern := m.Handler(r)
	if pattern != "" {
		m.ServeMux.ServeHTTP(w, r)
		return
	}
	verdict := verdict{header: http.Header{}}
	refusal.ServeHTTP(&verdict, r)
	if verdict.status != http.StatusMethodNotAllowed {
		WriteError(w, r, errNotFound)
		return
	}
	w.Header().Set("Allow", verdict.header.Get("Allow"))
	WriteError(w, r, errMethod)
}

// verdict takes the mux's own refusal, of which only the status and the methods are kept.
type verdict struct {
	header http.Header
	status int
}

func (v *verdict) Header() http.Header         { return v.header }
func (v *verdict) WriteHeader(status int)      { v.status = status }
func (v *verdict) Write(b []byte) (int, error) { return len(b), nil }
