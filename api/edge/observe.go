package edge

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/CalloraOrg/callora-backend/adapters/httpkit"
	"github.com/CalloraOrg/callora-backend/domain/fault"
)

// unknownRoute is the label of all requests outside the spec, so that callers cannot make up new ones.
const unknownRoute = "_unknown"

// clientGone is the status under which a request is noted whose caller left before the answer.
const clientGone = 499

const maxLoggedPath = 512

// answerTime is how long a caller may take to read an answer.
const answerTime = 30 * time.Second

// observed opens the exchange of a request, bounds its time, guards it against panics and writes its one line in the log.
func (e *Edge) observed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := e.deps.Now()
		client, _ := e.cfg.Proxies.Client(r)
		x := &exchange{requestID: requestIDOf(r.Header, e.deps.NewID), client: client, route: unknownRoute}
		ctx, cancel := context.WithTimeout(context.WithValue(r.Context(), exchangeKey{}, x), e.cfg.Timeout)
		defer cancel()
		out := &statusWriter{ResponseWriter: w}
		out.Header().Set("X-Request-Id", x.requestID)
		inner := r.WithContext(ctx)

		body := r.Body
		e.bound(w, r)
		func() {
			defer func() { e.note(r, x, out.status, e.deps.Now().Sub(start)) }()
			defer e.recovered(out, inner)
			next.ServeHTTP(out, inner)
		}()
		if r.ContentLength != 0 && !x.bodyRead {
			httpkit.EndBody(out, body)
		}
	})
}

// bound sets the connection's deadlines for one request, and lets its answer go out before a body that does not come.
func (e *Edge) bound(w http.ResponseWriter, r *http.Request) {
	conn, now := http.NewResponseController(w), time.Now() // only a test's writer has no deadlines
	_ = conn.SetWriteDeadline(now.Add(e.cfg.Timeout + answerTime))
	if r.ContentLength != 0 {
		_ = conn.SetReadDeadline(now.Add(e.cfg.BodyTime))
		httpkit.AnswerFirst(w)
	}
}

// recovered answers for a handler that panicked. When its answer has begun, only a broken connection can tell the caller.
func (e *Edge) recovered(w *statusWriter, r *http.Request) {
	p := recover()
	if p == nil {
		return
	}
	if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		httpkit.DropBody(w, r.Body)
		panic(p)
	}
	e.deps.Log.Error("a request panicked", zap.String("requestId", exchangeOf(r.Context()).requestID),
		zap.Any("panic", p), zap.ByteString("stack", debug.Stack()))
	if w.status != 0 {
		httpkit.DropBody(w, r.Body)
		panic(http.ErrAbortHandler)
	}
	for _, name := range []string{"Content-Encoding", "Content-Length", "Etag"} { // of the answer that did not come about
		w.Header().Del(name)
	}
	WriteError(w, r, fmt.Errorf("panic: %v", p))
}

func (e *Edge) note(r *http.Request, x *exchange, status int, took time.Duration) {
	if status == 0 {
		status = http.StatusOK
	}
	if r.Context().Err() != nil && status >= http.StatusInternalServerError {
		status = clientGone
	}
	if e.deps.Observe != nil {
		e.deps.Observe(r.Method, x.route, groupOf(x.route), status, took)
	}
	level := zapcore.InfoLevel
	switch {
	case status >= http.StatusInternalServerError:
		level = zapcore.ErrorLevel
	case status >= http.StatusBadRequest:
		level = zapcore.WarnLevel
	}
	line := e.deps.Log.Check(level, "request completed")
	if line == nil {
		return
	}
	path := r.URL.EscapedPath()
	fields := []zap.Field{
		zap.String("requestId", x.requestID), zap.String("method", r.Method), zap.String("path", path[:min(len(path), maxLoggedPath)]),
		zap.String("route", x.route), zap.Int("statusCode", status), zap.Float64("durationMs", float64(took.Microseconds())/1000),
		zap.Stringer("clientIp", x.client),
	}
	if !x.actor.IsZero() {
		fields = append(fields, zap.Stringer("userId", x.actor))
	}
	if x.fault != nil {
		fields = append(fields, zap.String("code", x.fault.Code))
		if cause := x.fault.Cause; cause != nil && fault.HTTPStatus(x.fault.Kind) >= http.StatusInternalServerError {
			fields = append(fields, zap.Error(cause))
		}
	}
	line.Write(fields...)
}

// groups name parts of the API for metrics, by the start of the path.
var groups = []struct{ prefix, group string }{
	{"/api/health", "health"}, {"/api/metrics", "metrics"}, {"/api/vault", "vault"}, {"/api/keys", "auth"},
	{"/api/apis", "apis"}, {"/api/usage", "apis"},
}

func groupOf(route string) string {
	for _, g := range groups {
		if strings.HasPrefix(route, g.prefix) {
			return g.group
		}
	}
	return "other"
}

// statusWriter remembers the status of an answer; 0 is none yet.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	if w.status == 0 && status >= http.StatusOK {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the connection.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
