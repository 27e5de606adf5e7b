package listing

import (
	"fmt"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/CalloraOrg/callora-backend/domain/fault"
)

const maxPath = 2048

// ErrPath is the fault of a call whose path could mean two different things to us and to the upstream.
var ErrPath = fault.New(fault.Invalid, "INVALID_PATH",
	"The path must be valid percent-encoded UTF-8, and no segment may hold a backslash, semicolon or control character, "+
		"an encoded slash, or a plain # ? (send those encoded)")

// CheckPath judges an endpoint's path: AnyPath, or a template such as /users/{id}/posts. A parameter takes a whole segment;
// no name is given twice; a template is written as it is called (no query, no encoding, no empty or dot segments).
func CheckPath(path string) error {
	if path == AnyPath {
		return nil
	}
	if !strings.HasPrefix(path, "/") || len(path) > maxPath {
		return fmt.Errorf(`must be "*" or start with "/" and have at most %d characters`, maxPath)
	}
	names := map[string]bool{}
	for _, s := range strings.Split(strings.TrimSuffix(path[1:], "/"), "/") {
		if path == "/" {
			break
		}
		name, isParam, err := parameter(s)
		switch {
		case err != nil:
			return err
		case isParam && names[name]:
			return fmt.Errorf("names the parameter {%s} twice", name)
		case isParam:
			names[name] = true
		case s == "" || s == "." || s == "..":
			return fmt.Errorf("must not have empty or dot segments")
		case strings.ContainsAny(s, "?#%;\\ {}") || !clean(s):
			return fmt.Errorf("must not contain spaces, control characters or any of ? # %% ; \\ in the segment %q", s)
		}
	}
	return nil
}

// parameter reads a template's segment {name}.
func parameter(segment string) (name string, is bool, err error) {
	if !strings.HasPrefix(segment, "{") && !strings.HasSuffix(segment, "}") {
		return "", false, nil
	}
	name = strings.TrimSuffix(strings.TrimPrefix(segment, "{"), "}")
	if len(name)+2 != len(segment) || name == "" || strings.ContainsAny(name, "{}") {
		return "", false, fmt.Errorf("has a segment %q that is neither plain nor a whole parameter such as {id}", segment)
	}
	return name, true, nil
}

// PathKey is the same for templates that match the same calls: parameters lose their names, a final slash does not count.
func PathKey(path string) string {
	segments := strings.Split(strings.TrimSuffix(path, "/"), "/")
	for i, s := range segments {
		if strings.HasPrefix(s, "{") {
			segments[i] = "{}"
		}
	}
	return strings.Join(segments, "/")
}

// Path is a call's path in the one form that is priced and forwarded.
type Path struct {
	// Escaped is what goes to the upstream: the caller's own segments, less empty and dot segments; it starts with "/".
	Escaped string
	// key is the same decoded and without a final slash, for matching; "" for the root. No segment holds a slash.
	key string
}

// CleanPath reads the part of a request's path that follows the API, as it was sent. Dot segments, also encoded ones, are
// resolved and cannot leave the root; empty ones are dropped; a final slash stays. Fault: ErrPath, for a segment that
// servers are known to read in different ways, so that no call can buy one endpoint at the price of another.
func CleanPath(sent string) (Path, error) {
	if isClean(sent) {
		return Path{Escaped: sent, key: strings.TrimSuffix(sent, "/")}, nil
	}
	var kept, decoded []string
	folder := false // whether the path ends in a slash once it is clean
	for s := range strings.SplitSeq(sent, "/") {
		plain, err := url.PathUnescape(s)
		if err != nil || !clean(plain) || strings.ContainsAny(plain, `/\;`) || strings.ContainsAny(s, "#?") {
			return Path{}, ErrPath
		}
		folder = true
		switch plain {
		case "", ".":
		case "..":
			if n := len(kept); n > 0 {
				kept, decoded = kept[:n-1], decoded[:n-1]
			}
		default:
			kept, decoded = append(kept, s), append(decoded, plain)
			folder = false
		}
	}
	if len(kept) == 0 {
		return Path{Escaped: "/"}, nil
	}
	p := Path{Escaped: "/" + strings.Join(kept, "/"), key: "/" + strings.Join(decoded, "/")}
	if folder {
		p.Escaped += "/"
	}
	return p, nil
}

// isClean reports whether a path is what CleanPath would make of it, and means itself. Most do; it keeps them cheap.
func isClean(sent string) bool {
	if sent == "" || sent[0] != '/' {
		return false
	}
	for i := 1; i < len(sent); i++ {
		switch c := sent[i]; {
		case c == '/' || c == '.':
			if sent[i-1] == '/' {
				return false // an empty segment, or perhaps a dot segment
			}
		case !plainByte[c]:
			return false
		}
	}
	return true
}

// plainByte are the bytes that no server reads as anything but themselves.
var plainByte = func() (set [256]bool) {
	for _, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_~!$&'()*+,=:@") {
		set[c] = true
	}
	return set
}()

// clean reports whether a text is UTF-8 without control characters.
func clean(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}
