package edge

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/CalloraOrg/callora-backend/domain/fault"
)

// maxDepth is how deep a body may be nested: far deeper than any that the spec describes.
const maxDepth = 32

// checkJSON says what is wrong with a body before its schema is asked. It is one JSON value in UTF-8 (RFC 8259), and no object
// in it has a name twice: of two, one reader takes the first and the next one the last (RFC 8259 4).
func checkJSON(body []byte) []fault.Detail {
	refuse := func(message string) []fault.Detail {
		return []fault.Detail{{Field: "body", Message: message, Code: "INVALID_BODY"}}
	}
	switch {
	case !utf8.Valid(body):
		return refuse("must be UTF-8 text")
	case !json.Valid(body):
		return refuse("must be one JSON value")
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber() // a number that no float64 holds is the schema's affair
	s := jsonScan{Decoder: d}
	if s.value("body", 0); s.tooDeep {
		return refuse(fmt.Sprintf("must not be nested deeper than %d levels", maxDepth))
	}
	return s.wrong
}

// jsonScan walks through a JSON text that is known to be valid.
type jsonScan struct {
	*json.Decoder
	wrong   []fault.Detail
	tooDeep bool
}

func (s *jsonScan) value(at string, depth int) {
	t := s.next()
	if _, nested := t.(json.Delim); nested && depth == maxDepth {
		s.tooDeep = true
	}
	switch t {
	case json.Delim('{'):
		seen := map[string]int{}
		for s.more() {
			name, _ := s.next().(string)
			within := at + step(name)
			if seen[name]++; seen[name] == 2 && len(s.wrong) < maxDetails {
				s.wrong = append(s.wrong, fault.Detail{Field: within, Message: "must be given once", Code: "DUPLICATE"})
			}
			s.value(within, depth+1)
		}
		s.next()
	case json.Delim('['):
		for i := 0; s.more(); i++ {
			s.value(at+"["+strconv.Itoa(i)+"]", depth+1)
		}
		s.next()
	}
}

func (s *jsonScan) more() bool { return !s.tooDeep && s.More() }

func (s *jsonScan) next() json.Token {
	t, err := s.Token()
	if err != nil { // the text is valid
		s.tooDeep = true
	}
	return t
}

// maxName bounds what is shown of a name that a caller made up.
const maxName = 64

// step is a name's part of a field's path: ".name", or quoted where the name is not a plain one.
func step(name string) string {
	if name != "" && len(name) <= maxName && strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-$") == "" {
		return "." + name
	}
	if utf8.RuneCountInString(name) > maxName {
		name = string([]rune(name)[:maxName]) + "..."
	}
	return "[" + strconv.Quote(name) + "]"
}
